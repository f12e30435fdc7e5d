"""A function's revisions as the command line makes them: stored, and waited for."""

import json
import re
import time
from typing import Any
from uuid import uuid4

from lateen.cli.builds import BuildShown
from lateen.cli.client import Client
from lateen.cli.output import plain, size_of
from lateen.cli.refusals import Refused, hints, note

SETTLED_S = 120.0
"""How long a deployment may stay Pending before we stop waiting for it."""
PACKAGES = (
    "runtimes bring no packages but AWS's SDK: have them in the folder or a layer, or name them in the folder's "
    "requirements.txt or package.json"
)
SDK = (
    "the runtime has not got that part of AWS's SDK: name it in the folder's requirements.txt or package.json; where "
    "nothing of the SDK is there, hack/runtime-packages brings it on this machine, and in a cluster the runtime's "
    "image, built anew"
)


def stored(
    client: Client, workspace_id: str, name: str, fields: dict[str, Any], before: dict[str, Any] | None
) -> dict[str, Any]:
    """Create, or change `before`; what is as it was changes nothing. Says on stderr which of them it was."""
    if before is None:
        with hints(already_exists="somebody made it at the same time; deploy again to update it"):
            function = client.call(
                "POST",
                f"/api/workspaces/{workspace_id}/functions",
                body=json.dumps({"name": name, **fields}).encode(),
                headers={"idempotency-key": str(uuid4())},
            )
    else:
        function = updated(client, before, fields)
    assert isinstance(function, dict)
    if before is None:
        note(f"created '{name}', {_package(function)}")
    elif function["revision"] == before["revision"]:
        note(f"'{name}' is unchanged at revision {function['revision']}")
    else:
        note(f"updated '{name}' to revision {function['revision']}, {_package(function)}")
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
    if reason := function["state_reason"]:
        note(f"note: {plain(reason)}")
        if _names_no_handler(reason, function["handler"]):
            note(f"hint: what is called is {function['handler']}; --handler says another")
        elif (package := _missing_package(reason)) is not None:
            note(f"hint: {SDK if package.startswith(('boto', '@aws-sdk/')) else PACKAGES}")
    return function


def _names_no_handler(reason: str, handler: str) -> bool:
    """Whether the code was loaded in vain because the handler's file, or what is called in it, isn't there."""
    if "Runtime.ImportModuleError" in reason:
        # Also said of a dependency that is missing, which another handler wouldn't bring.
        return re.search(rf"'(\S*/)?{re.escape(handler.rpartition('.')[0])}'\s*($|Require)", reason) is not None
    return any(kind in reason for kind in ("Runtime.HandlerNotFound", "Runtime.MalformedHandlerName"))


def _missing_package(reason: str) -> str | None:
    """A Node module of the newer kind says so in an error without a name of its own."""
    kinds = r"Runtime\.ImportModuleError.*(?:No module named |Cannot find module )|\bError: Cannot find package "
    found = re.search(rf"(?:{kinds})'([^./'][^']*)", reason)
    return found and found[1]


def _package(function: dict[str, Any]) -> str:
    return str(function["image"] or size_of(function["code_size"]))
