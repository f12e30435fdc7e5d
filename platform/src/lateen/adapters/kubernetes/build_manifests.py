"""A build's Job: the source is fetched, built and packed by three containers of one pod, one after the other.

Pod Security *restricted* in full, and no token. Only the second runs what is the user's: it has the runtime's tools and
the workspace's settings. The other two are the invoker's image, and each holds one address in the object store that is
good for one blob and some minutes; nobody there has a key to the store.
"""

import hashlib
import re
from typing import Any

from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.kinds import JOB, SECRET, Manifest
from lateen.adapters.kubernetes.labels import build_labels
from lateen.adapters.kubernetes.pod_manifests import CONFINED, INVOKER_USER
from lateen.adapters.kubernetes.quantities import mib
from lateen.adapters.kubernetes.roles import SERVICE_ACCOUNT_NAME
from lateen.ports.builder import BuildRequest
from lateen.services.build_recipes import ImageRecipe, Recipe

FETCH, BUILD, PACK = "fetch", "build", "pack"
REMEMBERED_S = 600
"""A Job that is over stays for so long, if nobody removes it."""
RUNTIME_DIR = "/lateen/runtime"
_WORK, _CA = "/build", "/etc/lateen/ca"
_SCRATCH, _SCRATCH_MIB = "/scratch", 1024
"""Of the first and the last container, each its own: no build has a hand in it."""
_SMALL: Manifest = {
    "limits": {"cpu": "1", "memory": "512Mi"},
    "requests": {"cpu": "10m", "memory": "64Mi"},
}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+\Z")
_FOLDERS = {"source": ".", "output": "../output", "cache": "../cache"}


def build_name(request: BuildRequest) -> str:
    """Of the Job and its Secret: the same for the same request, so that no build runs twice."""
    return f"build-{hashlib.sha256(f'{request.workspace_id}/{request.id}'.encode()).hexdigest()[:24]}"


def build_secret(
    request: BuildRequest, config: FunctionsConfig, *, addresses: dict[str, str], owner: Manifest
) -> Manifest:
    """Args:
    addresses: `source`, `artifact`, and for the cache `cache` and `kept`.
    owner: the Job, with which it goes.
    """
    # Names of variables are not always names of a Secret's keys.
    variables = {f"variable-{number}": value for number, value in enumerate(_sorted(request.variables).values())}
    reference = {
        "apiVersion": JOB.version,
        "kind": JOB.name,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {
        "apiVersion": SECRET.version,
        "kind": SECRET.name,
        "metadata": {**_metadata(request, config), "ownerReferences": [reference]},
        "stringData": {**addresses, **variables},
    }


def build_job(request: BuildRequest, config: FunctionsConfig, *, recipe: Recipe) -> Manifest:
    assert recipe.image is not None
    pods, builds = config.pods, config.builds
    metadata = _metadata(request, config)
    spec: Manifest = {
        "restartPolicy": "Never",
        "serviceAccountName": SERVICE_ACCOUNT_NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": INVOKER_USER,
            "runAsGroup": INVOKER_USER,
            "fsGroup": INVOKER_USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_fetch(request, config), _build(request, config, recipe, recipe.image)],
        "containers": [_pack(request, config, recipe)],
        "volumes": [
            {"name": "work", "emptyDir": {"sizeLimit": mib(builds.disk_mib)}},
            *({"name": name, "emptyDir": {"sizeLimit": mib(_SCRATCH_MIB)}} for name in (FETCH, PACK)),
            *([{"name": "ca", "secret": {"secretName": config.stores.ca_secret}}] if config.stores.ca_secret else []),
        ],
        "imagePullSecrets": [{"name": name} for name in pods.image_pull_secrets],
        "nodeSelector": pods.node_selector,
        "tolerations": pods.tolerations,
        "affinity": pods.node_affinity,  # what is compiled has to run where the pods do
        "priorityClassName": pods.priority_class_name,
        "runtimeClassName": pods.runtime_class_name,
    }
    return {
        "apiVersion": JOB.version,
        "kind": JOB.name,
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": builds.deadline_s,
            "ttlSecondsAfterFinished": REMEMBERED_S,
            "template": {
                "metadata": {
                    "labels": {**pods.labels, **metadata["labels"]},
                    "annotations": {"eks.amazonaws.com/skip-containers": f"{FETCH},{BUILD},{PACK}"},
                },
                "spec": {name: value for name, value in spec.items() if value not in (None, {}, [])},
            },
        },
    }


def _fetch(request: BuildRequest, config: FunctionsConfig) -> Manifest:
    return _ours(
        FETCH,
        request,
        config,
        {"LATEEN_SOURCE_URL": "source", "LATEEN_CACHE_URL": "cache"},
        {"LATEEN_SOURCE_SHA256": request.source_sha256},
    )


def _pack(request: BuildRequest, config: FunctionsConfig, recipe: Recipe) -> Manifest:
    return _ours(
        PACK,
        request,
        config,
        {"LATEEN_ARTIFACT_URL": "artifact", "LATEEN_CACHE_URL": "kept"},
        {"LATEEN_BUILD_RESULT": recipe.result},
    )


def _ours(
    name: str, request: BuildRequest, config: FunctionsConfig, secret: dict[str, str], plain: dict[str, str]
) -> Manifest:
    near = {
        variable: value
        for variable, value in config.stores.environment.items()
        if variable.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PYTHONPATH")
    }
    mounts: list[Manifest] = [{"name": "work", "mountPath": _WORK}, {"name": name, "mountPath": _SCRATCH}]
    if config.stores.ca_secret is not None:
        near["AWS_CA_BUNDLE"] = f"{_CA}/ca.crt"
        mounts.append({"name": "ca", "mountPath": _CA, "readOnly": True})
    return {
        "name": name,
        "image": config.images.invoker,
        "imagePullPolicy": config.images.pull_policy,
        "command": ["python", "-m", "lateen_invoker.build_pod", name],
        "env": [
            *_plain({**near, **plain, "TMPDIR": _SCRATCH}),
            *(_from_secret(request, variable, key) for variable, key in secret.items()),
        ],
        "resources": _SMALL,
        "securityContext": CONFINED,
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts,
    }


def _build(request: BuildRequest, config: FunctionsConfig, recipe: Recipe, image: ImageRecipe) -> Manifest:
    builds = config.builds
    folders = {name: f"{_WORK}/{name}" for name in ("source", "output", "cache")}
    proxies = {
        variable: value
        for variable, value in config.stores.environment.items()
        if variable.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    }
    environment = {
        "LANG": "C.UTF-8",
        **proxies,
        **{name: _filled(value, folders) for name, value in {**recipe.environment, **image.environment}.items()},
        "HOME": f"{_WORK}/home",
        "TMPDIR": f"{_WORK}/tmp",  # noqa: S108 - its own
        "LATEEN_BUILD_OUTPUT": folders["output"],
        "LATEEN_BUILD_CACHE": folders["cache"],
        "SOURCE_DATE_EPOCH": "315532800",
    }
    names = {name: f"LATEEN_VARIABLE_{number}" for number, name in enumerate(_sorted(request.variables))}
    plain = {name: name for name in names if _PLAIN_NAME.match(name)}
    given = [
        _from_secret(request, plain.get(name, numbered), f"variable-{number}")
        for number, (name, numbered) in enumerate(names.items())
    ]
    # Kubernetes before 1.32 takes no name with an address in it, and `env` takes every one.
    renamed = [f"{name}=$({numbered})" for name, numbered in names.items() if name not in plain]
    command = [_filled(part, {**_FOLDERS, "runtime_dir": RUNTIME_DIR}) for part in image.command]
    return {
        "name": BUILD,
        "image": config.images.builds[request.runtime],
        "imagePullPolicy": config.images.pull_policy,
        "command": ["/usr/bin/env", *renamed, *command] if renamed else command,
        "workingDir": folders["source"],
        "env": [*_plain({n: v for n, v in environment.items() if n not in request.variables}), *given],
        "resources": {
            "limits": {"cpu": builds.cpu, "memory": builds.memory, "ephemeral-storage": mib(builds.disk_mib)},
            "requests": {"cpu": "100m", "memory": "128Mi"},
        },
        "securityContext": CONFINED,
        "volumeMounts": [{"name": "work", "mountPath": _WORK}],
    }


def _plain(environment: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in sorted(environment.items())]


def _from_secret(request: BuildRequest, variable: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": build_name(request), "key": key}}}


def _metadata(request: BuildRequest, config: FunctionsConfig) -> Manifest:
    return {
        "name": build_name(request),
        "namespace": config.namespace_of(request.workspace_id),
        "labels": build_labels(config, workspace_id=request.workspace_id, build=request.id[:40]),
    }


def _sorted(variables: dict[str, str]) -> dict[str, str]:
    return dict(sorted(variables.items()))


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text
