"""`lateen logs`: what a function's invocations left behind, oldest first, and what comes on top of it."""

import json
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import click

from lateen.cli.client import Client
from lateen.cli.completion import function_names
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import function_named, workspace_option
from lateen.cli.output import Output, output_option, plain, show_json
from lateen.cli.refusals import note

POLL_S = 1.0
POLLED = 1000
"""Records read at most at a time while following."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Since(click.ParamType[str]):
    """`10m`, or an ISO 8601 time; becomes an ISO 8601 time in UTC."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            if found := re.fullmatch(r"(\d{1,6})([smhd])", value):
                return _iso(datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])}))
            return _iso(datetime.fromisoformat(value).astimezone(UTC))
        except (ValueError, OverflowError):
            self.fail(f"'{value}' is neither a time such as 2026-01-31T12:00Z nor an age such as 10m or 2h", param, ctx)


@click.command()
@click.argument("name", shell_complete=function_names)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="The last N only.")
@click.option("--since", type=Since(), help="Not before a time, or an age such as 10m.")
@click.option("--status", type=click.Choice(["success", "error", "timeout"]), help="These only.")
@click.option("--contains", metavar="TEXT", help="Those only that printed this, or have it in their id or error.")
@workspace_option
@output_option
@with_connection
def logs(
    connection: Connection,
    name: str,
    follow: bool,
    limit: int,
    since: str | None,
    status: str | None,
    contains: str | None,
    workspace: str | None,
    output: Output,
) -> None:
    """Show a function's invocations and what it printed, the latest at the end.

    With --follow, --output json writes one line an invocation.
    """
    asked = {key: value for key, value in (("status", status), ("contains", contains)) if value is not None}
    chosen = asked | ({} if since is None else {"since": since})
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        path = f"/api/functions/{function['id']}/logs"
        # What is older than what is shown is not news, so it is noted before anything is shown.
        seen = _keys(_recent(client, path, function, asked)) if follow else set()
        found = _last(client, path, chosen, limit)
        if not found:
            # Records come in batches: the invocation that somebody just made may be on its way.
            time.sleep(POLL_S)
            found = _last(client, path, chosen, limit)
        if output == "json" and not follow:
            show_json(found)
            return
        for record in found:
            _show(record, output)
        if not follow:
            if not found:
                note(
                    f"no recorded invocation of '{name}' matches"
                    if chosen
                    else f"no invocation of '{name}' is recorded; 'lateen invoke {name}' makes one"
                )
            return
        seen |= _keys(found)
        while True:
            time.sleep(POLL_S)
            recent = _recent(client, path, function, asked)
            for record in recent:
                if _key(record) not in seen:
                    _show(record, output)
            seen = _keys(recent)


def _last(client: Client, path: str, chosen: dict[str, str], limit: int) -> list[dict[str, Any]]:
    return list(islice(client.pages(path, params=chosen | {"limit": str(min(limit, 100))}), limit))[::-1]


def _recent(client: Client, path: str, function: dict[str, Any], asked: dict[str, str]) -> list[dict[str, Any]]:
    """All that may be new, oldest first.

    A record bears the time at which its invocation began and is there when it has ended: what is new can be as old as
    the function's timeout, and a batch's way into the store.
    """
    # By Lateen's clock: with this machine's ahead, what is new would be too old.
    since = _iso(datetime.now(UTC) + timedelta(seconds=client.ahead_s - function["timeout"] - 10))
    return list(islice(client.pages(path, params=asked | {"since": since}), POLLED))[::-1]


def _keys(records: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    return {_key(record) for record in records}


def _key(record: dict[str, Any]) -> tuple[str, str]:
    """All attempts of an event have its request id."""
    return record["request_id"], record["timestamp"]


def _show(record: dict[str, Any], output: Output) -> None:
    if output == "json":
        click.echo(json.dumps(record, ensure_ascii=False))
        return
    facts = [record["timestamp"], record["status"], f"{record['duration_ms']:.1f} ms"]
    if record.get("init_duration_ms") is not None:
        facts.append(f"cold {record['init_duration_ms']:.1f} ms")
    facts += [f"{record.get('memory_peak_mib', 0)} MiB", record["request_id"]]
    click.echo("  ".join(facts))
    # Runtimes hold the lines of one event of the log together by carriage returns, as on AWS.
    printed = re.sub(r"\r+\n?", "\n", record.get("log_tail", ""))
    for line in plain(printed).splitlines():
        click.echo(f"    {line}")


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
