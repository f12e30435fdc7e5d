"""AWS's operations on functions over the real embedded stores, with other callers in between."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from running_platform import a_zip

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.aws.assembled import aws_api
from lateen.aws.calls import Call
from lateen.aws.errors import AwsError
from lateen.aws.references import Place
from lateen.domain.errors import Unavailable
from lateen.domain.functions import Function, State
from lateen.ports.deployer import Observation
from lateen.ports.table import Item, Operation, TableUnavailable
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.version_items import head_key
from lateen.testing.assembled import MASTER, ManualClock, Services, assemble
from lateen.testing.interposed import InterposedTable

RUNTIMES = Path(__file__).parents[2] / "runtimes"
FIRST, MINE, OTHERS = (a_zip(code__py=f"def handler(event, context):\n    return {number}\n") for number in range(3))


@pytest.fixture
def interposed(sqlite_table: SqliteTable) -> InterposedTable:
    return InterposedTable(sqlite_table)


@pytest.fixture
async def services(interposed: InterposedTable, file_objects: FileObjects) -> Services:
    services = assemble(interposed, file_objects, RUNTIMES, clock=ManualClock())
    await services.workspaces.ensure_default()
    return services


async def ask(services: Services, operation: str, **parameters: Any) -> dict[str, Any]:
    """Of the function `f`."""
    nothing = cast("Any", None)
    api = aws_api(
        services,
        objects=services.objects,
        invoker=nothing,
        events=nothing,
        master=MASTER,
        region="us-east-1",
        base_url="http://localhost",
        metrics=nothing,
    )
    call = Call(
        operation=operation,
        parameters={"FunctionName": "f", **parameters},
        body=b"",
        caller=services.admin,
        workspace_id="default",
        place=Place("us-east-1", (await services.workspaces.get(services.admin, "default")).account_id),
        request_id="r",
        origin="http://localhost",
    )
    answer: dict[str, Any] = (await api._handlers[operation](call)).body
    return answer


async def created(services: Services) -> Function:
    """`f`, which runs."""
    new = NewFunction(name="f", runtime="python3.12", code=FIRST, auth="iam")
    made = (await services.functions.create(services.admin, "default", new)).function
    await services.functions.report(Observation(function_id=made.id, revision=1, state="Active"))
    return made


async def test_what_is_published_is_what_was_sent(services: Services, interposed: InterposedTable) -> None:
    """Another caller's code comes between the update and its version: the update is made again."""
    made = await created(services)
    key = head_key(made)

    async def other() -> None:
        await services.functions.update(services.admin, made.id, FunctionChange(code=OTHERS))

    interposed.interpose(key.pk, key.sk, other)
    answer = await ask(services, "UpdateFunctionCode", ZipFile=base64.b64encode(MINE).decode(), Publish=True)
    assert interposed.is_done
    published = (await services.versions.get(services.admin, made.id, answer["Version"])).function
    latest = (await services.functions.get(services.admin, made.id)).function
    assert (latest.revision, latest.code) == (4, published.code)
    assert published.code.sha256 == hashlib.sha256(MINE).hexdigest()


async def test_a_create_makes_the_function_with_its_version_or_nothing(
    services: Services, interposed: InterposedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Publish: the table goes away at any moment, and who repeats the call, as SDKs do, is not told that there is
    a function, which then had no version."""
    given: dict[str, Any] = {"Runtime": "python3.12", "Handler": "code.handler", "Publish": True}
    given["Code"] = {"ZipFile": base64.b64encode(FIRST).decode()}
    left = 0

    async def going_away(operations: Sequence[Operation]) -> list[Item]:
        nonlocal left
        if not left:
            raise TableUnavailable("away")
        left -= 1
        return await InterposedTable.transact(interposed, operations)

    with monkeypatch.context() as patch:
        patch.setattr(interposed, "transact", going_away)
        for writes in range(5):
            left = writes
            try:
                made = await ask(services, "CreateFunction", **given)
                break
            except Unavailable:
                continue
    assert made["Version"] == "1"
    versions = (await ask(services, "ListVersionsByFunction"))["Versions"]
    assert [(each["Version"], each["CodeSha256"]) for each in versions] == [
        ("$LATEST", made["CodeSha256"]),
        ("1", made["CodeSha256"]),
    ]
    assert (await ask(services, "PublishVersion"))["Version"] == "1"
    function = (await services.functions.by_name(services.admin, "default", "f")).function
    await services.functions.report(Observation(function_id=function.id, revision=1, state="Active"))
    await ask(services, "UpdateFunctionConfiguration", Description="another")
    assert (await ask(services, "PublishVersion"))["Version"] == "2"


async def test_a_url_is_no_update(services: Services) -> None:
    """What configures a URL, or opens it, never refuses the next update; an update that is still on its way does."""
    made = await created(services)

    async def report(revision: int, state: State) -> None:
        await services.functions.report(Observation(function_id=made.id, revision=revision, state=state))

    await ask(services, "CreateFunctionUrlConfig", AuthType="NONE")
    given = {"Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"}
    await ask(services, "AddPermission", StatementId="all", **given)
    opened = (await services.functions.get(services.admin, made.id)).function
    assert (opened.auth, opened.revision) == ("none", 3)
    assert (await ask(services, "GetFunctionConfiguration"))["LastUpdateStatus"] == "InProgress"
    await report(2, "Pending")
    await ask(services, "PutFunctionConcurrency", ReservedConcurrentExecutions=1)
    await ask(services, "UpdateFunctionConfiguration", Timeout=4)

    async def refused() -> None:
        with pytest.raises(AwsError, match="An update is in progress"):
            await ask(services, "UpdateFunctionConfiguration", Timeout=5)

    await ask(services, "UpdateFunctionUrlConfig", Cors={"MaxAge": 60})
    await refused()
    await report(4, "Active")
    await refused()
    await report(6, "Pending")
    await refused()
    await report(6, "Failed")
    await ask(services, "UpdateFunctionConfiguration", Timeout=5)
