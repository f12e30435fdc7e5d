"""A service account with just the rights that the controller has, so that each test of it is a test of them too."""

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import KubernetesApi
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.kinds import NAMESPACE, SERVICE_ACCOUNT, Kind, Manifest, Ref
from lateen.adapters.kubernetes.permissions import Rule, function_rules, leader_rules, namespace_rules

_RBAC = "rbac.authorization.k8s.io/v1"
ROLE = Kind("Role", _RBAC, "roles")
ROLE_BINDING = Kind("RoleBinding", _RBAC, "rolebindings")
CLUSTER_ROLE = Kind("ClusterRole", _RBAC, "clusterroles", is_namespaced=False)
CLUSTER_ROLE_BINDING = Kind("ClusterRoleBinding", _RBAC, "clusterrolebindings", is_namespaced=False)


async def restricted_access(admin: KubernetesApi, config: FunctionsConfig) -> Access:
    """Made in the platform's namespace, which is made too."""
    name, namespace = f"{config.release}-controller", config.namespace
    await _post(admin, NAMESPACE, "", {"metadata": {"name": namespace, "labels": _labels(config)}})
    await _post(admin, SERVICE_ACCOUNT, namespace, {"metadata": {"name": name}})
    await _grant(admin, config, namespace, "leader", leader_rules(config))
    if config.functions_namespace is not None:
        await _post(admin, NAMESPACE, "", {"metadata": {"name": config.functions_namespace, "labels": _labels(config)}})
        await _grant(admin, config, config.functions_namespace, "functions", function_rules())
    else:
        await _grant(admin, config, None, "functions", [*function_rules(), *namespace_rules()])
    path = f"{SERVICE_ACCOUNT.path(namespace, name)}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    answer = await admin._call("POST", path, body=asked, content_type="application/json")
    whole = Access.found()
    return Access(url=whole.url, ca=whole.ca, token=answer["status"]["token"])


async def remove_rights(admin: KubernetesApi, config: FunctionsConfig) -> None:
    for kind in (CLUSTER_ROLE_BINDING, CLUSTER_ROLE):
        await admin.delete(Ref(kind, "", f"{config.release}-functions"))


async def _grant(
    admin: KubernetesApi, config: FunctionsConfig, namespace: str | None, what: str, rules: list[Rule]
) -> None:
    name = f"{config.release}-{what}"
    role, binding = (CLUSTER_ROLE, CLUSTER_ROLE_BINDING) if namespace is None else (ROLE, ROLE_BINDING)
    await _post(admin, role, namespace or "", {"metadata": {"name": name}, "rules": rules})
    account = {"kind": "ServiceAccount", "name": f"{config.release}-controller", "namespace": config.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": role.name, "name": name}
    content = {"metadata": {"name": name}, "roleRef": reference, "subjects": [account]}
    await _post(admin, binding, namespace or "", content)


async def _post(admin: KubernetesApi, kind: Kind, namespace: str, content: Manifest) -> None:
    body = {"apiVersion": kind.version, "kind": kind.name, **content}
    await admin._call("POST", kind.path(namespace or None), body=body, content_type="application/json")


def _labels(config: FunctionsConfig) -> dict[str, str]:
    return {"app.kubernetes.io/instance": config.release}
