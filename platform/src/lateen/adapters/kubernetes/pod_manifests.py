"""The pod of a function: the invoker as a native sidecar, and the runtime container whose first process is `init`.

Pod Security *restricted* in full. The containers share a network and three volumes, and nothing else: other users, no
group in common, and what is secret is mounted in the sidecar only. User code has no token but one for its own role,
where that is switched on (`roles.py`).
"""

import hashlib
import math
from typing import Any

import msgspec

from lateen.adapters.kubernetes.config import HTTP_PORT, OPERATIONS_PORT, FunctionsConfig
from lateen.adapters.kubernetes.image_functions import TAKING, in_its_place, is_own, pull_policy_of, taking_command
from lateen.adapters.kubernetes.kinds import Manifest, annotated
from lateen.adapters.kubernetes.labels import MANIFEST, TEMPLATE
from lateen.adapters.kubernetes.quantities import cpu, mib
from lateen.adapters.kubernetes.roles import account_name, has_role, token_mount, token_volume
from lateen.ports.deployer import Deployment
from lateen_invoker.room import memory_mib

INVOKER = "invoker"
RUNTIME = "runtime"
INVOKER_USER = 65_532
GRACE_S = 10
"""Beside the function's timeout and the lag of endpoints: for the last records, and for a busy node."""
PROBE_S = 20
"""A readiness probe's patience. The invoker holds it until the function is ready: the kubelet asks once a second, which
would add half a second to each start."""
SPARE_MIB = 32
"""Of the runtime container beside its environments."""
CODE_MIB = 512
"""Unpacked code is at most 250 MiB, and the zip, which may be as large, lies beside it until it is."""
_SCRATCH_MIB = 64
"""Of a container's `/tmp`, where nothing says more, and of what it prints."""

_CODE, _LAYERS, _RUN = "/var/task", "/opt", "/run/lateen"
_CONFIGURE = "/etc/lateen/function"
_CREDENTIALS = "/etc/lateen/aws"
_TOKEN = "/etc/lateen/token"  # noqa: S105 - a folder
_CA = "/etc/lateen/ca"

INIT_VOLUME: Manifest = {"name": "init", "emptyDir": {"sizeLimit": "16Mi"}}
_LAYERS_VOLUME: Manifest = {"name": "layers", "emptyDir": {"sizeLimit": f"{CODE_MIB}Mi"}}
"""With the code's together they hold 250 MiB and one zip, which is what the pod's disk is limited to."""
BRIEF: Manifest = {
    "limits": {"cpu": "500m", "memory": "64Mi", "ephemeral-storage": "32Mi"},
    "requests": {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "16Mi"},
}
"""Of containers that copy something and end."""
CONFINED: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod_template_for(
    deployment: Deployment,
    config: FunctionsConfig,
    *,
    image: str,
    labels: dict[str, str],
    configuration: str,
    has_init: bool = True,
) -> Manifest:
    """Args:
    image: of the runtime; of a function that is an image, that.
    has_init: it has `/lateen/init`. Where it has not, as AWS's base images, that is copied from the invoker's.
    configuration: name of the Secret that tells the invoker what it serves.
    """
    pods = config.pods
    spec: Manifest = {
        "serviceAccountName": account_name(deployment, config),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "shareProcessNamespace": False,
        "terminationGracePeriodSeconds": deployment.timeout_s + math.ceil(config.drain_lag_s) + GRACE_S,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [
            _invoker(deployment, config),
            *([] if has_init else [copying(config)]),
            *([_taking(deployment, config)] if _is_own(deployment) else []),
        ],
        "containers": [_runtime(deployment, config, image, has_init=has_init)],
        "volumes": [
            *_volumes(deployment, config, configuration),
            *([_LAYERS_VOLUME] if deployment.layers else []),
            *([] if has_init else [INIT_VOLUME]),
            *([token_volume(config)] if has_role(deployment, config) else []),
        ],
        "imagePullSecrets": [{"name": name} for name in pods.image_pull_secrets],
        "nodeSelector": pods.node_selector,
        "tolerations": pods.tolerations,
        "affinity": pods.affinity,
        "topologySpreadConstraints": [
            {"labelSelector": {"matchLabels": labels}, **each} for each in pods.topology_spread_constraints
        ],
        "priorityClassName": pods.priority_class_name,
        "runtimeClassName": pods.runtime_class_name,
    }
    template: Manifest = {
        # Ours last: a selector must never be led astray by a value of the chart.
        "metadata": {"labels": {**pods.labels, **labels}, "annotations": _annotations(config)},
        "spec": {name: value for name, value in spec.items() if value not in (None, {}, [])},
    }
    template["metadata"]["annotations"][TEMPLATE] = digest_of(template)
    return template


def digest_of(value: Any) -> str:
    """16 hex digits, the same for the same content."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]


def stamped(manifest: Manifest) -> Manifest:
    """With a digest of itself."""
    return annotated(manifest, MANIFEST, digest_of(manifest))


def user_of(function_id: str, config: FunctionsConfig) -> int:
    """The runtime container's: of each function always the same, so that a limit on processes, which the kernel counts
    by user on the whole node, is its own."""
    number = int.from_bytes(hashlib.sha256(function_id.encode()).digest()[:8], "big")
    return config.pods.first_user_id + number % config.pods.user_ids


def _annotations(config: FunctionsConfig) -> dict[str, str]:
    return {
        **config.pods.annotations,
        "kubectl.kubernetes.io/default-container": RUNTIME,
        # AWS's webhooks would hand the role to each container.
        "eks.amazonaws.com/skip-containers": RUNTIME,
    }


def _invoker(deployment: Deployment, config: FunctionsConfig) -> Manifest:
    stores = config.stores
    environment = {
        **stores.environment,
        "LATEEN_PROBE_TIMEOUT_SECONDS": str(PROBE_S),
        "TMPDIR": "/tmp",  # noqa: S108 - its own
    }
    mounts: list[Manifest] = [
        {"name": "run", "mountPath": _RUN},
        *_code(deployment),
        {"name": "invoker-tmp", "mountPath": "/tmp"},  # noqa: S108
        {"name": "configuration", "mountPath": _CONFIGURE, "readOnly": True},
    ]
    if deployment.layers:
        mounts.append({"name": "layers", "mountPath": _LAYERS})
    if stores.credentials_secret is not None:
        environment["AWS_SHARED_CREDENTIALS_FILE"] = f"{_CREDENTIALS}/credentials"
        mounts.append({"name": "credentials", "mountPath": _CREDENTIALS, "readOnly": True})
    if stores.role_arn is not None:
        environment["AWS_ROLE_ARN"] = stores.role_arn
        environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = f"{_TOKEN}/token"
        mounts.append({"name": "token", "mountPath": _TOKEN, "readOnly": True})
    if stores.ca_secret is not None:
        environment["AWS_CA_BUNDLE"] = f"{_CA}/ca.crt"
        mounts.append({"name": "ca", "mountPath": _CA, "readOnly": True})
    operations = {"port": OPERATIONS_PORT}
    return {
        "name": INVOKER,
        "image": config.images.invoker,
        "imagePullPolicy": config.images.pull_policy,
        "restartPolicy": "Always",
        "command": ["python", "-m", "lateen_invoker", "--pod"],
        "env": [
            *({"name": name, "value": value} for name, value in sorted(environment.items())),
            # As it is, whoever has changed it: the kubelet says.
            {"name": "LATEEN_MEMORY_BYTES", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        ],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "operations", "containerPort": OPERATIONS_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/health/ready", **operations},
            "periodSeconds": 1,
            "timeoutSeconds": PROBE_S,
            "failureThreshold": 1,
        },
        "livenessProbe": {
            "httpGet": {"path": "/health/live", **operations},
            "periodSeconds": 20,
            "timeoutSeconds": 10,
            "failureThreshold": 3,
        },
        "resources": _invoker_resources(deployment, config),
        "securityContext": {**CONFINED, "runAsUser": INVOKER_USER, "runAsGroup": INVOKER_USER},
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts,
    }


def _is_own(deployment: Deployment) -> bool:
    return deployment.image is not None and is_own(deployment.image)


def _code(deployment: Deployment, **more: Any) -> list[Manifest]:
    """Nothing lies over what an image has there itself."""
    return [] if deployment.image is not None else [{"name": "code", "mountPath": _CODE, **more}]


def copying(config: FunctionsConfig) -> Manifest:
    """Puts `init` where the runtime's image has none. Runs beside the invoker, and before the runtime."""
    return {
        "name": "init",
        "image": config.images.invoker,
        "imagePullPolicy": config.images.pull_policy,
        # The image has no shell and no cp.
        "command": ["python", "-c", "import shutil; shutil.copy('/lateen/init', '/copied/init')"],
        "resources": BRIEF,
        "securityContext": {**CONFINED, "runAsUser": INVOKER_USER, "runAsGroup": INVOKER_USER},
        "volumeMounts": [{"name": "init", "mountPath": "/copied"}],
    }


def _taking(deployment: Deployment, config: FunctionsConfig) -> Manifest:
    """Runs after `copying`, and nothing of the image but what it reads there."""
    assert deployment.image is not None
    user = user_of(deployment.function_id, config)
    return {
        "name": TAKING,
        "image": deployment.image.pinned,
        "imagePullPolicy": pull_policy_of(deployment.image, config),
        "command": taking_command(),
        "workingDir": "/",
        "resources": BRIEF,
        "securityContext": {**CONFINED, "runAsUser": user, "runAsGroup": user},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "init", "mountPath": "/lateen"}],
    }


def _runtime(deployment: Deployment, config: FunctionsConfig, image: str, *, has_init: bool) -> Manifest:
    user = user_of(deployment.function_id, config)
    init: list[Manifest] = [] if has_init else [{"name": "init", "mountPath": "/lateen", "readOnly": True}]
    # Over what the image has there, so only where there is something to be seen.
    layers: list[Manifest] = [{"name": "layers", "mountPath": _LAYERS, "readOnly": True}] if deployment.layers else []
    is_own = _is_own(deployment)
    if is_own:
        init.append(in_its_place("init"))
    of_image = deployment.image
    return {
        "name": RUNTIME,
        "image": image,
        "imagePullPolicy": config.images.pull_policy if of_image is None else pull_policy_of(of_image, config),
        **({} if is_own else {"command": ["/lateen/init"]}),
        "resources": _runtime_resources(deployment, config),
        "securityContext": {**CONFINED, "runAsUser": user, "runAsGroup": user},
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "run", "mountPath": _RUN, "readOnly": True},
            *_code(deployment, readOnly=True),
            {"name": "runtime-tmp", "mountPath": "/tmp"},  # noqa: S108
            *layers,
            *init,
            *([token_mount()] if has_role(deployment, config) else []),
        ],
    }


def _volumes(deployment: Deployment, config: FunctionsConfig, configuration: str) -> list[Manifest]:
    stores = config.stores
    # 0444: the files are root's, and the sidecar, which alone has them mounted, is not.
    mode = 0o444
    volumes: list[Manifest] = [
        {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        *([{"name": "code", "emptyDir": {"sizeLimit": mib(CODE_MIB)}}] if deployment.image is None else []),
        {"name": "invoker-tmp", "emptyDir": {"sizeLimit": mib(_SCRATCH_MIB)}},
        {"name": "runtime-tmp", "emptyDir": {"sizeLimit": mib(config.pods.tmp_mib)}},
        {"name": "configuration", "secret": {"secretName": configuration, "defaultMode": mode}},
    ]
    if stores.credentials_secret is not None:
        volumes.append(
            {"name": "credentials", "secret": {"secretName": stores.credentials_secret, "defaultMode": mode}}
        )
    if stores.role_arn is not None:
        token = {"audience": "sts.amazonaws.com", "expirationSeconds": 3600, "path": "token"}
        volumes.append(
            {"name": "token", "projected": {"defaultMode": mode, "sources": [{"serviceAccountToken": token}]}}
        )
    if stores.ca_secret is not None:
        volumes.append({"name": "ca", "secret": {"secretName": stores.ca_secret, "defaultMode": mode}})
    return volumes


def _runtime_resources(deployment: Deployment, config: FunctionsConfig) -> Manifest:
    pods = config.pods
    environments_mib = deployment.memory_mib * deployment.concurrency
    container_mib = environments_mib + SPARE_MIB
    cores = environments_mib / pods.mib_per_cpu
    disk_mib = pods.tmp_mib + _SCRATCH_MIB
    ratio = pods.request_ratio
    return {
        "limits": {"cpu": cpu(cores), "memory": mib(container_mib), "ephemeral-storage": mib(disk_mib)},
        "requests": {
            "cpu": cpu(cores * ratio),
            "memory": mib(container_mib * ratio),
            "ephemeral-storage": mib(disk_mib * ratio),
        },
    }


def _invoker_resources(deployment: Deployment, config: FunctionsConfig) -> Manifest:
    """Unless the chart says otherwise."""
    disk_mib = CODE_MIB + 2 * _SCRATCH_MIB
    given = config.pods.invoker_resources
    return {
        "limits": {
            "cpu": "1",
            "memory": mib(memory_mib(deployment.concurrency)),
            "ephemeral-storage": mib(disk_mib),
            **given.get("limits", {}),
        },
        "requests": {
            "cpu": "10m",
            "memory": "48Mi",
            "ephemeral-storage": mib(_SCRATCH_MIB),
            **given.get("requests", {}),
        },
    }
