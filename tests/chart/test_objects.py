"""What the chart installs: names, rights, pods, and what comes with more than one of a thing."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chart import CHART, NAMESPACE, PROFILES, Manifest, named, of_kind, pods, profile, rendered

from lateen.api.problems import SLUGS
from lateen.gateway.gateway import Gateway

CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass", "CustomResourceDefinition"}


def containers(pod: Manifest) -> Iterator[Manifest]:
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def ids(manifests: "list[Manifest] | tuple[Manifest, ...]") -> set[tuple[str, str, str]]:
    return {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in manifests}


def test_two_releases_in_one_namespace_share_no_name() -> None:
    assert not ids(rendered(release="one")) & ids(rendered(release="two"))


def test_one_release_name_in_two_namespaces_shares_no_cluster_wide_name() -> None:
    """Helm lets a release's name be used again in another namespace."""
    one, two = rendered(namespace="one"), rendered(namespace="two")
    assert not ids(one) & ids(two)
    assert {each["kind"] for each in one if "namespace" not in each["metadata"]} == {
        "ClusterRole",
        "ClusterRoleBinding",
    }


def test_two_releases_select_each_its_own_pods() -> None:
    """Services, budgets and policies of one release find no pod of another."""
    one, two = rendered(release="one"), rendered(release="two")
    selectors = [each["spec"]["selector"] for each in of_kind(one, "Service")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(one, "PodDisruptionBudget")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind(one, "NetworkPolicy")]
    for selector in selectors:
        assert any(selector.items() <= pod["metadata"]["labels"].items() for pod in pods(one).values())
        assert not any(selector.items() <= pod["metadata"]["labels"].items() for pod in pods(two).values())


def test_names_follow_the_overrides() -> None:
    manifests = rendered(values={"fullnameOverride": "mine"}, release="lateen")
    assert all("mine" in name for _, _, name in ids(manifests))
    manifests = rendered(values={"nameOverride": "faas"}, release="one")
    assert all("one-faas" in name for _, _, name in ids(manifests))


@pytest.mark.parametrize("name", PROFILES)
def test_nothing_is_cluster_wide_but_the_one_role(name: str) -> None:
    """In the default mode one ClusterRole and its binding; in the shared namespace nothing at all."""
    found = sorted(each["kind"] for each in profile(name) if each["kind"] in CLUSTER_WIDE)
    assert found == ([] if name == "shared-namespace" else ["ClusterRole", "ClusterRoleBinding"])


@pytest.mark.parametrize("name", PROFILES)
def test_no_template_holds_a_secret(name: str) -> None:
    """Secrets are made by a job or by the operator; what a template makes, `helm get manifest` shows and changes."""
    assert not of_kind(profile(name), "Secret")
    assert not [file for file in (CHART / "templates").rglob("*") if file.is_file() and '"Secret"' in file.read_text()]


@pytest.mark.parametrize("name", PROFILES)
def test_every_object_is_labelled_and_has_a_namespace(name: str) -> None:
    for each in profile(name):
        if "-extra" in each["metadata"]["name"] or "-text" in each["metadata"]["name"]:
            continue
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "lateen"
        assert labels["helm.sh/chart"].startswith("lateen-")
        assert ("namespace" in each["metadata"]) != (each["kind"] in CLUSTER_WIDE)


@pytest.mark.parametrize("name", PROFILES)
def test_every_pod_meets_the_baseline(name: str) -> None:
    """The API server says the same of Pod Security `restricted`; this names the pod, and asks for a little more."""
    for pod_name, pod in pods(profile(name)).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"], pod_name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, pod_name
        assert spec["enableServiceLinks"] is False, pod_name
        has_token = "controller" in pod_name or "-secrets-" in pod_name
        assert spec["automountServiceAccountToken"] is has_token, pod_name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], pod_name
            assert context["allowPrivilegeEscalation"] is False, pod_name
            assert context["capabilities"] == {"drop": ["ALL"]}, pod_name
            assert container["resources"]["limits"]["memory"], pod_name
            assert container["resources"]["requests"]["cpu"], pod_name


def test_secrets_reach_no_environment() -> None:
    """The trial's S3 server and Redis apart, which take their keys in no other way."""
    for pod_name, pod in pods(profile("defaults")).items():
        for container in containers(pod):
            refs = [each for each in container.get("env", []) if "secretKeyRef" in each.get("valueFrom", {})]
            assert not refs or pod_name in ("Deployment/lateen-s3", "Deployment/lateen-redis")


def test_administrators_key_is_mounted_where_it_is_needed_only() -> None:
    """By the migration, which stores its hash, and the test; the components have the master key only."""
    holders = {
        pod_name.split("/")[1].split("-")[1]
        for pod_name, pod in pods(profile("defaults")).items()
        for volume in pod["spec"]["volumes"]
        for item in volume.get("secret", {}).get("items", [])
        if item["path"] == "admin-token"
    }
    assert holders == {"migrate", "test"}


def test_one_registry_for_every_image() -> None:
    """A mirror is one value: components, jobs, the test, the trial's stores, function pods."""
    manifests = rendered(values={"global": {"imageRegistry": "mirror.example.com"}})
    for pod_name, pod in pods(manifests).items():
        assert all(each["image"].startswith("mirror.example.com/") for each in containers(pod)), pod_name
    images = json.loads(named(manifests, "ConfigMap", "functions")["data"]["functions.json"])["images"]
    for image in (images["invoker"], *images["runtimes"].values()):
        assert image.startswith("mirror.example.com/")


def test_pull_secrets_reach_every_pod() -> None:
    for pod_name, pod in pods(rendered(values={"global": {"imagePullSecrets": ["one", "two"]}})).items():
        assert pod["spec"]["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}], pod_name


def test_budget_comes_with_a_second_pod() -> None:
    """With one pod a budget would only keep nodes from being drained."""
    alone = {"replicas": 1, "autoscaling": {"enabled": False}}
    assert {each["metadata"]["name"] for each in of_kind(profile("defaults"), "PodDisruptionBudget")} == {
        "lateen-api",
        "lateen-gateway",
        "lateen-controller",
        "lateen-worker",
    }
    manifests = rendered(values={"api": alone, "gateway": alone, "worker": alone, "controller": {"replicas": 1}})
    assert not of_kind(manifests, "PodDisruptionBudget")


def test_autoscaler_owns_the_number_of_pods() -> None:
    """A Deployment that also said a number would take back at each upgrade what the autoscaler did."""
    assert "replicas" not in named(profile("defaults"), "Deployment", "api")["spec"]
    assert named(profile("local"), "Deployment", "api")["spec"]["replicas"] == 1
    scaler = named(profile("defaults"), "HorizontalPodAutoscaler", "api")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    targets = {each["resource"]["name"]: each["resource"]["target"]["averageUtilization"] for each in scaler["metrics"]}
    assert targets == {"cpu": 70, "memory": 80}


def test_the_worker_scales_as_was_said() -> None:
    """3 to 20 pods, at three quarters of their CPU or 85 % of their memory; without, as many as was said."""
    scaler = named(profile("defaults"), "HorizontalPodAutoscaler", "worker")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 20)
    targets = {each["resource"]["name"]: each["resource"]["target"]["averageUtilization"] for each in scaler["metrics"]}
    assert targets == {"cpu": 75, "memory": 85}
    assert named(profile("local"), "Deployment", "worker")["spec"]["replicas"] == 1


def test_the_queue_is_for_api_and_worker() -> None:
    """Nobody else has its password, or reaches it in a trial; without a worker there is none of it."""
    for name in ("defaults", "production"):
        having = set()
        for component in ("api", "gateway", "controller", "worker"):
            pod = named(profile(name), "Deployment", component)["spec"]["template"]["spec"]
            if "redis" in {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}:
                having.add(component)
        assert having == {"api", "worker"}
    (rule,) = named(profile("defaults"), "NetworkPolicy", "redis")["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchExpressions"] == [
        {"key": "app.kubernetes.io/component", "operator": "In", "values": ["api", "worker"]}
    ]
    without = rendered(values={"worker": {"enabled": False}})
    assert not [each for each in without if each["metadata"]["name"].endswith(("-worker", "-redis"))]
    assert "REDIS" not in "".join(named(without, "ConfigMap", "lateen")["data"])


def test_the_trial_queue_keeps_what_it_acknowledged() -> None:
    """On its disk before it answers, and it throws nothing away."""
    container = named(profile("local"), "Deployment", "redis")["spec"]["template"]["spec"]["containers"][0]
    words = " ".join(container["args"])
    assert "--appendonly yes --appendfsync always" in words
    assert "--maxmemory-policy noeviction" in words
    assert "--requirepass $(REDIS_PASSWORD)" in words


@pytest.mark.parametrize("component", ["api", "gateway", "controller", "worker"])
def test_no_pod_goes_before_its_successor_is_ready(component: str) -> None:
    for name in PROFILES:
        update = named(profile(name), "Deployment", component)["spec"]["strategy"]["rollingUpdate"]
        assert update["maxUnavailable"] == 0


def test_settings_roll_the_pods_that_read_them() -> None:
    """Environment and mounted document are read at the start only."""
    before, after = profile("defaults"), rendered(values={"logLevel": "DEBUG"})
    for component in ("api", "gateway", "controller", "worker"):
        old, new = (named(each, "Deployment", component)["spec"]["template"] for each in (before, after))
        assert old["metadata"]["annotations"] != new["metadata"]["annotations"]


def test_new_chart_version_alone_rolls_nothing(tmp_path: Path) -> None:
    """An upgrade of the chart that changes no pod leaves pods of the platform and of functions as they are."""
    chart = tmp_path / "lateen"
    shutil.copytree(CHART, chart)
    description = (chart / "Chart.yaml").read_text()
    (chart / "Chart.yaml").write_text(description.replace("\nversion: 0.1.0", "\nversion: 0.1.1"))
    before, after = rendered(), rendered(chart=chart)
    assert before != after
    assert pods(before).keys() == pods(after).keys()
    for pod_name, pod in pods(before).items():
        assert pod["spec"] == pods(after)[pod_name]["spec"]
        if pod_name.startswith("Deployment/"):
            assert pod == pods(after)[pod_name]
    old, new = (named(each, "ConfigMap", "functions")["data"] for each in (before, after))
    assert old == new


def test_migration_is_a_job_first_and_a_hook_later() -> None:
    """At the installation the trial's stores come up beside it, and --wait must not wait for a hook behind itself."""
    install, upgrade = (next(iter(_migrations(upgrade=each))) for each in (False, True))
    assert "annotations" not in install["metadata"]
    assert install["spec"]["backoffLimit"] > 0
    assert upgrade["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"


def test_upgrade_s_jobs_find_their_accounts() -> None:
    """An upgrade that switches the migration on, or gives its account another name, makes the account after its hooks,
    unless that is one of them: no pod of the job could start."""
    manifests = rendered(
        values={"migrate": {"serviceAccount": {"name": "new", "annotations": {"a": "b"}}}}, upgrade=True
    )
    accounts = {each["metadata"]["name"]: each["metadata"] for each in of_kind(manifests, "ServiceAccount")}
    jobs = of_kind(manifests, "Job")
    assert {each["spec"]["template"]["spec"]["serviceAccountName"] for each in jobs} == {"new", "lateen-secrets"}
    for job in jobs:
        own, its = job["metadata"]["annotations"], accounts[job["spec"]["template"]["spec"]["serviceAccountName"]]
        assert own["helm.sh/hook"] == its["annotations"]["helm.sh/hook"]
        assert int(its["annotations"]["helm.sh/hook-weight"]) < int(own["helm.sh/hook-weight"])
    assert accounts["new"]["annotations"]["a"] == "b"
    plain = named(profile("defaults"), "ServiceAccount", "migrate")
    assert "annotations" not in plain["metadata"]


def test_changed_migration_has_another_name() -> None:
    """A job can't be changed: tools that apply the rendering as it is would stumble over the second version."""
    first, second = (_migrations(tag=tag)[0]["metadata"]["name"] for tag in ("1", "2"))
    assert first != second


def _migrations(*, upgrade: bool = False, tag: str = "") -> list[Manifest]:
    manifests = rendered(values={"image": {"tag": tag}}, upgrade=upgrade)
    return [each for each in of_kind(manifests, "Job") if "-migrate-" in each["metadata"]["name"]]


def test_secrets_are_made_before_everything_else_and_stay() -> None:
    """Hooks with a negative weight; nothing that Helm removes again is a Secret."""
    job = next(each for each in of_kind(profile("defaults"), "Job") if "-secrets-" in each["metadata"]["name"])
    account = named(profile("defaults"), "ServiceAccount", "secrets")
    weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in (account, job)]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert weights == sorted(weights)
    assert weights[-1] < 0


def test_own_secrets_need_no_job() -> None:
    values = {"auth": {"existingSecret": "mine"}, "localStores": {"auth": {"existingSecret": "theirs"}}}
    manifests = rendered(values=values)
    assert not [each for each in manifests if "-secrets" in each["metadata"]["name"]]


def test_secrets_job_reads_its_own_secrets_only() -> None:
    rules = named(profile("defaults"), "Role", "secrets")["rules"]
    assert rules == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "verbs": ["get"],
            "resourceNames": ["lateen-secrets", "lateen-local-stores"],
        },
    ]


def test_operations_port_is_on_no_service_and_no_ingress() -> None:
    """It asks for no key, so Prometheus alone may reach it."""
    for name in ("defaults", "production", "local"):
        for service in of_kind(profile(name), "Service"):
            assert all(port["port"] != 9090 for port in service["spec"]["ports"])
    for component in ("api", "gateway", "controller", "worker"):
        policy = named(profile("defaults"), "NetworkPolicy", component)["spec"]
        rule = next(each for each in policy["ingress"] if each["ports"][0]["port"] == 9090)
        peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
        assert rule["from"] == peers
    closed = rendered(values={"metrics": {"from": None}})
    assert named(closed, "NetworkPolicy", "controller")["spec"]["ingress"] == []


def test_peer_replaces_the_default_one() -> None:
    """Helm merges mappings; a selector that is merged with a default selects nobody."""
    peer = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
    policy = named(rendered(values={"metrics": {"from": peer}}), "NetworkPolicy", "controller")
    assert policy["spec"]["ingress"][0]["from"] == [peer]


def test_claims_outlive_the_release() -> None:
    claims = of_kind(profile("shared-namespace"), "PersistentVolumeClaim")
    assert len(claims) == 3
    assert all(each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for each in claims)


def test_extra_objects_are_templates() -> None:
    extra = named(profile("everything"), "ConfigMap", "lateen-extra")
    assert extra["metadata"]["namespace"] == NAMESPACE
    assert named(profile("everything"), "ConfigMap", "lateen-text")


def test_one_load_balancer_of_aws_for_all_paths() -> None:
    """Its controller makes one for each Ingress without a group, and tries the rules by the order of the Ingresses: `/`
    alone, where AWS's tools ask who they are, before all that begins with it."""
    prefix = "alb.ingress.kubernetes.io/"

    def grouped(manifests: "list[Manifest] | tuple[Manifest, ...]") -> list[tuple[str, str]]:
        found = [named(manifests, "Ingress", name)["metadata"]["annotations"] for name in ("root", "lateen")]
        return [(each[f"{prefix}group.name"], each[f"{prefix}group.order"]) for each in found]

    assert grouped(profile("production")) == [("platform-lateen", "1"), ("platform-lateen", "2")]
    given = {f"{prefix}group.name": "ours", f"{prefix}group.order": "500"}
    assert grouped(rendered(values={"ingress": {"enabled": True, "annotations": given}})) == [
        ("ours", "499"),
        ("ours", "500"),
    ]
    elsewhere = named(profile("everything"), "Ingress", "root")["metadata"]["annotations"]
    assert prefix not in " ".join(elsewhere)


def test_the_load_balancer_takes_what_the_gateway_answers() -> None:
    """A target is healthy by the answer at the path that both Ingresses name: there is none of a function."""
    path = named(profile("production"), "Ingress", "lateen")["metadata"]["annotations"][
        "alb.ingress.kubernetes.io/healthcheck-path"
    ]
    expected = named(profile("production"), "Service", "gateway")["metadata"]["annotations"]
    assert not Gateway.handles(path.encode())
    assert expected == {"alb.ingress.kubernetes.io/success-codes": str(SLUGS["not-found"][0])}
