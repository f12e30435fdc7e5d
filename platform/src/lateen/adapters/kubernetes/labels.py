"""Labels, annotations and selectors: by these the controller knows what is its own. No hash is ever one."""

from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.kinds import Manifest
from lateen.domain.functions import deployment_id

FUNCTION = "lateen.dev/function"
WORKSPACE = "lateen.dev/workspace"
VERSION = "lateen.dev/version"
PLATFORM = "lateen.dev/platform"
"""The platform's namespace: two releases of one name in two namespaces keep their hands off each other's objects."""
REVISION = "lateen.dev/revision"
"""Annotation: of the function's desired state that was applied last."""
TEMPLATE = "lateen.dev/template"
"""Annotation of a Deployment and its pods: digest of the pod template. Same digest, same pods."""
MANIFEST = "lateen.dev/manifest"
"""Annotation of what has no template: digest of the object as it was wanted. So what isn't wanted any more shows."""
CONFIGURATION = "lateen.dev/configurations"
"""Annotation of a Deployment: names of the Secrets that were made for its pods and not removed yet."""
COPIED = "lateen.dev/copied-secrets"
"""Annotation of a namespace: digest of the Secrets that were copied there."""

LATEST = "latest"
"""Label of `$LATEST`, whose dollar sign no label may have."""

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
_FUNCTION_NAME = "lateen-function"
_BUILD_NAME = "lateen-build"
_LOOKUP_NAME = "lateen-image"
BUILD = "lateen.dev/build"


def common_labels(config: FunctionsConfig) -> dict[str, str]:
    return {INSTANCE: config.release, MANAGED_BY: "lateen", PLATFORM: config.namespace}


def place_labels(config: FunctionsConfig, workspace_id: str | None) -> dict[str, str]:
    """Of what a namespace has for all functions in it."""
    workspace = {} if workspace_id is None else {WORKSPACE: workspace_id}
    return {**common_labels(config), NAME: "lateen-workspace", **workspace}


def deployment_in(manifest: Manifest) -> str | None:
    """Id of the deployment that an object belongs to; None: of none."""
    labels = manifest["metadata"].get("labels") or {}
    function_id, version = labels.get(FUNCTION), labels.get(VERSION, LATEST)
    return None if not function_id else deployment_id(function_id, "$LATEST" if version == LATEST else version)


def workspace_in(manifest: Manifest) -> str | None:
    """Id of the workspace whose object it is."""
    workspace_id: str | None = (manifest["metadata"].get("labels") or {}).get(WORKSPACE)
    return workspace_id


def function_labels(config: FunctionsConfig, *, workspace_id: str, function_id: str, version: str) -> dict[str, str]:
    return {
        **common_labels(config),
        NAME: _FUNCTION_NAME,
        WORKSPACE: workspace_id,
        FUNCTION: function_id,
        VERSION: LATEST if version == "$LATEST" else version,
    }


def pods_of_functions(config: FunctionsConfig) -> dict[str, str]:
    """What all function pods of this installation have, and no other pods."""
    return {NAME: _FUNCTION_NAME, INSTANCE: config.release, PLATFORM: config.namespace}


def build_labels(config: FunctionsConfig, *, workspace_id: str, build: str) -> dict[str, str]:
    return {**common_labels(config), NAME: _BUILD_NAME, WORKSPACE: workspace_id, BUILD: build}


def lookup_labels(config: FunctionsConfig, *, workspace_id: str) -> dict[str, str]:
    """Of what says where an image's tag leads to; no policy lets its pods' connections in or out."""
    return {**common_labels(config), NAME: _LOOKUP_NAME, WORKSPACE: workspace_id}


def pods_of_builds(config: FunctionsConfig) -> dict[str, str]:
    """What all pods that build for this installation have, and no other pods."""
    return {NAME: _BUILD_NAME, INSTANCE: config.release, PLATFORM: config.namespace}


def selector_of_functions(config: FunctionsConfig) -> str:
    return ",".join(f"{key}={value}" for key, value in pods_of_functions(config).items())


def selector_of_ours(config: FunctionsConfig) -> str:
    """All of this installation's, functions' and their namespaces'."""
    return ",".join(f"{key}={value}" for key, value in common_labels(config).items())


def selector_of_places(config: FunctionsConfig) -> str:
    return ",".join(f"{key}={value}" for key, value in place_labels(config, None).items())
