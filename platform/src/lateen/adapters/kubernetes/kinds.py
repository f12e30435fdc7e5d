"""The kinds of objects that the controller deals with, and where the API server has them."""

from typing import Any, NamedTuple

Manifest = dict[str, Any]
"""An object as the API server takes and gives it. Kept as plain JSON: models of each kind cost more than the calls."""


class Kind(NamedTuple):
    name: str
    version: str
    plural: str
    is_namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Of one object, of all in a namespace, or of all there are."""
        group = "api" if "/" not in self.version else "apis"
        parts = [group, self.version]
        if namespace is not None and self.is_namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        return "/" + "/".join(parts)


NAMESPACE = Kind("Namespace", "v1", "namespaces", is_namespaced=False)
SECRET = Kind("Secret", "v1", "secrets")
SERVICE = Kind("Service", "v1", "services")
SERVICE_ACCOUNT = Kind("ServiceAccount", "v1", "serviceaccounts")
RESOURCE_QUOTA = Kind("ResourceQuota", "v1", "resourcequotas")
LIMIT_RANGE = Kind("LimitRange", "v1", "limitranges")
POD = Kind("Pod", "v1", "pods")
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments")
JOB = Kind("Job", "batch/v1", "jobs")
INGRESS = Kind("Ingress", "networking.k8s.io/v1", "ingresses")
DISRUPTION_BUDGET = Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets")
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")
HTTP_ROUTE = Kind("HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes")
LEASE = Kind("Lease", "coordination.k8s.io/v1", "leases")

KINDS = {
    kind.name: kind
    for kind in (
        NAMESPACE,
        SECRET,
        SERVICE,
        SERVICE_ACCOUNT,
        RESOURCE_QUOTA,
        LIMIT_RANGE,
        POD,
        DEPLOYMENT,
        JOB,
        INGRESS,
        DISRUPTION_BUDGET,
        NETWORK_POLICY,
        HTTP_ROUTE,
        LEASE,
    )
}


class Ref(NamedTuple):
    """Which object."""

    kind: Kind
    namespace: str
    """Empty for what is in none."""
    name: str

    @property
    def path(self) -> str:
        return self.kind.path(self.namespace or None, self.name)


def ref_of(manifest: Manifest) -> Ref:
    metadata = manifest["metadata"]
    return Ref(KINDS[manifest["kind"]], metadata.get("namespace", ""), metadata["name"])


def annotated(manifest: Manifest, name: str, value: str) -> Manifest:
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), name: value}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
