"""Versions and aliases."""

import asyncio
from typing import Any

from msgspec import UNSET

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.configurations import Shown, code_sha256
from lateen.aws.errors import conflict, function_not_found, functions_only, invalid, not_found, wrong_revision
from lateen.aws.finding import Finding
from lateen.aws.references import Reference
from lateen.aws.revisions import alias_revision
from lateen.domain.errors import AlreadyExists, InvalidInput, NotFound, RevisionMismatch
from lateen.domain.functions import LATEST, Described
from lateen.domain.pages import DEFAULT_LIMIT
from lateen.domain.versions import Alias, Target, check_target
from lateen.services.aliases import AliasChange, Aliases
from lateen.services.versions import Versions

FIRST = "published"
"""Marker of the page of versions that comes after `$LATEST` alone."""
ATTEMPTS = 20


class VersionOperations:
    def __init__(self, finding: Finding, *, versions: Versions, aliases: Aliases) -> None:
        self._finding = finding
        self._versions = versions
        self._aliases = aliases

    @operation("PublishVersion", missing="PublishTo is ignored")
    async def publish_version(self, call: Call) -> Answer:
        reference = _unqualified(call)
        described = await self._finding.draft(call, reference)
        given = call.parameters
        if given.get("RevisionId") and given["RevisionId"] != await self._finding.revisions.of(described):
            raise wrong_revision()
        sha256 = given.get("CodeSha256") or None
        if sha256 is not None and sha256 != (now := code_sha256(described.function.code)):
            raise invalid(
                f"CodeSHA256 ({sha256}) is different from current CodeSHA256 in $LATEST ({now}). Please try again with "
                "the CodeSHA256 in $LATEST."
            )
        try:
            published = await self._versions.publish(
                call.caller,
                described.function.id,
                description=given.get("Description"),
                expected=described.function.revision if given.get("RevisionId") else None,
                code_sha256=None if sha256 is None else described.function.code.sha256,
            )
        except RevisionMismatch:
            raise wrong_revision() from None
        except NotFound:
            raise function_not_found(reference.arn) from None
        version = published.version
        return Answer(body=await self._finding.shown(version, _at(reference, version.function.version)))

    @operation("ListVersionsByFunction")
    async def list_versions_by_function(self, call: Call) -> Answer:
        reference = _unqualified(call)
        described = await self._finding.draft(call, reference)
        marker = call.parameters.get("Marker") or None
        limit = min(call.parameters.get("MaxItems", DEFAULT_LIMIT), DEFAULT_LIMIT)
        shown: list[Shown] = []
        if marker is None:
            shown.append(await self._finding.listed(described, _at(reference, LATEST)))
            if (limit := limit - 1) == 0:
                return Answer(body={"Versions": shown, "NextMarker": FIRST})
        try:
            page = await self._versions.list(
                call.caller, described.function.id, limit=limit, cursor=None if marker == FIRST else marker
            )
        except InvalidInput:
            raise invalid("Invalid Marker.") from None
        shown += await asyncio.gather(
            *(self._finding.listed(each, _at(reference, each.function.version)) for each in page.items)
        )
        return Answer(body={"Versions": shown} | ({"NextMarker": page.cursor} if page.cursor else {}))

    @operation("CreateAlias")
    async def create_alias(self, call: Call) -> Answer:
        reference = _unqualified(call)
        described = await self._finding.draft(call, reference)
        given = call.parameters
        target = Target(given["FunctionVersion"], _weights(given) or {})
        await self._check_versions(call, described, reference, target)
        try:
            made = await self._aliases.create(
                call.caller, described.function.id, given["Name"], target, description=given.get("Description", "")
            )
        except AlreadyExists:
            raise conflict(f"Alias already exists: {_at(reference, given['Name']).arn}") from None
        except InvalidInput as exc:
            raise _refused(exc) from exc
        return Answer(body=_shown(made.alias, reference))

    @operation("GetAlias")
    async def get_alias(self, call: Call) -> Answer:
        reference = _unqualified(call)
        alias = await self._alias(call, reference, "Cannot find alias arn: ")
        return Answer(body=_shown(alias, reference))

    @operation("ListAliases")
    async def list_aliases(self, call: Call) -> Answer:
        reference = _unqualified(call)
        described = await self._finding.draft(call, reference)
        given = call.parameters
        try:
            page = await self._aliases.list(
                call.caller,
                described.function.id,
                version=given.get("FunctionVersion"),
                limit=min(given.get("MaxItems", DEFAULT_LIMIT), DEFAULT_LIMIT),
                cursor=given.get("Marker") or None,
            )
        except InvalidInput:
            raise invalid("Invalid Marker.") from None
        body: dict[str, Any] = {"Aliases": [_shown(each.alias, reference) for each in page.items]}
        return Answer(body=body | ({"NextMarker": page.cursor} if page.cursor else {}))

    @operation("UpdateAlias")
    async def update_alias(self, call: Call) -> Answer:
        reference = _unqualified(call)
        given = call.parameters
        for _ in range(ATTEMPTS):
            described = await self._finding.draft(call, reference)
            alias = await self._alias(call, reference, "Alias not found: ")
            if given.get("RevisionId") and given["RevisionId"] != alias_revision(alias):
                raise wrong_revision()
            weights = _weights(given)
            change = AliasChange(
                version=given.get("FunctionVersion", UNSET),
                weights=UNSET if weights is None else weights,
                description=given.get("Description", UNSET),
            )
            wanted = Target(given.get("FunctionVersion", alias.target.version), weights or {})
            await self._check_versions(call, described, reference, wanted)
            try:
                changed = await self._aliases.update(
                    call.caller, described.function.id, alias.name, change, expected=alias.revision
                )
            except RevisionMismatch:
                continue
            except NotFound:
                raise not_found(f"Alias not found: {_at(reference, alias.name).arn}") from None
            except InvalidInput as exc:
                raise _refused(exc) from exc
            return Answer(body=_shown(changed.alias, reference))
        raise conflict("The alias is being changed by others all the time; try again.")

    @operation("DeleteAlias")
    async def delete_alias(self, call: Call) -> Answer:
        reference = _unqualified(call)
        described = await self._finding.draft(call, reference)
        await self._aliases.delete(call.caller, described.function.id, call.parameters["Name"])
        return Answer(status=204)

    async def _alias(self, call: Call, reference: Reference, missing: str) -> Alias:
        described = await self._finding.draft(call, reference)
        name = call.parameters["Name"]
        try:
            return (await self._aliases.get(call.caller, described.function.id, name)).alias
        except NotFound:
            raise not_found(f"{missing}{_at(reference, name).arn}") from None

    async def _check_versions(self, call: Call, described: Described, reference: Reference, target: Target) -> None:
        """Raises: `AwsError` that says why it can't be one, or names the version that isn't there."""
        if len(target.weights) > 1:
            raise invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
        if target.version in target.weights:
            raise invalid(
                f"Invalid function version {target.version}. Function version {target.version} is already included in "
                "routing configuration."
            )
        if target.version == LATEST and target.weights:
            raise invalid("$LATEST is not supported for an alias pointing to more than 1 version")
        try:
            check_target(target.version, target.weights)
        except InvalidInput as exc:
            raise _refused(exc) from exc
        for version in target.versions:
            try:
                await self._versions.get(call.caller, described.function.id, version)
            except NotFound:
                raise function_not_found(_at(reference, version).arn) from None


def _unqualified(call: Call) -> Reference:
    reference = call.reference()
    if reference.qualifier not in (None, LATEST):
        raise functions_only()
    return _at(reference, None)


def _at(reference: Reference, qualifier: str | None) -> Reference:
    return Reference(reference.name, qualifier, reference.place)


def _weights(given: dict[str, Any]) -> dict[str, float] | None:
    """Of `RoutingConfig`, which takes all away when it is empty; None: it is not mentioned."""
    if "RoutingConfig" not in given:
        return None
    weights = given["RoutingConfig"].get("AdditionalVersionWeights") or {}
    return {version: float(weight) for version, weight in weights.items()}


def _shown(alias: Alias, reference: Reference) -> Shown:
    shown: Shown = {
        "AliasArn": _at(reference, alias.name).arn,
        "Name": alias.name,
        "FunctionVersion": alias.target.version,
        "Description": alias.description,
        "RevisionId": alias_revision(alias),
    }
    if alias.target.weights:
        shown["RoutingConfig"] = {"AdditionalVersionWeights": dict(alias.target.weights)}
    return shown


def _refused(exc: InvalidInput) -> Exception:
    return invalid(exc.reason if exc.field == "routing" else str(exc))
