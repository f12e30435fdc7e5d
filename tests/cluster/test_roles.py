"""Roles of functions: code gets its role's credentials for a token that is good for nothing else, and whose account
comes and goes with the function.

AWS's token service is a stand-in, for there is none to install. It looks at a token as AWS does: whose it is, for whom,
and whether the role trusts that.
"""

import http.server
import io
import json
import os
import re
import threading
import urllib.parse
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from secrets import token_hex
from typing import Any

import boto3
import msgspec
import pytest
from cluster_stores import ClusterStores
from controller_setting import Setting, a_function, changed, config_for, until
from platform_processes import PlatformProcesses, kubectl
from platform_processes import until as wait_until

from lateen.adapters.kubernetes.config import Roles
from lateen.adapters.kubernetes.kinds import SERVICE_ACCOUNT, Manifest, Ref
from lateen.adapters.kubernetes.pod_manifests import INVOKER_USER
from lateen.ports.deployer import Deployment

pytestmark = pytest.mark.cluster

ACCOUNT = "111122223333"
AUDIENCE = "lateen-functions"
CODE = """
import base64, glob, json, os, ssl, urllib.error, urllib.request
import boto3, botocore.exceptions

def handler(event, context):
    path = os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]
    with open(path) as file:
        token = file.read()
    payload = token.split(".")[1]
    asked = urllib.request.Request(event["api"] + "/api", headers={"Authorization": "Bearer " + token})
    try:
        answer = urllib.request.urlopen(asked, context=ssl._create_unverified_context(), timeout=10).status
    except urllib.error.HTTPError as refusal:
        answer = refusal.code
    try:
        identity = boto3.client("sts").get_caller_identity()["Arn"]
    except botocore.exceptions.ClientError as refusal:
        identity = refusal.response["Error"]["Code"]
    return {
        "identity": identity,
        "claims": json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))),
        "api": answer,
        "uid": os.getuid(),
        "writable": os.access(path, os.W_OK) or os.access(os.path.dirname(path), os.W_OK),
        "link": os.readlink(path),
        "files": [each for each in glob.glob("/var/run/secrets/**", recursive=True) if os.path.isfile(each)],
        "sidecars": os.path.exists("/etc/lateen"),
    }
"""


class TokenService:
    """STS on the node. A key that it gives says for which role and session it is."""

    def __init__(self) -> None:
        self.trusts: dict[str, str] = {}
        """Whom a role trusts: `sub`, as StringLike has it."""
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                asked = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
                text = service.answer(asked, self.headers.get("authorization", ""))
                self.send_response(403 if "<Error>" in text else 200)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Handler)  # pods ask it
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://{node_address()}:{self._server.server_port}"

    def answer(self, asked: dict[str, str], signature: str) -> str:
        action = asked["Action"]
        if action == "GetCallerIdentity":
            found = re.search(r"Credential=ASIA-([A-Za-z-]+)-AS-(\w+)/", signature)
            assert found is not None, signature
            inner = f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{found[1]}/{found[2]}</Arn>"
        else:
            assert action == "AssumeRoleWithWebIdentity"
            subject, role = subject_of(asked["WebIdentityToken"]), asked["RoleArn"]
            if subject is None or not fnmatchcase(subject, self.trusts.get(role, "")):
                return "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
            key = f"ASIA-{role.rpartition('/')[2]}-AS-{asked['RoleSessionName']}"
            inner = f"""<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
                <SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"""
        whole = f"<{action}Result>{inner}</{action}Result>"
        return f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{whole}</{action}Response>'

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def subject_of(token: str) -> str | None:
    """As the cluster itself says who may know; None: the token is not for this audience, or not good."""
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [AUDIENCE]},
    }
    status = json.loads(kubectl("create", "-f", "-", "-o", "json", given=json.dumps(review)))["status"]
    if not status.get("authenticated") or status["audiences"] != [AUDIENCE]:
        return None
    return str(status["user"]["username"])


def node_address() -> str:
    (node,) = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    return next(str(each["address"]) for each in node["status"]["addresses"] if each["type"] == "InternalIP")


def role(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


class Cluster:
    """An installation with roles switched on, as somebody with AWS's tools and an administrator see it."""

    def __init__(self, folder: Path, stores: ClusterStores) -> None:
        self.sts = TokenService()
        self.platform = PlatformProcesses(folder, stores)
        self.platform.prepare()
        self.api = self.platform.start("api")
        self.switch(on=True)
        pair = self.api.api("POST", "/api/keys", json={"workspace": "default"}).json()
        session = boto3.Session(pair["aws_access_key_id"], pair["aws_secret_access_key"], region_name="us-east-1")
        self.client = session.client("lambda", endpoint_url=self.api.url)
        self.namespace = f"{self.platform.name}-default"

    def switch(self, *, on: bool) -> None:
        """What the chart's value does: another document, and a controller that reads it."""
        path = self.platform.folder / "functions.json"
        roles = {"enabled": on, "audience": AUDIENCE}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"roles": roles}))
        for process in [each for each in self.platform.processes if each is not self.api]:
            process.stop()
            self.platform.processes.remove(process)
        self.platform.start("controller")

    def create(self, name: str, arn: str) -> None:
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:
            archive.writestr("app.py", CODE)
        self.client.create_function(
            FunctionName=name, Role=arn, Runtime="python3.12", Handler="app.handler", Timeout=60, MemorySize=256,
            Code={"ZipFile": whole.getvalue()}, Environment={"Variables": {"AWS_ENDPOINT_URL_STS": self.sts.url}},
        )  # fmt: skip
        self.client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    def call(self, name: str, **more: str) -> dict[str, Any]:
        service = json.loads(kubectl("-n", "default", "get", "service", "kubernetes", "-o", "json"))["spec"][
            "clusterIP"
        ]
        answer = self.client.invoke(FunctionName=name, Payload=json.dumps({"api": f"https://{service}"}), **more)
        found: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, found
        return found

    def pod(self, name: str) -> Manifest:
        """The only one of `$LATEST`."""
        (pod,) = self.pods(name)
        return pod

    def pods(self, name: str) -> list[Manifest]:
        (function,) = self.api.api("GET", "/api/workspaces/default/functions", params={"name": name}).json()["items"]
        selector = f"lateen.dev/function={function['id']},lateen.dev/version=latest"
        pods = json.loads(kubectl("-n", self.namespace, "get", "pods", "-l", selector, "-o", "json"))["items"]
        return [each for each in pods if "deletionTimestamp" not in each["metadata"]]

    def accounts(self) -> set[str]:
        """Of functions."""
        names = kubectl("-n", self.namespace, "get", "serviceaccounts", "-o", "name").splitlines()
        return {name.removeprefix("serviceaccount/") for name in names if "/lateen-function." in name}

    def close(self) -> None:
        with suppress(self.client.exceptions.ResourceNotFoundException):
            for each in self.client.list_functions()["Functions"]:
                self.client.delete_function(FunctionName=each["FunctionName"])
        self.platform.close()
        self.sts.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cluster_stores: ClusterStores) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("platform"), cluster_stores)
    yield cluster
    cluster.close()


def test_code_has_the_credentials_of_its_role(cluster: Cluster) -> None:
    """boto3 finds them without a word in the code. The token is this function's, for this audience, for an hour; the
    API server refuses it; the kubelet keeps it, and the sidecar hasn't got it, nor the code what the sidecar has."""
    subject = f"system:serviceaccount:{cluster.namespace}:lateen-function.default.orders"
    cluster.sts.trusts[role("orders")] = f"{subject}.*"
    cluster.create("orders", role("orders"))
    found = cluster.call("orders")
    assert found["identity"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/orders/orders"
    claims = found["claims"]
    assert claims["aud"] == [AUDIENCE]
    assert claims["sub"].startswith(f"{subject}.")
    assert claims["exp"] - claims["iat"] == 3600
    assert found["api"] == 401
    pod = cluster.pod("orders")
    (runtime,), invoker = pod["spec"]["containers"], pod["spec"]["initContainers"][0]
    assert claims["kubernetes.io"]["pod"]["name"] == pod["metadata"]["name"]
    assert found["uid"] == runtime["securityContext"]["runAsUser"] != INVOKER_USER
    # What the kubelet replaces as a whole when it is four fifths old.
    assert (found["link"], found["writable"]) == ("..data/token", False)
    assert {os.path.basename(each) for each in found["files"]} == {"token"}
    assert {each.split("/")[4] for each in found["files"]} == {"lateen.dev"}
    assert found["sidecars"] is False
    assert "role" not in {each["name"] for each in invoker["volumeMounts"]}
    assert "credentials" not in {each["name"] for each in runtime["volumeMounts"]}
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_the_trust_policy_holds(cluster: Cluster) -> None:
    """Another function of the workspace names the same role, and gets nothing; nor does a token for somebody else."""
    cluster.create("orders-too", role("orders"))
    found = cluster.call("orders-too")
    assert found["identity"] == "AccessDenied"
    account = cluster.pod("orders-too")["spec"]["serviceAccountName"]
    other = kubectl("-n", cluster.namespace, "create", "token", account, "--audience", "somebody-else")
    assert subject_of(other) is None
    cluster.client.delete_function(FunctionName="orders-too")
    wait_until(lambda: account not in cluster.accounts())


def test_another_role_is_another_pods(cluster: Cluster) -> None:
    """A change of the role alone rolls out; a version has the role that it was published with."""
    subject = f"system:serviceaccount:{cluster.namespace}:lateen-function.default.orders.*"
    cluster.sts.trusts[role("orders")] = cluster.sts.trusts[role("stock")] = subject
    version = cluster.client.publish_version(FunctionName="orders")["Version"]
    before = cluster.pod("orders")["metadata"]["uid"]
    cluster.client.update_function_configuration(FunctionName="orders", Role=role("stock"))
    cluster.client.get_waiter("function_updated_v2").wait(FunctionName="orders", WaiterConfig={"Delay": 1})
    assert cluster.call("orders")["identity"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/stock/orders"
    assert cluster.pod("orders")["metadata"]["uid"] != before
    published = cluster.call("orders", Qualifier=version)["identity"]
    assert published == f"arn:aws:sts::{ACCOUNT}:assumed-role/orders/orders"


def test_switched_off_nothing_is_left(cluster: Cluster) -> None:
    """Pods without a token take the others' place, and then the accounts go."""
    assert cluster.accounts()
    cluster.switch(on=False)
    wait_until(lambda: cluster.accounts() == set(), within_s=120)
    for pod in cluster.pods("orders"):
        assert pod["spec"]["serviceAccountName"] == "lateen-function"
        assert not [each for each in pod["spec"]["volumes"] if "projected" in each]


@pytest.fixture
async def setting(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Setting]:
    """With a parameter, all functions are in one namespace."""
    shared = f"roles-{token_hex(3)}" if hasattr(request, "param") else None
    setting = Setting(config_for(tmp_path, roles=Roles(enabled=True), functions_namespace=shared))
    await setting.prepare()
    setting.start()
    yield setting
    await setting.close()


async def accounts(setting: Setting, *functions: Deployment) -> list[Manifest]:
    return [each for function in functions for each in await setting.objects(SERVICE_ACCOUNT, function)]


async def test_an_account_comes_and_goes_with_its_pods(setting: Setting) -> None:
    """With the controller's own rights: made before the pods, made again where somebody removes it, one for a version
    beside the function's; gone after the pods that have it, but of a deleted function with the Deployment, whose pods
    may still drain."""
    function = a_function(role=role("orders"))
    version = msgspec.structs.replace(function, version="1", open=False)
    await setting.active(function, version)
    (account,), (other,) = await accounts(setting, function), await accounts(setting, version)
    assert account["metadata"]["name"] != other["metadata"]["name"]
    (pod,) = await setting.pods(function)
    assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
    await setting.admin.delete(Ref(SERVICE_ACCOUNT, setting.namespace(function), account["metadata"]["name"]))

    async def is_back() -> bool:
        return [a["metadata"]["uid"] != account["metadata"]["uid"] for a in await accounts(setting, function)] == [True]

    await until(is_back)
    before = Counter(setting.deployer.writes())
    await setting.deployer.apply(changed(function))
    await setting.until_state(changed(function), "Active")
    assert "ServiceAccount" not in {kind for _, kind, _ in Counter(setting.deployer.writes()) - before}
    without = changed(changed(function), role="")
    await setting.active(without)

    async def is_gone(*functions: Deployment) -> bool:
        return not await accounts(setting, *functions)

    await until(lambda: is_gone(function))
    assert [each["spec"]["serviceAccountName"] for each in await setting.pods(without)] == ["lateen-function"]
    assert await accounts(setting, version) == [other]
    await setting.deployer.remove(function.function_id)
    await until(lambda: is_gone(version))


@pytest.mark.parametrize("setting", ["shared"], indirect=True)
async def test_what_was_left_while_nobody_led_goes_too(setting: Setting) -> None:
    """Functions that went, and a value that was switched off, while there was no controller."""
    kept, gone = a_function(role=role("orders")), a_function(role=role("orders"))
    await setting.active(kept, gone)
    await setting.stop()
    setting.config = msgspec.structs.replace(setting.config, roles=Roles())
    setting.start()
    assert await setting.deployer.deployed() == {kept.function_id, gone.function_id}
    await setting.deployer.apply(kept)
    await setting.deployer.remove(gone.function_id)

    async def are_gone() -> bool:
        return not await accounts(setting, kept, gone)

    await until(are_gone)
    (pod,) = await setting.pods(kept)
    assert pod["spec"]["serviceAccountName"] == "lateen-function"
