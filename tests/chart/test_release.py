"""A release from its installation to its end, in the mode that asks for nothing cluster-wide: what the chart's README
says of functions in one shared namespace, of secrets, upgrades and of what an uninstallation leaves."""

import json
import os
import secrets
from collections.abc import Iterator

import pytest
from chart import CHART, HelmRefused, helm
from lateen_release import kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

TAG = os.environ.get("LATEEN_IMAGE_TAG") or "dev"
WAIT = ("--wait", "--timeout", "4m")


class Place:
    def __init__(self) -> None:
        suffix = secrets.token_hex(3)
        self.release = f"chart-{suffix}"
        self.namespace = f"chart-release-{suffix}"
        self.functions = f"chart-functions-{suffix}"
        self.name = f"{self.release}-lateen"
        self.values = (
            *("--namespace", self.namespace, "--values", str(CHART / "values-local.yaml")),
            *("--set-string", f"image.tag={TAG}", "--set", f"functions.namespace={self.functions}"),
        )

    def names(self, kinds: str, namespace: str, selector: str = "") -> set[str]:
        found = json.loads(kubectl("get", kinds, "-n", namespace, "-l", selector, "-o", "json"))["items"]
        return {f"{each['kind']}/{each['metadata']['name']}" for each in found if not _is_kubernetes_own(each)}

    def may(self, *words: str) -> bool:
        """Whether the controller may do this."""
        account = f"system:serviceaccount:{self.namespace}:{self.name}-controller"
        # The answer is an exit code too, which is no failure here.
        rules = kubectl("auth", "can-i", "--list", "--as", account, *words[2:])
        verb, resource = words[:2]
        return any(
            line.split()[0] == resource and ("*" in line or verb in line.rsplit("[", 1)[1].rstrip("]").split())
            for line in rules.splitlines()[1:]
            if line.strip()
        )


def _is_kubernetes_own(thing: dict[str, dict[str, str]]) -> bool:
    return thing["metadata"]["name"] in ("default", "kube-root-ca.crt")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Two namespaces that somebody else made, with Pod Security `restricted`, and the release in one of them."""
    place = Place()
    for namespace in (place.namespace, place.functions):
        kubectl("create", "namespace", namespace)
        kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    helm("install", place.release, str(CHART), *place.values, *WAIT, timeout_s=300)
    yield place
    try:
        helm("uninstall", place.release, "--namespace", place.namespace, "--ignore-not-found")
    finally:
        kubectl("delete", "namespace", place.namespace, place.functions, "--wait=false")


def test_installation_works(place: Place) -> None:
    """`helm test`: a function is made, called, its log read, and deleted."""
    said = helm("test", place.release, "--namespace", place.namespace, "--timeout", "4m", timeout_s=300)
    assert "Succeeded" in said


def test_nothing_cluster_wide_is_granted(place: Place) -> None:
    """The controller works all the same: its rights end with the namespace of the functions."""
    bindings = json.loads(kubectl("get", "clusterrolebindings", "-o", "json"))["items"]
    subjects = [each.get("namespace") for binding in bindings for each in binding.get("subjects", [])]
    assert place.namespace not in subjects
    assert place.may("create", "deployments.apps", "-n", place.functions)
    assert not place.may("create", "deployments.apps", "-n", place.namespace)
    assert not place.may("get", "secrets", "-n", place.functions)


def test_notes_lead_to_the_administrators_key(place: Place) -> None:
    """The command as `helm install` prints it."""
    notes = helm("get", "notes", place.release, "--namespace", place.namespace)
    template = notes.split("-o go-template='")[1].split("')")[0]
    key = kubectl("get", "secret", f"{place.name}-secrets", "-n", place.namespace, "-o", f"go-template={template}")
    assert key.startswith("ltn_")


def test_upgrade_leaves_secrets_as_they_are(place: Place) -> None:
    """The job runs again, and changes nothing that is there."""

    def kept() -> dict[str, str]:
        found = json.loads(kubectl("get", "secrets", "-n", place.namespace, "-o", "json"))["items"]
        return {
            each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in found if each["type"] == "Opaque"
        }

    before = kept()
    assert set(before) == {f"{place.name}-secrets", f"{place.name}-local-stores"}
    helm("upgrade", place.release, str(CHART), *place.values, "--set", "logLevel=DEBUG", *WAIT, timeout_s=300)
    assert kept() == before


def test_upgrade_that_would_change_the_stores_is_refused(place: Place) -> None:
    """With another table every function would be taken for deleted; whoever forgets a value is told which."""
    words = ("upgrade", place.release, str(CHART), *place.values, "--set", "stores.dynamodb.table=another")
    with pytest.raises(HelmRefused, match=r"DYNAMODB_TABLE_NAME.*stores\.allowChange"):
        helm(*words, "--dry-run=server")
    helm(*words, "--set", "stores.allowChange=true", "--dry-run=server")


def test_upgrade_that_would_move_the_functions_is_refused(place: Place) -> None:
    """All would run twice, and nobody would remove the first. What names the same namespaces is no move."""
    words = ("upgrade", place.release, str(CHART), *place.values, "--dry-run=server")
    for moved in ("functions.namespace=", f"functions.namespace={place.namespace}"):
        with pytest.raises(HelmRefused, match=rf"run in {place.functions}, .*functions\.allowNamespaceChange"):
            helm(*words, "--set", moved)
        helm(*words, "--set", moved, "--set", "functions.allowNamespaceChange=true")
    helm(*words, "--set", "functions.namespacePrefix=without-effect-")


def test_upgrade_migrates_with_an_account_that_was_not_there(place: Place) -> None:
    """The job is a hook, and so runs before what the upgrade makes; the account that was there stays one object."""
    named = "serviceaccounts", place.namespace, "app.kubernetes.io/component=migrate"
    words = ("upgrade", place.release, str(CHART), *place.values, *WAIT)
    assert place.names(*named) == {f"ServiceAccount/{place.name}-migrate"}
    helm(*words, "--set", "migrate.serviceAccount.name=other", timeout_s=300)
    assert place.names(*named) == set()
    helm(*words, timeout_s=300)


def test_uninstall_leaves_what_the_readme_says(place: Place) -> None:
    """Secrets that the job made, and what the controller made for functions; with the command that removes them."""
    words = ("uninstall", place.release, "--namespace", place.namespace, "--cascade", "foreground")
    helm(*words, *WAIT, timeout_s=300)
    kinds = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,ingresses,pvc,pdb"
    left = place.names(kinds, place.namespace)
    assert left == {f"Secret/{place.name}-secrets", f"Secret/{place.name}-local-stores"}
    ours = f"app.kubernetes.io/managed-by=lateen,lateen.dev/platform={place.namespace}"
    assert place.names(kinds, place.functions) == place.names(kinds, place.functions, ours)
    selector = f"app.kubernetes.io/instance={place.release},app.kubernetes.io/part-of=lateen"
    kubectl("delete", "secrets", "-n", place.namespace, "-l", selector)
    assert not place.names(kinds, place.namespace)
