"""What a published version is in the cluster, beside the function's own objects."""

from msgspec import structs
from scripted_invoker import DEPLOYMENT

from lateen.adapters.kubernetes.config import DisruptionBudget, FunctionsConfig, Images, Ingress, Network, Stores
from lateen.adapters.kubernetes.kinds import Manifest
from lateen.adapters.kubernetes.labels import deployment_in
from lateen.adapters.kubernetes.manifests import FunctionObjects, objects_for
from lateen.ports.deployer import Deployment
from lateen_invoker.control import RuntimeCommand

CONFIG = FunctionsConfig(
    release="lateen",
    namespace="platform",
    images=Images(invoker="i", runtimes={}),
    stores=Stores(environment={"AWS_REGION": "us-east-1", "S3_BUCKET_NAME": "b", "DYNAMODB_TABLE_NAME": "t"}),
    network=Network(platform_selector={}),
    ingress=Ingress(enabled=True),
)
COMMAND = RuntimeCommand(
    name="python3.12", execution_env=None, command=["python"], forks=False, channel=False, runtime_dir="/lateen"
)


def objects_of(deployment: Deployment) -> FunctionObjects:
    return objects_for(deployment, CONFIG, command=COMMAND, image="r")


def selects(selector: dict[str, str], manifest: Manifest) -> bool:
    return selector.items() <= manifest["metadata"]["labels"].items()


def test_a_version_has_objects_of_its_own() -> None:
    """Named after function and number, with no way in from outside; neither Service leads to the other's pods."""
    latest, third = objects_of(DEPLOYMENT), objects_of(structs.replace(DEPLOYMENT, version="3"))
    assert latest.deployment["metadata"]["name"] == latest.service["metadata"]["name"] == "fn-f"
    assert third.deployment["metadata"]["name"] == third.service["metadata"]["name"] == "fn-f-3"
    assert third.secret["metadata"]["name"].startswith("fn-f-3-")
    assert latest.route is not None
    assert third.route is None
    for one, other in ((latest, third), (third, latest)):
        for service in (one.service, one.early_service):
            assert selects(service["spec"]["selector"], one.deployment["spec"]["template"])
            assert not selects(service["spec"]["selector"], other.deployment["spec"]["template"])
    assert [deployment_in(each.deployment) for each in (latest, third)] == ["f", "f-3"]
    assert third.deployment["metadata"]["labels"]["lateen.dev/function"] == "f"
    assert third.deployment["metadata"]["labels"]["lateen.dev/version"] == "3"


def test_where_there_are_several_pods_a_drain_takes_one_at_a_time() -> None:
    """Of each version its own: Kubernetes evicts no pod that two budgets select. Pods that don't work keep no node from
    being drained, and neither does the one pod of a function, which no budget could keep while it is replaced."""
    latest, third = (objects_of(structs.replace(DEPLOYMENT, version=each, replicas=2)) for each in ("$LATEST", "3"))
    for one, other in ((latest, third), (third, latest)):
        assert one.budget is not None
        assert one.budget["metadata"]["name"] == one.deployment["metadata"]["name"]
        assert deployment_in(one.budget) == deployment_in(one.deployment)
        selector = one.budget["spec"].pop("selector")["matchLabels"]
        assert one.budget["spec"] == {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
        assert selects(selector, one.deployment["spec"]["template"])
        assert not selects(selector, other.deployment["spec"]["template"])
    assert objects_of(structs.replace(DEPLOYMENT, replicas=1)).budget is None


def test_budgets_are_as_the_values_say() -> None:
    several = structs.replace(DEPLOYMENT, replicas=4)
    for budget, wanted in ((DisruptionBudget(max_unavailable="50%"), "50%"), (DisruptionBudget(enabled=False), None)):
        made = objects_for(
            several, structs.replace(CONFIG, disruption_budget=budget), command=COMMAND, image="r"
        ).budget
        assert (made and made["spec"]["maxUnavailable"]) == wanted


def test_the_draft_keeps_the_selector_that_it_had() -> None:
    """A Deployment's can't be changed, and those of earlier installations have this one."""
    selector = objects_of(DEPLOYMENT).deployment["spec"]["selector"]
    assert selector == {"matchLabels": {"app.kubernetes.io/instance": "lateen", "lateen.dev/function": "f"}}
