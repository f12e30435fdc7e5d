"""A workspace's place in the cluster: a namespace with its limits, its walls, and what its pods need beside them.

In the mode of one shared namespace, which somebody else made, there are neither namespace nor limits, and the walls are
around function pods only.
"""

import base64
import hashlib
from pathlib import Path

import msgspec
from msgspec import Struct

from lateen.adapters.kubernetes.config import CopiedSecret, FunctionsConfig, Limits
from lateen.adapters.kubernetes.kinds import (
    LIMIT_RANGE,
    NAMESPACE,
    RESOURCE_QUOTA,
    SECRET,
    Kind,
    Manifest,
)
from lateen.adapters.kubernetes.labels import COPIED, place_labels
from lateen.adapters.kubernetes.network_policies import network_policies_for
from lateen.adapters.kubernetes.pod_manifests import stamped
from lateen.adapters.kubernetes.roles import SERVICE_ACCOUNT_NAME, service_account
from lateen.domain.workspaces import Quota

_NAME = "lateen-functions"
_PSA = "pod-security.kubernetes.io"


class PlaceObjects(Struct, frozen=True, kw_only=True):
    namespace: Manifest | None
    watched: list[Manifest]
    """Whoever deletes or edits one of these is seen."""
    secrets: list[Manifest]
    """Not watched: that would be a right to read all Secrets."""


OBJECTS = {"deployments.apps": 4, "services": 4, "secrets": 8, "configmaps": 1, "serviceaccounts": 4}
"""Of each kind, for one function: versions that run beside it, and configurations of pods that are not gone yet."""
SOME = 50
"""More, for what is in the namespace beside functions, such as its own service account."""


def place_for(
    workspace_id: str,
    config: FunctionsConfig,
    *,
    quota: Quota | None,
    secrets: dict[str, dict[str, bytes]],
    digest_key: bytes = b"",
) -> PlaceObjects:
    """Args:
    quota: the workspace's own; None: the installation's.
    secrets: content of the copied Secrets, by their names.
    digest_key: of the digest of that content, which more people may read than Secrets.
    """
    namespace = config.namespace_of(workspace_id)
    is_own = config.functions_namespace is None
    labels = place_labels(config, workspace_id if is_own else None)
    copies = [_copy(copied, namespace, labels, secrets[copied.name]) for copied in config.copied_secrets]
    watched = [
        service_account(SERVICE_ACCOUNT_NAME, namespace, config, labels),
        *network_policies_for(config, namespace, labels),
    ]
    if is_own:
        watched += limits_for(namespace, labels, _limits(config.workspace_limits, quota))
    return PlaceObjects(
        namespace=_namespace(namespace, labels, _digest_of(copies, digest_key)) if is_own else None,
        watched=[stamped(each) for each in watched],
        secrets=copies,
    )


def limits_for(namespace: str, labels: dict[str, str], limits: Limits) -> list[Manifest]:
    hard = {"services.loadbalancers": "0", "services.nodeports": "0"}
    for resource, value in (
        ("pods", None if limits.pods is None else str(limits.pods)),
        # Of what pods may use at most; what they ask for at least is a part of it.
        ("limits.cpu", limits.cpu),
        ("limits.memory", limits.memory),
    ):
        if value is not None:
            hard[resource] = value
    if limits.functions is not None:
        hard |= {f"count/{kind}": str(each * limits.functions + SOME) for kind, each in OBJECTS.items()}
    # Function pods say all of this themselves; it holds what else somebody may start there.
    standard = {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "512Mi"}
    requests = {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "64Mi"}
    container = {"type": "Container", "default": standard, "defaultRequest": requests}
    return [
        _manifest(RESOURCE_QUOTA, namespace, labels, {"spec": {"hard": hard}}),
        _manifest(LIMIT_RANGE, namespace, labels, {"spec": {"limits": [container]}}),
    ]


def read_copied(config: FunctionsConfig) -> dict[str, dict[str, bytes]]:
    """Content of the Secrets to copy, from the files that are mounted. Raises: `OSError`."""
    return {
        copied.name: {
            # What a mounted Secret shows as files are links beside folders that begin with two dots.
            path.name: path.read_bytes()
            for path in sorted(Path(copied.folder).iterdir())
            if not path.name.startswith("..") and path.is_file()
        }
        for copied in config.copied_secrets
    }


def _digest_of(copies: list[Manifest], key: bytes) -> str:
    # With a key, for a registry's password may be one that can be guessed.
    content = msgspec.json.encode(copies, order="deterministic")
    return hashlib.blake2b(content, key=key, digest_size=8).hexdigest()


def _limits(standard: Limits, quota: Quota | None) -> Limits:
    if quota is None:
        return standard
    return Limits(
        pods=standard.pods if quota.pods is None else quota.pods,
        cpu=standard.cpu if quota.cpu is None else quota.cpu,
        memory=standard.memory if quota.memory is None else quota.memory,
        functions=standard.functions,
    )


def _namespace(name: str, labels: dict[str, str], copied: str) -> Manifest:
    # Function pods meet `restricted` of whatever version the cluster has.
    security = {f"{_PSA}/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {
        "apiVersion": NAMESPACE.version,
        "kind": NAMESPACE.name,
        "metadata": {"name": name, "labels": {**labels, **security}, "annotations": {COPIED: copied}},
    }


def _copy(copied: CopiedSecret, namespace: str, labels: dict[str, str], content: dict[str, bytes]) -> Manifest:
    data = {name: base64.b64encode(value).decode() for name, value in content.items()}
    manifest = _manifest(SECRET, namespace, labels, {"type": copied.type, "data": data})
    manifest["metadata"]["name"] = copied.name
    return manifest


def _manifest(kind: Kind, namespace: str, labels: dict[str, str], rest: Manifest) -> Manifest:
    metadata = {"name": _NAME, "namespace": namespace, "labels": labels}
    return {"apiVersion": kind.version, "kind": kind.name, "metadata": metadata, **rest}
