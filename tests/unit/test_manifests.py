"""What a function is in the cluster. Pure: no cluster is needed to know it."""

import base64
import ipaddress
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import pytest
from controller_setting import COMMAND, RUNTIME_IMAGE, a_function, changed, config_for, new_code

from lateen.adapters.kubernetes.config import (
    ConfigError,
    CopiedSecret,
    Egress,
    FunctionsConfig,
    HttpRoute,
    Ingress,
    Limits,
    Network,
    Pods,
    Roles,
    Stores,
)
from lateen.adapters.kubernetes.image_resolver import lookup_job
from lateen.adapters.kubernetes.labels import COPIED
from lateen.adapters.kubernetes.manifests import FunctionObjects, objects_for, owned
from lateen.adapters.kubernetes.place_manifests import place_for, read_copied
from lateen.adapters.kubernetes.pod_manifests import user_of
from lateen.domain.layers import UsedLayer
from lateen.domain.workspaces import Quota
from lateen.ports.deployer import Deployment
from lateen_invoker.http_port import BODY_LIMIT, HEAD_LIMIT
from lateen_invoker.pod_configure import PodConfigure
from lateen_invoker.pod_settings import PodSettings
from lateen_invoker.room import memory_mib, most_in, room_in

PLATFORM = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "lateen"}}}


@pytest.fixture
def config(tmp_path: Path) -> FunctionsConfig:
    return config_for(
        tmp_path,
        release="lateen",
        namespace="lateen",
        stores=Stores(environment={"AWS_REGION": "eu-west-1", "DYNAMODB_TABLE_NAME": "t", "S3_BUCKET_NAME": "code"}),
        copied_secrets=[],
        network=Network(platform_selector=PLATFORM),
        pods=Pods(),
        ingress=Ingress(enabled=True, class_name="traefik", host="f.example.org", tls_secret="f-tls"),
    )


def objects(function: Deployment, config: FunctionsConfig) -> FunctionObjects:
    return objects_for(function, config, command=COMMAND, image=RUNTIME_IMAGE)


def template(function: Deployment, config: FunctionsConfig) -> dict[str, Any]:
    found: dict[str, Any] = objects(function, config).deployment["spec"]["template"]
    return found


def containers(function: Deployment, config: FunctionsConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Invoker and runtime."""
    spec = template(function, config)["spec"]
    (invoker,), (runtime,) = spec["initContainers"], spec["containers"]
    return invoker, runtime


def test_what_is_provisioned_changes_nothing_for_others(config: FunctionsConfig) -> None:
    """Pods of a function without it are told what they were told before there was such a thing; with it, what one pod
    has of it."""

    def told(made: FunctionObjects) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(base64.b64decode(made.secret["data"]["configure.json"]))
        return found

    function = a_function(replicas=2, concurrency=4)
    plain, kept = objects(function, config), objects(msgspec.structs.replace(function, provisioned=5), config)
    assert "provisioned" not in told(plain)
    assert told(kept).pop("provisioned") == 3
    assert {name: value for name, value in told(kept).items() if name != "provisioned"} == told(plain)
    assert kept.template != plain.template
    read = msgspec.convert(told(plain), PodConfigure).configure(Path("/tmp/lateen"))
    assert read.provisioned == 0
    read = msgspec.convert(told(kept), PodConfigure).configure(Path("/tmp/lateen"))
    assert read.provisioned == 3


def test_layers_are_mounted_where_there_are_some(config: FunctionsConfig) -> None:
    """Over what an image has at `/opt`, read-only for the runtime; a function without any has nothing of it."""
    layer = UsedLayer(arn="arn:layer:1", key="w/layers/a/0.zip", sha256="0" * 64, size=1, unzipped=2)
    made = objects(a_function(layers=(layer,)), config)
    spec = made.deployment["spec"]["template"]["spec"]
    (invoker,), (runtime,) = spec["initContainers"], spec["containers"]
    assert {"name": "layers", "mountPath": "/opt"} in invoker["volumeMounts"]
    assert {"name": "layers", "mountPath": "/opt", "readOnly": True} in runtime["volumeMounts"]
    assert {"name": "layers", "emptyDir": {"sizeLimit": "512Mi"}} in spec["volumes"]
    told = json.loads(base64.b64decode(made.secret["data"]["configure.json"]))
    assert told["layers"] == [{"arn": "arn:layer:1", "key": "w/layers/a/0.zip", "sha256": "0" * 64}]
    plain = json.dumps(template(a_function(), config))
    assert "/opt" not in plain
    assert "layers" not in plain


def test_names_and_labels(config: FunctionsConfig) -> None:
    """Names come from ids alone; each object says whose it is; the hash is no label anywhere."""
    function = a_function(function_id="abc", workspace_id="w1", function_name="$(reboot)")
    made = objects(function, config)
    expected = {
        "app.kubernetes.io/name": "lateen-function",
        "app.kubernetes.io/instance": "lateen",
        "app.kubernetes.io/managed-by": "lateen",
        "lateen.dev/platform": "lateen",
        "lateen.dev/workspace": "w1",
        "lateen.dev/function": "abc",
        "lateen.dev/version": "latest",
    }
    assert made.route is not None
    for manifest in (made.deployment, made.service, made.route, made.secret):
        assert manifest["metadata"]["labels"] == expected
        assert manifest["metadata"]["namespace"] == "lateen-w1"
        assert manifest["metadata"]["name"].startswith("fn-abc")
    assert made.deployment["spec"]["template"]["metadata"]["labels"] == expected
    texts = [made.deployment, made.service, {**made.route, "spec": None}]
    assert function.hash not in json.dumps(texts)
    assert "reboot" not in json.dumps([*texts, made.route])


def test_the_pod_is_confined(config: FunctionsConfig) -> None:
    """Pod Security *restricted* and what goes beyond it; two users, and no group in common."""
    spec = template(a_function(), config)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not any(spec[name] for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"))
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    invoker, runtime = containers(a_function(), config)
    for container in (invoker, runtime):
        context = dict(container["securityContext"])
        assert context.pop("runAsUser") == context.pop("runAsGroup") >= 10_000
        assert context == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    assert invoker["securityContext"]["runAsUser"] != runtime["securityContext"]["runAsUser"]
    for volume in spec["volumes"]:
        assert "hostPath" not in volume
        assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


def test_what_is_secret_is_the_sidecars(tmp_path: Path, config: FunctionsConfig) -> None:
    """The runtime has no variable and no file of the platform's; the user's variables and the key are in no manifest
    but the Secret."""
    stores = Stores(
        environment=dict(config.stores.environment), credentials_secret="keys", role_arn="arn:aws:iam::1:role/r",
        ca_secret="ca", service_account_annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"},
    )  # fmt: skip
    function = a_function(environment={"PASSWORD": "hunter2-hunter2"})
    config = msgspec.structs.replace(config, stores=stores)
    made = objects(function, config)
    invoker, runtime = containers(function, config)
    assert "env" not in runtime
    assert {mount["name"]: mount.get("readOnly", False) for mount in runtime["volumeMounts"]} == {
        "run": True, "code": True, "runtime-tmp": False,
    }  # fmt: skip
    mounts = {mount["name"]: mount["mountPath"] for mount in invoker["volumeMounts"]}
    assert mounts == {
        "run": "/run/lateen", "code": "/var/task", "invoker-tmp": "/tmp", "configuration": "/etc/lateen/function",
        "credentials": "/etc/lateen/aws", "token": "/etc/lateen/token", "ca": "/etc/lateen/ca",
    }  # fmt: skip
    env = {each["name"]: each.get("value") for each in invoker["env"]}
    assert env["AWS_SHARED_CREDENTIALS_FILE"] == "/etc/lateen/aws/credentials"
    assert env["AWS_WEB_IDENTITY_TOKEN_FILE"] == "/etc/lateen/token/token"
    assert env["AWS_ROLE_ARN"] == "arn:aws:iam::1:role/r"
    assert env["AWS_CA_BUNDLE"] == "/etc/lateen/ca/ca.crt"
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(env)
    key = base64.b64encode(function.invoke_key).decode()
    for manifest in (made.deployment, made.service, made.route):
        assert "hunter2" not in json.dumps(manifest)
        assert key not in json.dumps(manifest)
    told = msgspec.json.decode(base64.b64decode(made.secret["data"]["configure.json"]), type=PodConfigure)
    assert told.environment == function.environment
    assert told.invoke_key == function.invoke_key
    assert told.artifact_bucket == "code"
    assert made.secret["immutable"] is True
    annotations = template(function, config)["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/skip-containers"] == "runtime"


ROLE = "arn:aws:iam::111122223333:role/orders"


def with_roles(config: FunctionsConfig, **stores: Any) -> FunctionsConfig:
    stores = {"environment": config.stores.environment, **stores}
    return msgspec.structs.replace(config, roles=Roles(enabled=True, audience="functions"), stores=Stores(**stores))


def told_by(made: FunctionObjects) -> PodConfigure:
    return msgspec.json.decode(base64.b64decode(made.secret["data"]["configure.json"]), type=PodConfigure)


def test_a_role_is_the_codes_own(config: FunctionsConfig) -> None:
    """A service account for its pods alone, whose token the runtime container has and the sidecar has not; the sidecar
    keeps what it has, and user code gets nothing of that."""
    annotations = {"example.com/who": "functions"}
    config = with_roles(config, role_arn="arn:aws:iam::1:role/invoker", service_account_annotations=annotations)
    function = a_function(function_id="abc", workspace_id="w1", function_name="Orders_API", role=ROLE)
    made = objects(function, config)
    assert made.account is not None
    metadata = made.account["metadata"]
    assert metadata["name"] == "lateen-function.w1.orders-api.abc"
    assert (metadata["namespace"], metadata["labels"]) == ("lateen-w1", made.deployment["metadata"]["labels"])
    assert metadata["annotations"].items() >= annotations.items()
    assert made.account["automountServiceAccountToken"] is False
    spec = template(function, config)["spec"]
    assert spec["serviceAccountName"] == metadata["name"]
    assert spec["automountServiceAccountToken"] is False
    invoker, runtime = containers(function, config)
    volumes = {each["name"]: each["projected"] for each in spec["volumes"] if "projected" in each}
    token = {"audience": "functions", "expirationSeconds": 3600, "path": "token"}
    assert volumes.pop("role") == {"defaultMode": 0o444, "sources": [{"serviceAccountToken": token}]}
    assert volumes["token"]["sources"][0]["serviceAccountToken"]["audience"] == "sts.amazonaws.com"
    mount = {"name": "role", "mountPath": "/var/run/secrets/lateen.dev/role", "readOnly": True}
    assert [each for each in runtime["volumeMounts"] if each["name"] in ("role", "token")] == [mount]
    assert [each["name"] for each in invoker["volumeMounts"] if each["name"] in ("role", "token")] == ["token"]
    assert {"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::1:role/invoker"} in invoker["env"]
    assert "env" not in runtime
    assert told_by(made).environment == {
        "AWS_ROLE_ARN": ROLE,
        "AWS_ROLE_SESSION_NAME": "Orders_API",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/lateen.dev/role/token",
    }


def test_a_role_may_be_another_by_variables(config: FunctionsConfig) -> None:
    """What a function says itself stands. STS takes no name of one character."""
    function = a_function(function_name="f", role=ROLE, environment={"AWS_ROLE_ARN": "other", "A": "1"})
    told = told_by(objects(function, with_roles(config))).environment
    assert (told["AWS_ROLE_ARN"], told["A"], told["AWS_ROLE_SESSION_NAME"]) == ("other", "1", "f-")


def test_each_version_has_an_account_that_names_its_function(config: FunctionsConfig) -> None:
    """What a trust policy tells apart, in a namespace that workspaces share too: workspace, function, version."""
    shared = msgspec.structs.replace(with_roles(config), functions_namespace="all")
    names = []
    for workspace, name, version in (
        ("w", "a", "$LATEST"),
        ("w", "a", "7"),
        ("w", "a-b", "$LATEST"),
        ("w-a", "b", "7"),
    ):
        function = a_function(function_id="i", workspace_id=workspace, function_name=name, version=version, role=ROLE)
        account = objects(function, shared).account
        assert account is not None
        names.append(account["metadata"]["name"])
    assert names == [f"lateen-function.{rest}" for rest in ("w.a.i", "w.a.i-7", "w.a-b.i", "w-a.b.i-7")]
    long = a_function(workspace_id="w" * 40, function_name="_" + "f" * 62 + "-", role=ROLE, version="9" * 9)
    account = objects(long, shared).account
    assert account is not None
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", account["metadata"]["name"])
    assert len(account["metadata"]["name"]) < 253


def test_the_policy_in_the_chart_s_page_trusts_its_function(config: FunctionsConfig) -> None:
    """In all its versions, and no other function."""
    text = (Path(__file__).parents[2] / "charts/lateen/README.md").read_text()
    (statement,) = json.loads(text.partition("```json")[2].partition("```")[0])["Statement"]
    trusted = statement["Condition"]["StringLike"]["ISSUER:sub"]

    def is_trusted(**function: str) -> bool:
        account = objects(a_function(role=ROLE, **function), with_roles(config)).account
        assert account is not None
        name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
        return fnmatchcase(f"system:serviceaccount:{namespace}:{name}", trusted)

    assert is_trusted(function_name="orders")
    assert is_trusted(function_name="orders", version="7")
    assert not is_trusted(function_name="orders-too")
    assert not is_trusted(function_name="orders", workspace_id="other")


def test_without_roles_nothing_of_them_is_there(config: FunctionsConfig) -> None:
    """Neither where they are off nor for a function that has none: the pods are what they were before."""
    plain, on = a_function(), with_roles(config)
    function = msgspec.structs.replace(plain, role=ROLE)
    assert objects(function, config) == objects(plain, config) == objects(plain, on)
    assert objects(plain, on).account is None
    assert template(plain, on)["spec"]["serviceAccountName"] == "lateen-function"
    other = msgspec.structs.replace(function, role=f"{ROLE}-2")
    assert len({objects(each, on).template for each in (plain, function, other)}) == 3


def test_limits_follow_from_the_functions_settings(config: FunctionsConfig) -> None:
    """Memory is per environment, 32 MiB are spare; CPU comes with memory; the grace period with the timeout and with
    the time for which a stopping pod still takes calls."""
    function = a_function(memory_mib=256, concurrency=10, timeout_s=900)
    _, runtime = containers(function, config)
    assert runtime["resources"] == {
        "limits": {"cpu": "1447m", "memory": "2592Mi", "ephemeral-storage": "576Mi"},
        "requests": {"cpu": "145m", "memory": "259Mi", "ephemeral-storage": "58Mi"},
    }
    assert template(function, config)["spec"]["terminationGracePeriodSeconds"] == 915
    slow = msgspec.structs.replace(config, drain_lag_s=19.5)
    assert template(function, slow)["spec"]["terminationGracePeriodSeconds"] == 930


def test_the_invoker_is_told_its_memory(config: FunctionsConfig) -> None:
    """The limit that its container really has, however that came about: what it holds for callers follows from it."""
    for concurrency, limit in ((1, "176Mi"), (10, "320Mi"), (100, "1760Mi")):
        invoker, _ = containers(a_function(concurrency=concurrency), config)
        assert invoker["resources"]["limits"]["memory"] == limit
        assert memory_mib(concurrency) == int(limit.removesuffix("Mi"))
    (told,) = (each for each in invoker["env"] if each["name"] == "LATEEN_MEMORY_BYTES")
    assert told["valueFrom"] == {"resourceFieldRef": {"resource": "limits.memory"}}
    settings = PodSettings.from_env({"DYNAMODB_TABLE_NAME": "t", "LATEEN_MEMORY_BYTES": "335544320"})
    assert settings.memory_bytes == 320 << 20


@pytest.mark.parametrize("memory", [0, 64 << 20, 176 << 20, 320 << 20, 1760 << 20])
def test_the_largest_request_has_room(memory: int) -> None:
    """Whatever limit an operator has set."""
    room = room_in(memory)
    assert most_in(room, is_small=False) >= BODY_LIMIT + HEAD_LIMIT
    assert most_in(room, is_small=False) < most_in(room, is_small=True) < room
    assert memory < 160 << 20 or 2 * room <= memory - (96 << 20)


def test_a_pod_stops_taking_calls_before_it_ends(config: FunctionsConfig) -> None:
    """A native sidecar, so that it outlives the runtime; ready is asked each second and may be held; a rollout never
    takes away what serves."""
    invoker, runtime = containers(a_function(), config)
    assert invoker["restartPolicy"] == "Always"
    probe = invoker["readinessProbe"]
    assert probe["httpGet"] == {"path": "/health/ready", "port": 9090}
    assert (probe["periodSeconds"], probe["failureThreshold"]) == (1, 1)
    env = {each["name"]: each.get("value") for each in invoker["env"]}
    assert float(env["LATEEN_PROBE_TIMEOUT_SECONDS"]) == probe["timeoutSeconds"]
    assert runtime["command"] == ["/lateen/init"]
    strategy = objects(a_function(), config).deployment["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": "25%", "maxUnavailable": 0}


def test_only_what_pods_have_to_know_makes_new_ones(config: FunctionsConfig) -> None:
    """Revisions and replicas don't; code, variables, limits, who may call and the images do."""
    function = a_function()
    made = objects(function, config)
    for same in (function, changed(function), changed(function, replicas=7)):
        again = objects(same, config)
        assert again.template == made.template
        assert again.secret == made.secret
    for other in (
        new_code(function, "2"),
        changed(function, environment={"A": "1"}),
        changed(function, memory_mib=512),
        changed(function, timeout_s=2),
        changed(function, open=False),
    ):
        again = objects(other, config)
        assert again.template != made.template
        assert again.secret["metadata"]["name"] != made.secret["metadata"]["name"]
    newer = msgspec.structs.replace(config, images=msgspec.structs.replace(config.images, invoker="invoker:2"))
    again = objects(function, newer)
    assert again.template != made.template
    assert again.secret == made.secret


def test_the_secrets_name_tells_nothing(config: FunctionsConfig) -> None:
    """It depends on the key: who reads Deployments can't try out what the variables may be."""
    function = a_function(environment={"PIN": "1234"})
    other = msgspec.structs.replace(function, invoke_key=b"x" * 32)
    assert objects(function, config).secret["metadata"]["name"] != objects(other, config).secret["metadata"]["name"]


def test_secrets_go_with_their_deployment(config: FunctionsConfig) -> None:
    made = objects(a_function(function_id="abc"), config)
    live = {"metadata": {"name": "fn-abc", "uid": "u-1"}}
    (owner,) = owned(made.secret, live)["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "fn-abc", "uid": "u-1"}


def test_users_are_the_functions_own(config: FunctionsConfig) -> None:
    """Always the same of a function, within the range, and rarely that of another."""
    pods = Pods(first_user_id=500_000, user_ids=1000)
    config = msgspec.structs.replace(config, pods=pods)
    users = [user_of(f"function-{n}", config) for n in range(100)]
    assert users == [user_of(f"function-{n}", config) for n in range(100)]
    assert all(500_000 <= user < 501_000 for user in users)
    assert len(set(users)) > 85


def test_ways_in(config: FunctionsConfig) -> None:
    """An Ingress or an HTTPRoute for a function that is open, and none for another."""
    function = a_function(function_id="abc")
    ingress = objects(function, config).route
    assert ingress is not None
    assert ingress["spec"] == {
        "ingressClassName": "traefik",
        "tls": [{"secretName": "f-tls", "hosts": ["f.example.org"]}],
        "rules": [
            {
                "host": "f.example.org",
                "http": {
                    "paths": [
                        {
                            "path": f"/{function.hash}",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "fn-abc", "port": {"number": 8080}}},
                        }
                    ]
                },
            }
        ],
    }
    assert objects(changed(function, open=False), config).route is None
    assert objects(function, msgspec.structs.replace(config, ingress=Ingress())).route is None
    routes = HttpRoute(enabled=True, parent_refs=[{"name": "g"}])
    route = objects(function, msgspec.structs.replace(config, ingress=Ingress(), http_route=routes)).route
    assert route is not None
    assert route["kind"] == "HTTPRoute"


def test_the_service_leads_to_pods_that_are_ready(config: FunctionsConfig) -> None:
    """But for the one of a new function, which is the same in all else but its digest."""
    made = objects(a_function(), config)
    assert made.service["spec"]["publishNotReadyAddresses"] is False
    early = {**made.early_service, "metadata": made.service["metadata"]}
    assert early == {**made.service, "spec": {**made.service["spec"], "publishNotReadyAddresses": True}}
    digests = [each["metadata"]["annotations"]["lateen.dev/manifest"] for each in (made.service, made.early_service)]
    assert digests[0] != digests[1]


def test_values_of_the_chart_reach_the_pods(config: FunctionsConfig) -> None:
    """What they may not do is to lead a selector astray."""
    pods = Pods(
        node_selector={"pool": "functions"}, tolerations=[{"key": "functions"}], priority_class_name="low",
        runtime_class_name="gvisor", image_pull_secrets=["pull"], affinity={"podAntiAffinity": {}},
        topology_spread_constraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        labels={"team": "a", "lateen.dev/function": "evil"}, annotations={"a": "b"},
        invoker_resources={"limits": {"memory": "1Gi"}},
    )  # fmt: skip
    function = a_function(function_id="abc")
    config = msgspec.structs.replace(config, pods=pods)
    made = template(function, config)
    spec = made["spec"]
    assert spec["nodeSelector"] == {"pool": "functions"}
    assert spec["tolerations"] == [{"key": "functions"}]
    assert spec["priorityClassName"] == "low"
    assert spec["runtimeClassName"] == "gvisor"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"]["lateen.dev/function"] == "abc"
    assert made["metadata"]["labels"]["team"] == "a"
    assert made["metadata"]["labels"]["lateen.dev/function"] == "abc"
    assert made["metadata"]["annotations"]["a"] == "b"
    invoker, _ = containers(function, config)
    assert invoker["resources"]["limits"]["memory"] == "1Gi"
    assert invoker["resources"]["limits"]["cpu"] == "1"


def test_images_that_know_nothing_of_lateen(config: FunctionsConfig) -> None:
    """AWS's base images and their like: `init` is copied into the pod, read-only for the runtime, by a container that
    is confined like the others; the entrypoint is told the handler."""
    function = a_function(handler="app.handler")
    command = msgspec.structs.replace(COMMAND, command=["/lambda-entrypoint.sh", "{handler}"])
    made = objects_for(function, config, command=command, image="public/lambda:3", has_init=False)
    spec = made.deployment["spec"]["template"]["spec"]
    invoker, copying = spec["initContainers"]
    (runtime,) = spec["containers"]
    assert copying["image"] == invoker["image"]
    assert copying["securityContext"] == invoker["securityContext"]
    assert copying["volumeMounts"] == [{"name": "init", "mountPath": "/copied"}]
    assert {"name": "init", "mountPath": "/lateen", "readOnly": True} in runtime["volumeMounts"]
    assert runtime["command"] == ["/lateen/init"]
    told = msgspec.json.decode(base64.b64decode(made.secret["data"]["configure.json"]), type=PodConfigure)
    assert told.runtime.environment_command(128, told.handler) == ["/lambda-entrypoint.sh", "app.handler"]


def test_a_workspaces_place(config: FunctionsConfig, tmp_path: Path) -> None:
    """A namespace that enforces *restricted*, a quota and defaults, walls, a service account without a token."""
    place = place_for("w1", config, quota=Quota(pods=7, memory="8Gi"), secrets={})
    assert place.namespace is not None
    assert place.namespace["metadata"]["name"] == "lateen-w1"
    assert place.namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    by_kind = {(each["kind"], each["metadata"]["name"]): each for each in place.watched}
    assert set(by_kind) == {
        ("ServiceAccount", "lateen-function"), ("NetworkPolicy", "lateen-deny"), ("NetworkPolicy", "lateen-builds"),
        ("NetworkPolicy", "lateen-functions"), ("ResourceQuota", "lateen-functions"),
        ("LimitRange", "lateen-functions"),
    }  # fmt: skip
    assert by_kind["ServiceAccount", "lateen-function"]["automountServiceAccountToken"] is False
    hard = by_kind["ResourceQuota", "lateen-functions"]["spec"]["hard"]
    assert hard == {
        "pods": "7", "limits.memory": "8Gi", "services.loadbalancers": "0", "services.nodeports": "0",
        "count/deployments.apps": "4050", "count/services": "4050", "count/secrets": "8050", "count/configmaps": "1050",
        "count/serviceaccounts": "4050",
    }  # fmt: skip
    limits = msgspec.structs.replace(config, workspace_limits=Limits(pods=None, cpu="4"))
    place = place_for("w1", limits, quota=None, secrets={})
    hard = next(each for each in place.watched if each["kind"] == "ResourceQuota")["spec"]["hard"]
    assert hard["limits.cpu"] == "4"
    assert "pods" not in hard
    unlimited = msgspec.structs.replace(config, workspace_limits=Limits(functions=None))
    place = place_for("team-1", unlimited, quota=None, secrets={})
    hard = next(each for each in place.watched if each["kind"] == "ResourceQuota")["spec"]["hard"]
    assert not [name for name in hard if name.startswith("count/")]


def copied_digest(config: FunctionsConfig, content: bytes, key: bytes) -> str:
    secrets = {copied.name: {"file": content} for copied in config.copied_secrets}
    place = place_for("w1", config, quota=None, secrets=secrets, digest_key=key)
    assert place.namespace is not None
    return str(place.namespace["metadata"]["annotations"][COPIED])


def test_copied_secrets_are_the_mounted_files(config: FunctionsConfig, tmp_path: Path) -> None:
    """As a mounted Secret shows them: links, beside a folder of the kubelet's own. What the namespace says of their
    content can't be guessed without the installation's key."""
    folder = tmp_path / "pull"
    (folder / "..data").mkdir(parents=True)
    (folder / "..data" / ".dockerconfigjson").write_bytes(b"{}")
    (folder / ".dockerconfigjson").symlink_to("..data/.dockerconfigjson")
    copied = CopiedSecret(name="pull", type="kubernetes.io/dockerconfigjson", folder=str(folder))
    config = msgspec.structs.replace(config, copied_secrets=[copied])
    (secret,) = place_for("w1", config, quota=None, secrets=read_copied(config)).secrets
    digests = {copied_digest(config, content, key) for content in (b"a", b"b") for key in (b"k", b"l")}
    assert len(digests) == 4
    assert secret["metadata"]["name"] == "pull"
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert secret["data"] == {".dockerconfigjson": base64.b64encode(b"{}").decode()}


def policies(config: FunctionsConfig) -> dict[str, Any]:
    place = place_for("w1", config, quota=None, secrets={})
    return {each["metadata"]["name"]: each["spec"] for each in place.watched if each["kind"] == "NetworkPolicy"}


def test_walls(config: FunctionsConfig) -> None:
    """Nothing in and nothing out for any pod there; then calls from the platform to function pods, and names."""
    made = policies(config)
    deny = made["lateen-deny"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []}
    allow = made["lateen-functions"]
    assert allow["ingress"] == [{"from": [PLATFORM], "ports": [{"port": 8080, "protocol": "TCP"}]}]
    assert allow["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "lateen-function"
    names, internet = allow["egress"]
    assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert internet["to"][0]["ipBlock"]["cidr"] == "0.0.0.0/0"


def test_walls_open_for_who_is_named(config: FunctionsConfig) -> None:
    ingress_pods, prometheus = {"podSelector": {"matchLabels": {"a": "b"}}}, {"namespaceSelector": {}}
    extra = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 8000, "protocol": "TCP"}]}
    network = Network(
        platform_selector=PLATFORM, monitoring_selector=prometheus, egress=Egress(internet=False, extra=[extra])
    )
    config = msgspec.structs.replace(
        config, network=network, ingress=Ingress(enabled=True, controller_selector=ingress_pods)
    )
    allow = policies(config)["lateen-functions"]
    calls, scrapes = allow["ingress"]
    assert calls["from"] == [PLATFORM, ingress_pods]
    assert scrapes == {"from": [prometheus], "ports": [{"port": 9090, "protocol": "TCP"}]}
    assert allow["egress"][1:] == [extra]
    off = msgspec.structs.replace(config, network=Network(platform_selector=PLATFORM, policies=False))
    assert policies(off) == {}
    shared = msgspec.structs.replace(config, functions_namespace="all")
    denied = policies(shared)["lateen-deny"]["podSelector"]["matchLabels"]
    assert denied["app.kubernetes.io/instance"] == "lateen"
    for pod in (template(a_function(), shared), lookup_job("w1", "img:1", shared)["spec"]["template"]):
        assert denied.items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize(
    "address",
    ["10.96.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "169.254.170.2", "100.64.0.1",
     "168.63.129.16", "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "203.0.113.7"],
)  # fmt: skip
def test_the_internet_has_no_private_addresses(config: FunctionsConfig, address: str) -> None:
    """Nor the metadata's, nor what the installation says is its own; other addresses are open."""
    network = Network(
        platform_selector=PLATFORM, egress=Egress(ipv6=True, blocked=["203.0.113.0/24", "2001:db8::/32", "fd00::/8"])
    )
    config = msgspec.structs.replace(config, network=network)
    blocks = [each["ipBlock"] for each in policies(config)["lateen-functions"]["egress"][-1]["to"]]

    def is_open(text: str) -> bool:
        asked = ipaddress.ip_address(text)
        return any(
            asked in ipaddress.ip_network(block["cidr"])
            and not any(asked in ipaddress.ip_network(each) for each in block["except"])
            for block in blocks
        )

    assert not is_open(address)
    assert is_open("8.8.8.8")
    assert is_open("2606:4700::1111")
    for v6 in (
        "::1",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:a00::1",
        "2001:db8::1",
    ):
        assert not is_open(v6)
    # Of what is not open there is no exception: the API server would refuse it.
    assert all(ipaddress.IPv6Network(each).subnet_of(ipaddress.IPv6Network("2000::/3")) for each in blocks[1]["except"])


@pytest.mark.parametrize("block", ["fd00::1", "203.0.113.7", "203.0.113.7/24", "0.0.0.0/0", "::/0", "internal", ""])
def test_what_is_no_range_stops_the_platform(config: FunctionsConfig, block: str, tmp_path: Path) -> None:
    """Before a policy that the API server refuses keeps every function from being deployed."""
    network = Network(platform_selector=PLATFORM, egress=Egress(blocked=[block]))
    file = tmp_path / "functions.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(config, network=network)))
    with pytest.raises(ConfigError, match=r"network\.egress\.blocked: .* is no range such as"):
        FunctionsConfig.read(file)
