"""What a function is in the cluster: a Secret with its configuration, Deployment, Service, a way in where its URL
is open, a budget of disruptions where it has several pods, and a service account where it has a role. Pure; the same
function makes the same objects."""

import base64
import hashlib

import msgspec
from msgspec import UNSET, Struct

from lateen.adapters.kubernetes.config import HTTP_PORT, FunctionsConfig, name_of
from lateen.adapters.kubernetes.kinds import (
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    HTTP_ROUTE,
    INGRESS,
    SECRET,
    SERVICE,
    Kind,
    Manifest,
)
from lateen.adapters.kubernetes.labels import (
    CONFIGURATION,
    FUNCTION,
    INSTANCE,
    REVISION,
    TEMPLATE,
    VERSION,
    function_labels,
)
from lateen.adapters.kubernetes.pod_manifests import pod_template_for, stamped
from lateen.adapters.kubernetes.roles import account_for, role_variables
from lateen.domain.functions import LATEST
from lateen.domain.provisioned import per_pod
from lateen.ports.deployer import Deployment
from lateen_invoker.control import RuntimeCommand
from lateen_invoker.pod_configure import PodConfigure, PodLayer

QUEUE = 1000
"""Callers of one pod that may wait for an environment; the next one is answered 429."""
PROGRESS_S = 600
"""A rollout that got no further for this long has failed; the invoker itself waits 300 s for an object store."""
LAG_S = 2
"""After which nodes send a Service's calls to a pod that got ready."""
WEEK_S = 7 * 86_400


class FunctionObjects(Struct, frozen=True, kw_only=True):
    """All objects of one version of a function."""

    secret: Manifest
    deployment: Manifest
    service: Manifest
    early_service: Manifest
    """The same while nothing of the function was ever ready: it leads to pods that are not."""
    route: Manifest | None
    """Ingress or HTTPRoute."""
    budget: Manifest | None
    """PodDisruptionBudget."""
    account: Manifest | None
    """ServiceAccount."""

    @property
    def template(self) -> str:
        """Digest of the pods."""
        digest: str = self.deployment["metadata"]["annotations"][TEMPLATE]
        return digest


def objects_for(
    deployment: Deployment,
    config: FunctionsConfig,
    *,
    command: RuntimeCommand,
    image: str,
    has_init: bool = True,
    retention_s: int = WEEK_S,
) -> FunctionObjects:
    """Args:
    command, image, has_init: of the function's runtime.
    """
    namespace = config.namespace_of(deployment.workspace_id)
    labels = function_labels(
        config, workspace_id=deployment.workspace_id, function_id=deployment.function_id, version=deployment.version
    )
    name = name_of(deployment.id)
    secret = _secret_for(
        configure_for(deployment, config, command=command, retention_s=retention_s), name, namespace, labels
    )
    template = pod_template_for(
        deployment, config, image=image, labels=labels, configuration=secret["metadata"]["name"], has_init=has_init
    )
    route = _route_for(deployment, config, labels)
    budget = _budget_for(deployment, config, labels)
    account = account_for(deployment, config, labels)
    return FunctionObjects(
        secret=secret,
        deployment=_deployment_for(deployment, config, labels, template, secret["metadata"]["name"]),
        service=stamped(_service_for(name, namespace, labels, is_early=False)),
        early_service=stamped(_service_for(name, namespace, labels, is_early=True)),
        route=None if route is None else stamped(route),
        budget=None if budget is None else stamped(budget),
        account=None if account is None else stamped(account),
    )


def configure_for(
    deployment: Deployment, config: FunctionsConfig, *, command: RuntimeCommand, retention_s: int = WEEK_S
) -> PodConfigure:
    """What the invoker is told. Nothing of it changes unless the pods have to: no description, no number of pods."""
    stores = config.stores.environment
    return PodConfigure(
        function_id=deployment.function_id,
        function_name=deployment.function_name,
        workspace_id=deployment.workspace_id,
        account_id=deployment.account_id,
        version=deployment.version,
        # Not the function's: every change would be another pod's. The Deployment has it as an annotation.
        revision=0,
        hash=deployment.hash,
        region=stores.get("AWS_REGION", "us-east-1"),
        handler=deployment.handler,
        environment=role_variables(deployment, config) | deployment.environment,
        system_log_level=deployment.system_log_level or UNSET,
        timeout_s=deployment.timeout_s,
        memory_mib=deployment.memory_mib,
        concurrency=deployment.concurrency,
        provisioned=provisioned_per_pod(deployment) or UNSET,
        queue=QUEUE,
        # Not how much: that changes with each pod that comes or goes, and is told to those that run.
        has_share=deployment.reserved is not None,
        open=deployment.open,
        url=deployment.url,
        invoke_key=deployment.invoke_key,
        artifact_bucket=stores["S3_BUCKET_NAME"],
        artifact_key=deployment.artifact_key,
        artifact_sha256=deployment.artifact_sha256,
        layers=[PodLayer(arn=layer.arn, key=layer.key, sha256=layer.sha256) for layer in deployment.layers],
        runtime=command,
        retention_s=retention_s,
        drain_lag_s=config.drain_lag_s,
    )


def provisioned_per_pod(deployment: Deployment) -> int:
    return per_pod(deployment.provisioned, pods=deployment.replicas, concurrency=deployment.concurrency)


def owned(secret: Manifest, owner: Manifest) -> Manifest:
    """As the Deployment's: with it it goes."""
    reference = {
        "apiVersion": DEPLOYMENT.version,
        "kind": DEPLOYMENT.name,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {**secret, "metadata": {**secret["metadata"], "ownerReferences": [reference]}}


def route_kind(config: FunctionsConfig) -> Kind | None:
    """How open functions are reached from outside without the gateway."""
    if config.http_route.enabled:
        return HTTP_ROUTE
    return INGRESS if config.ingress.enabled else None


def _secret_for(configure: PodConfigure, name: str, namespace: str, labels: dict[str, str]) -> Manifest:
    content = msgspec.json.encode(configure, order="deterministic")
    # Its name is in the pods' manifests, which more people may read than Secrets; so it is no digest of the content
    # alone, which somebody could guess. The key is the function's own.
    digest = hashlib.blake2b(content, key=configure.invoke_key[:64], digest_size=8).hexdigest()
    return {
        "apiVersion": SECRET.version,
        "kind": SECRET.name,
        "metadata": {"name": f"{name}-{digest}", "namespace": namespace, "labels": labels},
        "type": "Opaque",
        "immutable": True,
        "data": {"configure.json": base64.b64encode(content).decode()},
    }


def _deployment_for(
    deployment: Deployment, config: FunctionsConfig, labels: dict[str, str], template: Manifest, secret: str
) -> Manifest:
    return {
        "apiVersion": DEPLOYMENT.version,
        "kind": DEPLOYMENT.name,
        "metadata": {
            "name": name_of(deployment.id),
            "namespace": config.namespace_of(deployment.workspace_id),
            "labels": labels,
            "annotations": {
                REVISION: str(deployment.revision),
                TEMPLATE: template["metadata"]["annotations"][TEMPLATE],
                CONFIGURATION: secret,
            },
        },
        "spec": {
            "replicas": deployment.replicas,
            "selector": {"matchLabels": _selector(deployment, labels)},
            # Beside the old ones, and none of those goes before a new one is ready, and nodes have heard of it.
            "minReadySeconds": LAG_S,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": PROGRESS_S,
            "template": template,
        },
    }


def _selector(deployment: Deployment, labels: dict[str, str]) -> dict[str, str]:
    # Of a Deployment it can't be changed, and those of `$LATEST` are older than versions are. Its pods are told from a
    # version's by who owns them.
    keys = (INSTANCE, FUNCTION) if deployment.version == LATEST else (INSTANCE, FUNCTION, VERSION)
    return {key: labels[key] for key in keys}


def _of_version(labels: dict[str, str]) -> dict[str, str]:
    """Selects the pods of this version and no others."""
    return {key: labels[key] for key in (INSTANCE, FUNCTION, VERSION)}


def _service_for(name: str, namespace: str, labels: dict[str, str], *, is_early: bool) -> Manifest:
    return {
        "apiVersion": SERVICE.version,
        "kind": SERVICE.name,
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "publishNotReadyAddresses": is_early,
            "selector": _of_version(labels),
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": HTTP_PORT, "protocol": "TCP"}],
        },
    }


def _budget_for(deployment: Deployment, config: FunctionsConfig, labels: dict[str, str]) -> Manifest | None:
    # One for a single pod would only keep its node from ever being drained.
    if not config.disruption_budget.enabled or deployment.replicas < 2:
        return None
    return {
        "apiVersion": DISRUPTION_BUDGET.version,
        "kind": DISRUPTION_BUDGET.name,
        "metadata": {
            "name": name_of(deployment.id),
            "namespace": config.namespace_of(deployment.workspace_id),
            "labels": labels,
        },
        "spec": {
            "maxUnavailable": config.disruption_budget.max_unavailable,
            # Pods whose code or image is broken never get ready, and would keep their nodes.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": _of_version(labels)},
        },
    }


def _route_for(deployment: Deployment, config: FunctionsConfig, labels: dict[str, str]) -> Manifest | None:
    kind = route_kind(config)
    if kind is None or not deployment.open or deployment.version != LATEST:
        return None
    name = name_of(deployment.id)
    manifest: Manifest = {
        "apiVersion": kind.version,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": config.namespace_of(deployment.workspace_id), "labels": labels},
    }
    path = f"/{deployment.hash}"
    if kind is HTTP_ROUTE:
        route = config.http_route
        manifest["spec"] = {
            "parentRefs": route.parent_refs,
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": path}}],
                    "backendRefs": [{"name": name, "port": HTTP_PORT}],
                }
            ],
        }
        if route.hostnames:
            manifest["spec"]["hostnames"] = route.hostnames
        return manifest
    ingress = config.ingress
    backend = {"service": {"name": name, "port": {"number": HTTP_PORT}}}
    rule: Manifest = {"http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}}
    if ingress.host is not None:
        rule["host"] = ingress.host
    manifest["spec"] = {"rules": [rule]}
    if ingress.annotations:
        manifest["metadata"]["annotations"] = ingress.annotations
    if ingress.class_name is not None:
        manifest["spec"]["ingressClassName"] = ingress.class_name
    if ingress.tls_secret is not None:
        tls: Manifest = {"secretName": ingress.tls_secret}
        if ingress.host is not None:
            tls["hosts"] = [ingress.host]
        manifest["spec"]["tls"] = [tls]
    return manifest
