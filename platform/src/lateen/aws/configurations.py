"""A function as AWS's tools see it. Pure."""

import base64
import hashlib
from typing import Any

from lateen.aws.images import image_config_response
from lateen.aws.references import Place
from lateen.domain.functions import Code, Described, Function, FunctionStatus, rolled_revision
from lateen.domain.runtimes import Runtime

Shown = dict[str, Any]
_RUNTIME_VERSION = "arn:aws:lambda:{region}::runtime:{digest}"
_AWS_ENDINGS = (".x", ".al2023")


def configuration_of(described: Described, place: Place, runtime: Runtime | None, revision: str) -> Shown:
    """`FunctionConfiguration` of one version, as get and update show it."""
    return listed_configuration(described, place, runtime, revision) | state_of(described.function, described.status)


def listed_configuration(described: Described, place: Place, runtime: Runtime | None, revision: str) -> Shown:
    """As listings show it: without what became of it.

    Args:
        revision: its `RevisionId`.
        runtime: the function's, where it is still installed.
    """
    function, aws = described.function, described.function.aws
    shown: Shown = {
        "FunctionName": function.name,
        "FunctionArn": place.arn(function.name),
        "Role": aws.role or default_role(place),
        "CodeSize": uploaded_size(function.code),
        "Description": function.description,
        "Timeout": function.timeout_s,
        "MemorySize": function.memory_mib,
        "LastModified": last_modified(function.updated_at),
        "CodeSha256": code_sha256(function.code),
        "Version": function.version,
        "TracingConfig": {"Mode": aws.tracing_mode},
        "RevisionId": revision,
        "PackageType": "Zip" if function.image is None else "Image",
        "Architectures": list(aws.architectures),
        "EphemeralStorage": {"Size": aws.ephemeral_storage_mib},
        "SnapStart": {"ApplyOn": aws.snap_start, "OptimizationStatus": "Off"},
        "LoggingConfig": logging_config(function),
    }
    if function.image is not None:
        shown |= image_config_response(function.image)
    else:
        shown["Runtime"] = runtime_name(function, runtime)
        shown["Handler"] = function.handler
        shown["RuntimeVersionConfig"] = {"RuntimeVersionArn": _runtime_version(function, place)}
    if function.environment or aws.has_environment:
        shown["Environment"] = {"Variables": dict(function.environment)}
    if function.layers:
        shown["Layers"] = [{"Arn": layer.arn, "CodeSize": layer.size} for layer in function.layers]
    if aws.dead_letter_arn is not None:
        shown["DeadLetterConfig"] = {"TargetArn": aws.dead_letter_arn}
    return shown


def state_of(function: Function, status: FunctionStatus) -> Shown:
    """The states that AWS knows. A first deployment that fails is a failed function; a later one leaves the version
    before it running, so the function is active and its last update failed."""
    is_new = rolled_revision(function) <= 1
    if status.state == "Pending":
        if is_new:
            return {
                "State": "Pending",
                "StateReason": "The function is being created.",
                "StateReasonCode": "Creating",
            }
        return {
            "State": "Active",
            "LastUpdateStatus": "InProgress",
            "LastUpdateStatusReason": "The function is being created.",
            "LastUpdateStatusReasonCode": "Creating",
        }
    if status.state == "Failed":
        reason = status.reason or "The function could not be started."
        failed = {
            "LastUpdateStatus": "Failed",
            "LastUpdateStatusReason": reason,
            "LastUpdateStatusReasonCode": "InternalError",
        }
        if is_new:
            return {"State": "Failed", "StateReason": reason, "StateReasonCode": "InternalError"} | failed
        return {"State": "Active"} | failed
    return {"State": "Active", "LastUpdateStatus": "Successful"}


def code_sha256(code: Code) -> str:
    """Of the zip as it was uploaded, Base64; of an image, as AWS has it, hex."""
    if not code.artifact_key:
        return code.sha256
    return base64.b64encode(bytes.fromhex(code.sha256)).decode()


def uploaded_size(code: Code) -> int:
    return code.size


def last_modified(time: str) -> str:
    """`2024-05-02T19:43:05.951+0000`, from our `…Z`."""
    return time.removesuffix("Z") + "+0000"


def runtime_name(function: Function, runtime: Runtime | None) -> str:
    """As it was given, while that still names the function's runtime; else as AWS would call it."""
    if runtime is None:
        return function.runtime
    if function.aws.runtime in (runtime.name, *runtime.aliases):
        return function.aws.runtime
    return aws_name(runtime)


def aws_name(runtime: Runtime) -> str:
    """AWS's name for a runtime, if it has one: `nodejs20.x` for `node20`."""
    return next((name for name in runtime.aliases if name.endswith(_AWS_ENDINGS)), runtime.name)


def default_role(place: Place) -> str:
    """Of functions that were made elsewhere, for clients that insist on one."""
    return f"arn:aws:iam::{place.account_id}:role/lateen"


def logging_config(function: Function) -> Shown:
    aws = function.aws
    shown = {"LogFormat": aws.log_format, "LogGroup": aws.log_group or f"/aws/lambda/{function.name}"}
    if aws.application_log_level is not None:
        shown["ApplicationLogLevel"] = aws.application_log_level
    if aws.system_log_level is not None:
        shown["SystemLogLevel"] = aws.system_log_level
    return shown


def _runtime_version(function: Function, place: Place) -> str:
    digest = hashlib.sha256(function.runtime.encode()).hexdigest()
    return _RUNTIME_VERSION.format(region=place.region, digest=digest)
