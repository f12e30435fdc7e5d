"""Chart and platform fit: what one writes, the other reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from chart import NAMESPACE, PROFILES, Manifest, named, pods, profile, rendered
from controller_setting import COMMAND, RUNTIME_IMAGE, a_function
from msgspec.structs import fields

from lateen.adapters.kubernetes.config import FunctionImages, FunctionsConfig, Limits
from lateen.adapters.kubernetes.labels import pods_of_builds, pods_of_functions
from lateen.adapters.kubernetes.manifests import objects_for
from lateen.adapters.kubernetes.network_policies import network_policies_for
from lateen.adapters.kubernetes.permissions import function_rules, leader_rules, namespace_rules
from lateen.aws.code_urls import PREFIX as CODE
from lateen.aws.model import lambda_model
from lateen.cluster.settings import ClusterSettings
from lateen.cluster.store_keys import FILE_KEY, ID_KEY, SECRET_KEY, store_keys
from lateen.domain.images import ImagePolicy
from lateen.settings import variable_of

COMPONENTS = ("api", "gateway", "controller", "worker")
BOTO = {"AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "AWS_SHARED_CREDENTIALS_FILE"}
PROXY = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
TABLE_AND_BUCKET = {"DYNAMODB_TABLE_NAME", "S3_BUCKET_NAME"}


def functions_config(manifests: Sequence[Manifest], folder: Path) -> FunctionsConfig:
    text = named(manifests, "ConfigMap", "functions")["data"]["functions.json"]
    (folder / "functions.json").write_text(text)
    return FunctionsConfig.read(folder / "functions.json")


def environment_of(manifests: Sequence[Manifest], component: str) -> dict[str, str]:
    """Of the component's container, as the kubelet puts it together from the chart's own objects."""
    container = named(manifests, "Deployment", component)["spec"]["template"]["spec"]["containers"][0]
    env: dict[str, str] = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            env |= named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    return env | {each["name"]: each.get("value", "") for each in container.get("env", [])}


def test_every_path_of_aws_s_api_leads_to_the_api() -> None:
    """By the Ingress and by the HTTPRoute, down to the root, where AWS's tools ask who they are."""
    wanted = {f"/{operation.uri.split('/')[1]}" for operation in lambda_model().operations.values()} | {
        CODE.rstrip("/")
    }
    manifests = profile("everything")
    api = named(manifests, "Service", "api")["metadata"]["name"]
    paths = named(manifests, "Ingress", "lateen")["spec"]["rules"][0]["http"]["paths"]
    paths += named(manifests, "Ingress", "root")["spec"]["rules"][0]["http"]["paths"]
    led = {(each["pathType"], each["path"]) for each in paths if each["backend"]["service"]["name"] == api}
    assert {("Prefix", path) for path in wanted} | {("Exact", "/")} <= led
    rules = named(manifests, "HTTPRoute", "lateen")["spec"]["rules"]
    assert all(len(rule["matches"]) <= 8 for rule in rules)
    matches = [each["path"] for rule in rules if rule["backendRefs"][0]["name"] == api for each in rule["matches"]]
    led = {(each["type"], each["value"]) for each in matches}
    assert {("PathPrefix", path) for path in wanted} | {("Exact", "/")} <= led


@pytest.mark.parametrize("name", PROFILES)
def test_platform_accepts_the_document_about_functions(name: str, tmp_path: Path) -> None:
    """Unknown fields are refused by the platform, so a field that only one of the two knows shows here."""
    config = functions_config(profile(name), tmp_path)
    assert config.namespace == NAMESPACE
    assert config.drain_lag_s == (10 if name == "everything" else 20 if name == "production" else 5)


def test_every_field_about_functions_can_be_set(tmp_path: Path) -> None:
    """With everything on, no field of the document keeps its default but those that exclude each other."""
    config = functions_config(profile("everything"), tmp_path)
    # Policies are on already; the shared namespace and the role exclude what is chosen here.
    assert set(_defaults(config, "")) == {"functionsNamespace", "stores.roleArn", "network.policies"}


def _defaults(part: Any, path: str) -> "list[str]":
    """Fields that are as if nobody had said anything."""
    found = []
    for field in fields(part):
        value, here = getattr(part, field.name), f"{path}{field.encode_name}"
        if isinstance(value, msgspec.Struct):
            found += _defaults(value, f"{here}.")
        elif not field.required and value == (
            field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        ):
            found.append(here)
    return found


def test_limits_that_are_not_given_are_none(tmp_path: Path) -> None:
    """An empty text is no quantity: the API server would refuse every workspace's quota."""
    assert functions_config(profile("defaults"), tmp_path).workspace_limits == Limits(pods=200)
    without = rendered(values={"functions": {"limits": {"pods": None}}})
    assert functions_config(without, tmp_path).workspace_limits == Limits(pods=None)


@pytest.mark.parametrize("name", PROFILES)
def test_controller_may_do_what_it_does_and_nothing_else(name: str, tmp_path: Path) -> None:
    """The rules that the controller's own tests run with, in the mode that the profile is for."""
    config = functions_config(profile(name), tmp_path)
    granted = {
        (each["kind"], each["metadata"].get("namespace")): each["rules"]
        for each in profile(name)
        if each["kind"] in ("Role", "ClusterRole") and each["metadata"]["name"] != "lateen-secrets"
    }
    leader = {("Role", NAMESPACE): leader_rules(config)}
    if name == "shared-namespace":
        assert granted == {("Role", "lateen-functions"): function_rules()} | leader
    else:
        assert granted == {("ClusterRole", None): function_rules() + namespace_rules()} | leader


def test_one_namespace_for_all_functions(tmp_path: Path) -> None:
    config = functions_config(profile("shared-namespace"), tmp_path)
    assert config.namespace_of("any") == "lateen-functions"


def test_workspace_namespaces_of_two_releases_differ(tmp_path: Path) -> None:
    """The same release name in two namespaces is two installations."""
    names = set()
    for namespace in ("one", "two", "lateen"):
        config = functions_config(rendered(namespace=namespace), tmp_path)
        names.add(config.namespace_of("default"))
    assert names == {"one-lateen-default", "two-lateen-default", "lateen-default"}


def test_long_names_stay_within_what_kubernetes_takes(tmp_path: Path) -> None:
    """A release's name has up to 53 characters, a namespace's up to 63; the longest workspace id still fits behind."""
    manifests = rendered(release="r" * 53, namespace="n" * 63)
    config = functions_config(manifests, tmp_path)
    assert all(len(each["metadata"]["name"]) <= 63 for each in manifests)
    assert len(config.release) <= 42
    assert len(config.copied_secrets[0].name) <= 63


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("name", PROFILES)
def test_settings_are_accepted(name: str, component: str) -> None:
    """No component ends with 2 because of what the chart told it."""
    settings = ClusterSettings.from_env(environment_of(profile(name), component))
    assert settings.logs_json
    assert settings.port == 8000
    assert settings.operations_port == 9090


@pytest.mark.parametrize("name", PROFILES)
def test_every_variable_is_read_by_somebody(name: str) -> None:
    """A variable that nobody reads is a value without effect."""
    known = {variable_of(field.name) for field in fields(ClusterSettings)} | BOTO | PROXY | TABLE_AND_BUCKET
    for component in COMPONENTS:
        assert set(environment_of(profile(name), component)) <= known
    for pod_name, pod in pods(profile(name)).items():
        if "migrate" in pod_name:
            env = {each["name"]: each.get("value", "") for each in pod["spec"]["containers"][0]["env"]}
            assert set(env) <= known
            ClusterSettings.from_env(env)


def test_table_and_bucket_reach_the_settings() -> None:
    settings = ClusterSettings.from_env(environment_of(profile("production"), "api"))
    assert (settings.table, settings.bucket, settings.region) == ("lateen", "lateen-code-111122223333", "eu-central-1")


def test_grace_follows_from_the_drain() -> None:
    """One value: the pod is given the time that the process takes."""
    manifests = rendered(values={"drainSeconds": 40, "drainLagSeconds": 7})
    for component in ("api", "gateway"):
        settings = ClusterSettings.from_env(environment_of(manifests, component))
        pod = named(manifests, "Deployment", component)["spec"]["template"]["spec"]
        assert (settings.drain_seconds, settings.drain_lag_seconds) == (40, 7)
        assert pod["terminationGracePeriodSeconds"] == 40 + 7 + 5


def test_addresses_of_the_api_are_its_hosts() -> None:
    """Whatever the chart itself calls the api by, the api answers to; any other name of a web page it refuses."""
    settings = ClusterSettings.from_env(environment_of(profile("everything"), "api"))
    service = f"lateen-api.{NAMESPACE}.svc.cluster.example"
    assert {service, "lateen.example.com", "lateen.example.net", "api.example.com"} <= set(settings.hosts)
    assert settings.base_url == "https://lateen.example.com"


def test_trial_stores_are_open_to_functions_and_builds_and_to_nobody_else(tmp_path: Path) -> None:
    """Both ends of the way: what functions may connect to, and from whom the stores take connections. A build's source
    and what is made of it lie in the object store, and nothing of it in the table."""
    manifests = profile("defaults")
    config = functions_config(manifests, tmp_path)
    for component, port in (("dynamodb", 8000), ("s3", 7070)):
        rule = next(each for each in config.network.egress.extra if each["ports"][0]["port"] == port)
        labels = named(manifests, "Deployment", component)["spec"]["template"]["metadata"]["labels"]
        assert rule["to"][0]["podSelector"]["matchLabels"].items() <= labels.items()
        callers = named(manifests, "NetworkPolicy", component)["spec"]["ingress"][0]["from"]
        outside = [each["podSelector"]["matchLabels"] for each in callers if "namespaceSelector" in each]
        allowed = [pods_of_functions(config), *([pods_of_builds(config)] if component == "s3" else [])]
        assert len(outside) == len(allowed)
        for labels, pods_there in zip(outside, allowed, strict=True):
            assert labels.items() <= pods_there.items()
            assert labels["app.kubernetes.io/instance"] == config.release


def test_names_are_looked_up_where_the_resolver_listens(tmp_path: Path) -> None:
    """By the platform, by functions and by builds. OpenShift's pods listen on a port of their own."""

    def to_resolver(rules: Sequence[Manifest], config: FunctionsConfig) -> set[tuple[str, int]]:
        found = [each["ports"] for each in rules if each.get("to") == [config.network.egress.dns]]
        return {(port["protocol"], port["port"]) for ports in found for port in ports}

    peer = {"podSelector": {"matchLabels": {"dns.operator.openshift.io/daemonset-dns": "default"}}}
    values = {
        "functions": {"network": {"egress": {"dns": peer, "dnsPorts": [5353]}}},
        "networkPolicy": {"egress": {"enabled": True}},
    }
    manifests = rendered(values=values)
    config = functions_config(manifests, tmp_path)
    both = {("UDP", 5353), ("TCP", 5353)}
    for component in COMPONENTS:
        assert to_resolver(named(manifests, "NetworkPolicy", component)["spec"]["egress"], config) == both
    policies = {each["metadata"]["name"]: each["spec"] for each in network_policies_for(config, "n", {})}
    for name in ("lateen-functions", "lateen-builds"):
        assert both == to_resolver(policies[name]["egress"], config)


def test_functions_take_calls_from_the_platform(tmp_path: Path) -> None:
    """The peer of functions' policies is what api, gateway and controller pods really have."""
    for name in PROFILES:
        peer = functions_config(profile(name), tmp_path).network.platform_selector
        components = peer["podSelector"]["matchExpressions"][0]["values"]
        assert components == list(COMPONENTS)
        for component in components:
            labels = named(profile(name), "Deployment", component)["spec"]["template"]["metadata"]["labels"]
            assert peer["podSelector"]["matchLabels"].items() <= labels.items()


def test_an_administrator_says_which_images_functions_may_be(tmp_path: Path) -> None:
    """All, unless something else is said."""
    assert functions_config(profile("defaults"), tmp_path).function_images == FunctionImages()
    images = {"allowed": ["registry.example.com", "ghcr.io/team"]}
    config = functions_config(rendered(values={"functions": {"images": images}}), tmp_path)
    assert config.function_images.policy == ImagePolicy(None, ("registry.example.com", "ghcr.io/team"))
    assert functions_config(profile("everything"), tmp_path).function_images.policy.refusal is not None


def function_pod(config: FunctionsConfig, *, concurrency: int = 10) -> Manifest:
    made = objects_for(a_function(concurrency=concurrency), config, command=COMMAND, image=RUNTIME_IMAGE)
    template: Manifest = made.deployment["spec"]["template"]
    return template


@pytest.mark.parametrize("name", ["defaults", "local", "production"])
def test_a_sidecar_has_memory_for_its_function_s_calls(name: str, tmp_path: Path) -> None:
    """What the platform works out holds, unless an operator gives a limit of their own."""
    config = functions_config(profile(name), tmp_path)
    for concurrency, limit in ((1, "176Mi"), (10, "320Mi"), (100, "1760Mi")):
        invoker = function_pod(config, concurrency=concurrency)["spec"]["initContainers"][0]
        assert invoker["resources"]["limits"]["memory"] == limit
    given = rendered(values={"functions": {"invoker": {"resources": {"limits": {"memory": "1Gi"}}}}})
    invoker = function_pod(functions_config(given, tmp_path))["spec"]["initContainers"][0]
    assert invoker["resources"]["limits"] == {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "640Mi"}
    assert invoker["resources"]["requests"]["memory"] == "48Mi"


def test_who_wants_no_scraping_annotations_gets_none(tmp_path: Path) -> None:
    """On functions' pods; an operator's own go before those of the chart."""

    def scraping(metrics: bool, **own: str) -> dict[str, str]:
        values = {"metrics": {"annotations": metrics}, "functions": {"podAnnotations": own}}
        found = function_pod(functions_config(rendered(values=values), tmp_path))["metadata"]["annotations"]
        return {name: value for name, value in found.items() if name.startswith("prometheus.io/")}

    standard = {"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics"}
    assert scraping(True) == standard
    assert scraping(True, **{"prometheus.io/scrape": "false"}) == {**standard, "prometheus.io/scrape": "false"}
    assert scraping(False) == {}
    assert scraping(False, **{"prometheus.io/scrape": "true"}) == {"prometheus.io/scrape": "true"}


def test_copied_secrets_are_mounted_where_the_controller_looks(tmp_path: Path) -> None:
    """Pull secrets, the CA bundle and credentials: in the controller's pod, and named in functions' pods."""
    config = functions_config(profile("everything"), tmp_path)
    container = named(profile("everything"), "Deployment", "controller")["spec"]["template"]["spec"]["containers"][0]
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    names = {each.name for each in config.copied_secrets}
    assert {each.folder for each in config.copied_secrets} <= mounted
    assert {config.stores.credentials_secret, config.stores.ca_secret, *config.pods.image_pull_secrets} == names


def test_keys_of_the_trial_are_those_that_the_chart_looks_for() -> None:
    """What the job writes, the stores and the platform mount."""
    keys = {name: value.decode() for name, value in store_keys().items()}
    assert set(keys) == {ID_KEY, SECRET_KEY, FILE_KEY}
    server = named(profile("defaults"), "Deployment", "s3")["spec"]["template"]["spec"]["containers"][0]
    assert {each["valueFrom"]["secretKeyRef"]["key"] for each in server["env"]} == {ID_KEY, SECRET_KEY}
    assert keys[ID_KEY].isalnum(), "DynamoDB Local takes nothing else"
    assert f"aws_access_key_id = {keys[ID_KEY]}\n" in keys[FILE_KEY]
    assert f"aws_secret_access_key = {keys[SECRET_KEY]}\n" in keys[FILE_KEY]
    assert store_keys()[ID_KEY].decode() != keys[ID_KEY]
