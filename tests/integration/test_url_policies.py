"""URLs and policies of AWS's, changed by several at the same time: nobody leaves open what another one has closed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from running_platform import Running, a_zip, run

from lateen.aws.calls import Call
from lateen.aws.errors import AwsError
from lateen.aws.references import Place
from lateen.domain.access import PLATFORM
from lateen.domain.errors import NotFound, Unavailable
from lateen.domain.function_urls import FunctionUrl
from lateen.domain.functions import Function
from lateen.services.function_extras import FunctionExtras
from lateen.services.functions import FunctionChange, Functions

CODE = a_zip(code__py="def handler(event, context):\n    return 1\n")
NAMES = ("a", "b", "c")
ROUNDS = 10


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with run(tmp_path / "data") as running:
        yield running


async def ask(running: Running, operation: str, **parameters: Any) -> None:
    account = (await running.platform.workspaces.get(PLATFORM, "default")).account_id
    call = Call(
        operation=operation,
        parameters={"FunctionName": "f", **parameters},
        body=b"",
        caller=PLATFORM,
        workspace_id="default",
        place=Place("us-east-1", account),
        request_id="r",
        origin="http://localhost",
    )
    await running.platform._aws._handlers[operation](call)


async def allow(running: Running, name: str) -> None:
    given = {"Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"}
    await ask(running, "AddPermission", StatementId=name, **given)


async def live(running: Running) -> Function:
    return (await running.functions.by_name(PLATFORM, "default", "f")).function


async def auth(running: Running) -> str:
    return (await live(running)).auth


async def unavailable(*_: Any, **__: Any) -> None:
    raise Unavailable("the table does not answer")


async def test_the_last_statement_closes_whoever_removes_it(running: Running) -> None:
    """Terraform removes a function's statements at the same time."""
    await running.create(CODE)
    await ask(running, "CreateFunctionUrlConfig", AuthType="NONE")
    for _ in range(ROUNDS):
        for name in NAMES:
            await allow(running, name)
        assert await auth(running) == "none"
        await asyncio.gather(*(ask(running, "RemovePermission", StatementId=name) for name in NAMES))
        assert await auth(running) == "iam"


async def test_who_opens_is_not_later_than_who_closes(running: Running) -> None:
    """A statement that is removed while it is being added, and a URL that is deleted meanwhile."""
    await running.create(CODE)

    async def when_there(operation: str, **parameters: Any) -> None:
        async with asyncio.timeout(30):
            while True:
                try:
                    await ask(running, operation, **parameters)
                except AwsError:
                    await asyncio.sleep(0)
                else:
                    return

    await ask(running, "CreateFunctionUrlConfig", AuthType="NONE")
    for _ in range(ROUNDS):
        await asyncio.gather(allow(running, "a"), when_there("RemovePermission", StatementId="a"))
        assert await auth(running) == "iam"
    for number in range(ROUNDS):
        await asyncio.gather(allow(running, f"u{number}"), ask(running, "DeleteFunctionUrlConfig"))
        assert await auth(running) == "iam"
        await ask(running, "CreateFunctionUrlConfig", AuthType="NONE")
        await ask(running, "RemovePermission", StatementId=f"u{number}")


async def test_what_asks_for_a_key_goes_on_asking(running: Running) -> None:
    """Whatever else is changed of its policy and its URL, until somebody says NONE anew."""
    made = await running.create(CODE)
    await ask(running, "CreateFunctionUrlConfig", AuthType="NONE")
    await allow(running, "all")
    assert await auth(running) == "none"
    await running.functions.update(PLATFORM, made.id, FunctionChange(auth="key"))
    given = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    await ask(running, "AddPermission", StatementId="bucket", **given)
    assert await auth(running) == "key"
    await ask(running, "RemovePermission", StatementId="bucket")
    assert await auth(running) == "key"
    await ask(running, "UpdateFunctionUrlConfig", AuthType="NONE", Cors={"MaxAge": 60})
    assert await auth(running) == "key"
    await ask(running, "UpdateFunctionUrlConfig", AuthType="AWS_IAM")
    assert await auth(running) == "iam"
    await ask(running, "UpdateFunctionUrlConfig", AuthType="NONE")
    assert await auth(running) == "none"


async def shown_as(running: Running) -> str | None:
    """AuthType; None: there is no configuration."""
    try:
        return (await running.platform.urls.get(PLATFORM, (await live(running)).id, None)).config.url.auth_type
    except NotFound:
        return None


@pytest.mark.parametrize("store", [Functions, FunctionExtras])
@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("UpdateFunctionUrlConfig", {"AuthType": "AWS_IAM"}),
        ("RemovePermission", {"StatementId": "all"}),
        ("DeleteFunctionUrlConfig", {}),
        ("put", {}),
    ],
)
async def test_what_is_cut_short_leaves_nothing_open_that_was_closed(
    running: Running, monkeypatch: pytest.MonkeyPatch, store: Any, operation: str, given: dict[str, str]
) -> None:
    """Whichever of the two writes is the last one that was made; done again, it is whole."""
    function = await running.create(CODE)

    async def close() -> None:
        if operation == "put":
            await running.platform.urls.put(PLATFORM, function.id, None, FunctionUrl(auth_type="AWS_IAM"))
        else:
            await ask(running, operation, **given)

    await ask(running, "CreateFunctionUrlConfig", AuthType="NONE")
    await allow(running, "all")
    assert await auth(running) == "none"
    with monkeypatch.context() as away:
        away.setattr(store, "update" if store is Functions else "change", unavailable)
        with pytest.raises(Unavailable):
            await close()
    if store is FunctionExtras:
        assert await auth(running) == "iam"
    else:
        assert (await auth(running), await shown_as(running)) == ("none", "NONE")
    await close()
    assert await auth(running) == "iam"


@pytest.mark.parametrize("operation", ["CreateFunctionUrlConfig", "AddPermission"])
async def test_who_is_told_that_it_is_there_has_it_in_effect(
    running: Running, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Clients repeat by themselves what was answered with 503."""
    await running.create(CODE, auth="iam")

    async def do() -> None:
        if operation == "AddPermission":
            await allow(running, "all")
        else:
            await ask(running, operation, AuthType="NONE", Cors={"MaxAge": 60})

    if operation == "AddPermission":
        await ask(running, "CreateFunctionUrlConfig", AuthType="NONE")
    with monkeypatch.context() as away:
        away.setattr(Functions, "update", unavailable)
        with pytest.raises(Unavailable):
            await do()
    with pytest.raises(AwsError) as refused:
        await do()
    assert refused.value.status == 409
    if operation == "AddPermission":
        assert await auth(running) == "none"
    else:
        url = (await live(running)).url
        assert url is not None
        assert url.settings.cors is not None
