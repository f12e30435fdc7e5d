"""What a deployer is told of a function. Pure."""

from lateen.domain.functions import LATEST, Function
from lateen.domain.master import MasterKey
from lateen.ports.deployer import Deployment


def deployment_of(function: Function, *, master: MasterKey) -> Deployment:
    """The function as it shall run. `master`: the key of its signatures follows from it."""
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
        layers=function.layers,
        invoke_key=master.invoke_key(function.id, function.hash),
    )
