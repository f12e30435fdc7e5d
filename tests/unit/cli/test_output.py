"""What people and terminals get to see."""

from collections.abc import Iterator

import click
import pytest

from lateen.cli.output import plain, show_table, size_of
from lateen.cli.refusals import Refused, hints, shown
from lateen.cli.root import root


def test_a_terminal_obeys_no_stranger() -> None:
    """A log line that clears the screen, retitles the window or hides itself is shown as what it is."""
    assert plain("a\x1b[2Jb\x07\r\x9bc\td\n") == "a\\x1b[2Jb\\x07\\x0d\\x9bc\td\n"


def test_a_table_has_one_line_an_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns line up, whatever is in them; nothing trails."""
    show_table([{"a": 1, "b": "x\ny"}, {"a": "long one", "b": None}], {"A": "a", "B": "b"}, empty="none")
    assert capsys.readouterr().out == "A         B\n1         x y\nlong one  -\n"


def test_an_empty_table_shows_the_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr: a script that counts lines counts none."""
    show_table([], {"A": "a"}, empty="nothing yet; 'lateen deploy PATH' makes one")
    assert capsys.readouterr() == ("", "nothing yet; 'lateen deploy PATH' makes one\n")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**2, "5.0 MiB"), (2**40, "1024.0 GiB")],
)
def test_sizes(count: int, text: str) -> None:
    """Binary units, one decimal."""
    assert size_of(count) == text


def test_a_refusal_says_what_next() -> None:
    """What happened, its slug, and the step to take; the command's own hint wins."""
    with pytest.raises(Refused) as caught, hints(already_exists="rename it"):
        raise Refused("'x' is taken.", slug="already-exists", hint="some general advice")
    assert shown(caught.value) == "error: 'x' is taken (already-exists)\nhint: rename it\n"


def test_misuse_points_to_the_help() -> None:
    """Of the command that was misused."""
    context = click.Context(click.Command("deploy"), info_name="deploy")
    error = click.UsageError("Missing argument 'PATH'.", ctx=context)
    assert shown(error) == "error: missing argument 'PATH'\nhint: see 'deploy --help'\n"


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


def test_every_command_speaks_json() -> None:
    """But those that serve, or are a cluster's, which nobody types, and the one whose answer is a script."""
    silent = {
        command.name
        for command in commands(root)
        if not any("--output" in parameter.opts for parameter in command.params)
    }
    assert silent == {"up", "completion", "api", "gateway", "controller", "worker", "migrate", "secrets"}
