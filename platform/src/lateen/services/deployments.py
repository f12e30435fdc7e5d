"""What a deployer is told of a function. Pure."""

from lateen.domain.functions import LATEST, Function
from lateen.domain.master import MasterKey
from lateen.ports.deployer import Deployment
from lateen.services.builds import Artifact
from lateen_invoker.urls import PLAIN


def deployment_of(
    function: Function, *, master: MasterKey, artifact: Artifact | None = None, provisioned: int = 0
) -> Deployment:
    """The function, or a version of it, as it shall run.

    Args:
        master: the key of its signatures follows from it.
        artifact: what was built of its code; without it, a function whose code is built can be called and not started.
        provisioned: environments that are kept started. Of use to who starts it, and not to who calls it.
    """
    code = function.code
    is_signed = function.auth == "iam" and function.url is not None and function.url.auth_type == "AWS_IAM"
    if artifact is None:
        artifact = Artifact(code.artifact_key if code.build is None else "", code.sha256, code.size)
    return Deployment(
        function_id=function.id,
        function_name=function.name,
        workspace_id=function.workspace_id,
        account_id=function.account_id,
        hash=function.hash,
        revision=function.revision,
        version=function.version,
        runtime=function.runtime,
        handler=function.handler if function.image is None else function.image.config.handler,
        environment=function.environment | function.aws.log_variables,
        role=function.aws.role,
        system_log_level=function.aws.system_log_level if function.aws.log_format == "JSON" else None,
        timeout_s=function.timeout_s,
        memory_mib=function.memory_mib,
        concurrency=function.concurrency,
        replicas=pods_of(function),
        reserved=function.reserved_concurrency,
        provisioned=provisioned,
        # A published version has no URL of its own: what leads to it is signed.
        open=function.auth == "none" and function.version == LATEST,
        signed=is_signed,
        closed=function.auth == "iam" and not is_signed,
        url=function.url.settings if function.url is not None and function.version == LATEST else PLAIN,
        artifact_key=artifact.key,
        artifact_sha256=artifact.sha256,
        image=function.image,
        layers=function.layers,
        invoke_key=master.invoke_key(function.id, function.hash),
    )


def pods_of(function: Function) -> int:
    """As many as were asked for, and no more than may have an event at the same time. Where none may they stay as they
    are, for that is soon over."""
    return min(function.replicas, function.reserved_concurrency or function.replicas)
