"""Code from users' buckets, on the REST surface: what is listed is taken, and of all else nothing is even asked.

The S3 here is a stand-in that answers as it is told; tests/contract and tests/conformance have a real one.
"""

import asyncio
import hashlib
import io
import random
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from store_proxy import HANG, RESET, Answer, Call, Deed, StoreProxy, store_proxy

from lateen.services import code_sources
from lateen.services.zips import MAX_ZIPPED

from .conftest import CODE, Api, run_api

WORKSPACE = "/api/workspaces/default"
FUNCTIONS = f"{WORKSPACE}/functions"
LAYERS = f"{WORKSPACE}/layers"
NEW = {"name": "hello", "runtime": "python3.12"}
SECRET = "arn:aws:iam::111122223333:role/secret-name"


def zip_of(source: str = "def handler(event, context):\n    return event\n", name: str = "code.py") -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), source)
    return whole.getvalue()


def xml(status: int, code: str, **more: str) -> Answer:
    parts = "".join(f"<{name}>{text}</{name}>" for name, text in more.items())
    text = f"<Error><Code>{code}</Code><Message>{SECRET}</Message>{parts}</Error>"
    return Answer(status, text.encode(), "application/xml")


class S3:
    """Objects by `bucket/key`, each what is answered for it."""

    def __init__(self, proxy: StoreProxy) -> None:
        self.proxy = proxy
        self.objects: dict[str, Deed] = {}
        proxy.deeds = self._deed

    def put(self, path: str, content: bytes) -> None:
        self.objects[path] = Answer(200, content, "application/zip")

    @property
    def asked(self) -> list[str]:
        return [call.target for call in self.proxy.calls]

    def _deed(self, call: Call) -> Deed:
        assert call.method == "GET"
        return self.objects.get(unquote(urlsplit(call.target).path)[1:], xml(404, "NoSuchKey"))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with store_proxy("http://127.0.0.1:9") as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield S3(proxy)


@pytest.fixture
async def api(s3: S3, tmp_path: Path) -> AsyncIterator[Api]:
    """Its workspace `default` may take code from `packages`, and from a folder of `releases`."""
    async with run_api(tmp_path / "data") as api:
        listed = await api("PATCH", WORKSPACE, json={"code_buckets": ["packages", "releases/team-a"]})
        assert listed.json()["code_buckets"] == ["packages", "releases/team-a"]
        yield api


def place(bucket: str = "packages", key: str = "app.zip", **more: str) -> dict[str, Any]:
    return {"code_s3": {"bucket": bucket, "key": key, **more}}


async def create(api: Api, **fields: Any) -> tuple[int, dict[str, Any]]:
    answer = await api("POST", FUNCTIONS, json=NEW | fields)
    return answer.status_code, answer.json()


async def refused(api: Api, **fields: Any) -> tuple[int, str, str]:
    """Status, kind and text."""
    status, problem = await create(api, **fields)
    return status, problem["type"].rpartition(":")[2], problem["detail"]


async def test_code_of_a_listed_bucket(api: Api, s3: S3) -> None:
    """It is read when it is asked for and is the function's from then on; the same again changes nothing."""
    s3.put("packages/app.zip", first := zip_of())
    status, made = await create(api, **place())
    assert (status, made["code_sha256"], made["code_size"]) == (201, hashlib.sha256(first).hexdigest(), len(first))
    path = f"/api/functions/{made['id']}"
    again = await api("PATCH", path, json=place())
    assert again.json()["revision"] == made["revision"]
    s3.put("packages/app.zip", second := zip_of("def handler(event, context):\n    return 2\n"))
    changed = await api("PATCH", path, json=place())
    assert changed.json()["code_sha256"] == hashlib.sha256(second).hexdigest()
    assert (await api("GET", f"/lambda?hash={made['hash']}")).status_code == 200
    s3.objects.clear()
    gone = await api("PATCH", path, json=place())
    assert (gone.status_code, gone.json()["errors"][0]["field"]) == (400, "code_s3")
    assert (await api("GET", path)).json()["code_sha256"] == hashlib.sha256(second).hexdigest()


async def test_versions_and_names_reach_the_server_as_they_are(api: Api, s3: S3) -> None:
    key, version = "a b/ü?#%2e%2e&x=1.zip", "3/L4kqtJlcp+Q=="
    s3.put(f"packages/{key}", zip_of())
    assert (await create(api, **place(key=key, version=version)))[0] == 201
    assert s3.asked == ["/packages/a%20b/%C3%BC%3F%23%252e%252e%26x%3D1.zip?versionId=3%2FL4kqtJlcp%2BQ%3D%3D"]
    assert (await create(api, name="newest", **place(key=key)))[0] == 201
    assert s3.asked[-1].endswith(".zip")


async def test_a_layer_of_a_listed_bucket(api: Api, s3: S3) -> None:
    s3.put("releases/team-a/libs.zip", content := zip_of("WORD = 1\n", "python/shared.py"))
    given = {"content_s3": {"bucket": "releases", "key": "team-a/libs.zip"}}
    made = await api("POST", LAYERS, json={"name": "shared", **given})
    assert (made.status_code, made.json()["sha256"]) == (201, hashlib.sha256(content).hexdigest())
    missing = {"content_s3": {"bucket": "releases", "key": "team-a/none.zip"}}
    answer = await api("POST", LAYERS, json={"name": "shared", **missing})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "content_s3")
    for body in ({"name": "shared"}, {"name": "shared", "content": CODE, **given}):
        answer = await api("POST", LAYERS, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "content")


async def test_a_repeated_request_asks_once(api: Api, s3: S3) -> None:
    """The first answer again, whatever has become of the object."""
    s3.put("packages/app.zip", zip_of())
    answers = []
    for _ in range(2):
        answers.append(await api("POST", FUNCTIONS, json=NEW | place(), headers={"Idempotency-Key": "k"}))
        s3.objects.clear()
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert len(s3.asked) == 1


async def test_what_is_not_listed_is_not_asked_for(api: Api, s3: S3) -> None:
    """In AWS's words and with what to do about it; nobody learns whether it is there."""
    for bucket, key in (
        ("other", "app.zip"),
        ("Packages", "app.zip"),
        ("package", "app.zip"),
        ("releases", "app.zip"),
        ("releases", "team-a.zip"),
        ("releases", "team-ab/app.zip"),
        ("releases", "team-b/app.zip"),
        ("releases", "/team-a/app.zip"),
    ):
        s3.put(f"{bucket}/{key}", zip_of())
        status, kind, text = await refused(api, **place(bucket, key))
        assert (status, kind) == (403, "forbidden")
        assert text.startswith(
            "Your access has been denied by S3, please make sure your request credentials have permission to GetObject "
            f"for {bucket}/{key}. S3 Error Code: AccessDenied. S3 Error Message: Access Denied. "
        )
        assert "'lateen workspace update default --code-bucket BUCKET'" in text
    assert s3.asked == []


async def test_paths_that_lead_elsewhere_are_not_asked_for(api: Api, s3: S3) -> None:
    for key in ("../other/app.zip", "team-a/../app.zip", "team-a/..", "./app.zip", "a\\..\\b", "a\nb"):
        for bucket in ("packages", "releases"):
            assert (await refused(api, **place(bucket, key)))[:2] == (400, "invalid-input")
        assert (await refused(api, **place(version=f"x/{key}")))[:2] == (400, "invalid-input")
    assert s3.asked == []


async def test_a_list_is_of_one_workspace(api: Api, s3: S3) -> None:
    """Another one's is nobody else's, and an installation's key has no more than the workspace it works in."""
    s3.put("packages/app.zip", zip_of())
    other = await api.workspace("other")
    key = await api.key(other)
    for secret in ("", key):
        answer = await api("POST", f"/api/workspaces/{other}/functions", json=NEW | place(), key=secret)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:lateen:problem:forbidden")
    assert s3.asked == []
    assert (await api("POST", FUNCTIONS, json=NEW | place(), key=key)).status_code == 404
    assert s3.asked == []


async def test_only_the_installation_changes_lists(api: Api, s3: S3) -> None:
    """Who works in a workspace sees its list. It is replaced as a whole, and can be emptied."""
    key = await api.key("default")
    for listed in (["other"], []):
        answer = await api("PATCH", WORKSPACE, json={"code_buckets": listed}, key=key)
        assert answer.status_code == 403
    assert (await api("GET", WORKSPACE, key=key)).json()["code_buckets"] == ["packages", "releases/team-a"]
    await api("PATCH", WORKSPACE, json={"description": "x"})
    assert (await api("GET", WORKSPACE)).json()["code_buckets"] == ["packages", "releases/team-a"]
    for listed in (["packages/"], ["packages//a"], ["packages/../x"], ["*"], ["ab"], [1], ["x" * 64], "packages"):
        answer = await api("PATCH", WORKSPACE, json={"code_buckets": listed})
        assert answer.status_code == 400, listed
        assert answer.json()["errors"][0]["field"].startswith("code_buckets")
    assert (await api("PATCH", WORKSPACE, json={"code_buckets": []})).json()["code_buckets"] == []
    s3.put("packages/app.zip", zip_of())
    assert (await refused(api, **place()))[0] == 403
    assert s3.asked == []
    made = await api("POST", "/api/workspaces", json={"name": "listed", "code_buckets": ["packages"]})
    assert made.json()["code_buckets"] == ["packages"]


async def test_refusals_are_told_in_awss_words(api: Api, s3: S3) -> None:
    """S3's code and its well-known text; of the server's own text nothing, for it names roles and paths."""
    for answer, text in (
        (xml(404, "NoSuchKey"), "NoSuchKey. S3 Error Message: The specified key does not exist."),
        (xml(404, "NoSuchBucket"), "NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
        (xml(404, "NoSuchVersion"), "NoSuchVersion. S3 Error Message: The specified version does not exist."),
        (xml(400, "TeapotFault"), "TeapotFault. S3 Error Message: The store refused the request."),
        (xml(400, "Odd &lt;b&gt;"), "400. S3 Error Message: The store refused the request."),
        (Answer(404, b"<html>nginx", "text/html"), "404. S3 Error Message: The store refused the request."),
    ):
        s3.objects["packages/app.zip"] = answer
        status, kind, detail = await refused(api, **place())
        assert (status, kind) == (400, "invalid-input")
        assert detail == f"code_s3: Error occurred while GetObject. S3 Error Code: {text}"


async def test_what_s3_denies_is_forbidden(api: Api, s3: S3) -> None:
    s3.objects["packages/app.zip"] = xml(403, "AccessDenied")
    status, kind, detail = await refused(api, **place())
    assert (status, kind) == (403, "forbidden")
    assert detail.endswith("packages/app.zip. S3 Error Code: AccessDenied. S3 Error Message: Access Denied")


async def test_outages_can_be_tried_again(api: Api, s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    """After no more than three attempts, and a word in the log; the next request is none the worse for it."""
    for fault in (xml(503, "SlowDown"), RESET):
        s3.proxy.calls.clear()
        s3.objects["packages/app.zip"] = fault
        answer = await api("POST", FUNCTIONS, json=NEW | place())
        assert (answer.status_code, answer.json()["detail"]) == (503, "S3 does not answer, or not in time")
        assert answer.headers["retry-after"] == "1"
        assert len(s3.asked) == 3
        assert "code in S3 can't be read" in caplog.text
        caplog.clear()
    s3.put("packages/app.zip", zip_of())
    assert (await create(api, **place()))[0] == 201


async def test_the_region_of_a_bucket_is_found(api: Api, s3: S3) -> None:
    """S3 says where it is; the next attempt is signed for there."""
    s3.put("packages/app.zip", zip_of())
    found = s3.objects["packages/app.zip"]
    answers = [xml(400, "AuthorizationHeaderMalformed", Region="eu-west-1"), found]
    s3.proxy.deeds = lambda _: answers.pop(0)
    assert (await create(api, **place()))[0] == 201
    regions = [call.headers["authorization"].split("/")[2] for call in s3.proxy.calls]
    assert regions == ["us-east-1", "eu-west-1"]


async def test_credentials_are_the_installations(
    api: Api, s3: S3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without any, and with wrong ones, the caller is told, and the log has it for who runs it. They may come later."""
    s3.objects["packages/app.zip"] = xml(403, "InvalidAccessKeyId")
    status, kind, detail = await refused(api, **place())
    assert (status, kind, detail) == (400, "invalid-input", "code_s3: S3 refuses this installation's credentials")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3.proxy.calls.clear()
    async with run_api(api.platform.settings.data.with_name("other")) as other:
        await other("PATCH", WORKSPACE, json={"code_buckets": ["packages"]})
        status, kind, detail = await refused(other, **place())
        assert (status, kind) == (400, "invalid-input")
        assert "no credentials for S3" in detail
        assert s3.asked == []
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        s3.put("packages/app.zip", zip_of())
        assert (await create(other, **place()))[0] == 201
    assert "code in S3 can't be read" in caplog.text


async def test_objects_are_checked_as_uploads(api: Api, s3: S3) -> None:
    """Only a zip, and only one that is safe to unpack."""
    source = b"def handler(event, context):\n    return event\n"
    for content in (b"", source, b"PK\x03\x04 and no more", zip_of()[:-1], zip_of(name="../code.py")):
        s3.put("packages/app.zip", content)
        status, problem = await create(api, **place())
        assert (status, problem["errors"][0]["field"]) == (400, "code")
    assert (await api("GET", FUNCTIONS)).json()["items"] == []


async def test_objects_may_be_larger_than_uploads(api: Api, s3: S3, tmp_path: Path) -> None:
    """Up to what a function may have unzipped, for not all can be compressed."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("code.py", "def handler(event, context):\n    return event\n")
        archive.writestr("model.bin", random.Random(0).randbytes(MAX_ZIPPED))
    s3.put("packages/app.zip", content := whole.getvalue())
    status, made = await create(api, **place())
    assert (status, made["code_sha256"], made["code_size"]) == (201, hashlib.sha256(content).hexdigest(), len(content))
    (stored,) = (tmp_path / "data").rglob("*.zip")
    assert stored.read_bytes() == content


async def test_objects_have_a_largest_size(api: Api, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_sources, "MAX_FETCHED", 1000)
    s3.put("packages/app.zip", bytes(1001))
    assert await refused(api, **place()) == (
        400, "invalid-input", "code_s3: the object is larger than 1000 bytes"
    )  # fmt: skip


async def test_code_comes_from_one_place(api: Api, s3: S3) -> None:
    """Not from two, nor beside an image, nor from a place with further names."""
    s3.put("packages/app.zip", zip_of())
    assert (await refused(api, code=CODE, **place()))[2] == "code_s3: not beside `code`"
    assert (await refused(api, **place(bucket_owner="x")))[2] == "code_s3.bucket_owner: no such field"
    assert (await refused(api, code_s3={"bucket": "packages"}))[2] == "code_s3.key: required"
    answer = await api("POST", FUNCTIONS, json={"name": "image", "image": "registry.example.org/a:1", **place()})
    assert answer.status_code == 400
    assert s3.asked == []


async def test_a_server_that_says_nothing_keeps_nobody_from_the_rest(api: Api, s3: S3) -> None:
    """While reads hang, everything else goes on, and other code is taken; who leaves is forgotten."""
    s3.objects["packages/hangs.zip"] = HANG
    s3.put("packages/app.zip", zip_of())
    hanging = asyncio.create_task(create(api, name="hangs", **place(key="hangs.zip")))
    while not s3.asked:
        await asyncio.sleep(0.01)
    assert (await create(api, **place()))[0] == 201
    await api.function("sent")
    assert not hanging.done()
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    s3.proxy.released.set()
