"""Functions: created, shown, listed, changed and deleted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from anyio import to_thread

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.code_urls import CodeUrls
from lateen.aws.errors import conflict, function_not_found, functions_only, invalid, wrong_revision
from lateen.aws.finding import Finding
from lateen.aws.function_requests import bad_code, code_change, configuration_change, new_function
from lateen.aws.images import image_location
from lateen.aws.references import Reference, check_new_name
from lateen.domain.errors import AlreadyExists, InvalidInput, NotFound, RevisionMismatch, TooLarge
from lateen.domain.functions import LATEST, Described, Function, configured_revision, rolled_revision
from lateen.domain.pages import DEFAULT_LIMIT
from lateen.domain.versions import is_number
from lateen.services.function_extras import FunctionExtras
from lateen.services.functions import FunctionChange, Functions
from lateen.services.runtimes import Runtimes
from lateen.services.versions import Versions, VersionUsed

ATTEMPTS = 20
"""Of an update that others are faster than."""
BLOCKS_S = 60.0
"""For so long an update in progress refuses the next one. One that takes longer may need just that next one."""

Listed = tuple[Described, Reference]


class FunctionOperations:
    def __init__(
        self,
        functions: Functions,
        *,
        extras: FunctionExtras,
        runtimes: Runtimes,
        versions: Versions,
        finding: Finding,
        code_urls: CodeUrls,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._functions = functions
        self._extras = extras
        self._runtimes = runtimes
        self._versions = versions
        self._finding = finding
        self._code_urls = code_urls
        self._now = now

    @operation(
        "CreateFunction",
        missing="images on Kubernetes only. S3ObjectStorageMode REFERENCE, VpcConfig, FileSystemConfigs, KMSKeyArn, "
        "SnapStart and code signing are refused. Architectures, EphemeralStorage, TracingConfig, "
        "DeadLetterConfig and the LogGroup are only shown",
    )
    async def create_function(self, call: Call) -> Answer:
        reference = call.reference()
        if reference.qualifier is not None:
            raise invalid(f"Unsupported function name: {call.parameters['FunctionName']}")
        check_new_name(reference.name)
        # Decoding fifty megabytes of Base64 is no work for the loop that answers everybody.
        images = self._functions.images
        new = await to_thread.run_sync(
            lambda: new_function(call.parameters, self._runtimes, name=reference.name, images=images)
        )
        try:
            made = await self._functions.create(call.caller, call.workspace_id, new)
        except AlreadyExists:
            raise conflict(f"Function already exist: {reference.name}") from None
        except (InvalidInput, TooLarge) as exc:
            raise _refused(exc) from exc
        shown = await self._finding.shown(made, reference)
        return Answer(body=shown | ({"Version": "1"} if new.publish else {}))

    @operation("GetFunction")
    async def get_function(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        described = await self._finding.found(call, reference)
        function = described.function
        extras = await self._extras.of(function)
        if function.image is not None:
            code = image_location(function.image)
        else:
            code = {
                "RepositoryType": "S3",
                "Location": self._code_urls.url(call.origin, function.code.artifact_key),
            }
        body: dict[str, Any] = {"Configuration": await self._finding.shown(described, reference), "Code": code}
        if extras.tags:
            body["Tags"] = extras.tags
        if described.function.reserved_concurrency is not None:
            body["Concurrency"] = {"ReservedConcurrentExecutions": described.function.reserved_concurrency}
        return Answer(body=body)

    @operation("GetFunctionConfiguration")
    async def get_function_configuration(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        return Answer(body=await self._finding.shown(await self._finding.found(call, reference), reference))

    @operation("ListFunctions", missing="MasterRegion is ignored")
    async def list_functions(self, call: Call) -> Answer:
        given = call.parameters
        limit = min(given.get("MaxItems", DEFAULT_LIMIT), DEFAULT_LIMIT)
        with_versions = given.get("FunctionVersion") == "ALL"
        try:
            found, marker = await (self._page_with_versions if with_versions else self._page)(
                call, limit, given.get("Marker") or None
            )
        except InvalidInput:
            raise invalid("Invalid Marker.") from None
        shown = await asyncio.gather(*(self._finding.listed(*each) for each in found))
        return Answer(body={"Functions": shown} | ({"NextMarker": marker} if marker else {}))

    @operation("UpdateFunctionConfiguration", missing="as CreateFunction")
    async def update_function_configuration(self, call: Call) -> Answer:
        reference = self._unqualified(call)

        async def change(old: Function) -> FunctionChange:
            return configuration_change(old, call.parameters, self._runtimes, call.place)

        return Answer(body=await self._finding.shown(await self._update(call, reference, change), reference))

    @operation("UpdateFunctionCode", missing="as CreateFunction")
    async def update_function_code(self, call: Call) -> Answer:
        reference = self._unqualified(call)

        async def change(old: Function) -> FunctionChange:
            return await to_thread.run_sync(lambda: code_change(old, call.parameters))

        if call.parameters.get("DryRun"):
            described = await self._finding.draft(call, reference)
            await self._check_revision(call, described)
            described = await self._changed(call, described.function, change, is_rehearsal=True)
        else:
            described = await self._update(call, reference, change)
            if call.parameters.get("Publish"):
                described = await self._published(call, reference, described.function, change)
                reference = Reference(reference.name, described.function.version, reference.place)
        return Answer(body=await self._finding.shown(described, reference))

    @operation("DeleteFunction")
    async def delete_function(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        if reference.qualifier == LATEST:
            raise invalid("$LATEST version cannot be deleted without deleting the function.")
        described = await self._finding.draft(call, reference, missing=reference.unqualified_arn)
        if reference.qualifier is None:
            await self._functions.delete(call.caller, described.function.id)
        elif not is_number(reference.qualifier):
            raise invalid("Deletion of aliases is not currently supported.")
        else:  # also of a version that isn't there any more, as on AWS
            try:
                await self._versions.delete(call.caller, described.function.id, reference.qualifier)
            except VersionUsed as exc:
                names = ", ".join(exc.aliases)
                raise conflict(
                    f"Unable to delete version because the following aliases reference it: [{names}]"
                ) from None
        return Answer(status=204)

    async def _page(self, call: Call, limit: int, marker: str | None) -> tuple[list[Listed], str | None]:
        """And the next marker. Raises: `InvalidInput`."""
        page = await self._functions.list(call.caller, call.workspace_id, limit=limit, cursor=marker)
        return [(each, Reference(each.function.name, None, call.place)) for each in page.items], page.cursor

    async def _page_with_versions(self, call: Call, limit: int, marker: str | None) -> tuple[list[Listed], str | None]:
        """As `_page`. The marker: where functions go on, and where the versions of the first of these do, if it is
        still the one of this id."""
        before, _, rest = (marker or "").partition(".")
        begun, _, within = rest.partition(".")
        page = await self._functions.list(call.caller, call.workspace_id, limit=limit, cursor=before or None)
        found: list[Listed] = []
        for each in page.items:
            function = each.function
            if len(found) == limit:
                return found, f"{before}.."
            if function.id != begun:
                found.append((each, Reference(function.name, LATEST, call.place)))
                within = ""
            while (room := limit - len(found)) > 0:
                try:
                    versions = await self._versions.list(call.caller, function.id, limit=room, cursor=within or None)
                except NotFound:  # deleted meanwhile
                    break
                found += [(one, Reference(function.name, one.function.version, call.place)) for one in versions.items]
                if versions.cursor is None:
                    break
                within = versions.cursor
            else:
                return found, f"{before}.{function.id}.{within}"
            before, within = self._functions.cursor_after(function), ""
        return found, page.cursor

    async def _update(
        self, call: Call, reference: Reference, change: Callable[[Function], Awaitable[FunctionChange]]
    ) -> Described:
        """Raises: `AwsError`: a wrong `RevisionId`, an update in progress, what the change holds."""
        for _ in range(ATTEMPTS):
            described = await self._finding.draft(call, reference)
            await self._check_revision(call, described)
            self._check_settled(described, reference)
            try:
                return await self._changed(call, described.function, change)
            except RevisionMismatch:
                continue
            except NotFound:
                raise function_not_found(reference.arn) from None
        raise _in_progress(reference)

    async def _published(
        self,
        call: Call,
        reference: Reference,
        updated: Function,
        change: Callable[[Function], Awaitable[FunctionChange]],
    ) -> Described:
        """A version of what was just updated, and not of what another caller has made of it since.

        Raises: `AwsError`.
        """
        for _ in range(ATTEMPTS):
            try:
                return (await self._versions.publish(call.caller, updated.id, expected=updated.revision)).version
            except RevisionMismatch:
                # This call's checks are done, and the update that is in progress may be its own.
                latest = (await self._finding.draft(call, reference)).function
                with suppress(RevisionMismatch):
                    updated = (await self._changed(call, latest, change)).function
        raise _in_progress(reference)

    async def _changed(
        self,
        call: Call,
        function: Function,
        change: Callable[[Function], Awaitable[FunctionChange]],
        *,
        is_rehearsal: bool = False,
    ) -> Described:
        try:
            return await self._functions.update(
                call.caller,
                function.id,
                await change(function),
                expected=None if is_rehearsal else function.revision,
                is_rehearsal=is_rehearsal,
            )
        except (InvalidInput, TooLarge) as exc:
            raise _refused(exc) from exc

    def _unqualified(self, call: Call) -> Reference:
        reference = call.reference()
        if reference.qualifier not in (None, LATEST):
            raise functions_only()
        return Reference(reference.name, None, reference.place)

    async def _check_revision(self, call: Call, described: Described) -> None:
        if (given := call.parameters.get("RevisionId")) and given != await self._finding.revisions.of(described):
            raise wrong_revision()

    def _check_settled(self, described: Described, reference: Reference) -> None:
        if described.status.settled_revision >= configured_revision(described.function):
            return  # also while a URL or who may call it is rolled out, which is no update on AWS
        changed_s = datetime.fromisoformat(described.function.updated_at.replace("Z", "+00:00")).timestamp()
        if self._now() - changed_s > BLOCKS_S:
            return
        if rolled_revision(described.function) <= 1:
            raise conflict(
                "The operation cannot be performed at this time. The function is currently in the following state: "
                "Pending"
            )
        raise _in_progress(reference)


def _in_progress(reference: Reference) -> Exception:
    arn = reference.unqualified_arn
    return conflict(f"The operation cannot be performed at this time. An update is in progress for resource: {arn}")


def _refused(exc: InvalidInput | TooLarge) -> Exception:
    if isinstance(exc, TooLarge) or exc.field in ("code", "code_s3"):
        return bad_code(exc)
    # What is said of layers is AWS's text already, and of an image more than its name for the field.
    return invalid(exc.reason if exc.field in ("layers", "image") else str(exc))
