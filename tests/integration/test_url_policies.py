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
from lateen.services.functions import FunctionChange

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


async def auth(running: Running) -> str:
    return (await running.functions.by_name(PLATFORM, "default", "f")).function.auth


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
