"""What a create or an update asks for, turned into what the use cases are asked. Names differ from ours only here."""

import json
from typing import Any

import msgspec
from msgspec import UNSET

from lateen.aws.configurations import aws_name, default_role
from lateen.aws.errors import AwsError, invalid, not_offered, request_too_large, validation
from lateen.aws.images import check_only_image, image_config, image_uri, new_image
from lateen.aws.references import Place
from lateen.domain.aws_settings import DEFAULT_LEVEL, AwsSettings
from lateen.domain.code_places import CodePlace
from lateen.domain.environment import MAX_BYTES, RESERVED, check_environment
from lateen.domain.errors import InvalidInput, TooLarge
from lateen.domain.functions import MEMORY_MIB, TIMEOUT_S, Function
from lateen.domain.images import ImagePolicy
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.packages import decode_base64
from lateen.services.runtimes import Runtimes
from lateen.services.zips import MAX_ZIPPED

REQUEST_LIMIT = 70_167_211
"""Bytes of a request with code."""
TAGS = 50
_BAD_ZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_REFUSED = {
    "KMSKeyArn": "Encryption with a key of KMS",
    "FileSystemConfigs": "FileSystemConfigs",
    "CodeSigningConfigArn": "Code signing",
    "TenancyConfig": "TenancyConfig",
    "CapacityProviderConfig": "CapacityProviderConfig",
    "DurableConfig": "DurableConfig",
    "RuntimeConfig": "RuntimeConfig",
    "AcceleratorConfig": "AcceleratorConfig",
    "PublishTo": "PublishTo",
}
"""Whoever sets these relies on something that would not happen."""


def new_function(given: dict[str, Any], runtimes: Runtimes, *, name: str, images: ImagePolicy) -> NewFunction:
    """Of `CreateFunction`. Raises: `AwsError`, `InvalidInput`, `TooLarge`."""
    check_offered(given)
    _check_sizes(given)
    image = None
    if given.get("PackageType", "Zip") == "Image":
        image = new_image(given, images)
    elif given.get("ImageConfig"):
        raise invalid("Please don't provide ImageConfig when creating a function with packageType Zip.")
    elif not given.get("Runtime") or not given.get("Handler"):
        raise invalid(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        )
    else:
        check_runtime(given["Runtime"], runtimes)
    tags = given.get("Tags", {})
    check_tags(tags)
    return NewFunction(
        name=name,
        runtime=given.get("Runtime") or None,
        code=code_from(given["Code"], "CreateFunction") if image is None else None,
        image=image,
        handler=given.get("Handler") or None,
        environment=variables_from(given) or {},
        timeout_s=given.get("Timeout", 3),
        memory_mib=given.get("MemorySize", 128),
        auth="iam",
        aws=settings_after(AwsSettings(), given),
        description=given.get("Description", ""),
        layers=given.get("Layers", ()),
        tags=tags,
        publish=given.get("Publish", False),
    )


def configuration_change(old: Function, given: dict[str, Any], runtimes: Runtimes, place: Place) -> FunctionChange:
    """Of `UpdateFunctionConfiguration`. Raises: `AwsError`."""
    if not old.aws.role and given.get("Role") == default_role(place):
        # A tool that writes back what it was shown means no role by it.
        given = {name: value for name, value in given.items() if name != "Role"}
    check_offered(given)
    _check_sizes(given)
    if old.image is not None:
        check_only_image(given)
    elif given.get("ImageConfig"):
        raise invalid("Please don't provide ImageConfig when updating a function with packageType Zip.")
    if "Runtime" in given:
        check_runtime(given["Runtime"], runtimes)
    variables = variables_from(given)
    return FunctionChange(
        image_config=UNSET if old.image is None or "ImageConfig" not in given else image_config(given["ImageConfig"]),
        runtime=given.get("Runtime", UNSET),
        handler=given.get("Handler", UNSET),
        environment=UNSET if variables is None else variables,
        timeout_s=given.get("Timeout", UNSET),
        memory_mib=given.get("MemorySize", UNSET),
        description=given.get("Description", UNSET),
        layers=given.get("Layers", UNSET),
        aws=settings_after(old.aws, given),
    )


def code_change(old: Function, given: dict[str, Any]) -> FunctionChange:
    """Of `UpdateFunctionCode`. Raises: `AwsError`."""
    check_offered(given)
    settings = settings_after(old.aws, given)
    if old.image is not None:
        return FunctionChange(image_uri=image_uri(given), aws=settings)
    if given.get("ImageUri"):
        raise invalid("Please don't provide ImageUri when updating a function with packageType Zip.")
    return FunctionChange(code=code_from(given, "UpdateFunctionCode"), aws=settings)


def settings_after(old: AwsSettings, given: dict[str, Any]) -> AwsSettings:
    """The settings with what the request changes; each is replaced as a whole, but for how the function logs.

    Raises: `AwsError`.
    """
    changes: dict[str, Any] = {}
    for name, field in (("Role", "role"), ("Runtime", "runtime")):
        if name in given:
            changes[field] = given[name]
    if "Environment" in given:
        changes["has_environment"] = True
    if "Architectures" in given:
        changes["architectures"] = tuple(given["Architectures"])
    if "EphemeralStorage" in given:
        changes["ephemeral_storage_mib"] = given["EphemeralStorage"]["Size"]
    if "TracingConfig" in given:
        changes["tracing_mode"] = given["TracingConfig"].get("Mode", "PassThrough")
    if "DeadLetterConfig" in given:
        changes["dead_letter_arn"] = given["DeadLetterConfig"].get("TargetArn") or None
    if "SnapStart" in given:
        if given["SnapStart"].get("ApplyOn", "None") != "None":
            raise not_offered("SnapStart")
        changes["snap_start"] = "None"
    if (logging := given.get("LoggingConfig")) is not None:
        changes |= _logging_after(old, logging)
    return msgspec.structs.replace(old, **changes)


def _logging_after(old: AwsSettings, given: dict[str, str]) -> dict[str, Any]:
    """Of `LoggingConfig`: what is left out stays. Raises: `AwsError`."""
    log_format = given.get("LogFormat", old.log_format)
    levels: dict[str, str | None] = {
        "application_log_level": given.get("ApplicationLogLevel"),
        "system_log_level": given.get("SystemLogLevel"),
    }
    if log_format == "JSON":  # for which AWS always shows them
        levels = {name: level or getattr(old, name) or DEFAULT_LEVEL for name, level in levels.items()}
    elif any(levels.values()):
        raise invalid("ApplicationLogLevel and SystemLogLevel are only possible with the LogFormat JSON.")
    return {"log_format": log_format, "log_group": given.get("LogGroup", old.log_group), **levels}


def check_offered(given: dict[str, Any]) -> None:
    for name, what in _REFUSED.items():
        if given.get(name):
            raise not_offered(what)
    vpc = given.get("VpcConfig") or {}
    if vpc.get("SubnetIds") or vpc.get("SecurityGroupIds"):
        raise not_offered("VpcConfig")


def _check_sizes(given: dict[str, Any]) -> None:
    """What is beyond Lambda's limits and not beyond those of its model."""
    too_much = "failed to satisfy constraint: Member must have value less than or equal to"
    if given.get("Timeout", 0) > TIMEOUT_S[1]:
        raise validation([f"Value '{given['Timeout']}' at 'timeout' {too_much} {TIMEOUT_S[1]}"])
    if given.get("MemorySize", 0) > MEMORY_MIB[1]:
        raise invalid(f"'MemorySize' value {too_much} {MEMORY_MIB[1]}")


def check_runtime(name: str, runtimes: Runtimes) -> None:
    """Raises: `AwsError`, also for a runtime that this machine can't run."""
    try:
        runtimes.resolve(name)
    except InvalidInput as exc:
        known = [aws_name(runtime) for runtime in runtimes.list() if runtime.disabled is None]
        if any(name in (runtime.name, *runtime.aliases) for runtime in runtimes.list()):
            raise invalid(f"Value {name} at 'runtime': {exc.reason}") from exc
        raise invalid(
            f"Value {name} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
            f"[{', '.join(known)}] or be a valid ARN"
        ) from exc


def code_from(given: dict[str, Any], operation: str) -> bytes | CodePlace:
    """The zip that is sent along, or where it lies. Raises: `AwsError`."""
    if given.get("S3ObjectStorageMode", "COPY") != "COPY":
        raise not_offered("Code that stays in its bucket")
    if "ZipFile" not in given:
        if "S3Bucket" not in given or "S3Key" not in given:
            raise invalid("Please provide a source for function code.")
        return CodePlace(bucket=given["S3Bucket"], key=given["S3Key"], version=given.get("S3ObjectVersion"))
    if any(name in given for name in ("S3Bucket", "S3Key", "S3ObjectVersion")):
        raise invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
    try:
        code = decode_base64(given["ZipFile"], "zipFile")
    except TooLarge:
        raise request_too_large(REQUEST_LIMIT, operation) from None
    except InvalidInput:
        raise AwsError("SerializationException", "ZipFile is not Base64") from None
    if len(code) > MAX_ZIPPED:
        raise request_too_large(REQUEST_LIMIT, operation)
    if not code.startswith(_ZIP_STARTS):
        raise invalid(_BAD_ZIP)
    return code


def bad_code(exc: InvalidInput | TooLarge) -> AwsError:
    """For what was found in the zip, or in the place of it."""
    if isinstance(exc, InvalidInput) and exc.field in ("code_s3", "content_s3"):
        return invalid(exc.reason)
    if "unzipped size" in str(exc):
        return invalid("Unzipped size must be smaller than 262144000 bytes")
    return invalid(f"{_BAD_ZIP} ({exc})" if "not a zip" not in str(exc) else _BAD_ZIP)


def variables_from(given: dict[str, Any]) -> dict[str, str] | None:
    """The environment that is asked for; None: it is not mentioned. Raises: `AwsError`."""
    if "Environment" not in given:
        return None
    variables: dict[str, str] = given["Environment"].get("Variables") or {}
    start = (
        "Lambda was unable to configure your environment variables because the environment variables you have provided"
    )
    if reserved := [name for name in variables if name in RESERVED]:
        raise invalid(
            f"{start} contains reserved keys that are currently not supported for modification. Reserved keys used in "
            f"this request: {', '.join(reserved)}"
        )
    text = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise invalid(f"{start} exceeded the 4KB limit. String measured: {text}")
    try:
        check_environment(variables)
    except InvalidInput as exc:
        raise invalid(f"{start} are not valid: {exc}") from exc
    return variables


def check_tags(tags: dict[str, str]) -> None:
    """Raises: `AwsError`."""
    if len(tags) > TAGS:
        raise invalid("Number of tags exceeds resource tag limit.")
    if any(name.lower().startswith("aws:") for name in tags):
        raise invalid("Tag keys that begin with aws: are reserved.")
