"""Images as packages, by boto3: refused with a reason where nothing could run one; their whole life on a cluster."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError
from cluster_stores import ClusterStores
from platform_processes import IMAGE_TAG, LATEEN, PlatformProcess, PlatformProcesses, kubectl, until

from .conftest import REGION, ROLE, Account, checked

BASE = f"localhost/lateen/test-lambda-base:{IMAGE_TAG}"
"""Of `tests/images/lambda-base`: made as AWS's base images are."""
OTHER = "localhost/lateen/python3.12:dev"
"""A Python and no client of the Runtime API, nor an entry point like AWS's."""
NOWHERE = "registry.nowhere.example/no/such:image"
PROGRAM = """
import json, os, sys, urllib.request
address = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(address + "next") as given:
        request_id, event = given.headers["Lambda-Runtime-Aws-Request-Id"], json.load(given)
    answer = {"event": event, "words": sys.argv[1:], "folder": os.getcwd()}
    urllib.request.urlopen(f"{address}{request_id}/response", json.dumps(answer).encode()).close()
"""
"""A client of its own."""
PATIENT = ClientConfig(retries={"max_attempts": 8, "mode": "standard"}, read_timeout=90)
"""The stores' pods share the machine with all that runs here."""
Config = dict[str, Any]
ON_THE_CLUSTER = [pytest.mark.cluster, pytest.mark.timeout(400)]


def refused(call: Any, **given: Any) -> str:
    with pytest.raises(ClientError) as found:
        call(**given)
    error: dict[str, str] = found.value.response["Error"]
    assert error["Code"] == "InvalidParameterValueException"
    return error["Message"]


def test_embedded_says_why_not(account: Account, client: Any) -> None:
    """On both surfaces, and nothing is left of it."""
    why = "they run only where functions are pods of a Kubernetes cluster; send the code itself"
    given = {"FunctionName": "image", "Role": ROLE, "PackageType": "Image", "Code": {"ImageUri": BASE}}
    assert refused(client.create_function, **given) == (
        f"PackageType Image is not offered by this installation. ({why})"
    )
    with httpx.Client(base_url=account.endpoint, headers={"authorization": f"Bearer {account.key}"}) as rest:
        workspace = rest.get("/api/workspaces").json()["items"][0]["id"]
        answer = rest.post(f"/api/workspaces/{workspace}/functions", json={"name": "image", "image": BASE})
    assert (answer.status_code, answer.json()["errors"]) == (400, [{"field": "image", "reason": why}])
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName="image")


class Cluster:
    """The platform's processes, and boto3 for a workspace of theirs."""

    def __init__(
        self, folder: Path, stores: ClusterStores, *, changed: Callable[[Config], Config] = lambda config: config
    ) -> None:
        """`changed`: of the document that the chart makes of its values."""
        self.platform = PlatformProcesses(folder, stores)
        file = folder / "functions.json"
        file.write_text(json.dumps(changed(json.loads(file.read_text()))))
        self.platform.prepare()
        self.api, self.gateway = self.platform.start("api"), self.platform.start("gateway")
        self.controller = self.platform.start("controller")
        made = self.api.api("POST", "/api/keys", json={"workspace": "default"})
        assert made.is_success, made.text
        key = made.json()
        self.pair = key["aws_access_key_id"], key["aws_secret_access_key"]

    def client(self, api: PlatformProcess) -> Any:
        session = boto3.Session(*self.pair, region_name=REGION)
        return session.client("lambda", endpoint_url=api.url, config=PATIENT)

    def lateen(self, *words: str) -> str:
        environment = {"LATEEN_ENDPOINT": self.api.url, "LATEEN_TOKEN": self.platform.token, "PATH": os.environ["PATH"]}
        ended = subprocess.run([LATEEN, *words], env=environment, capture_output=True, text=True, timeout=150)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def pods(self, function_id: str) -> list[dict[str, Any]]:
        label = f"lateen.dev/function={function_id}"
        rows: list[dict[str, Any]] = json.loads(kubectl("get", "pods", "-A", "-l", label, "-o", "json"))["items"]
        return rows

    def function(self, name: str) -> dict[str, Any]:
        answer = self.api.api("GET", "/api/workspaces/default/functions", params={"name": name})
        found: dict[str, Any] = answer.json()["items"][0]
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cluster_stores: ClusterStores) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("platform"), cluster_stores)
    yield cluster
    cluster.platform.close()


@pytest.fixture(scope="module")
def there(cluster: Cluster) -> Iterator[Any]:
    with checked(cluster.client(cluster.api)) as client:
        yield client


def create(client: Any, name: str, uri: str = BASE, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = client.create_function(
        FunctionName=name, Role=ROLE, PackageType="Image", Code={"ImageUri": uri}, **more
    )
    return made


def called(client: Any, name: str, **more: Any) -> Any:
    answer = client.invoke(FunctionName=name, Payload=json.dumps({"n": 1}), **more)
    body = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, body
    return body


def wait(client: Any, kind: str, name: str) -> None:
    client.get_waiter(kind).wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def failure_of(client: Any, name: str) -> str:
    def shown() -> dict[str, str]:
        found: dict[str, str] = client.get_function_configuration(FunctionName=name)
        return found

    until(lambda: shown()["State"] == "Failed", within_s=90)
    return shown()["StateReason"]


class TestOnACluster:
    pytestmark = ON_THE_CLUSTER

    def test_the_life_of_an_image(self, cluster: Cluster, there: Any) -> None:
        """As AWS's tools know it: made, called, published, started otherwise, given another image, deleted."""
        made = create(there, "life", Environment={"Variables": {"NAME": "of the function"}}, MemorySize=256)
        assert (made["PackageType"], made["CodeSize"], made["State"]) == ("Image", 0, "Pending")
        assert not {"Runtime", "Handler", "Layers", "RuntimeVersionConfig", "ImageConfigResponse"} & set(made)
        wait(there, "function_active_v2", "life")

        seen = called(there, "life")
        variables = seen.pop("variables")
        assert seen.pop("user") >= 100_000
        assert seen == {
            "handler": "handler", "event": {"n": 1}, "version": "$LATEST", "folder": "/var/task", "writes": ["/tmp"],
        }  # fmt: skip
        assert (variables["GREETING"], variables["NAME"]) == ("of the image", "of the function")
        assert (variables["_HANDLER"], variables["LAMBDA_TASK_ROOT"]) == ("code.handler", "/var/task")
        assert (variables["TZ"], variables["AWS_LAMBDA_FUNCTION_NAME"]) == (":/etc/localtime", "life")
        assert variables["AWS_LAMBDA_RUNTIME_API"].startswith("127.0.0.1:")
        assert not [name for name in variables if name.startswith(("KUBERNETES", "LATEEN", "_LATEEN", "HOSTNAME"))]

        function = cluster.function("life")
        assert (function["image"], function["runtime"], function["handler"]) == (BASE, "", "")
        assert there.publish_version(FunctionName="life")["Version"] == "1"
        changed = there.update_function_configuration(FunctionName="life", ImageConfig={"Command": ["code.other"]})
        assert changed["ImageConfigResponse"] == {"ImageConfig": {"Command": ["code.other"]}}
        wait(there, "function_updated_v2", "life")
        assert called(there, "life")["handler"] == "other"
        first = called(there, "life", Qualifier="1")
        assert (first["handler"], first["version"]) == ("handler", "1")

        there.update_function_code(FunctionName="life", ImageUri=OTHER)
        shown = there.get_function(FunctionName="life")
        assert shown["Code"] == {"RepositoryType": "ECR", "ImageUri": OTHER}
        assert there.get_function(FunctionName="life", Qualifier="1")["Code"]["ImageUri"] == BASE
        there.delete_function(FunctionName="life")
        until(lambda: not cluster.pods(function["id"]), within_s=90)

    def test_a_program_of_its_own(self, there: Any) -> None:
        """In an image that knows nothing of AWS: its words are taken to the letter. The same tag again is pulled
        again."""
        program = {"EntryPoint": ["python3", "-c", PROGRAM], "Command": ["a b", "$(HOME)"], "WorkingDirectory": "/usr"}
        create(there, "own", OTHER, ImageConfig=program)
        wait(there, "function_active_v2", "own")
        assert called(there, "own") == {"event": {"n": 1}, "words": ["a b", "$(HOME)"], "folder": "/usr"}
        shown = there.get_function_configuration(FunctionName="own")
        assert shown["ImageConfigResponse"] == {"ImageConfig": program}
        again = there.update_function_code(FunctionName="own", ImageUri=OTHER)
        assert again["LastUpdateStatus"] == "InProgress"
        assert again["CodeSha256"] != shown["CodeSha256"]
        there.delete_function(FunctionName="own")

    def test_what_fails_says_why(self, there: Any) -> None:
        """An image that isn't there, one that doesn't say what to start, a program that isn't in it."""
        create(there, "nowhere", NOWHERE)
        create(there, "unknown", OTHER)
        create(there, "missing", ImageConfig={"EntryPoint": ["/no/such/program"]})
        assert "The image of the function can't be pulled" in failure_of(there, "nowhere")
        why = "the image has no /lambda-entrypoint.sh; name its entry point in the image's configuration"
        assert failure_of(there, "unknown") == why
        # As on AWS it is active, and each call says what is wrong.
        wait(there, "function_active_v2", "missing")
        answer = there.invoke(FunctionName="missing", Payload="{}")
        assert answer["FunctionError"] == "Unhandled"
        for name in ("nowhere", "unknown", "missing"):
            there.delete_function(FunctionName=name)

    def test_what_is_refused(self, cluster: Cluster, there: Any) -> None:
        """In AWS's words where it has some."""
        only = "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
        assert refused(create, client=there, name="x", Runtime="python3.12", Handler="a.b") == only
        assert refused(there.create_function, FunctionName="x", Role=ROLE, PackageType="Image", Code={}) == (
            "Please provide a source for function code."
        )
        bad = "Source image not a reference is not valid. Provide a valid source image."
        assert refused(create, client=there, name="x", uri="not a reference") == bad
        assert "absolute path" in refused(create, client=there, name="x", ImageConfig={"WorkingDirectory": "here"})
        # What the command line has made is refused the same.
        deployed = cluster.lateen("deploy", "--image", BASE, "--name", "kinds", "--command", "code.other")
        assert deployed == f"{cluster.function('kinds')['url']}\n"
        url = f"{cluster.gateway.url}/{cluster.function('kinds')['hash']}"
        assert httpx.get(url, timeout=60, trust_env=False).json()["handler"] == "other"
        needed = "Please provide ImageUri when updating a function with packageType Image."
        assert refused(there.update_function_code, FunctionName="kinds", ZipFile=b"PK\5\6" + b"\0" * 18) == needed
        assert refused(there.update_function_configuration, FunctionName="kinds", Handler="a.b") == only
        there.delete_function(FunctionName="kinds")

    def test_an_administrator_says_which(self, cluster: Cluster) -> None:
        """By the chart's values, of which this is the document."""
        config = json.loads((cluster.platform.folder / "functions.json").read_text())
        file = cluster.platform.folder / "functions-allowed.json"
        file.write_text(json.dumps(config | {"functionImages": {"allowed": ["ghcr.io/team"]}}))
        api = cluster.platform.start("api", LATEEN_FUNCTIONS_CONFIG=str(file))
        why = "this installation runs images of these only: ghcr.io/team"
        assert refused(create, client=cluster.client(api), name="x") == why
        answer = api.api("POST", "/api/workspaces/default/functions", json={"name": "x", "image": BASE})
        assert (answer.status_code, answer.json()["errors"]) == (400, [{"field": "image", "reason": why}])
