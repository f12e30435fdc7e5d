"""What users ask of a function, turned into its next desired state; nothing is stored here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lateen.domain.aws_settings import AwsSettings, LogSettings
from lateen.domain.code_places import CodePlace
from lateen.domain.environment import check_environment
from lateen.domain.errors import InvalidInput, NotFound, TooLarge
from lateen.domain.function_urls import FunctionUrl
from lateen.domain.functions import AUTHS, Auth, Code, Function, check_numbers, configured_revision, rolled_revision
from lateen.domain.images import Image, ImageConfig, ImagePolicy, check_image
from lateen.domain.layers import UsedLayer
from lateen.domain.names import check_description, check_handler, check_name, new_hash, new_id
from lateen.domain.runtimes import Runtime
from lateen.domain.times import iso_ms
from lateen.domain.workspaces import Workspace
from lateen.ports.blobs import Blob
from lateen.services.artifacts import Artifacts
from lateen.services.builds import Builds
from lateen.services.code_sources import CodeSources
from lateen.services.packages import Package
from lateen.services.runtimes import Runtimes
from lateen.services.zips import MAX_FETCHED, MAX_UNZIPPED

NO_IMAGES = ImagePolicy("they run only where functions are pods of a Kubernetes cluster; send the code itself")
_NO_CODE = Code(artifact_key="", sha256="", size=0)
_OF_THE_IMAGE = "not beside an image, which has its own"
_PLAIN = (
    "name",
    "description",
    "environment",
    "timeout_s",
    "memory_mib",
    "concurrency",
    "replicas",
    "reserved_concurrency",
    "auth",
    "url",
    "aws",
)

T = TypeVar("T")


class NewFunction(Struct, frozen=True, kw_only=True):
    """What a create asks for. Numbers and names are checked again here, whoever checked them before."""

    name: str
    runtime: str | None = None
    """Needed, but for an image."""
    version: str | None = None
    """Of the pair `runtime: python, version: "3.12"`; None: `runtime` is a whole name."""
    code: bytes | CodePlace | None = None
    """One source file, or a zip; see `packages.py`, also for what decodes Base64. What lies in a bucket
    is a zip. Needed, but for an image."""
    image: Image | None = None
    """In the place of code, runtime and handler."""
    handler: str | None = None
    """None: the runtime's default."""
    environment: dict[str, str] = {}
    timeout_s: int = 3
    memory_mib: int = 128
    concurrency: int = 10
    replicas: int = 1
    reserved_concurrency: int | None = None
    auth: Auth = "none"
    aws: AwsSettings = AwsSettings()
    description: str = ""
    layers: Sequence[str] = ()
    """ARNs of layer versions."""
    tags: dict[str, str] = {}
    publish: bool = False
    """Version 1 is made with it."""


class FunctionChange(Struct, frozen=True, kw_only=True):
    """What an update changes; UNSET stays as it is. `environment` and `layers` are replaced as a whole."""

    name: str | UnsetType = UNSET
    runtime: str | UnsetType = UNSET
    version: str | UnsetType | None = UNSET
    """Only beside `runtime`, or alone for another version of the same runtime."""
    code: bytes | CodePlace | UnsetType = UNSET
    handler: str | UnsetType | None = UNSET
    """None: the runtime's default."""
    image_uri: str | UnsetType = UNSET
    image_config: ImageConfig | UnsetType = UNSET
    environment: dict[str, str] | UnsetType = UNSET
    timeout_s: int | UnsetType = UNSET
    memory_mib: int | UnsetType = UNSET
    concurrency: int | UnsetType = UNSET
    replicas: int | UnsetType = UNSET
    reserved_concurrency: int | UnsetType | None = UNSET
    auth: Auth | UnsetType = UNSET
    url: FunctionUrl | UnsetType | None = UNSET
    aws: AwsSettings | UnsetType = UNSET
    logs: LogSettings | UnsetType = UNSET
    role: str | UnsetType = UNSET
    """Empty: none. Like `logs` it is part of `aws`, for who knows nothing else of that."""
    description: str | UnsetType = UNSET
    layers: Sequence[str] | UnsetType = UNSET


class Drafts:
    def __init__(
        self,
        runtimes: Runtimes,
        artifacts: Artifacts,
        *,
        sources: CodeSources,
        builds: Builds | None,
        images: ImagePolicy,
        now: Callable[[], float],
    ) -> None:
        self._images = images
        self._runtimes = runtimes
        self._artifacts = artifacts
        self._sources = sources
        self._builds = builds
        self._now = now

    async def first(
        self, workspace: Workspace, new: NewFunction, layers: tuple[UsedLayer, ...]
    ) -> tuple[Function, Package | None]:
        """A function that never was, and its code, unless that is in an image. `layers`: those that the create asks
        for."""
        now = iso_ms(self._now())
        check_name(new.name)
        runtime = None
        if new.image is None:
            runtime = self._runtimes.resolve(_needed("runtime", new.runtime), new.version)
        function = Function(
            id=new_id(),
            workspace_id=workspace.id,
            account_id=workspace.account_id,
            hash=new_hash(),
            name=new.name,
            description=new.description,
            runtime="" if runtime is None else runtime.name,
            handler=runtime.handler if runtime is not None and new.handler is None else new.handler or "",
            environment=dict(new.environment),
            timeout_s=new.timeout_s,
            memory_mib=new.memory_mib,
            concurrency=new.concurrency,
            replicas=new.replicas,
            reserved_concurrency=new.reserved_concurrency,
            auth=new.auth,
            layers=layers,
            aws=new.aws,
            code=_NO_CODE,
            image=new.image,
            created_at=now,
            updated_at=now,
        )
        _check(function)
        if runtime is None:
            _check_has_only_an_image(new, None, ("runtime", "version", "code"))
            assert new.image is not None
            image = msgspec.structs.replace(new.image, given_at=1)
            return self._with_image(msgspec.structs.replace(function, image=image)), None
        if new.code is None:
            raise InvalidInput("code", "required")
        package = await self._package(workspace.id, new.code, runtime)
        function = await self._built(_with_code(function, package, runtime), package.artifact, runtime)
        _check_size(function)
        return function, package

    async def changed(
        self, old: Function, change: FunctionChange, packages: dict[str, Package], layers: tuple[UsedLayer, ...]
    ) -> tuple[Function, Package | None]:
        """The function after the change, with a new `updated_at` if it is one.

        Args:
            layers: those that it has after the change.
            packages: by file name, what was made of the change's code by an attempt before.
        """
        values = {
            field: value
            for field in _PLAIN
            if (value := getattr(change, field)) is not UNSET and value != getattr(old, field)
        }
        aws: AwsSettings = values.get("aws", old.aws)
        if change.logs is not UNSET:
            aws = aws.with_logs(change.logs)
        if change.role is not UNSET:
            aws = msgspec.structs.replace(aws, role=change.role)
        if aws != old.aws:
            values["aws"] = aws
        if values.get("auth") == "none" and old.url is not None and change.url is UNSET:
            raise InvalidInput("auth", "its URL has settings of its own, and these say whether everybody may call it")
        if old.image is not None:
            return self._changed_image(old, old.image, change, values, layers), None
        if change.image_uri is not UNSET or change.image_config is not UNSET:
            field = "image_config" if change.image_uri is UNSET else "image"
            raise InvalidInput(field, "this function's package is a zip and stays one; an image is a new function's")
        runtime = self._runtime_after(old, change)
        if runtime is not None:
            values["runtime"] = runtime.name
        if change.handler is None:
            values["handler"] = (runtime or self._known_runtime(old)).handler
        elif change.handler is not UNSET:
            values["handler"] = change.handler
        elif runtime is not None and self._has_default_handler(old):
            values["handler"] = runtime.handler
        new = msgspec.structs.replace(old, **values, layers=layers)
        _check(new)
        package = None
        if change.code is not UNSET:
            runtime = runtime or self._known_runtime(old)
            package = packages.get(runtime.file) or await self._package(old.workspace_id, change.code, runtime)
            packages[runtime.file] = package
            new = await self._built(_with_code(new, package, runtime), package.artifact, runtime)
        elif runtime is not None and old.code.source_file not in (None, runtime.file):
            raise InvalidInput("code", f"needed: {runtime.name} calls a source file {runtime.file}")
        elif runtime is not None and self._builds is not None:
            async with self._artifacts.read(old.code) as artifact:
                new = await self._built(new, artifact, runtime)
        if package is not None or layers != old.layers:
            _check_size(new)
        return self._dated(old, new), package

    async def _package(self, workspace_id: str, code: bytes | CodePlace, runtime: Runtime) -> Package:
        if isinstance(code, bytes):
            return await self._artifacts.package(code, file=runtime.file)
        async with self._sources.fetched(workspace_id, code, "code_s3") as fetched:
            return await self._artifacts.zip(fetched, "code", limit=MAX_FETCHED)

    def _changed_image(
        self,
        old: Function,
        image: Image,
        change: FunctionChange,
        values: Mapping[str, Any],
        layers: tuple[UsedLayer, ...],
    ) -> Function:
        _check_has_only_an_image(change, UNSET, ("runtime", "version", "code", "handler"))
        if change.image_uri is not UNSET:
            image = msgspec.structs.replace(image, uri=change.image_uri)
            if image.digest is None:
                image = msgspec.structs.replace(image, given_at=old.revision + 1)
        if change.image_config is not UNSET:
            image = msgspec.structs.replace(image, config=change.image_config)
        new = msgspec.structs.replace(old, **values, layers=layers, image=image)
        _check(new)
        if image != old.image:
            new = self._with_image(new)
        return self._dated(old, new)

    def _dated(self, old: Function, new: Function) -> Function:
        """With when it was changed and since when it is what runs, if it was changed."""
        if new == old:
            return new
        otherwise = msgspec.structs.replace(new, reserved_concurrency=old.reserved_concurrency)
        rolled = rolled_revision(old) if otherwise == old else 0
        otherwise = msgspec.structs.replace(otherwise, auth=old.auth, url=old.url)
        configured = configured_revision(old) if otherwise == old else 0
        return msgspec.structs.replace(new, rolled=rolled, configured=configured, updated_at=iso_ms(self._now()))

    def _with_image(self, function: Function) -> Function:
        """Its code is that of its image."""
        assert function.image is not None
        self._images.check(function.image)
        check_image(function.image)
        return msgspec.structs.replace(function, code=Code(artifact_key="", sha256=function.image.sha256, size=0))

    async def _built(self, function: Function, artifact: Blob, runtime: Runtime) -> Function:
        """With the build that its code needs for this runtime, if it needs one."""
        if self._builds is None:
            return function
        code = function.code
        build = await self._builds.needed(artifact, code.sha256, workspace_id=function.workspace_id, runtime=runtime)
        return msgspec.structs.replace(function, code=msgspec.structs.replace(code, build=build))

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

    def _has_default_handler(self, function: Function) -> bool:
        """Not, where its runtime is not installed any more: nobody knows which that was."""
        try:
            return function.handler == self._runtimes.get(function.runtime).handler
        except NotFound:
            return False

    def _known_runtime(self, function: Function) -> Runtime:
        try:
            return self._runtimes.get(function.runtime)
        except NotFound:
            raise InvalidInput("runtime", f"{function.runtime} is not installed any more; choose another one") from None


def _check(function: Function) -> None:
    """All that can be checked without the code."""
    check_name(function.name)
    if function.image is None:
        check_handler(function.handler)
    elif function.handler:
        raise InvalidInput("handler", _OF_THE_IMAGE)
    elif function.layers:
        raise InvalidInput("layers", "an image has none; what they hold belongs into it")
    check_description(function.description)
    check_environment(function.environment)
    check_numbers(function)
    if function.auth not in AUTHS:
        raise InvalidInput("auth", f"one of: {', '.join(AUTHS)}")


def _needed(field: str, value: T | None) -> T:
    if value is None:
        raise InvalidInput(field, "required")
    return value


def _check_has_only_an_image(asked: NewFunction | FunctionChange, absent: object, fields: Sequence[str]) -> None:
    """Args:
    absent: the value of what was not asked for.
    """
    for field in fields:
        if getattr(asked, field) is not absent:
            raise InvalidInput(field, _OF_THE_IMAGE)


def _check_size(function: Function) -> None:
    """Code and layers together; code alone was checked as it was unpacked."""
    if function.layers and function.code.unzipped + sum(layer.unzipped for layer in function.layers) > MAX_UNZIPPED:
        raise TooLarge(f"layers: with the code, unzipped size must be smaller than {MAX_UNZIPPED} bytes")


def _with_code(function: Function, package: Package, runtime: Runtime) -> Function:
    folder = f"{function.workspace_id}/{function.id}"
    has_source = package.source is not None
    return msgspec.structs.replace(
        function,
        code=Code(
            artifact_key=f"{folder}/{package.sha256}.zip",
            sha256=package.sha256,
            size=len(package.artifact),
            unzipped=package.unzipped,
            source_key=f"{folder}/{runtime.file}" if has_source else None,
            source_file=runtime.file if has_source else None,
        ),
    )
