"""A function's life on a real cluster: made by each surface, called each way, recorded, updated under load, deleted."""

import base64
import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator

import boto3
import httpx
import msgspec
import pytest
from cluster_callers import CallerPod, Load, objects_of
from cluster_install import Installed
from lateen_release import Json, Release, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CODE = """
def handler(event, context):
    print("said", event.get("body"))
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": "%s"}
"""
REQUESTS = 2_000
GONE_S = 60.0
INGRESS_LAG_S = 4.0
"""Traefik gathers changes for two seconds before it follows them."""


@pytest.fixture
def made(release: Release) -> Iterator[Callable[..., Json]]:
    """Deploys a function; at the end it is removed."""
    functions: list[Json] = []

    def make(answer: str, **settings: object) -> Json:
        functions.append(release.deploy(f"e2e-{secrets.token_hex(4)}", CODE % answer, **settings))
        return functions[-1]

    yield make
    for function in functions:
        release.api.delete(f"/api/functions/{function['id']}")


@pytest.fixture(scope="module")
def caller(release: Release) -> Iterator[CallerPod]:
    image = release.get("deployment", f"{release.name}-api")["spec"]["template"]["spec"]["containers"][0]["image"]
    with CallerPod(f"{release.name}-caller", image=image) as pod:
        yield pod


def answered(url: str, **options: object) -> str:
    """The body of a 200, as soon as there is one: an ingress controller takes a moment to see a path."""
    last = httpx.Response(0)

    def is_there() -> bool:
        nonlocal last
        last = httpx.post(url, content=b"hello", headers={"content-type": "text/plain"}, trust_env=False, timeout=30)
        return last.status_code == 200

    eventually(is_there, f"{url} answers", within_s=20)
    return last.text


def test_cluster_up_ends_with_an_answer(installed: Installed) -> None:
    """It prints the example's URL and what the example said, and the URL works."""
    if not installed.printed:
        pytest.skip("the release was there before")
    _, _, shown = installed.printed.partition("$ curl --data-binary @examples/access-log/access.log ")
    url, _, rest = shown.partition("\n")
    document, _ = json.JSONDecoder().raw_decode(rest)
    assert document["requests"] > 3000
    assert rest.rstrip().endswith(f"the example: {url}")
    assert httpx.post(url, content=b"", trust_env=False, timeout=30).status_code in {200, 400}


def test_called_every_way_it_answers(release: Release, made: Callable[..., Json], caller: CallerPod) -> None:
    """Through the Ingress, the gateway, by its id, and from another pod by the gateway's name: the same function."""
    function = made("here")
    assert answered(release.ingress_url(function)) == "here"
    assert answered(release.gateway_url(function)) == "here"
    assert answered(release.gateway_url(function) + "/below/it?x=1") == "here"
    event = release.api.post(f"/api/functions/{function['id']}/invocations", json={"body": "raw"})
    assert (event.status_code, event.json()["body"]) == (200, "here")
    port = release.get("service", f"{release.name}-gateway")["spec"]["ports"][0]["port"]
    name = f"http://{release.name}-gateway.{release.namespace}.svc.cluster.local:{port}/{function['hash']}"
    assert caller.call(name, "hello") == (200, "here")


def test_made_by_the_console_it_answers(release: Release) -> None:
    """`/lambda` is the same platform: made, shown, changed, removed by hash."""
    name = f"console-{secrets.token_hex(4)}"
    body = {"name": name, "file": CODE % "first", "runtime": "python", "version": "3.12"}
    function = release.api.post("/lambda", json=body)
    assert function.status_code == 201, function.text
    function_hash = function.json()["hash"]
    shown = lambda: release.api.get("/lambda", params={"hash": function_hash}).json()  # noqa: E731
    eventually(lambda: shown()["state"] == "Active", "the function is active")
    assert answered(f"{release.ingress}/{function_hash}") == "first"
    assert answered(f"{release.gateway}/{function_hash}") == "first"
    changed = release.api.patch("/lambda", json={"hash": function_hash, "file": CODE % "second"})
    assert (changed.status_code, changed.json()["hash"]) == (200, function_hash)
    eventually(lambda: answered(f"{release.gateway}/{function_hash}") == "second", "the new code answers")
    assert release.api.delete("/lambda", params={"hash": function_hash}).status_code == 204
    for way in (release.gateway, release.ingress):
        eventually(lambda: is_unknown(f"{way}/{function_hash}"), f"{way} knows it no more", within_s=20)  # noqa: B023


def test_a_key_is_asked_for_where_the_function_wants_one(release: Release, made: Callable[..., Json]) -> None:
    """`auth: key` has no path past the gateway: no Ingress of its own, and 401 without a key."""
    function = made("secret", auth="key")
    assert not [row for row in objects_of(function) if row.startswith("Ingress/")]
    eventually(
        lambda: httpx.get(release.gateway_url(function), trust_env=False).status_code == 401, "it is refused", 20
    )
    key = {"authorization": f"Bearer {release.token}"}
    assert httpx.get(release.gateway_url(function), headers=key, trust_env=False, timeout=30).text == "secret"
    [pod] = release.function_pods(function)
    straight = httpx.get(f"http://{pod['status']['podIP']}:8080/{function['hash']}", headers=key, trust_env=False)
    assert straight.status_code in {401, 403, 404}


def test_each_invocation_is_recorded(release: Release, made: Callable[..., Json]) -> None:
    """One record a call, with what it printed: by the API, and in DynamoDB under the keys that the design gives."""
    function = made("recorded")
    said = [f"words {number}" for number in range(5)]
    for words in said:
        answer = httpx.post(
            release.gateway_url(function),
            content=words,
            headers={"content-type": "text/plain"},
            trust_env=False,
            timeout=30,
        )
        assert answer.status_code == 200
    eventually(lambda: len(list(release.log_tails(function))) == len(said), "all records are there", within_s=20)
    tails = list(release.log_tails(function))[::-1]
    assert all(f"said {words}\n" in tail for words, tail in zip(said, tails, strict=True))
    table = dynamodb_of(release)
    items = table.query(
        KeyConditionExpression="PK = :pk AND begins_with(SK, :log)",
        ExpressionAttributeValues={":pk": f"FN#{function['id']}", ":log": "LOG#"},
    )["Items"]
    assert len(items) == len(said)
    stamp = re.compile(r"^LOG#\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z#.+$")
    assert all(stamp.match(item["SK"]) for item in items)
    week_s = 7 * 86_400
    assert all(abs(int(item["expires_at"]) - time.time() - week_s) < 3_600 for item in items)


def test_an_update_under_load_fails_nobody(release: Release, made: Callable[..., Json]) -> None:
    """At least 2,000 requests through Ingress and gateway, all answered by the old or the new version. From the moment
    at which the function is Active again the gateway leads to the new one only, and an ingress controller as soon as it
    has seen the new addresses. Hash and Ingress stay as they are."""
    function = made("old", replicas=2, timeout=10)
    urls = [release.ingress_url(function), release.gateway_url(function)]
    for url in urls:
        assert answered(url) == "old"
    path = f"/api/functions/{function['id']}"
    before = ingress_of(release, function)
    with Load(urls) as load:
        load.wait_for(REQUESTS // 4)
        code = base64.b64encode((CODE % "new").encode()).decode()
        changed = release.api.patch(path, json={"code": code})
        assert changed.status_code == 200, changed.text
        eventually(lambda: release.api.get(path).json()["state"] == "Active", "the new version is active")
        active_s = time.monotonic()
        # Long enough to see the old pods go.
        load.wait_for(len(load.answers) + REQUESTS // 2)
        eventually(lambda: len(pods_of(release, function)) == 2, "the old pods are gone", within_s=60)
        load.wait_for(max(REQUESTS, len(load.answers) + REQUESTS // 4))
    assert load.failed == []
    assert len(load.answers) >= REQUESTS
    by_url = {url: Counter(row.body for row in load.answers if row.url == url) for url in urls}
    assert all(set(counts) == {"old", "new"} for counts in by_url.values()), by_url
    late = [(row.url, row.began_s - active_s) for row in load.answers if row.began_s > active_s and row.body != "new"]
    assert [row for row in late if row[0] == release.gateway_url(function)] == []
    assert [row for row in late if row[1] > INGRESS_LAG_S] == []
    shown = release.api.get(path).json()
    assert (shown["hash"], shown["url"], shown["revision"]) == (function["hash"], function["url"], 2)
    assert ingress_of(release, function) == before


def test_a_change_of_settings_keeps_hash_and_ingress(release: Release, made: Callable[..., Json]) -> None:
    """A PATCH of variables rolls the pods and touches nothing that a caller knows."""
    function = made("settled")
    before = ingress_of(release, function)
    path = f"/api/functions/{function['id']}"
    changed = release.api.patch(path, json={"environment": {"A": "1"}, "timeout": 5})
    assert changed.status_code == 200, changed.text
    assert changed.json()["hash"] == function["hash"]
    eventually(lambda: release.api.get(path).json()["state"] == "Active", "it is active again")
    assert ingress_of(release, function) == before
    assert answered(release.ingress_url(function)) == "settled"


def test_deleted_it_leaves_nothing(release: Release, made: Callable[..., Json]) -> None:
    """No object of it in the cluster, 404 everywhere, 204 when it is deleted again; the record is marked."""
    function = made("short-lived")
    assert answered(release.ingress_url(function)) == "short-lived"
    kinds = {row.split("/")[0] for row in objects_of(function)}
    assert {"Deployment", "Pod", "Service", "Ingress", "Secret"} <= kinds
    path = f"/api/functions/{function['id']}"
    assert release.api.delete(path).status_code == 204
    assert release.api.get(path).status_code == 404
    assert release.api.delete(path).status_code == 204
    eventually(lambda: objects_of(function) == [], "nothing of it is left", within_s=GONE_S)
    for url in (release.ingress_url(function), release.gateway_url(function)):
        eventually(lambda: is_unknown(url), f"{url} is unknown", within_s=20)  # noqa: B023
    key = {"PK": f"WS#{function['workspace']}", "SK": f"FN#{function['id']}"}
    item = dynamodb_of(release).get_item(Key=key, ConsistentRead=True).get("Item")
    assert item is not None
    assert msgspec.msgpack.decode(bytes(item["data"]))["deleted_at"]


def is_unknown(url: str) -> bool:
    return httpx.get(url, trust_env=False, timeout=5).status_code == 404


def ingress_of(release: Release, function: Json) -> Json:
    """What callers depend on: identity, name and rules."""
    found = release.get("ingress", f"fn-{function['id']}", release.namespace_of(function))
    return {"uid": found["metadata"]["uid"], "generation": found["metadata"]["generation"], "spec": found["spec"]}


def pods_of(release: Release, function: Json) -> list[Json]:
    """Those that are on their way out too."""
    return release.listed("pods", f"lateen.dev/function={function['id']}", release.namespace_of(function))


def dynamodb_of(release: Release) -> "boto3.resources.base.ServiceResource":
    """The release's own table, as it is."""
    variables = release.get("configmap", release.name)["data"]
    secret = release.get("secret", f"{release.name}-local-stores")["data"]
    keys = {name: base64.b64decode(value).decode() for name, value in secret.items()}
    store = release.get("service", f"{release.name}-dynamodb")["spec"]
    return boto3.resource(
        "dynamodb",
        endpoint_url=f"http://{store['clusterIP']}:{store['ports'][0]['port']}",
        region_name=variables["AWS_REGION"],
        aws_access_key_id=keys["access-key-id"],
        aws_secret_access_key=keys["secret-access-key"],
    ).Table(variables["DYNAMODB_TABLE_NAME"])
