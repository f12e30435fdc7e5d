"""Programs written for AWS Lambda, as `examples/` has them: with what they depend on beside them, they run."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import invoker_process
import pytest
from invoker_process import REPOSITORY, InvokerProcess
from runtimes_here import catalogue, command, compiled, packed

pytestmark = pytest.mark.timeout(300)

EXAMPLES = REPOSITORY / "examples"
Run = Callable[..., InvokerProcess]


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"not on the PATH: {', '.join(missing)}")


def installed(words: list[str | Path], folder: Path) -> None:
    """By a package manager, into the folder."""
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".bin" not in path.parts
    }


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A function of these files, in the sandbox."""
    monkeypatch.setattr(invoker_process, "package", packed)
    (tmp_path / "invoker").mkdir()
    invoker = InvokerProcess(tmp_path / "invoker")

    def started(runtime: str, files: Mapping[str, bytes], handler: str) -> InvokerProcess:
        if (why := catalogue()[1][runtime].disabled) is not None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
        ready = invoker.configure(files, command(runtime), handler=handler, memory_mib=256, timeout_s=20)
        assert ready.init_error is None, ready
        return invoker

    yield started
    invoker.close()


@pytest.fixture
def with_packages(tmp_path: Path) -> Callable[[str], dict[str, bytes]]:
    """A Python example with its requirements beside it."""

    def put_together(name: str) -> dict[str, bytes]:
        folder = tmp_path / name
        version = command("python3.12").command[0].rpartition("python")[2] or "3.11"
        uv = REPOSITORY / "hack" / "uv"
        installed(
            [uv, "pip", "install", "--quiet", "--target", folder, "--python-version", version, "--only-binary", ":all:",
             "-r", EXAMPLES / name / "requirements.txt"],
            REPOSITORY,
        )  # fmt: skip
        shutil.copy(EXAMPLES / name / "code.py", folder)
        return files_of(folder)

    return put_together


def test_express(run: Run, tmp_path: Path) -> None:
    """Express behind serverless-http: queries, JSON in and out, a cookie, a status, bytes."""
    needs("npm")
    folder = shutil.copytree(EXAMPLES / "express", tmp_path / "express")
    installed(["npm", "ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    invoker = run("node20", files_of(folder), "index.handler")
    hello = invoker.call("/?name=Ada%20L")
    assert (hello.status, hello.body) == (200, b"hello Ada L\n")
    assert hello.headers["content-type"] == "text/plain; charset=utf-8"
    assert invoker.call("/notes/1").status == 404
    put = invoker.call("/notes/1", "PUT", b'{"text": "\xc3\xa4"}', {"content-type": "application/json"})
    assert (put.status, json.loads(put.body)) == (201, {"stored": "1"})
    assert put.headers["set-cookie"] == "last=1; Path=/"
    assert json.loads(invoker.call("/notes/1").body) == {"text": "ä"}
    pixel = invoker.call("/pixel")
    assert (pixel.headers["content-type"], pixel.body[:6]) == ("image/gif", b"GIF89a")
    assert invoker.call("/nowhere", "POST").status == 404


def test_go_events(run: Run, tmp_path: Path) -> None:
    """aws-lambda-go with its events package: a typed event in, its context, a partial failure out."""
    needs("go")
    program = compiled(EXAMPLES / "go-events", tmp_path)
    invoker = run("golang1.22", {"bootstrap": program}, "bootstrap")
    bodies = {"a": '{"item": "tea", "count": 2}', "b": "not JSON", "c": '{"item": "tea", "count": 3}'}
    records = [{"messageId": name, "body": body, "eventSource": "aws:sqs"} for name, body in bodies.items()]
    answer = invoker.invoke(json.dumps({"Records": records}).encode())
    found = json.loads(answer.body)
    assert found == {
        "batchItemFailures": [{"itemIdentifier": "b"}],
        "counted": {"tea": 5},
        "requestId": answer.headers["x-amzn-requestid"],
    }
    assert "message b: invalid character" in invoker.record().log_tail
    broken = invoker.invoke(b'{"Records": 5}')
    assert broken.headers["x-amz-function-error"] == "Unhandled"
    assert json.loads(broken.body)["errorType"] == "UnmarshalTypeError"


def test_powertools(run: Run, with_packages: Callable[[str], dict[str, bytes]]) -> None:
    """AWS Lambda Powertools: its router finds the way, its logger knows the request, its errors are answers."""
    invoker = run("python3.12", with_packages("powertools"), "code.handler")
    assert [book["title"] for book in json.loads(invoker.call("/books?pages=300").body)["books"]] == ["Cranford"]
    one = invoker.call("/books/1")
    assert (one.status, json.loads(one.body)["pages"]) == (200, 624)
    lines = [json.loads(line) for line in invoker.record(2).log_tail.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["message"] == "found"]
    assert line["function_request_id"] == line["correlation_id"] == one.headers["x-amzn-requestid"]
    assert (line["service"], line["book"], line["function_name"]) == ("books", "1", "probe")
    missing = invoker.call("/books/9")
    assert (missing.status, json.loads(missing.body)) == (404, {"statusCode": 404, "message": "no such book"})
    refused = invoker.call("/books/1", "DELETE")
    assert (refused.status, refused.headers["allow"], refused.body) == (405, "GET", b"books stay")


def test_asgi(run: Run, with_packages: Callable[[str], dict[str, bytes]]) -> None:
    """Starlette behind Mangum: queries, bodies of text and of bytes, cookies both ways."""
    invoker = run("python3.12", with_packages("asgi"), "code.handler")
    assert invoker.call("/?name=Ada").body == b"hello Ada\n"
    echoed = invoker.call("/echo", "POST", b"x" * 1000, {"content-type": "text/plain", "cookie": "a=b; c=d"})
    found = json.loads(echoed.body)
    assert found == {"bytes": 1000, "type": "text/plain", "cookies": {"a": "b", "c": "d"}}
    assert echoed.headers["set-cookie"].startswith("seen=yes;")
    raw = bytes(range(256))
    sent = invoker.call("/bytes", "POST", raw, {"content-type": "application/octet-stream"})
    assert (sent.headers["content-type"], sent.body) == ("application/octet-stream", raw)
    assert invoker.call("/nowhere").status == 404
