"""The short way to an object: signed as AWS's SDK signs, and taken only where nothing is left to know."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lateen_invoker.quick_get import CONNECT_S, TIMEOUT_S, Keys, NotPlain, plain_keys, quick_get, signed_headers

PLAIN = {
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "LATEEN_S3_PATH_STYLE": "true",
}


@pytest.mark.parametrize("token", ["", "a/token+with=signs"])
@pytest.mark.parametrize("path", ["/b/ws/f/0123.zip", "/base/b/%C3%BC%20%2B~.zip"])
def test_signatures_are_the_sdks(token: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, for the same moment."""
    now = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    ours = signed_headers(
        Keys("AKID", "secret", token), "eu-central-1", host="s3:7070", path=path, now_s=now.timestamp()
    )
    request = AWSRequest("GET", f"http://s3:7070{path}")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: now.replace(tzinfo=None))
    S3SigV4Auth(Credentials("AKID", "secret", token or None), "s3", "eu-central-1").add_auth(request)
    # The SDK doesn't hash a body that TLS or nothing protects; the rest must be the same.
    theirs = {name.lower(): value for name, value in request.headers.items()}
    assert ours["x-amz-date"] == theirs["x-amz-date"]
    assert ours["x-amz-content-sha256"] == theirs["x-amz-content-sha256"]
    assert ours["authorization"] == theirs["authorization"]


@pytest.mark.parametrize(
    "change",
    [
        {"AWS_ENDPOINT_URL_S3": ""}, {"AWS_REGION": ""}, {"LATEEN_S3_PATH_STYLE": ""}, {"AWS_ACCESS_KEY_ID": ""},
        {"AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}, {"AWS_PROFILE": "other"}, {"HTTPS_PROXY": "http://proxy:3128"},
        {"http_proxy": "http://proxy:3128"}, {"AWS_ENDPOINT_URL_S3": "https://s3.example"},
        {"AWS_ENDPOINT_URL_S3": "ftp://s3.example"}, {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:none"}, {},
    ],
)  # fmt: skip
def test_what_is_not_plain_is_the_sdks(change: dict[str, str]) -> None:
    """Roles, profiles, proxies, AWS itself, public CAs, and a server that does not answer."""
    with pytest.raises(NotPlain):
        list(quick_get({**PLAIN, **change}, "b", "k"))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("[default]\naws_access_key_id = a\naws_secret_access_key = b%\n", Keys("a", "b%")),
        ("[default]\naws_access_key_id=a\naws_secret_access_key=b\naws_session_token=c\n", Keys("a", "b", "c")),
        ("[default]\naws_access_key_id=a\n", None),
        ("[other]\naws_access_key_id=a\naws_secret_access_key=b\n", None),
        ("[default]\naws_access_key_id=a\naws_secret_access_key=b\nrole_arn=r\n", None),
        ("[default]\ncredential_process=/bin/p\n", None),
        ("no file of this kind", None),
    ],
)
def test_a_credentials_file_is_plain_or_not(tmp_path: Path, text: str, keys: Keys | None) -> None:
    """Two keys, perhaps a token: anything else in the section has a meaning that the SDK knows."""
    path = tmp_path / "credentials"
    path.write_text(text)
    if keys is None:
        with pytest.raises(NotPlain):
            plain_keys({"AWS_SHARED_CREDENTIALS_FILE": str(path)})
    else:
        assert plain_keys({"AWS_SHARED_CREDENTIALS_FILE": str(path)}) == keys


class Store(http.server.BaseHTTPRequestHandler):
    """Answers as a test says."""

    status = 200
    promised: ClassVar[str | None] = "4"
    body = b"code"

    def do_GET(self) -> None:
        self.send_response(self.status)
        if self.promised is not None:
            self.send_header("content-length", self.promised)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "promised", "is_taken"), [(200, "4", True), (200, "9", False), (200, None, False), (403, "4", False)]
)
def test_only_a_whole_object_is_taken(
    store: str, status: int, promised: str | None, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused, or breaks off, is asked for again by the SDK, which can say why."""
    monkeypatch.setattr(Store, "status", status)
    monkeypatch.setattr(Store, "promised", promised)
    got = quick_get({**PLAIN, "AWS_ENDPOINT_URL_S3": store}, "b", "k")
    if is_taken:
        assert b"".join(got) == b"code"
    else:
        with pytest.raises(NotPlain):
            list(got)


@pytest.mark.parametrize(("lost", "is_taken"), [(3, True), (len(CONNECT_S), False)])
def test_a_lost_first_packet_costs_no_second(
    store: str, lost: int, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempts get no answer, as on a network that has not heard of the pod: each is given up
    soon."""
    limits: list[float | None] = []
    connect = http.client.HTTPConnection.connect

    def lossy(connection: http.client.HTTPConnection) -> None:
        limits.append(connection.timeout)
        if len(limits) <= lost:
            raise TimeoutError
        connect(connection)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", lossy)
    got = quick_get({**PLAIN, "AWS_ENDPOINT_URL_S3": store}, "b", "k")
    if is_taken:
        assert b"".join(got) == b"code"
        assert limits == [0.1] * 4
    else:
        with pytest.raises(NotPlain):
            list(got)
        assert sum(filter(None, limits)) <= TIMEOUT_S
