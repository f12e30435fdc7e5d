"""A function's role on AWS: its pods have a service account of their own, and its code a token of that, which STS gives
the role's credentials for. What the role trusts decides, not the name that somebody has written into a function.

One account for each version that runs, as there is one Deployment: it comes and goes with that, and says of whom the
token is: workspace, function, and what tells this function and version from all others there ever were.
"""

from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.kinds import SERVICE_ACCOUNT, Manifest
from lateen.ports.deployer import Deployment

SERVICE_ACCOUNT_NAME = "lateen-function"
"""Of function pods without a role, builds and look-ups."""
TOKEN_S = 3600
"""A kubelet writes the next one when four fifths of it are over."""
_FOLDER = "/var/run/secrets/lateen.dev/role"
_VOLUME = "role"


def has_role(deployment: Deployment, config: FunctionsConfig) -> bool:
    return config.roles.enabled and bool(deployment.role)


def account_name(deployment: Deployment, config: FunctionsConfig) -> str:
    if not has_role(deployment, config):
        return SERVICE_ACCOUNT_NAME
    # A namespace may be all workspaces'. No part but the dots between them has a dot, so `….orders.*` in a trust policy
    # is this function and no other; two names that differ in nothing but this are one workspace's.
    name = deployment.function_name.lower().replace("_", "-").strip("-") or "x"
    return f"{SERVICE_ACCOUNT_NAME}.{deployment.workspace_id}.{name}.{deployment.id}"


def account_for(deployment: Deployment, config: FunctionsConfig, labels: dict[str, str]) -> Manifest | None:
    if not has_role(deployment, config):
        return None
    return service_account(
        account_name(deployment, config), config.namespace_of(deployment.workspace_id), config, labels
    )


def service_account(name: str, namespace: str, config: FunctionsConfig, labels: dict[str, str]) -> Manifest:
    metadata: Manifest = {"name": name, "namespace": namespace, "labels": labels}
    if config.stores.service_account_annotations:
        metadata["annotations"] = config.stores.service_account_annotations
    return {
        "apiVersion": SERVICE_ACCOUNT.version,
        "kind": SERVICE_ACCOUNT.name,
        "metadata": metadata,
        "automountServiceAccountToken": False,
    }


def token_volume(config: FunctionsConfig) -> Manifest:
    token = {"audience": config.roles.audience, "expirationSeconds": TOKEN_S, "path": "token"}
    # 0444: the file is root's, and the runtime container, which alone has it mounted, is not.
    return {"name": _VOLUME, "projected": {"defaultMode": 0o444, "sources": [{"serviceAccountToken": token}]}}


def token_mount() -> Manifest:
    return {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}


def role_variables(deployment: Deployment, config: FunctionsConfig) -> dict[str, str]:
    """By which AWS's SDKs find the role and the token."""
    if not has_role(deployment, config):
        return {}
    return {
        "AWS_ROLE_ARN": deployment.role,
        # STS takes the characters of functions' names, two of them at least.
        "AWS_ROLE_SESSION_NAME": deployment.function_name.ljust(2, "-"),
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_FOLDER}/token",
    }
