"""What the writer of execution records takes for an answer of DynamoDB's: a server says something else in between."""

import json
from typing import Any
from zlib import crc32

import pytest
from botocore.parsers import ResponseParserError
from store_proxy import Answer, store_proxy

from lateen_invoker import sink
from lateen_invoker.control import Records
from lateen_invoker.records import ExecutionRecord

JSON = "application/x-amz-json-1.0"
STORED = b'{"UnprocessedItems":{}}'
RECORD = ExecutionRecord(
    request_id="r",
    function_id="f",
    version="1",
    timestamp="2026-01-31T23:59:59.123Z",
    status="success",
    duration_ms=1.0,
)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "answer", [Answer(200, b""), Answer(200, STORED[:9]), Answer(200, b"<html>"), Answer(200, STORED, "text/html")]
)
def test_what_is_no_whole_answer_stores_nothing(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is empty, cut off, or somebody else's is not taken for "all stored": the batch is sent again."""
    answers = [answer, Answer(200, STORED)]
    paused: list[float] = []
    with store_proxy("http://127.0.0.1:9") as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", proxy.url)
        proxy.deeds = lambda _: answers.pop(0)
        writer = sink.Writer(sink._client, "t", retention_s=60, pause=paused.append)
        assert writer.write(Records(batch=1, records=[RECORD])) == 0
        first, second = proxy.calls
    assert len(paused) == 1
    assert json.loads(first.body)["RequestItems"]["t"] == json.loads(second.body)["RequestItems"]["t"]


def test_the_checksum_counts() -> None:
    """What was changed on its way is no answer, whatever its status; without a checksum it is believed."""
    given: dict[str, Any] = {"status_code": 200, "body": STORED, "headers": {"content-type": JSON}}
    sink._check_answer(given)
    sink._check_answer({**given, "headers": {"content-type": JSON, "x-amz-crc32": str(crc32(STORED))}})
    for status in (200, 400):
        with pytest.raises(ResponseParserError):
            sink._check_answer({**given, "status_code": status, "headers": {"content-type": JSON, "x-amz-crc32": "1"}})
