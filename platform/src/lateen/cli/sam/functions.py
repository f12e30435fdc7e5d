"""A function's properties in a template → what the REST API is told."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from lateen.cli.buckets import SCHEME, S3Place, place_from
from lateen.cli.refusals import Refused
from lateen.cli.sam.intrinsics import Intrinsics
from lateen.cli.sam.properties import LeftOut, Properties, Skipped, is_function
from lateen.cli.sam.reading import Value
from lateen.cli.sam.templates import Resource, Template

SERVERLESS, PLAIN = "AWS::Serverless::Function", "AWS::Lambda::Function"
KINDS = (SERVERLESS, PLAIN)
INLINE = "index"
"""Name of the file that inline code is, without its end."""

_ROLES = "roles are made on AWS; Role may be the ARN of one"
_REASONS = {
    "Architectures": "functions run on the processor that the machine has",
    "AssumeRolePolicyDocument": _ROLES,
    "DeadLetterConfig": "what was never done is kept; EventInvokeConfig can name a function for it",
    "DeadLetterQueue": "what was never done is kept; EventInvokeConfig can name a function for it",
    "DeploymentPreference": "the alias is moved at once",
    "EphemeralStorage": "the size of /tmp is the installation's to say",
    "PermissionsBoundary": _ROLES,
    "Policies": _ROLES,
    "PropagateTags": "tags are kept for AWS's own tools only",
    "ProvisionedConcurrencyConfig": "only with an AutoPublishAlias, whose it is",
    "RolePath": _ROLES,
    "Tags": "tags are kept for AWS's own tools only",
    "Tracing": "there is no X-Ray",
    "TracingConfig": "there is no X-Ray",
    "VpcConfig": "the network is the installation's to say",
}
_EVENTS = {
    "Api": "there is no API Gateway; FunctionUrlConfig gives the function a URL",
    "HttpApi": "there is no API Gateway; FunctionUrlConfig gives the function a URL",
    "Schedule": "schedules are not offered yet",
    "ScheduleV2": "schedules are not offered yet",
    "CloudWatchEvent": "events of EventBridge are not offered",
    "EventBridgeRule": "events of EventBridge are not offered",
}
_OF_ZIPS = ("CodeUri", "Handler", "Runtime")
"""What Globals may say of all functions, and an image has no use for."""
_NO_SOURCE = "event sources are not offered yet"


class Runtimes:
    """As the server has them: by name and by alias."""

    def __init__(self, entries: Iterable[dict[str, Any]]) -> None:
        self._entries = list(entries)
        self._by_name = {name: each for each in self._entries for name in (each["name"], *each["aliases"])}

    def find(self, name: str) -> dict[str, Any]:
        """Raises: `Skipped`."""
        if (found := self._by_name.get(name)) is None:
            usable = ", ".join(each["name"] for each in self._entries if not each["disabled"])
            raise Skipped(f"the runtime {name[:64]!r} is not offered; here are: {usable or 'none'}")
        if found["disabled"]:
            raise Skipped(f"the runtime {name!r} can't be used here: {found['disabled_reason']}")
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._by_name


class EventConfig(Struct, frozen=True, kw_only=True):
    """For asynchronous invocations of one qualifier, as the REST API is told."""

    qualifier: str | None
    fields: dict[str, Any]


class Uri(Struct, frozen=True):
    """A path as the template has it, and where."""

    text: str
    where: str


class FunctionPlan(Struct, frozen=True, kw_only=True):
    id: str
    """Logical."""
    name: str
    fields: dict[str, Any]
    """Of a create or an update, without the code."""
    kept: tuple[str, ...]
    """Variables whose values can't be known: those that the function has stay."""
    code: Path | S3Place | str | None
    """Inline code is text; None: there is an image."""
    inline_name: str
    """Of the file that inline code is."""
    alias: str | None
    """That leads to what is deployed, once it is published."""
    version_description: str | None
    event_config: EventConfig | None
    provisioned: int | None
    """Environments of the alias that are kept started; None: the template says nothing of it."""
    urls: dict[str | None, dict[str, Any] | None]
    """What the REST API is told of the function's own URL, under None, and of its alias's. None: it has none."""


def plan_function(
    template: Template,
    resource: Resource,
    *,
    name: str,
    urls: Mapping[str | None, dict[str, Any]],
    account_id: str,
    intrinsics: Intrinsics,
    left_out: LeftOut,
    runtimes: Runtimes,
) -> FunctionPlan:
    """Args:
        urls: those that are resources of their own, by alias; the function's under None.
    Raises: `Skipped`, `NotYet`, `Refused`.
    """
    properties = properties_of(template, resource, intrinsics, left_out)
    properties.raw("FunctionName")
    is_image = properties.text("PackageType") == "Image"
    code: Path | S3Place | str | None = None
    inline_name = ""
    if is_image:
        package = _image(resource, properties)
    else:
        if (given := properties.needed_text("Runtime")) is None:
            raise Refused(f"{properties.where}.Runtime: required")
        found = _code(resource, properties)
        # What lies in a bucket was built before it was put there.
        method = given if isinstance(found, S3Place) else _built_by(template, resource, given, runtimes)
        runtime = runtimes.find(method)
        package = {"runtime": runtime["name"]}
        if (handler := properties.needed_text("Handler")) is not None:
            package["handler"] = handler
        code = path_in(template, found) if isinstance(found, Uri) else found
        inline_name = f"{INLINE}{Path(runtime['file']).suffix}"
    variables, kept = _variables(properties)
    alias = properties.text("AutoPublishAlias")
    planned = {each: urls.get(each) for each in {None, alias}}
    if "FunctionUrlConfig" in properties:
        planned[alias] = url_fields(properties.within("FunctionUrlConfig"))
    called = planned[None] or planned[alias]
    fields: dict[str, Any] = {
        **package,
        "timeout": 3 if (timeout_s := properties.number("Timeout")) is None else timeout_s,
        "memory": 128 if (memory_mib := properties.number("MemorySize")) is None else memory_mib,
        "description": properties.text("Description") or "",
        "environment": variables,
        "layers": _layers(properties, account_id),
        "auth": "none" if called is not None and called["auth_type"] == "NONE" else "iam",
    }
    if "LoggingConfig" in properties:
        fields["logging_config"] = _logging(properties.within("LoggingConfig"))
    # Without one, what the function has stays.
    if (role := properties.text("Role")) is not None:
        fields["role"] = role
    try:
        fields["reserved_concurrency"] = properties.needed_number("ReservedConcurrentExecutions")
    except Skipped as unknown:  # what the function has stays
        properties.leave("ReservedConcurrentExecutions", str(unknown))
    provisioned = None if alias is None else provisioned_in(properties)
    version_description = properties.text("VersionDescription")
    events = event_config(properties.within("EventInvokeConfig"), alias) if "EventInvokeConfig" in properties else None
    _name_events(properties)
    for unneeded in ("AutoPublishAliasAllProperties", "AutoPublishCodeSha256", *(_OF_ZIPS if is_image else ())):
        properties.raw(unneeded)
    if properties.raw("Architectures") not in (None, ["x86_64"]):
        properties.leave("Architectures", _REASONS["Architectures"])
    properties.rest(_REASONS)
    return FunctionPlan(
        id=resource.id,
        name=name,
        fields=fields,
        kept=kept,
        code=code,
        inline_name=inline_name,
        alias=alias,
        version_description=version_description,
        event_config=events,
        provisioned=provisioned,
        urls=planned,
    )


def properties_of(template: Template, resource: Resource, intrinsics: Intrinsics, left_out: LeftOut) -> Properties:
    """The function's own, over those of `Globals`."""
    own: Value = resource.properties
    if resource.kind == SERVERLESS:
        own = _over(template.globals, own)
    assert isinstance(own, dict)
    return Properties(resource.id, own, intrinsics=intrinsics, left_out=left_out)


def event_config(given: Properties, qualifier: str | None) -> EventConfig:
    fields: dict[str, Any] = {
        "maximum_retry_attempts": given.number("MaximumRetryAttempts"),
        "maximum_event_age": given.number("MaximumEventAgeInSeconds"),
    }
    destinations = given.within("DestinationConfig")
    for name, field in (("OnSuccess", "on_success"), ("OnFailure", "on_failure")):
        destination = destinations.within(name)
        destination.raw("Type")
        if (arn := destination.text("Destination")) is not None:
            if ":lambda:" in arn:
                fields[field] = arn
            else:
                destination.leave("Destination", "only functions are destinations")
    return EventConfig(qualifier=qualifier, fields=fields)


def provisioned_in(given: Properties) -> int | None:
    config = given.within("ProvisionedConcurrencyConfig")
    count = config.number("ProvisionedConcurrentExecutions")
    config.rest({})
    return count


def url_fields(given: Properties) -> dict[str, Any]:
    """As the REST API is told. Raises: `Skipped`, `Refused`."""
    kind = given.needed_text("AuthType")
    if kind not in ("NONE", "AWS_IAM"):
        raise given.wrong("AuthType", "NONE or AWS_IAM")
    mode = given.needed_text("InvokeMode") or "BUFFERED"
    if mode not in ("BUFFERED", "RESPONSE_STREAM"):
        raise given.wrong("InvokeMode", "BUFFERED or RESPONSE_STREAM")
    within = given.within("Cors")
    lists = (("AllowOrigins", "allow_origins"), ("AllowMethods", "allow_methods"),
             ("AllowHeaders", "allow_headers"), ("ExposeHeaders", "expose_headers"))  # fmt: skip
    cors: dict[str, Any] = {field: within.texts(name) for name, field in lists}
    cors |= {"max_age": within.number("MaxAge"), "allow_credentials": within.truth("AllowCredentials")}
    within.rest({})
    given.rest({})
    said = {field: value for field, value in cors.items() if value is not None}
    return {"auth_type": kind, "invoke_mode": mode, "cors": said or None}


def path_in(template: Template, uri: Uri) -> Path:
    """Raises: `Refused` for what leads out of the template's folder, or to nothing."""
    given, where = uri.text, uri.where
    if "\0" in given:
        raise Refused(f"{where}: not a path")
    path = (template.folder / given).resolve()
    if not path.is_relative_to(template.folder):
        raise Refused(f"{where}: {given!r} leads out of the template's folder", hint="put the template above the code")
    if not path.exists():
        raise Refused(f"{where}: there is no {given!r} in the template's folder")
    return path


def _built_by(template: Template, resource: Resource, runtime: str, runtimes: Runtimes) -> str:
    """The runtime whose build makes the code; the template's own where the code is as it shall run."""
    method = resource.build_method
    if template.is_built or method is None or method == runtime:
        return runtime
    if not isinstance(method, str) or method not in runtimes:
        reason = f"its BuildMethod {str(method)[:32]!r} is not offered"
        raise Skipped(f"{reason}; 'sam build' makes .aws-sam/build, which can be deployed")
    return method


def _code(resource: Resource, properties: Properties) -> Uri | S3Place | str:
    """Inline code is text."""
    if resource.kind == PLAIN:
        given = properties.need("Code")
        if isinstance(given, dict) and isinstance(inline := given.get("ZipFile"), str):
            return inline
        where = f"{properties.where}.Code"
    else:
        if (inline := properties.needed_text("InlineCode")) is not None:
            properties.raw("CodeUri")
            return inline
        given, where = properties.need("CodeUri") or ".", f"{properties.where}.CodeUri"
    return uri_or_place(given, where)


def uri_or_place(given: Value, where: str) -> Uri | S3Place:
    """What `CodeUri`, `ContentUri`, `Code` and `Content` say. Raises: `Refused`."""
    if given is None:
        raise Refused(f"{where}: required")
    if isinstance(given, str):
        if not given.startswith(SCHEME):
            return Uri(given, where)
        try:
            return place_from(given)
        except Refused as refusal:
            raise Refused(f"{where}: {refusal.message}") from None
    if isinstance(given, dict):
        for names in (("Bucket", "Key", "Version"), ("S3Bucket", "S3Key", "S3ObjectVersion")):
            bucket, key, version = (given.get(name) for name in names)
            if isinstance(bucket, str) and isinstance(key, str) and isinstance(version, str | None):
                return S3Place(bucket, key, version)
    raise Refused(f"{where}: a path, or a bucket and a key in it")


def _image(resource: Resource, properties: Properties) -> dict[str, Any]:
    """The fields that say which image the function is."""
    uri = properties.need("Code") if resource.kind == PLAIN else properties.need("ImageUri")
    uri = uri.get("ImageUri") if isinstance(uri, dict) else uri
    if not isinstance(uri, str):
        raise Skipped("the template names no image: 'sam build' and a registry make one, and ImageUri names it")
    config = properties.within("ImageConfig")
    settings: dict[str, Any] = {
        "entry_point": config.texts("EntryPoint") or [],
        "command": config.texts("Command") or [],
        "working_directory": config.text("WorkingDirectory") or "",
    }
    return {"image": uri, "image_config": settings}


def _variables(properties: Properties) -> tuple[dict[str, str], tuple[str, ...]]:
    """Those that are known, and the names of those that can't be, which are told of."""
    given = properties.within("Environment").within("Variables")
    variables, kept = {}, []
    for name in given.names:
        if given.is_null(name):
            raise given.wrong(name, "a text; null is none")
        try:
            value = given.needed_text(name)
        except Skipped as unknown:
            given.leave(name, str(unknown))
            kept.append(name)
        else:
            if value is not None:
                variables[name] = value
    return variables, tuple(kept)


def _layers(properties: Properties, account_id: str) -> list[str]:
    arns = properties.texts("Layers") or []
    for arn in arns:
        if arn.split(":")[4:5] != [account_id]:
            raise Skipped(f"its layer {arn[:200]!r} is not of this workspace; publish it here and name that one")
    return arns


def _logging(given: Properties) -> dict[str, Any]:
    fields = (("LogFormat", "log_format"), ("ApplicationLogLevel", "application_log_level"),
              ("SystemLogLevel", "system_log_level"))  # fmt: skip
    found = {field: value for name, field in fields if (value := given.text(name)) is not None}
    given.rest({"LogGroup": "logs lie with Lateen"})
    return found


def _name_events(properties: Properties) -> None:
    events = properties.raw("Events")
    if not isinstance(events, dict):
        return
    for name, event in events.items():
        kind = event.get("Type") if isinstance(event, dict) and not is_function(event) else None
        shown = f" ({kind[:32]})" if isinstance(kind, str) else ""
        properties.leave(f"Events.{name[:64]}{shown}", _EVENTS.get(kind if isinstance(kind, str) else "", _NO_SOURCE))


def _over(below: Value, above: Value) -> Value:
    """As SAM puts properties over those of Globals: mappings are merged, lists joined, all else replaced."""
    if isinstance(below, dict) and isinstance(above, dict) and not is_function(below) and not is_function(above):
        return {**below, **{name: _over(below.get(name), value) for name, value in above.items()}}
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *above]
    return above
