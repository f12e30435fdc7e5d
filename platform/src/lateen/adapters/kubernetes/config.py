"""How functions run in a cluster: what the chart's values say, in one JSON document that it mounts.

api and gateway read it to find a function's address, the controller to make its pods. Unknown fields are refused, so a
chart and a platform that don't fit each other say so at once.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta, Struct

from lateen.domain.images import ImagePolicy, is_repository

HTTP_PORT = 8080
"""Of a function pod and its Service: `/{hash}` and what is signed."""
OPERATIONS_PORT = 9090
"""Of every component and function pod: `/metrics`, `/health/live`, `/health/ready`; no Ingress leads there."""


class ConfigError(ValueError):
    """The document is wrong; the text names the field."""


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """JSON names are the chart's."""


class Images(_Part, frozen=True, kw_only=True):
    """Full references: `registry/repository:tag` or `…@sha256:…`."""

    invoker: str
    runtimes: dict[str, str]
    """By canonical name of the runtime. One that is missing is shown as disabled."""
    builds: dict[str, str] = {}
    """The images that code is built in, by canonical name of the runtime. Without one, its code can't be built."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"


class FunctionImages(_Part, frozen=True, kw_only=True):
    """Images that users name in the place of code."""

    enabled: bool = True
    allowed: list[str] = []
    """Registries, or repositories and what is below them: `registry.example.org`, `ghcr.io/team`. Empty: all."""

    @property
    def policy(self) -> ImagePolicy:
        refusal = None if self.enabled else "the administrator has switched them off (functions.images.enabled)"
        return ImagePolicy(refusal, tuple(self.allowed))


class CopiedSecret(_Part, frozen=True, kw_only=True):
    """A Secret that the controller makes in each function namespace, from files that are mounted in its own pod."""

    name: str
    type: str = "Opaque"
    folder: str
    """Each file in it becomes a key."""


class Stores(_Part, frozen=True, kw_only=True):
    """What invokers need to reach the stores. Credentials lie in no environment variable."""

    environment: dict[str, str] = {}
    """`AWS_REGION`, `DYNAMODB_TABLE_NAME`, `S3_BUCKET_NAME`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL_DYNAMODB`,
    `LATEEN_S3_PATH_STYLE`, `HTTPS_PROXY`, `NO_PROXY` …"""
    credentials_secret: str | None = None
    """Static keys: the `CopiedSecret` whose key `credentials` is an AWS credentials file; mounted in the sidecar."""
    role_arn: str | None = None
    """IRSA: a projected service account token is mounted in the sidecar, for this role."""
    service_account_annotations: dict[str, str] = {}
    """Of the service account that function pods name (its token is mounted nowhere but there)."""
    ca_secret: str | None = None
    """The `CopiedSecret` whose key `ca.crt` is the bundle that the stores' certificates are checked against."""


class Roles(_Part, frozen=True, kw_only=True):
    """Roles on AWS that functions' code takes on."""

    enabled: bool = False
    audience: Annotated[str, Meta(min_length=1)] = "lateen-functions"
    """Of the token, and nothing else's: not the API server's, nor that of the invoker's own (`Stores.role_arn`), whose
    subject is the same."""


class Ingress(_Part, frozen=True, kw_only=True):
    """One path per function with `auth: none`, straight to its pods."""

    enabled: bool = False
    class_name: str | None = None
    host: str | None = None
    annotations: dict[str, str] = {}
    tls_secret: str | None = None
    controller_selector: dict[str, Any] | None = None
    """NetworkPolicy peer of the ingress controller's pods: `{"namespaceSelector": …, "podSelector": …}`."""


class HttpRoute(_Part, frozen=True, kw_only=True):
    """The same by Gateway API."""

    enabled: bool = False
    parent_refs: list[dict[str, Any]] = []
    hostnames: list[str] = []


class Egress(_Part, frozen=True, kw_only=True):
    """Where user code (and the sidecar beside it) may connect to."""

    internet: bool = True
    """Everything but private ranges, link-local and metadata addresses."""
    ipv6: bool = False
    """In IPv6 too, where pods have such addresses. Not everything that enforces policies for IPv4 alone bears a rule
    with the others."""
    extra: list[dict[str, Any]] = []
    """NetworkPolicy egress rules, added as they are: stores in the cluster or in private ranges, a database."""
    blocked: list[str] = []
    """Further ranges that are not the internet: the cluster's own, where its addresses are public ones."""
    dns: dict[str, Any] = msgspec.field(
        default_factory=lambda: {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    )
    """NetworkPolicy peer of the cluster's resolver."""
    dns_ports: Annotated[list[Annotated[int, Meta(ge=1, le=65_535)]], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [53]
    )
    """Where its pods listen, UDP and TCP."""


class Network(_Part, frozen=True, kw_only=True):
    policies: bool = True
    platform_selector: dict[str, Any]
    """NetworkPolicy peer of api, gateway and controller, which may call functions."""
    monitoring_selector: dict[str, Any] | None = None
    """NetworkPolicy peer of Prometheus, which may read the operations port."""
    egress: Egress = Egress()


class Pods(_Part, frozen=True, kw_only=True):
    """What all function pods have."""

    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    affinity: dict[str, Any] = {}
    topology_spread_constraints: list[dict[str, Any]] = []
    priority_class_name: str | None = None
    runtime_class_name: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    image_pull_secrets: list[str] = []
    invoker_resources: dict[str, dict[str, str]] = {}
    first_user_id: Annotated[int, Meta(ge=10_000)] = 100_000
    user_ids: Annotated[int, Meta(ge=1)] = 100_000
    """Runtime containers run as one of these many users, a function always as the same."""
    request_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.1
    """Of the CPU and memory limits, which follow from the function's settings, this part is requested."""
    mib_per_cpu: Annotated[int, Meta(ge=128)] = 1769
    """Memory that comes with one CPU, as on AWS."""
    tmp_mib: Annotated[int, Meta(ge=1)] = 512
    """Size of `/tmp`."""

    @property
    def node_affinity(self) -> dict[str, Any]:
        """The part of `affinity` that also holds for pods which make something for function pods. Beside which pods
        those run doesn't: one function pod a node, say, would leave no node for a build."""
        return {name: rules for name, rules in self.affinity.items() if name == "nodeAffinity"}


class DisruptionBudget(_Part, frozen=True, kw_only=True):
    """Of each function that has more than one pod."""

    enabled: bool = True
    max_unavailable: int | str = 1
    """Pods that evictions may take at a time, or a percentage."""


class Builds(_Part, frozen=True, kw_only=True):
    """The pods in which code is built."""

    deadline_s: Annotated[int, Meta(ge=1, le=86_400)] = 600
    """Seconds that a build may take, its pod's start included."""
    cpu: str = "2"
    memory: str = "2Gi"
    disk_mib: Annotated[int, Meta(ge=1)] = 4096
    """Of source, packages and what is made of them together."""
    at_a_time: Annotated[int, Meta(ge=1, le=1000)] = 4
    egress: list[dict[str, Any]] = []
    """NetworkPolicy egress rules for them beside those of functions: a package index in the cluster."""


class Limits(_Part, frozen=True, kw_only=True):
    """ResourceQuota and LimitRange of a workspace's namespace, unless the workspace has its own."""

    pods: int | None = 200
    cpu: str | None = None
    """Sum of the pods' limits: `20`, `500m`."""
    memory: str | None = None
    """Sum of the pods' limits: `64Gi`."""
    functions: Annotated[int, Meta(ge=1, le=100_000)] | None = 1000
    """Functions, which the API counts. What may be in the namespace follows from it, whoever makes it."""


class FunctionsConfig(_Part, frozen=True, kw_only=True):
    release: Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?\Z")]
    """The chart's full name; begins the names of what is cluster-wide, and is `app.kubernetes.io/instance`."""
    namespace: str
    """The platform's own."""
    cluster_domain: str = "cluster.local"
    functions_namespace: str | None = None
    """All functions in this one namespace, which exists; None: one namespace per workspace, made by the controller."""
    namespace_prefix: str = ""
    """Of the workspaces' namespaces; empty: `{release}-`."""
    drain_lag_s: Annotated[float, Meta(ge=0, le=300)] = 5.0
    """Seconds for which a pod that stops still takes calls: endpoints lag."""
    images: Images
    function_images: FunctionImages = FunctionImages()
    stores: Stores
    roles: Roles = Roles()
    network: Network
    copied_secrets: list[CopiedSecret] = []
    ingress: Ingress = Ingress()
    http_route: HttpRoute = HttpRoute()
    pods: Pods = Pods()
    disruption_budget: DisruptionBudget = DisruptionBudget()
    builds: Builds = Builds()
    workspace_limits: Limits = Limits()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises: `ConfigError`."""
        try:
            config = msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as exc:
            raise ConfigError(f"{path.name}: {exc}") from exc
        for each in config.function_images.allowed:
            if not is_repository(each):
                raise ConfigError(f"{path.name}: functionImages.allowed: {each!r} is no registry or repository")
        for each in config.network.egress.blocked:
            if not _is_range(each):
                raise ConfigError(f"{path.name}: network.egress.blocked: {each!r} is no range such as 203.0.113.0/24")
        return config

    def namespace_of(self, workspace_id: str) -> str:
        """Where the workspace's functions run."""
        return self.functions_namespace or f"{self.namespace_prefix or self.release + '-'}{workspace_id}"

    def host_of(self, deployed: str, workspace_id: str) -> str:
        """Its Service, as an absolute name: no search list is tried for it. `deployed`: the deployment's id."""
        return f"{name_of(deployed)}.{self.namespace_of(workspace_id)}.svc.{self.cluster_domain}."


def _is_range(text: str) -> bool:
    """As the API server wants an exception of a policy: with its mask, and less than what it is taken from."""
    try:
        network = ip_network(text)
    except ValueError:
        return False
    return "/" in text and network.prefixlen > (3 if network.version == 6 else 0)


def name_of(deployed: str) -> str:
    """Of Deployment, Service and Ingress, by the deployment's id."""
    return f"fn-{deployed}"
