"""`lateen deploy`: a file or a folder becomes a function, or a new revision of one."""

import base64
import io
import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from lateen.cli.builds import BuildShown
from lateen.cli.client import Client
from lateen.cli.configuration import body_from, configuration_options
from lateen.cli.connection import Connection, with_connection
from lateen.cli.layers import layers_from
from lateen.cli.lookup import function_if_any, workspace_named, workspace_option
from lateen.cli.output import Output, output_option, plain, show_json, size_of
from lateen.cli.packing import pack
from lateen.cli.refusals import Refused, hints, note
from lateen.domain.names import NAME

SETTLED_S = 120.0
"""How long a deployment may stay Pending before we stop waiting for it."""
_NAMES = "give it one with --name: at most 64 letters of a to z, digits, - and _"


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="The function's name; else the file's or folder's.")
@configuration_options
@workspace_option
@click.option("--no-wait", is_flag=True, help="Don't wait until it runs.")
@output_option
@with_connection
def deploy(
    connection: Connection,
    /,
    path: Path,
    name: str | None,
    workspace: str | None,
    no_wait: bool,
    output: Output,
    **options: Any,
) -> None:
    """Make a function of PATH, or give the one of that name new code, and print its URL.

    PATH is a source file, a zip, or a folder, of which version control, caches and virtual environments are left out,
    and what its .lateenignore names as a .gitignore would. What the code depends on is installed for it where it runs.
    What isn't given stays as it is; of a new function it is the default.
    """
    with Client(connection) as client:
        function = deployed(client, path, name=name, workspace=workspace, options=options)
        if not no_wait:
            function = settled(client, function)
    if output == "json":
        show_json(function)
    else:
        click.echo(function["url"])


def deployed(
    client: Client, path: Path, *, name: str | None, workspace: str | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Create or update; nothing is changed if everything is as it was. Says on stderr which of them it was."""
    code = pack(path)
    name = name or path.resolve().stem
    if not re.match(NAME, name):
        raise Refused(f"{name!r} can't be a function's name", hint=_NAMES)
    where = workspace_named(client, workspace)
    before = function_if_any(client, where["id"], name)
    fields = body_from(options, known=before["environment"] if before else {})
    runtimes = client.call("GET", "/lambda/runtimes") if before is None or _is_source(path, code) else []
    fields["code"] = base64.b64encode(_by_its_own_kind(runtimes, path, code)).decode()
    fields |= layers_from(client, where["id"], options)
    if before is None:
        fields["name"] = name
        if "runtime" not in fields:
            fields["runtime"] = _runtime_for(runtimes, path, code)
        with hints(already_exists="somebody made it at the same time; deploy again to update it"):
            function = client.call(
                "POST",
                f"/api/workspaces/{where['id']}/functions",
                body=json.dumps(fields).encode(),
                headers={"idempotency-key": str(uuid4())},
            )
    else:
        function = updated(client, before, fields)
    assert isinstance(function, dict)
    if before is None:
        note(f"created '{name}', {size_of(function['code_size'])}")
    elif function["revision"] == before["revision"]:
        note(f"'{name}' is unchanged at revision {function['revision']}")
    else:
        note(f"updated '{name}' to revision {function['revision']}, {size_of(function['code_size'])}")
    return function


def updated(client: Client, before: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Changes the function, unless somebody else did since `before` was read."""
    with hints(revision_mismatch="somebody changed it at the same time; try again"):
        function: dict[str, Any] = client.call(
            "PATCH",
            f"/api/functions/{before['id']}",
            body=json.dumps(fields).encode(),
            headers={"if-match": f'"{before["revision"]}"'},
        )
    return function


def settled(client: Client, function: dict[str, Any]) -> dict[str, Any]:
    """Waits until it is Active. Raises: `Refused` with the reason if it failed, or did not settle in time."""
    deadline, pause_s = time.monotonic() + SETTLED_S, 0.02
    build = BuildShown(client, function)
    while function["state"] == "Pending":
        if build.more():
            deadline = time.monotonic() + SETTLED_S  # it has one of its own
        if time.monotonic() > deadline:
            raise Refused(
                f"'{function['name']}' is still pending after {SETTLED_S:.0f} s: {function['state_reason']}",
                hint=f"look again with 'lateen info {function['name']}'",
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 1.0)
        function = client.call("GET", f"/api/functions/{function['id']}")
    build.more()
    if function["state"] == "Failed":
        raise Refused(
            f"'{function['name']}' failed: {plain(function['state_reason'] or 'no reason given')}",
            hint="mend the cause and deploy again",
        )
    if function["state_reason"]:
        note(f"note: {plain(function['state_reason'])}")
    return function


def _is_source(path: Path, code: bytes) -> bool:
    return path.is_file() and not zipfile.is_zipfile(io.BytesIO(code))


def _by_its_own_kind(runtimes: list[dict[str, Any]], path: Path, code: bytes) -> bytes:
    """A single file has the name that its runtime gives it; where that would make it one of another kind (`.mjs` of
    `.cjs`), it is put into a zip under the same name with its own end."""
    if not _is_source(path, code):
        return code
    called = {entry["file"] for entry in runtimes if path.name.endswith(tuple(entry["sources"]))}
    if len(called) != 1 or path.suffix == Path(name := called.pop()).suffix:
        return code
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        entry = zipfile.ZipInfo(Path(name).with_suffix(path.suffix).name)
        entry.create_system, entry.external_attr = 3, 0o100644 << 16
        archive.writestr(entry, code)
    return packed.getvalue()


def _runtime_for(runtimes: list[dict[str, Any]], path: Path, code: bytes) -> str:
    """What the source's file names stand for, if it is one language; the server knows its usual version."""
    usable = [entry for entry in runtimes if not entry["disabled"]]
    names = [path.name]
    if not _is_source(path, code):
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            names = [name for name in archive.namelist() if "/" not in name]
    meant = {entry["runtime"] for entry in usable if any(name.endswith(tuple(entry["sources"])) for name in names)}
    if len(meant) != 1:
        why = f"these files could be of {' or '.join(sorted(meant))}" if meant else "the runtime is not given"
        raise Refused(why, hint=f"name one with --runtime; here are: {', '.join(e['name'] for e in usable) or 'none'}")
    return str(meant.pop())
