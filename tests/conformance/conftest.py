"""AWS's own tools against the embedded Lateen, in a workspace of the module's own."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import httpx
import pytest
from aws_answers import problems
from botocore.config import Config
from running_lateen import Running, clean_environment, start, starting  # noqa: F401 - a fixture

REGION = "us-east-1"
ECHO = "def handler(event, context):\n    return event\n"
ROLE = "arn:aws:iam::123456789012:role/service-role/for-tests"
CLIENT = Config(retries={"max_attempts": 1, "mode": "standard"}, read_timeout=90)


class Account(NamedTuple):
    """A workspace with a key, as AWS's tools see it."""

    endpoint: str
    access_key_id: str
    secret_access_key: str
    account_id: str
    key: str
    """The API key that the pair stands beside."""

    @property
    def environment(self) -> dict[str, str]:
        """For programs that read what all of AWS's tools read."""
        return clean_environment(
            AWS_ENDPOINT_URL=self.endpoint,
            AWS_ACCESS_KEY_ID=self.access_key_id,
            AWS_SECRET_ACCESS_KEY=self.secret_access_key,
            AWS_REGION=REGION,
            AWS_DEFAULT_REGION=REGION,
            AWS_EC2_METADATA_DISABLED="true",
        )

    def arn(self, name: str) -> str:
        return f"arn:aws:lambda:{REGION}:{self.account_id}:function:{name}"

    def session(self) -> Any:
        return boto3.Session(self.access_key_id, self.secret_access_key, region_name=REGION)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with starting() as starter:
        yield starter(tmp_path_factory.mktemp("lateen") / "data")


@pytest.fixture(scope="module")
def account(server: Running, request: pytest.FixtureRequest) -> Account:
    return new_account(server, request.module.__name__.rpartition(".")[2])


def new_account(lateen: Any, name: str) -> Account:
    return account_of(lateen.endpoint, (lateen.data / "admin").read_text().strip(), name)


def account_of(endpoint: str, token: str, name: str) -> Account:
    """A new workspace with a key. `token`: the administrator's."""
    with httpx.Client(base_url=endpoint, headers={"authorization": f"Bearer {token}"}, trust_env=False) as http:
        workspace = http.post("/api/workspaces", json={"name": name}).raise_for_status().json()
        key = http.post("/api/keys", json={"workspace": workspace["id"]}).raise_for_status().json()
    pair = key["aws_access_key_id"], key["aws_secret_access_key"]
    return Account(endpoint, *pair, workspace["account_id"], key["secret"])


@pytest.fixture(scope="module")
def client(account: Account) -> Iterator[Any]:
    """boto3; each answer is held to the model as it comes over the wire."""
    with checked(account.session().client("lambda", endpoint_url=account.endpoint, config=CLIENT)) as client:
        yield client


class checked:
    """A client whose wrong answers fail the test when it is closed."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.found: list[str] = []
        client.meta.events.register("before-parse.lambda.*", self._look)

    def _look(self, *, operation_model: Any, response_dict: Any, **_: Any) -> None:
        headers = {name.lower(): value for name, value in response_dict["headers"].items()}
        body = response_dict["body"]
        body = body if isinstance(body, bytes) else b""
        self.found += problems(operation_model, response_dict["status_code"], headers, body)

    def __enter__(self) -> Any:
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()
        assert self.found == []


def zipped(source: str = ECHO, name: str = "app.py") -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), source)
    return whole.getvalue()


Create = Callable[..., dict[str, Any]]


@pytest.fixture
def create(client: Any) -> Iterator[Create]:
    """Makes a function that runs, and removes it."""
    made: list[str] = []

    def create(name: str, source: str = ECHO, *, wait: bool = True, **more: Any) -> dict[str, Any]:
        asked = {
            "FunctionName": name,
            "Runtime": "python3.12",
            "Role": ROLE,
            "Handler": "app.handler",
            "Code": {"ZipFile": zipped(source)},
        }
        answer: dict[str, Any] = client.create_function(**asked | more)
        made.append(answer["FunctionName"])
        if wait:
            client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        return answer

    yield create
    for name in made:
        try:
            client.delete_function(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            continue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
