"""The invoker of a pod with real stores: code from S3, records to DynamoDB, whatever happens to them meanwhile."""

import asyncio
import hashlib
import http.client
import http.server
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

import msgspec
import pytest
from botocore.config import Config
from botocore.session import get_session
from cluster_stores import ClusterStores
from invoker_process import HASH, own_bootstrap
from pod_process import ARTIFACT, PodInvoker, package
from tcp_road import TcpRoad

from lateen.adapters.dynamodb import DynamoTable
from lateen.adapters.dynamodb_schema import create_table
from lateen_invoker.control import Records
from lateen_invoker.pod_configure import PodLayer
from lateen_invoker.pod_records import Sink
from lateen_invoker.records import ExecutionRecord
from lateen_invoker.rollups import Rollup

pytestmark = pytest.mark.cluster

CODE = """
def handler(event, context):
    print("printed")
    return "fetched"
"""


class Stores:
    """A bucket and a table of this test's own, and roads to their servers."""

    def __init__(self, servers: ClusterStores) -> None:
        self._session = get_session()
        self._session.set_credentials(servers.access_key, servers.secret_key)
        self.bucket, self.table = f"test-{token_hex(8)}", f"test-{token_hex(8)}"
        self._s3 = self._session.create_client(
            "s3", region_name=servers.region, endpoint_url=servers.s3_endpoint,
            config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        self._s3.create_bucket(Bucket=self.bucket)
        self._servers = servers
        create_table(
            self.table, region=servers.region, endpoint_url=servers.dynamodb_endpoint, session=lambda: self._session
        )  # fmt: skip
        self.s3_road = TcpRoad(servers.s3_endpoint)
        self.dynamodb_road = TcpRoad(servers.dynamodb_endpoint)
        self.environment = {
            **servers.environment,
            "AWS_ENDPOINT_URL_S3": self.s3_road.url,
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb_road.url,
            "LATEEN_S3_PATH_STYLE": "true",
            "DYNAMODB_TABLE_NAME": self.table,
        }

    def put(self, body: bytes, key: str = ARTIFACT) -> None:
        self._s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def records(self, number: int, *, within_s: float = 20) -> list[ExecutionRecord]:
        """The function's records as the platform reads them, waiting until there are so many."""

        async def read() -> list[ExecutionRecord]:
            table = DynamoTable(
                self.table, region=self._servers.region, endpoint_url=self._servers.dynamodb_endpoint,
                session=lambda: self._session,
            )  # fmt: skip
            items, after = [], None
            while True:
                page = await table.query("FN#f1", begins="LOG#", after=after, limit=1000)
                items += page.items
                if (after := page.next) is None:
                    break
            await table.close()
            assert all(item.expires_at is not None for item in items)
            self.expire_at = {item.expires_at for item in items}
            return [msgspec.convert(item.data, ExecutionRecord) for item in items]

        deadline = time.monotonic() + within_s
        while len(found := asyncio.run(read())) < number and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def counted(self, series: str) -> int:
        """How many calls the function's rollups have, of all spans and writers."""
        dynamodb = self._session.create_client(
            "dynamodb", region_name=self._servers.region, endpoint_url=self._servers.dynamodb_endpoint
        )
        answer = dynamodb.query(
            TableName=self.table,
            KeyConditionExpression="PK = :pk AND begins_with(SK, :series)",
            ExpressionAttributeValues={":pk": {"S": "FN#f1"}, ":series": {"S": f"STATS#{series}#"}},
        )
        rollups = [msgspec.msgpack.decode(item["data"]["B"], type=Rollup) for item in answer["Items"]]
        assert all("expires_at" in item for item in answer["Items"])
        return sum(sum(slot[6::2]) for rollup in rollups for slot in rollup.slots)

    def close(self) -> None:
        self.s3_road.close()
        self.dynamodb_road.close()
        self._session.create_client(
            "dynamodb", region_name=self._servers.region, endpoint_url=self._servers.dynamodb_endpoint
        ).delete_table(TableName=self.table)


Start = Callable[..., PodInvoker]


@pytest.fixture
def stores(cluster_stores: ClusterStores) -> Iterator[Stores]:
    made = Stores(cluster_stores)
    yield made
    made.close()


@pytest.fixture
def start(tmp_path: Path, stores: Stores) -> Iterator[Start]:
    started: list[PodInvoker] = []

    def start(code: Any = CODE, *, puts: bool = True, variables: dict[str, str] | None = None, **changes: Any) -> Any:
        if puts:
            stores.put(code if isinstance(code, bytes) else package({"code.py": code}))
        given = {"artifact_bucket": stores.bucket, **changes}
        started.append(PodInvoker(tmp_path, code, stores=stores.environment, variables=variables, **given))
        return started[-1]

    yield start
    for pod in started:
        pod.close()


def test_code_comes_from_the_store_and_records_go_there(start: Start, stores: Stores) -> None:
    """The whole way: fetched, checked, unpacked, run; the record is what the platform reads, and expires."""
    pod = start(retention_s=3600)
    assert pod.ready() == 200
    fetch = pod.line("ready")["fetch"]
    assert set(fetch) == {"client", "download", "unpack"}
    assert fetch["client"] == 0  # nothing here takes the SDK
    answer = pod.call("/")
    assert answer.body == b"fetched"
    (record,) = stores.records(1)
    assert record.request_id == answer.headers["x-amzn-requestid"]
    assert record.function_id == "f1"
    assert record.status == "success"
    assert record.cold_reason == "first"
    assert "printed" in record.log_tail
    assert {int(time.time()) + 3600 - at in range(30) for at in stores.expire_at} == {True}


IMPORTING = """
import shared

def handler(event, context):
    return shared.WORD + open(shared.__file__.replace("shared.py", "data")).read()
"""


def test_layers_come_from_the_store(start: Start, stores: Stores, tmp_path: Path) -> None:
    """In order, each over those before, into a folder of their own; what is whole is not fetched again, and of other
    layers nothing is left."""
    layers = []
    for number, files in enumerate(({"shared.py": "WORD = 'first'", "data": "!"}, {"shared.py": "WORD = 'second'"})):
        content = package(files)
        digest = hashlib.sha256(content).hexdigest()
        stores.put(content, f"default/layers/{number}/{digest}.zip")
        layers.append(PodLayer(arn=f"layer:{number}", key=f"default/layers/{number}/{digest}.zip", sha256=digest))
    folder = tmp_path / "layers"
    folder.mkdir()
    (folder / "left").write_text("of an earlier start that was cut")
    runtime = msgspec.structs.replace(own_bootstrap(), layers={"_LATEEN_LAYERS": "{layers}"})
    given: dict[str, Any] = {"layers": layers, "runtime": runtime}
    pod = start(IMPORTING, variables={"LATEEN_LAYERS": str(folder)}, **given)
    assert pod.ready() == 200
    assert pod.call("/").body == b"second!"
    assert not (folder / "left").exists()
    pod.process.send_signal(signal.SIGKILL)
    pod.wait()
    pod.start()
    assert pod.ready() == 200
    assert pod.line("ready")["fetch"] == {}
    assert pod.call("/").body == b"second!"


def test_a_layer_that_can_t_be_had_says_which(start: Start, tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    absent = PodLayer(arn="layer:absent", key="default/layers/0/0.zip", sha256="0" * 64)
    pod = start(variables={"LATEEN_LAYERS": str(tmp_path / "layers")}, layers=[absent])
    assert pod.wait() == 1
    assert pod.termination_log.read_text() == "the layer layer:absent was not found in the object store"
    assert not pod.marker.exists()


@pytest.mark.parametrize(
    ("code", "changes", "variables", "reason"),
    [
        (None, {}, {}, "the code was not found in the object store"),
        (CODE, {"artifact_bucket": f"test-{token_hex(8)}"}, {}, "the bucket was not found in the object store"),
        (CODE, {"artifact_sha256": "0" * 64}, {}, "the code does not have the SHA-256 that it was deployed with"),
        (b"no zip", {}, {}, "the code can't be read (BadZipFile)"),
        (CODE, {}, {"AWS_SECRET_ACCESS_KEY": "wrong"}, "the object store refused access to the code "),
        (CODE, {}, {"AWS_ACCESS_KEY_ID": ""}, "there are no credentials for the object store (NoCredentialsError)"),
    ],
)
def test_code_that_can_t_be_had_says_why(
    start: Start, code: str | bytes | None, changes: dict[str, str], variables: dict[str, str], reason: str
) -> None:
    """It ends with a reason that the controller finds in the pod's status, and nothing of the code is left."""
    given = {"LATEEN_FETCH_SECONDS": "1", "AWS_EC2_METADATA_DISABLED": "true", **variables}
    pod = start(code or CODE, puts=code is not None, variables=given, **changes)
    assert pod.wait() == 1
    assert pod.termination_log.read_text().startswith(reason)
    assert pod.line("the function can't run")["reason"].startswith(reason)
    assert list(pod.code.iterdir()) == []
    assert not pod.marker.exists()


def test_a_store_that_comes_back_is_enough(start: Start, stores: Stores) -> None:
    """While S3 is away the pod says so; when it is back the function runs within five seconds, without a restart."""
    stores.s3_road.shut()
    pod = start()
    pod.line("the code is waited for")
    assert pod.state()["reason"].startswith("the object store can't be reached")
    assert pod.operations("/health/live").status == 200
    time.sleep(5)
    stores.s3_road.open()
    began = time.monotonic()
    assert pod.ready() == 200
    assert time.monotonic() - began < 5
    assert pod.state()["reason"] is None
    assert pod.call("/").body == b"fetched"


def test_a_connection_that_breaks_midway_is_no_wrong_code(start: Start, stores: Stores) -> None:
    """The rest of a download that broke off is fetched again, from its beginning."""
    filler = os.urandom(30_000_000)
    stores.put(large := package({"code.py": CODE, "filler": filler}))
    pod = start(large, puts=False)
    deadline = time.monotonic() + 10
    while not stores.s3_road._sockets and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    stores.s3_road.shut()
    pod.line("the code is waited for")
    stores.s3_road.open()
    assert pod.ready() == 200
    assert pod.call("/").body == b"fetched"
    assert (pod.code / "filler").read_bytes() == filler


def test_a_table_that_comes_back_gets_all_records(start: Start, stores: Stores) -> None:
    """While DynamoDB is away calls go on as ever; what they left is stored when it is back."""
    pod = start()
    assert pod.ready() == 200
    assert pod.call("/").status == 200
    assert len(stores.records(1)) == 1
    stores.dynamodb_road.shut()
    for _ in range(60):
        assert pod.call("/").status == 200
    pod.line("execution records wait for the table")
    assert len(stores.records(2, within_s=1)) == 1
    stores.dynamodb_road.open()
    assert len(stores.records(61)) == 61


def test_a_sink_that_dies_loses_nothing(start: Start, stores: Stores) -> None:
    """`kill -9` of the process that writes records, again and again under load: each record is there, once."""
    pod = start()
    assert pod.ready() == 200
    ids = set()
    for _ in range(5):
        for _ in range(30):
            ids.add(pod.call("/").headers["x-amzn-requestid"])
        time.sleep(0.5)
        for child in pod.children("lateen_invoker.sink"):
            os.kill(child, signal.SIGKILL)
    assert {record.request_id for record in stores.records(150)} == ids
    assert len(stores.records(150)) == 150


def test_the_last_records_are_written(start: Start, stores: Stores) -> None:
    """Stopping flushes: a call that was answered just before has its record."""
    pod = start(drain_lag_s=0.2)
    assert pod.ready() == 200
    for _ in range(20):
        pod.call("/")
    pod.stop()
    assert pod.wait() == 0
    assert len(stores.records(20, within_s=0)) == 20


async def test_a_sink_ends_when_there_is_nothing_to_write(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's client takes more memory than the invoker, so it is there only while there are records."""
    for name, value in stores.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", stores.environment["AWS_REGION"])
    monkeypatch.setattr("lateen_invoker.pod_records.IDLE_S", 0.3)
    stored: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
    sink = Sink(stores.table, retention_s=60, stored=lambda batch, lost: stored.put_nowait((batch, lost)))

    def batch(number: int) -> Records:
        record = ExecutionRecord(
            request_id=f"r{number}", function_id="f1", version="1", timestamp="2026-01-31T23:59:59.123Z",
            status="success", duration_ms=1.0,
        )  # fmt: skip
        return Records(batch=number, records=[record])

    assert sink.pid is None
    async with asyncio.timeout(30):
        for number in (1, 2):
            sink.send(batch(number))
            assert await stored.get() == (number, 0)
        first = sink.pid
        assert first is not None
        while sink.pid is not None:
            await asyncio.sleep(0.05)
        assert sink.starts == 1
        sink.send(batch(3))
        assert await stored.get() == (3, 0)
        assert sink.pid != first
        await sink.close()
    assert sink.starts == 2
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_statistics_go_there_too(start: Start, stores: Stores) -> None:
    """With the records while calls go on, and all that is left when the pod ends: each call once."""
    pod = start()
    assert pod.ready() == 200
    for _ in range(30):
        pod.call("/")
    assert len(stores.records(30)) == 30
    assert stores.counted("MINUTES") > 0
    pod.stop()
    assert pod.wait() == 0
    assert stores.counted("MINUTES") == stores.counted("QUARTERS") == 30


def test_a_burst_is_written_in_its_time(start: Start, stores: Stores) -> None:
    """Two thousand calls at full speed: every record arrives, none is dropped."""
    pod = start(concurrency=2)
    assert pod.ready() == 200
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", pod.port, timeout=30)
    for _ in range(2000):
        connection.request("GET", f"/{HASH}/")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    called_s = time.monotonic() - began
    assert len(stores.records(2000, within_s=30)) == 2000
    assert b"lateen_records_dropped_total 0.0" in pod.operations("/metrics").body
    print(f"2000 calls in {called_s:.2f} s, stored after {time.monotonic() - began:.2f} s")


class TokenService(http.server.BaseHTTPRequestHandler):
    """Stands in for AWS's, of which there is none to install: a token for a role gets the test servers' own keys."""

    keys = ("", "")
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.asked.append(body)
        answer = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
            <AssumeRoleWithWebIdentityResult><Credentials>
            <AccessKeyId>{self.keys[0]}</AccessKeyId><SecretAccessKey>{self.keys[1]}</SecretAccessKey>
            <SessionToken></SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
            </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>""".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def test_a_role_needs_no_key(start: Start, stores: Stores, cluster_stores: ClusterStores, tmp_path: Path) -> None:
    """IRSA: the token of a service account is all that the pod has; code and records go by the role's keys."""
    TokenService.keys = (cluster_stores.access_key, cluster_stores.secret_key)
    TokenService.asked.clear()
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TokenService)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text("the-pods-token")
    role = {
        "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/lateen",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{service.server_port}",
    }  # fmt: skip
    pod = start(variables=role)
    assert pod.ready() == 200
    assert pod.call("/").body == b"fetched"
    assert len(stores.records(1)) == 1
    service.shutdown()
    assert len(TokenService.asked) == 2
    assert pod.line("ready")["fetch"]["client"] > 0
    assert all("WebIdentityToken=the-pods-token" in body for body in TokenService.asked)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key, in one file."""
    path = tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out",
         str(tmp_path / "ca.crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + (tmp_path / "ca.crt").read_text())
    return path


def test_a_ca_of_ones_own(start: Start, stores: Stores, certificate: Path) -> None:
    """Stores behind a certificate of a company's own CA: with its bundle all is well."""
    stores.s3_road.close()
    stores.dynamodb_road.close()
    stores.s3_road = TcpRoad(stores.s3_road.target, certificate=certificate)
    stores.dynamodb_road = TcpRoad(stores.dynamodb_road.target, certificate=certificate)
    pod = start(
        variables={
            "AWS_ENDPOINT_URL_S3": stores.s3_road.url, "AWS_ENDPOINT_URL_DYNAMODB": stores.dynamodb_road.url,
            "AWS_CA_BUNDLE": str(certificate.parent / "ca.crt"),
        }
    )  # fmt: skip
    assert stores.s3_road.url.startswith("https://")
    assert pod.ready() == 200
    assert pod.call("/").body == b"fetched"
    assert len(stores.records(1)) == 1


def test_a_store_that_nobody_vouches_for_gets_nothing(start: Start, stores: Stores, certificate: Path) -> None:
    """Without the bundle the store's certificate is refused, and the reason says so."""
    stores.s3_road.close()
    stores.s3_road = TcpRoad(stores.s3_road.target, certificate=certificate)
    pod = start(variables={"AWS_ENDPOINT_URL_S3": stores.s3_road.url, "LATEEN_FETCH_SECONDS": "1"})
    assert pod.wait() == 1
    assert pod.termination_log.read_text() == "the object store can't be reached (SSLError)"
