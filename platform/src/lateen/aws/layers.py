"""Layers: published, shown, listed, removed; and their policies, which are kept and shown."""

import base64
import re
from typing import Any

import msgspec
from anyio import to_thread

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.code_urls import CodeUrls
from lateen.aws.configurations import last_modified
from lateen.aws.errors import AwsError, conflict, invalid, no_such_resource, not_found
from lateen.aws.function_requests import bad_code, code_from
from lateen.aws.revisions import revision_uuid
from lateen.domain.errors import AlreadyExists, InvalidInput, NotFound, RevisionMismatch, TooLarge
from lateen.domain.layers import LayerVersion, arn_of
from lateen.services.layer_policies import LayerPolicies, LayerPolicy, Statement
from lateen.services.layers import Layers, NewLayer

MAX_ITEMS = 50
POLICY_LIMIT = 20_480
_ACCOUNT = re.compile(r"[0-9]{12}")
_PLACE = re.compile(r"arn:aws[a-zA-Z-]*:lambda:([a-z0-9-]+):([0-9]{12}):layer:([a-zA-Z0-9-_]+)(?::([0-9]{1,15}))?")


class LayerOperations:
    def __init__(self, layers: Layers, policies: LayerPolicies, *, code_urls: CodeUrls) -> None:
        self._layers = layers
        self._policies = policies
        self._code_urls = code_urls

    @operation("PublishLayerVersion", missing="S3ObjectStorageMode REFERENCE is refused")
    async def publish_layer_version(self, call: Call) -> Answer:
        given, name = call.parameters, _name(call)
        content = await to_thread.run_sync(code_from, given["Content"], "PublishLayerVersion")
        new = NewLayer(
            name=name,
            content=content,
            description=given.get("Description", ""),
            runtimes=tuple(given.get("CompatibleRuntimes", ())),
            architectures=tuple(given.get("CompatibleArchitectures", ())),
            license=given.get("LicenseInfo", ""),
        )
        try:
            layer = await self._layers.publish(call.caller, call.workspace_id, new)
        except (InvalidInput, TooLarge) as exc:
            if isinstance(exc, TooLarge) or exc.field in ("content", "content_s3"):
                raise bad_code(exc) from exc
            raise
        return Answer(body=self._whole(call, layer))

    @operation("GetLayerVersion")
    async def get_layer_version(self, call: Call) -> Answer:
        return Answer(body=self._whole(call, await self._found(call)))

    @operation("GetLayerVersionByArn")
    async def get_layer_version_by_arn(self, call: Call) -> Answer:
        name, version = _parsed(call, call.parameters["Arn"])
        return Answer(body=self._whole(call, await self._layer(call, name, version)))

    @operation("ListLayers")
    async def list_layers(self, call: Call) -> Answer:
        limit, cursor = _page(call)
        try:
            page = await self._layers.list(call.caller, call.workspace_id, limit=limit, cursor=cursor)
        except InvalidInput:
            raise invalid("Invalid Marker.") from None
        newest = [(layer, await self._matching(call, layer)) for layer in page.items]
        body: dict[str, Any] = {
            "Layers": [
                {"LayerName": layer.name, "LayerArn": layer.layer_arn, "LatestMatchingVersion": _listed(match)}
                for layer, match in newest
                if match is not None
            ]
        }
        if page.cursor is not None:
            body["NextMarker"] = page.cursor
        return Answer(body=body)

    @operation("ListLayerVersions")
    async def list_layer_versions(self, call: Call) -> Answer:
        limit, cursor = _page(call)
        try:
            page = await self._layers.versions(call.caller, call.workspace_id, _name(call), limit=limit, cursor=cursor)
        except InvalidInput:
            raise invalid("Invalid Marker.") from None
        body: dict[str, Any] = {"LayerVersions": [_listed(layer) for layer in page.items if _matches(call, layer)]}
        if page.cursor is not None:
            body["NextMarker"] = page.cursor
        return Answer(body=body)

    @operation("DeleteLayerVersion")
    async def delete_layer_version(self, call: Call) -> Answer:
        name, version = _name(call), _version(call)
        await self._layers.delete(call.caller, call.workspace_id, name, version)
        return Answer(status=204)

    @operation("AddLayerVersionPermission", missing="the policy is kept and shown; other accounts get nothing by it")
    async def add_layer_version_permission(self, call: Call) -> Answer:
        given = call.parameters
        layer, policy = await self._with_policy(call)
        sid = given["StatementId"]
        statement: Statement = {
            "Sid": sid,
            "Effect": "Allow",
            "Principal": _principal(given["Principal"]),
            "Action": given["Action"],
            "Resource": layer.arn,
        }
        if "OrganizationId" in given:
            statement["Condition"] = {"StringEquals": {"aws:PrincipalOrgID": given["OrganizationId"]}}
        exists = conflict(
            f"The statement id ({sid}) provided already exists. Please provide a new statement id, or remove the "
            "existing statement."
        )
        if sid in policy.statements:
            raise exists
        size = len(_document([*policy.statements.values(), statement]))
        if size > POLICY_LIMIT:
            text = f"The final policy size ({size}) is bigger than the limit ({POLICY_LIMIT})."
            raise AwsError("PolicyLengthExceededException", text)
        try:
            stored = await self._policies.add(layer, sid, statement, expected=_expected(call, layer, policy))
        except AlreadyExists:
            raise exists from None
        except RevisionMismatch:
            raise _wrong_revision() from None
        except NotFound:
            raise _gone(layer.arn) from None
        return Answer(
            body={"Statement": msgspec.json.encode(statement).decode(), "RevisionId": _revision(layer, stored)}
        )

    @operation("GetLayerVersionPolicy")
    async def get_layer_version_policy(self, call: Call) -> Answer:
        layer, policy = await self._with_policy(call)
        if not policy.statements:
            raise not_found("No policy is associated with the given resource.")
        return Answer(
            body={"Policy": _document(list(policy.statements.values())), "RevisionId": _revision(layer, policy)}
        )

    @operation("RemoveLayerVersionPermission")
    async def remove_layer_version_permission(self, call: Call) -> Answer:
        layer, policy = await self._with_policy(call)
        sid = call.parameters["StatementId"]
        try:
            await self._policies.remove(layer, sid, expected=_expected(call, layer, policy))
        except RevisionMismatch:
            raise _wrong_revision() from None
        except NotFound:
            raise not_found(f"Statement {sid} is not found in resource policy.") from None
        return Answer(status=204)

    async def _matching(self, call: Call, newest: LayerVersion) -> LayerVersion | None:
        """The newest version of its layer that the request asks for."""
        if _matches(call, newest):
            return newest
        cursor: str | None = None
        while True:
            page = await self._layers.versions(call.caller, call.workspace_id, newest.name, cursor=cursor)
            if (found := next((each for each in page.items if _matches(call, each)), None)) is not None:
                return found
            if (cursor := page.cursor) is None:
                return None

    async def _found(self, call: Call) -> LayerVersion:
        name, version = _name(call), _version(call)
        return await self._layer(call, name, version)

    async def _layer(self, call: Call, name: str, version: int) -> LayerVersion:
        try:
            return await self._layers.get(call.caller, call.workspace_id, name, version)
        except NotFound:
            raise no_such_resource() from None

    async def _with_policy(self, call: Call) -> tuple[LayerVersion, LayerPolicy]:
        name, version = _name(call), _version(call)
        try:
            return await self._policies.get(call.caller, call.workspace_id, name, version)
        except NotFound:
            raise _gone(arn_of(call.place.region, call.place.account_id, name, version)) from None

    def _whole(self, call: Call, layer: LayerVersion) -> dict[str, Any]:
        content = {
            "Location": self._code_urls.url(call.origin, layer.key),
            "CodeSha256": base64.b64encode(bytes.fromhex(layer.sha256)).decode(),
            "CodeSize": layer.size,
        }
        return {"Content": content, "LayerArn": layer.layer_arn} | _listed(layer)


def _listed(layer: LayerVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "LayerVersionArn": layer.arn,
        "Version": layer.version,
        "Description": layer.description,
        "CreatedDate": last_modified(layer.created_at),
    }
    if layer.runtimes:
        shown["CompatibleRuntimes"] = list(layer.runtimes)
    if layer.architectures:
        shown["CompatibleArchitectures"] = list(layer.architectures)
    if layer.license:
        shown["LicenseInfo"] = layer.license
    return shown


def _matches(call: Call, layer: LayerVersion) -> bool:
    runtime = call.parameters.get("CompatibleRuntime")
    architecture = call.parameters.get("CompatibleArchitecture")
    return (runtime is None or runtime in layer.runtimes) and (
        architecture is None or architecture in layer.architectures
    )


def _page(call: Call) -> tuple[int, str | None]:
    return call.parameters.get("MaxItems", MAX_ITEMS), call.parameters.get("Marker") or None


def _name(call: Call) -> str:
    """`LayerName` of the request, which may be an ARN, with a version that says nothing."""
    given: str = call.parameters["LayerName"]
    return _parsed(call, given)[0] if given.startswith("arn:") else given


def _version(call: Call) -> int:
    version: int = call.parameters["VersionNumber"]
    if version < 1:
        raise invalid("Layer Version Cannot be less than 1.")
    return version


def _parsed(call: Call, arn: str) -> tuple[str, int]:
    """Raises: `AwsError` for a layer of another account or region."""
    found = _PLACE.fullmatch(arn)
    place = call.place
    if found is None or (found[1], found[2]) != (place.region, place.account_id):
        raise AwsError(
            "AccessDeniedException",
            f"User: arn:aws:iam::{place.account_id}:root is not authorized to perform: lambda:{call.operation} on "
            f"resource: {arn} because no resource-based policy allows the lambda:{call.operation} action",
            status=403,
        )
    return found[3], int(found[4] or 0)


def _principal(given: str) -> Any:
    if given == "*":
        return given
    return {"AWS": f"arn:aws:iam::{given}:root" if _ACCOUNT.fullmatch(given) else given}


def _document(statements: list[Statement]) -> str:
    return msgspec.json.encode({"Version": "2012-10-17", "Id": "default", "Statement": statements}).decode()


def _revision(layer: LayerVersion, policy: LayerPolicy) -> str:
    return revision_uuid(layer.arn, layer.created_at, str(policy.revision))


def _expected(call: Call, layer: LayerVersion, policy: LayerPolicy) -> int | None:
    """Raises: `AwsError` for a `RevisionId` that is not the policy's."""
    if not (given := call.parameters.get("RevisionId")):
        return None
    if given != _revision(layer, policy):
        raise _wrong_revision()
    return policy.revision


def _wrong_revision() -> AwsError:
    text = (
        "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the "
        "latest Revision Id"
    )
    return AwsError("PreconditionFailedException", text, status=412)


def _gone(arn: str) -> AwsError:
    return not_found(f"Layer version {arn} does not exist.")
