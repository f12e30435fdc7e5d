"""Functions: desired state, and the status that the controller reports. They are two items."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lateen.domain.access import PLATFORM, Caller
from lateen.domain.environment import check_environment
from lateen.domain.errors import AlreadyExists, Conflict, InvalidInput, NotFound, RevisionMismatch
from lateen.domain.functions import (
    AUTHS,
    LATEST,
    Auth,
    Code,
    Described,
    Function,
    FunctionStatus,
    check_numbers,
    status_shown,
)
from lateen.domain.master import MasterKey
from lateen.domain.names import check_description, check_handler, check_name, is_hash, is_id, new_hash, new_id
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.runtimes import Runtime
from lateen.domain.times import iso_ms
from lateen.ports.deployer import Deployment, Observation
from lateen.ports.objects import Objects
from lateen.ports.table import Check, Delete, Item, ItemNotFound, Key, Operation, Put, RevisionConflict, Table
from lateen.services.artifacts import Artifacts
from lateen.services.cursors import Cursors, check_limit
from lateen.services.idempotency import Idempotency, Once
from lateen.services.packages import Package
from lateen.services.runtimes import Runtimes
from lateen.services.tenants import ATTEMPTS, BUSY, INDEX, check_open, partition, read_workspace


class NewFunction(Struct, frozen=True, kw_only=True):
    """What a create asks for. Numbers and names are checked again here, whoever checked them before."""

    name: str
    runtime: str
    version: str | None = None
    """Of the pair `runtime: python, version: "3.12"`; None: `runtime` is a whole name."""
    code: bytes
    """One source file, or a zip; see `packages.py`, also for what decodes Base64."""
    handler: str | None = None
    """None: the runtime's default."""
    environment: dict[str, str] = {}
    timeout_s: int = 3
    memory_mib: int = 128
    concurrency: int = 10
    replicas: int = 1
    auth: Auth = "none"
    description: str = ""


class FunctionChange(Struct, frozen=True, kw_only=True):
    """What an update changes; UNSET stays as it is. `environment` is replaced as a whole."""

    name: str | UnsetType = UNSET
    runtime: str | UnsetType = UNSET
    version: str | UnsetType | None = UNSET
    """Only beside `runtime`, or alone for another version of the same runtime."""
    code: bytes | UnsetType = UNSET
    handler: str | UnsetType | None = UNSET
    """None: the runtime's default."""
    environment: dict[str, str] | UnsetType = UNSET
    timeout_s: int | UnsetType = UNSET
    memory_mib: int | UnsetType = UNSET
    concurrency: int | UnsetType = UNSET
    replicas: int | UnsetType = UNSET
    auth: Auth | UnsetType = UNSET
    description: str | UnsetType = UNSET


class Functions:
    def __init__(
        self,
        table: Table,
        objects: Objects,
        *,
        runtimes: Runtimes,
        master: MasterKey,
        cursors: Cursors,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._artifacts = Artifacts(objects)
        self._runtimes = runtimes
        self._master = master
        self._cursors = cursors
        self._now = now
        self._idempotency = Idempotency(table, now=now)
        self._listeners: list[Callable[[Function], None]] = []

    def subscribe(self, listener: Callable[[Function], None]) -> None:
        """Be told of every create, update and delete (`deleted_at` is set) of this process, after it is stored.
        Called in the event loop; must not block or raise."""
        self._listeners.append(listener)

    async def create(
        self, caller: Caller, workspace_id: str, new: NewFunction, *, once: Once | None = None
    ) -> Described:
        """Raises: `NotFound` (workspace), `InvalidInput`, `TooLarge`, `AlreadyExists`, `Conflict`."""
        workspace = await read_workspace(self._table, caller, workspace_id)
        if (made := await self._made(caller, once)) is not None:
            return made
        function, package = await self._prepare(workspace.id, workspace.account_id, new)
        if await self._is_taken(workspace.id, new.name):  # before the code is stored for nothing
            if (made := await self._made(caller, once)) is not None:
                return made
            raise _taken(new.name)
        await self._artifacts.store(function.code, package)
        stored = msgspec.structs.replace(function, revision=1)
        for _ in range(ATTEMPTS):
            try:
                await self._table.transact(
                    [
                        *self._idempotency.record(caller, once, msgspec.to_builtins(stored)),
                        check_open(workspace),
                        Put(_name_item(function), expected=None),
                        Put(_item(function), expected=None),
                        Put(_pointer(_by_id(function.id), function), expected=None),
                        Put(_pointer(_by_hash(function.hash), function), expected=None),
                    ]
                )
            except RevisionConflict as exc:
                if (made := await self._made(caller, once)) is not None:
                    return made
                if exc.key == _name_key(workspace.id, function.name):
                    raise _taken(function.name) from exc
                workspace = await read_workspace(self._table, caller, workspace_id)
                continue
            self._tell(stored)
            return Described(stored, status_shown(stored, None))
        raise Conflict(BUSY)

    async def get(self, caller: Caller, function_id: str) -> Described:
        """Raises: `NotFound`."""
        return await self._described(await self._live(caller, _by_id(function_id), is_id(function_id)))

    async def by_name(self, caller: Caller, workspace_id: str, name: str) -> Described:
        """Raises: `NotFound`."""
        caller.must_see(workspace_id, "function")
        return await self._described(await self._live(caller, _name_key(workspace_id, name), is_id(workspace_id)))

    async def by_hash(self, caller: Caller, function_hash: str) -> Described:
        """Raises: `NotFound`."""
        return await self._described(await self._live(caller, _by_hash(function_hash), is_hash(function_hash)))

    async def at_url(self, function_hash: str) -> Function:
        """What `/{hash}` serves, for the gateway, which knows no caller. Raises: `NotFound`."""
        return await self._live(PLATFORM, _by_hash(function_hash), is_hash(function_hash))

    async def list(
        self, caller: Caller, workspace_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[Described]:
        """By name. Raises: `NotFound` (workspace), `InvalidInput`."""
        check_limit(limit)
        listing = f"functions/{workspace_id}"
        after = self._cursors.open(listing, cursor)
        await read_workspace(self._table, caller, workspace_id)
        # By the names and not by the functions' items: of those the deleted ones are still there.
        page = await self._table.query(partition(workspace_id), begins="NAME#", after=after, limit=limit)
        functions = await asyncio.gather(*(self._behind(item) for item in page.items))
        described = await asyncio.gather(*(self._described(f) for f in functions if f is not None))
        return Page(described, self._cursors.seal(listing, page.next) if page.next else None)

    async def source(self, caller: Caller, function_id: str) -> str | None:
        """The single source file as given; None: a zip was given. Raises: `NotFound`."""
        function = (await self.get(caller, function_id)).function
        return await self._artifacts.source(function.code)

    async def update(
        self, caller: Caller, function_id: str, change: FunctionChange, *, expected: int | None = None
    ) -> Described:
        """Without `expected` updates that race apply one after the other; with it the later one is refused. What
        changes nothing keeps the revision.

        Args:
            expected: the revision that the caller knows (`If-Match`).
        Raises: `NotFound`, `InvalidInput`, `TooLarge`, `AlreadyExists`, `RevisionMismatch`.
        """
        packages: dict[str, Package] = {}
        for _ in range(ATTEMPTS):
            old = await self._live(caller, _by_id(function_id), is_id(function_id))
            _check_expected(old, expected)
            new, package = await self._changed(old, change, packages)
            if new == old:
                return await self._described(old)
            async with self._artifacts.changing(function_id):
                if package is not None:
                    await self._artifacts.store(new.code, package)
                operations: list[Operation] = [Put(_item(new), expected=old.revision)]
                if new.name != old.name:
                    operations += [Delete(_name_key(old.workspace_id, old.name)), Put(_name_item(new), expected=None)]
                try:
                    stored = await self._table.transact(operations)
                except RevisionConflict as exc:
                    if exc.key == _name_key(new.workspace_id, new.name):
                        raise _taken(new.name) from exc
                    continue
            new = _function_from(stored[0])
            self._tell(new)
            return await self._described(new)
        raise Conflict(BUSY)

    async def delete(self, caller: Caller, function_id: str, *, expected: int | None = None) -> bool:
        """Mark it deleted; its name is free at once. Again is no error: True if this call did it.

        Raises: `NotFound` if it never was, `RevisionMismatch`.
        """
        return await self._delete(caller, _by_id(function_id), is_id(function_id), expected)

    async def delete_by_hash(self, caller: Caller, function_hash: str) -> bool:
        """As `delete`."""
        return await self._delete(caller, _by_hash(function_hash), is_hash(function_hash), None)

    async def exist_in(self, workspace_id: str) -> bool:
        """Whether the workspace has functions that are not deleted."""
        return bool((await self._table.query(partition(workspace_id), begins="NAME#", limit=1)).items)

    async def delete_all(self, workspace_id: str) -> None:
        """All functions of a workspace that ends."""
        async for function in self._in_workspace(workspace_id):
            await self.delete(PLATFORM, function.id)

    def deployment_for(self, function: Function) -> Deployment:
        """What a deployer is told. Pure."""
        return Deployment(
            function_id=function.id,
            function_name=function.name,
            workspace_id=function.workspace_id,
            account_id=function.account_id,
            hash=function.hash,
            revision=function.revision,
            version=LATEST,
            runtime=function.runtime,
            handler=function.handler,
            environment=function.environment,
            timeout_s=function.timeout_s,
            memory_mib=function.memory_mib,
            concurrency=function.concurrency,
            replicas=function.replicas,
            open=function.auth == "none",
            artifact_key=function.code.artifact_key,
            artifact_sha256=function.code.sha256,
            invoke_key=self._master.invoke_key(function.id, function.hash),
        )

    async def report(self, observation: Observation) -> None:
        """Store what became of a revision. Reports about earlier revisions and deleted functions change nothing."""
        for _ in range(ATTEMPTS):
            try:
                function = await self._live(PLATFORM, _by_id(observation.function_id), True)
            except NotFound:
                return
            old, revision = await self._status(function)
            new = FunctionStatus(
                state=observation.state,
                reason=observation.reason,
                revision=observation.revision,
                updated_at=iso_ms(self._now()),
            )
            if old is not None and (
                old.revision > new.revision or msgspec.structs.replace(new, updated_at=old.updated_at) == old
            ):
                return
            status = Item(key=_status_key(function), data=msgspec.to_builtins(new))
            try:
                # The check keeps a report that races with a delete from leaving a status behind.
                await self._table.transact(
                    [Put(status, expected=revision), Check(_function_key(function), function.revision)]
                )
            except RevisionConflict:
                continue
            return
        raise Conflict(BUSY)

    async def all(self) -> AsyncIterator[Function]:
        """Every function of every workspace that is not deleted; for the controller."""
        after = None
        while True:
            page = await self._table.query(INDEX, begins="WS#", after=after)
            for item in page.items:
                async for function in self._in_workspace(item.data["workspace_id"]):
                    yield function
            if (after := page.next) is None:
                return

    async def undeployed(self) -> AsyncIterator[Function]:
        """Those of which nothing was reported for their current revision."""
        async for function in self.all():
            status, _ = await self._status(function)
            if status is None or status.revision < function.revision:
                yield function

    async def sweep(self, *, older_than_s: float = 3600) -> int:
        """Remove blobs that no function names. Returns: how many."""
        return await self._artifacts.sweep(self._code_of, modified_before_s=self._now() - older_than_s)

    async def _prepare(self, workspace_id: str, account_id: str, new: NewFunction) -> tuple[Function, Package]:
        now = iso_ms(self._now())
        check_name(new.name)
        runtime = self._runtimes.resolve(new.runtime, new.version)
        function = Function(
            id=new_id(),
            workspace_id=workspace_id,
            account_id=account_id,
            hash=new_hash(),
            name=new.name,
            description=new.description,
            runtime=runtime.name,
            handler=runtime.handler if new.handler is None else new.handler,
            environment=dict(new.environment),
            timeout_s=new.timeout_s,
            memory_mib=new.memory_mib,
            concurrency=new.concurrency,
            replicas=new.replicas,
            auth=new.auth,
            code=_NO_CODE,
            created_at=now,
            updated_at=now,
        )
        _check(function)
        package = await self._artifacts.package(new.code, file=runtime.file)
        return _with_code(function, package, runtime), package

    async def _changed(
        self, old: Function, change: FunctionChange, packages: dict[str, Package]
    ) -> tuple[Function, Package | None]:
        """The function after the change, with a new `updated_at` if it is one.

        Args:
            packages: by file name, what was made of the change's code by an attempt before.
        """
        values = {
            field: value
            for field in _PLAIN
            if (value := getattr(change, field)) is not UNSET and value != getattr(old, field)
        }
        runtime = self._runtime_after(old, change)
        if runtime is not None:
            values["runtime"] = runtime.name
        if change.handler is None:
            values["handler"] = (runtime or self._known_runtime(old)).handler
        elif change.handler is not UNSET:
            values["handler"] = change.handler
        elif runtime is not None and old.handler == self._known_runtime(old).handler:
            values["handler"] = runtime.handler
        new = msgspec.structs.replace(old, **values)
        _check(new)
        package = None
        if change.code is not UNSET:
            runtime = runtime or self._known_runtime(old)
            package = packages.get(runtime.file) or await self._artifacts.package(change.code, file=runtime.file)
            packages[runtime.file] = package
            new = _with_code(new, package, runtime)
        elif runtime is not None and old.code.source_file not in (None, runtime.file):
            raise InvalidInput("code", f"needed: {runtime.name} calls a source file {runtime.file}")
        return (new if new == old else msgspec.structs.replace(new, updated_at=iso_ms(self._now()))), package

    def _runtime_after(self, old: Function, change: FunctionChange) -> Runtime | None:
        """The runtime that the change asks for, None if it stays."""
        version = None if change.version is UNSET else change.version
        if change.runtime is not UNSET:
            runtime = self._runtimes.resolve(change.runtime, version)
        elif version is not None:
            runtime = self._runtimes.resolve(self._known_runtime(old).runtime, version)
        else:
            return None
        return runtime if runtime.name != old.runtime else None

    def _known_runtime(self, function: Function) -> Runtime:
        try:
            return self._runtimes.get(function.runtime)
        except NotFound:
            raise InvalidInput("runtime", f"{function.runtime} is not installed any more; choose another one") from None

    async def _delete(self, caller: Caller, pointer: Key, is_wellformed: bool, expected: int | None) -> bool:
        for _ in range(ATTEMPTS):
            old = await self._find(caller, pointer, is_wellformed)
            if old.deleted_at is not None:
                return False
            _check_expected(old, expected)
            # The variables may be secrets; nothing needs them any more.
            buried = msgspec.structs.replace(old, description="", environment={}, deleted_at=iso_ms(self._now()))
            try:
                await self._table.transact(
                    [
                        Put(_item(buried), expected=old.revision),
                        Delete(_name_key(old.workspace_id, old.name)),
                        Delete(_status_key(old)),
                    ]
                )
            except RevisionConflict:
                continue
            self._tell(msgspec.structs.replace(buried, revision=old.revision + 1))
            return True
        raise Conflict(BUSY)

    async def _made(self, caller: Caller, once: Once | None) -> Described | None:
        """The answer to an earlier request with the same Idempotency-Key."""
        if (outcome := await self._idempotency.outcome(caller, once)) is None:
            return None
        function = msgspec.convert(outcome, Function)
        return Described(function, status_shown(function, None))

    async def _is_taken(self, workspace_id: str, name: str) -> bool:
        try:
            await self._table.get(_name_key(workspace_id, name))
        except ItemNotFound:
            return False
        return True

    async def _live(self, caller: Caller, pointer: Key, is_wellformed: bool) -> Function:
        function = await self._find(caller, pointer, is_wellformed)
        if function.deleted_at is not None:
            raise NotFound(_NO_SUCH_FUNCTION)
        return function

    async def _find(self, caller: Caller, pointer: Key, is_wellformed: bool) -> Function:
        """What an item points to (its name's, id's or hash's), also a deleted one.

        Args:
            is_wellformed: False: the key was made of something that is no id or hash, and is not looked up.
        """
        if not is_wellformed:
            raise NotFound(_NO_SUCH_FUNCTION)
        try:
            found = (await self._table.get(pointer)).data
            caller.must_see(found["workspace_id"], "function")
            return _function_from(await self._table.get(_key(found["workspace_id"], found["function_id"])))
        except ItemNotFound:
            raise NotFound(_NO_SUCH_FUNCTION) from None

    async def _behind(self, pointer: Item) -> Function | None:
        """As `_live`, for items of a listing: None for what was deleted since."""
        try:
            found = await self._table.get(_key(pointer.data["workspace_id"], pointer.data["function_id"]))
        except ItemNotFound:
            return None
        function = _function_from(found)
        return function if function.deleted_at is None else None

    async def _in_workspace(self, workspace_id: str) -> AsyncIterator[Function]:
        after = None
        while True:
            page = await self._table.query(partition(workspace_id), begins="NAME#", after=after)
            for item in page.items:
                if (function := await self._behind(item)) is not None:
                    yield function
            if (after := page.next) is None:
                return

    async def _code_of(self, workspace_id: str, function_id: str) -> Code | None:
        try:
            function = _function_from(await self._table.get(_key(workspace_id, function_id)))
        except ItemNotFound:
            return None
        return function.code if function.deleted_at is None else None

    async def _described(self, function: Function) -> Described:
        status, _ = await self._status(function)
        return Described(function, status_shown(function, status))

    async def _status(self, function: Function) -> tuple[FunctionStatus | None, int | None]:
        try:
            item = await self._table.get(_status_key(function))
        except ItemNotFound:
            return None, None
        return msgspec.convert(item.data, FunctionStatus), item.revision

    def _tell(self, function: Function) -> None:
        for listener in self._listeners:
            listener(function)


_NO_SUCH_FUNCTION = "no such function"
_NO_CODE = Code(artifact_key="", sha256="", size=0)
_PLAIN = ("name", "description", "environment", "timeout_s", "memory_mib", "concurrency", "replicas", "auth")


def _check(function: Function) -> None:
    """All that can be checked without the code."""
    check_name(function.name)
    check_handler(function.handler)
    check_description(function.description)
    check_environment(function.environment)
    check_numbers(function)
    if function.auth not in AUTHS:
        raise InvalidInput("auth", f"one of: {', '.join(AUTHS)}")


def _with_code(function: Function, package: Package, runtime: Runtime) -> Function:
    folder = f"{function.workspace_id}/{function.id}"
    has_source = package.source is not None
    return msgspec.structs.replace(
        function,
        code=Code(
            artifact_key=f"{folder}/{package.sha256}.zip",
            sha256=package.sha256,
            size=len(package.artifact),
            source_key=f"{folder}/{runtime.file}" if has_source else None,
            source_file=runtime.file if has_source else None,
        ),
    )


def _check_expected(function: Function, expected: int | None) -> None:
    if expected is not None and function.revision != expected:
        raise RevisionMismatch(f"the function is at revision {function.revision}, not {expected}")


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"a function named {name!r} exists in this workspace")


def _key(workspace_id: str, function_id: str) -> Key:
    return Key(partition(workspace_id), f"FN#{function_id}")


def _function_key(function: Function) -> Key:
    return _key(function.workspace_id, function.id)


def _status_key(function: Function) -> Key:
    return Key(partition(function.workspace_id), f"STATUS#{function.id}")


def _name_key(workspace_id: str, name: str) -> Key:
    return Key(partition(workspace_id), f"NAME#{name}")


def _by_id(function_id: str) -> Key:
    return Key(f"FN#{function_id}", "WORKSPACE")


def _by_hash(function_hash: str) -> Key:
    return Key(f"HASH#{function_hash}", "FUNCTION")


def _item(function: Function) -> Item:
    data = msgspec.to_builtins(function)
    del data["revision"]  # the item's own: nothing but users' changes writes it
    return Item(key=_function_key(function), data=data)


def _function_from(item: Item) -> Function:
    return msgspec.convert({**item.data, "revision": item.revision}, Function)


def _name_item(function: Function) -> Item:
    return _pointer(_name_key(function.workspace_id, function.name), function)


def _pointer(key: Key, function: Function) -> Item:
    return Item(key=key, data={"workspace_id": function.workspace_id, "function_id": function.id})
