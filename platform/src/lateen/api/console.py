"""`/lambda`: what the web pages call. The same use cases, by hash, in the key's own workspace."""

from collections.abc import Sequence
from typing import Annotated

from anyio import to_thread
from litestar import Controller, Response, delete, get, patch, post
from litestar.params import JSONBody, QueryParameter
from msgspec import UNSET

from lateen.api.bodies import ConsoleCreate, ConsoleUpdate
from lateen.api.dependencies import CallerDep, UseCases, UseCasesDep
from lateen.api.requests import CODE_LIMIT, DEFAULT, Cursor, IdempotencyKey, LateenRequest, Limit, once
from lateen.api.views.console import (
    ConsoleFunction,
    ConsoleRuntime,
    ConsoleSource,
    ConsoleStarter,
    console_function,
    console_runtime,
)
from lateen.api.views.pages import Page, page_of
from lateen.domain.access import Caller
from lateen.domain.errors import NotFound
from lateen.domain.functions import Described
from lateen.domain.names import HASH
from lateen.domain.runtimes import Runtime
from lateen.domain.workspaces import DEFAULT_ID
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.packages import decode_text_or_base64

Hash = Annotated[str, QueryParameter(name="hash", pattern=HASH, description="The function's hash.")]
RuntimeIs = Annotated[str | None, QueryParameter(description="Only of this runtime, such as `python`.", max_length=40)]
VersionIs = Annotated[str | None, QueryParameter(description="Only of this version, such as `3.12`.", max_length=40)]


class ConsoleController(Controller):
    path = "/lambda"
    tags = ("Console",)

    @post("/", summary="Make a function", operation_id="consoleCreate", opt={"body_limit": CODE_LIMIT})
    async def create(
        self,
        request: LateenRequest,
        data: JSONBody[ConsoleCreate],
        use_cases: UseCasesDep,
        caller: CallerDep,
        idempotency_key: IdempotencyKey = None,
    ) -> Response[ConsoleFunction]:
        """In the key's workspace, or in `default`."""
        code = await to_thread.run_sync(decode_text_or_base64, data.file)
        new = NewFunction(name=data.name, runtime=data.runtime, version=data.version, code=code)
        made = await use_cases.functions.create(
            caller, _workspace_of(caller), new, once=await once(request, idempotency_key)
        )
        location = f"/lambda?hash={made.function.hash}"
        return Response(_view(made, use_cases), status_code=201, headers={"Location": location})

    @get("/", summary="Show a function and its source", operation_id="consoleShow")
    async def show(self, function_hash: Hash, use_cases: UseCasesDep, caller: CallerDep) -> ConsoleSource:
        found = await use_cases.functions.by_hash(caller, function_hash)
        source = await use_cases.functions.source(caller, found.function.id)
        return _with_source(found, source, use_cases)

    @patch("/", summary="Change a function", operation_id="consoleUpdate", opt={"body_limit": CODE_LIMIT})
    async def update(self, data: JSONBody[ConsoleUpdate], use_cases: UseCasesDep, caller: CallerDep) -> ConsoleFunction:
        """What is absent stays as it is."""
        found = await use_cases.functions.by_hash(caller, data.hash)
        code = UNSET if data.file is UNSET else await to_thread.run_sync(decode_text_or_base64, data.file)
        change = FunctionChange(name=data.name, runtime=data.runtime, version=data.version, code=code)
        return _view(await use_cases.functions.update(caller, found.function.id, change), use_cases)

    @delete("/", summary="Remove a function", operation_id="consoleDelete")
    async def remove(self, function_hash: Hash, use_cases: UseCasesDep, caller: CallerDep) -> None:
        """Marks the record deleted. Again, within a week, is no error."""
        await use_cases.functions.delete_by_hash(caller, function_hash)

    @get("/list", summary="List functions", operation_id="consoleList")
    async def list(
        self, use_cases: UseCasesDep, caller: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
    ) -> Page[ConsoleFunction]:
        """By name."""
        page = await use_cases.functions.list(caller, _workspace_of(caller), limit=limit, cursor=cursor)
        return page_of(page, [_view(described, use_cases) for described in page.items])

    @get("/default", summary="Starter code of each runtime", operation_id="consoleDefault")
    async def starters(
        self, use_cases: UseCasesDep, runtime: RuntimeIs = None, version: VersionIs = None
    ) -> Sequence[ConsoleStarter]:
        return [
            ConsoleStarter(runtime=each.runtime, version=each.version, name=each.file, file=each.starter)
            for each in use_cases.runtimes.list()
            if runtime in (None, each.runtime, each.name) and version in (None, each.version)
        ]

    @get("/runtimes", summary="Runtimes", operation_id="consoleRuntimes")
    async def runtimes(self, use_cases: UseCasesDep) -> Sequence[ConsoleRuntime]:
        return [console_runtime(entry) for entry in await use_cases.runtimes.entries()]

    @get("/setup", summary="Seed the defaults", operation_id="consoleSetup")
    async def setup(self, use_cases: UseCasesDep) -> Sequence[ConsoleRuntime]:
        """Again changes nothing. The answer is the runtimes."""
        return [console_runtime(entry) for entry in await use_cases.runtimes.setup()]


def _workspace_of(caller: Caller) -> str:
    return caller.workspace_id or DEFAULT_ID


def _view(described: Described, use_cases: UseCases) -> ConsoleFunction:
    return console_function(described, _runtime_of(described, use_cases), use_cases.base_url)


def _with_source(described: Described, source: str | None, use_cases: UseCases) -> ConsoleSource:
    view = _view(described, use_cases)
    return ConsoleSource(**{name: getattr(view, name) for name in view.__struct_fields__}, file=source)


def _runtime_of(described: Described, use_cases: UseCases) -> Runtime | None:
    try:
        return use_cases.runtimes.get(described.function.runtime)
    except NotFound:
        return None
