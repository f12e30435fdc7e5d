"""Images from a real registry: pulled, with a password and without, and kept by their digests."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_stores import ClusterStores
from image_registry import PASSWORD, ImageRegistry, docker_config, need_registry
from platform_processes import IMAGE_TAG, kubectl, until

from .conftest import checked
from .test_images import ON_THE_CLUSTER, Cluster, Config, called, create, failure_of, wait

pytestmark = ON_THE_CLUSTER
NAME = "team/thing"
BASE = f"localhost/lateen/provided.al2023:{IMAGE_TAG}"
"""Small, and in the node by hand."""
PROGRAM = """
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while true; do
    id=$(curl -s -D - -o /dev/null "$api/next" | sed -n 's/^lambda-runtime-aws-request-id: *//Ip' | tr -d '\\r')
    curl -s -o /dev/null -d "\\"$GREETING\\"" "$api/$id/response"
done
"""
"""A client of the Runtime API that says what the image says."""
SAYING = {"ImageConfig": {"EntryPoint": ["/bin/bash", "-c", PROGRAM]}}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    need_registry()
    registry = ImageRegistry(tmp_path_factory.mktemp("registry") / "images")
    try:
        registry.push(BASE, NAME)
        yield registry
    finally:
        registry.close()


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, cluster_stores: ClusterStores, registry: ImageRegistry
) -> Iterator[Cluster]:
    """With a pull secret whose password is wrong, and where nodes ask registries."""
    folder = tmp_path_factory.mktemp("platform")
    secret = folder / "pull"

    def changed(config: Config) -> Config:
        secret.mkdir()
        (secret / ".dockerconfigjson").write_text(registry.login("wrong"))
        copied = {"name": "the-pull-secret", "type": "kubernetes.io/dockerconfigjson", "folder": str(secret)}
        return config | {
            "images": config["images"] | {"pullPolicy": "IfNotPresent"},
            "copiedSecrets": [*config["copiedSecrets"], copied],
            "pods": config["pods"] | {"imagePullSecrets": [copied["name"]]},
        }

    cluster = Cluster(folder, cluster_stores, changed=changed)
    yield cluster
    cluster.platform.close()


@pytest.fixture(scope="module")
def there(cluster: Cluster) -> Iterator[Any]:
    with checked(cluster.client(cluster.api)) as client:
        yield client


def said(client: Any, name: str, **more: Any) -> str:
    found: str = called(client, name, **more)
    return found


def update(client: Any, name: str, uri: str) -> dict[str, Any]:
    client.update_function_code(FunctionName=name, ImageUri=uri)
    wait(client, "function_updated_v2", name)
    shown: dict[str, Any] = client.get_function(FunctionName=name)
    return shown


def test_a_tag_may_move_and_the_function_stays(cluster: Cluster, there: Any, registry: ImageRegistry) -> None:
    """As on AWS: what a tag leads to is found out when it is given, and a version has the bytes of its draft."""
    uri = f"{registry.open}/{NAME}:1"
    resolved = f"{registry.open}/{NAME}@sha256:"
    one = registry.tag(NAME, "1", GREETING="one")
    create(there, "tagged", uri, Publish=True, **SAYING)
    wait(there, "function_active_v2", "tagged")
    assert said(there, "tagged") == "one"
    shown = there.get_function(FunctionName="tagged")
    assert shown["Code"] == {"RepositoryType": "ECR", "ImageUri": uri, "ResolvedImageUri": resolved + one}
    assert shown["Configuration"]["CodeSha256"] == one
    assert there.get_function(FunctionName="tagged", Qualifier="1")["Code"]["ResolvedImageUri"] == resolved + one
    # Nothing has changed since, so this is no second version.
    assert there.publish_version(FunctionName="tagged", CodeSha256=one)["Version"] == "1"

    two = registry.tag(NAME, "1", GREETING="two")
    function = cluster.function("tagged")
    [first] = cluster.pods(function["id"])
    kubectl("-n", first["metadata"]["namespace"], "delete", "pod", first["metadata"]["name"], "--wait=false")
    until(lambda: first["metadata"]["uid"] not in running(cluster, function["id"]), within_s=60)
    until(lambda: running(cluster, function["id"]), within_s=60)
    assert said(there, "tagged") == "one"

    shown = update(there, "tagged", uri)
    assert (shown["Code"]["ResolvedImageUri"], shown["Configuration"]["CodeSha256"]) == (resolved + two, two)
    assert said(there, "tagged") == "two"
    assert said(there, "tagged", Qualifier="1") == "one"
    second = there.publish_version(FunctionName="tagged")
    assert (second["Version"], second["CodeSha256"]) == ("2", two)

    # The same tag once more, which leads where it did: no pod is replaced, and nothing is there to be published.
    pods = running(cluster, function["id"])
    assert update(there, "tagged", uri)["Code"]["ResolvedImageUri"] == resolved + two
    assert there.publish_version(FunctionName="tagged")["Version"] == "2"
    assert running(cluster, function["id"]) == pods
    there.delete_function(FunctionName="tagged")


def test_what_can_not_be_had_says_why_and_heals(cluster: Cluster, there: Any, registry: ImageRegistry) -> None:
    """A wrong password, a tag that isn't there; and an image that somebody has put into the node runs as ever."""
    private = registry.tag(NAME, "private", GREETING="secret")
    create(there, "private", f"{registry.closed}/{NAME}:private", **SAYING)
    create(there, "absent", f"{registry.open}/{NAME}:absent", **SAYING)
    create(there, "by-hand", BASE, Environment={"Variables": {"GREETING": "by hand"}}, **SAYING)

    why = failure_of(there, "private")
    assert why.startswith("The image of the function can't be pulled (")
    assert "ErrImagePull" in why
    assert "401 Unauthorized" in why
    assert cluster.function("private")["state_reason"] == why

    # The controller's copy, in the workspace's namespace, is what nodes ask with.
    namespace = f"{cluster.platform.name}-default"
    assert pull_secret_in(namespace) == registry.login("wrong")
    right = json.dumps({"stringData": {".dockerconfigjson": docker_config(registry.closed, "lateen", PASSWORD)}})
    kubectl("-n", namespace, "patch", "secret", "the-pull-secret", "-p", right)

    assert "absent: not found" in failure_of(there, "absent")
    wait(there, "function_active_v2", "by-hand")
    assert said(there, "by-hand") == "by hand"
    assert "ResolvedImageUri" not in there.get_function(FunctionName="by-hand")["Code"]

    absent = update(there, "absent", f"{registry.open}/{NAME}:private")
    assert (absent["Configuration"]["LastUpdateStatus"], said(there, "absent")) == ("Successful", "secret")
    # No waiter of AWS's: what has failed there stays so.
    until(lambda: cluster.function("private")["state"] == "Active", within_s=90)
    assert said(there, "private") == "secret"
    # The node has one image by two names by now, and says which one it likes.
    for name, address in (("private", registry.closed), ("absent", registry.open)):
        code = there.get_function(FunctionName=name)["Code"]
        assert code["ResolvedImageUri"] == f"{address}/{NAME}@sha256:{private}"
    for name in ("private", "absent", "by-hand"):
        there.delete_function(FunctionName=name)


def running(cluster: Cluster, function_id: str) -> set[str]:
    """Uids of the draft's ready pods that are not on their way out."""
    return {
        pod["metadata"]["uid"]
        for pod in cluster.pods(function_id)
        if pod["metadata"]["labels"]["lateen.dev/version"] == "latest"
        and "deletionTimestamp" not in pod["metadata"]
        and any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))
    }


def pull_secret_in(namespace: str) -> str:
    template = '{{index .data ".dockerconfigjson" | base64decode}}'
    return kubectl("-n", namespace, "get", "secret", "the-pull-secret", "-o", f"go-template={template}")
