"""`lateen up`: Lateen on this machine, in the foreground. The one command that doesn't speak to a server: it is one."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import httpx

from lateen.cli.client import Client
from lateen.cli.connection import Connection, administrator_key
from lateen.cli.deploy import deployed, options_from
from lateen.cli.refusals import Refused, shown
from lateen.cli.revisions import settled

if TYPE_CHECKING:
    from lateen.run import Started

EXAMPLE = Path(__file__).resolve().parents[4] / "examples" / "access-log"
"""Of the checkout that this file lies in."""
SAMPLE = "access.log"
ANSWER_S = 60.0

_HELD_BY = {
    "namespaces, landlock": "functions run in namespaces of their own and under Landlock; the network is open to them",
    "namespaces": "functions run in namespaces of their own; the network is open to them",
    "landlock": "functions are held by Landlock, so their files are apart; the network is open to them",
    "landlock, files only": "functions are held by Landlock, so their files are apart; they can signal your processes, "
    "and the network is open to them",
    "none": "trusted code only: nothing here keeps functions from each other, or from your files",
}


@click.command()
@click.option("--example", is_flag=True, help="Deploy examples/access-log of the checkout, and call it once.")
def up(example: bool) -> None:
    """Start Lateen on this machine, until Ctrl-C.

    It listens on 127.0.0.1:8000 (LATEEN_PORT) and keeps its data in .lateen/ (LATEEN_DATA). README.md has the table of
    all settings.
    """
    # Imported here: no other command needs the platform's modules, which take longer than all of theirs.
    from lateen.run import CannotStart, run
    from lateen.settings import BadSetting, Settings

    if example and not EXAMPLE.is_dir():
        raise Refused(f"{EXAMPLE} is not there", hint="--example needs a checkout of Lateen")
    try:
        run(Settings.from_env(os.environ), on_started=lambda started: _greet(started, example=example))
    except BadSetting as exc:
        raise click.UsageError(str(exc)) from exc
    except CannotStart as exc:
        what, _, then = str(exc).partition("; ")
        raise Refused(what, hint=then or None) from exc


def _greet(started: "Started", *, example: bool) -> None:
    if example:
        try:
            _show_example(started)
        except Refused as refusal:
            click.echo(shown(refusal), err=True, nl=False)
    pages = f"its pages at {started.endpoint}/ui, its documentation at {started.endpoint}/docs"
    click.echo(f"Lateen is at {started.endpoint}, {pages}")
    click.echo(f"Data and the administrator's key are in {started.data}")
    click.echo(f"Isolation: {_HELD_BY.get(started.isolation, started.isolation)}")
    click.echo("Ctrl-C stops it")


def _show_example(started: "Started") -> None:
    """Deploys it, unless it is there as it is, and gives it the sample. Raises: `Refused`."""
    key = administrator_key(started.data)
    connection = Connection(endpoint=started.endpoint, token=key, workspace=None, data=started.data)
    with Client(connection) as client:
        options = options_from("--description", "Reads a web server's log and sums it up")
        function = settled(client, deployed(client, EXAMPLE, name=None, workspace=None, options=options))
    log = EXAMPLE / SAMPLE
    # As any caller would, so without the key: the function must not get to see it.
    try:
        answer = httpx.post(
            function["url"],
            content=log.read_bytes(),
            headers={"content-type": "text/plain; charset=utf-8", "accept": "application/json"},
            timeout=ANSWER_S,
            trust_env=False,
        )
    except httpx.HTTPError as exc:
        raise Refused(f"the example did not answer: {exc}", hint="'lateen logs access-log' may say why") from exc
    click.echo(f"\n$ curl --data-binary @{_relative(log)} {function['url']}\n{answer.text}")
    if answer.status_code != 200:
        raise Refused(f"the example answered {answer.status_code}", hint="'lateen logs access-log' says why")


def _relative(path: Path) -> Path:
    """Shorter, where it can be."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
