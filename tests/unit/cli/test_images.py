"""Options that name an image."""

import click
import pytest
from click.testing import CliRunner

from lateen.cli.deploy import deploy
from lateen.cli.images import image_fields, image_options, name_in


@pytest.mark.parametrize(
    "reference",
    ["ghcr.io/team/thing", "ghcr.io/team/thing:1.2", "localhost:5000/thing:1@sha256:0123", "a.b/thing@sha256:0123"],
)
def test_a_function_is_named_after_its_image(reference: str) -> None:
    assert name_in(reference) == "thing"


def test_what_is_sent() -> None:
    """What isn't given stays; words are split as a shell would, and none is run."""
    seen: list[object] = []

    @click.command()
    @image_options
    def command(**options: object) -> None:
        seen.append(image_fields(options, known={"command": ["old"], "working_directory": "/old"}))
        assert options == {}

    run = CliRunner().invoke
    assert run(command, ["--image", "a.b/c:1"]).exit_code == 0
    assert run(command, ["--entry-point", "python3 -m 'a b' $(x)", "--working-directory", "/new"]).exit_code == 0
    assert run(command, []).exit_code == 0
    assert seen == [
        {"image": "a.b/c:1"},
        {
            "image_config": {
                "command": ["old"], "working_directory": "/new", "entry_point": ["python3", "-m", "a b", "$(x)"],
            }
        },
        {},
    ]  # fmt: skip
    broken = run(command, ["--command", "'a"])
    assert (broken.exit_code, "can't be split into words" in broken.output) == (2, True)


def test_either_code_or_an_image() -> None:
    for words in ([], [".", "--image", "a.b/c:1"]):
        refused = CliRunner().invoke(deploy, words)
        assert (refused.exit_code, "give either PATH or --image" in refused.output) == (2, True), words
