"""Redriving and removing dead letters over REST, on the function's page, and with the tokens that both ask for."""

import asyncio
import json
import re
from typing import Any

import pytest

from lateen.domain.access import PLATFORM
from lateen.domain.events import EventInvokeChange
from lateen.services.events import INLINE_LIMIT_BYTES
from lateen.testing.fake_deployer import FakeAnswer

from .conftest import Api
from .test_pages import HOSTILE, Browser, browser

__all__ = ["browser"]
WITHIN_S = 60


async def failed(api: Api, *events: str, **fields: Any) -> tuple[str, list[dict[str, Any]]]:
    """A function's path, and the letters of its events, the first sent first. From now on it succeeds."""
    function = await api.function(**fields)
    path = f"/api/functions/{function['id']}"
    described = await api.platform.functions.get(PLATFORM, function["id"])
    no_retries = EventInvokeChange(maximum_retry_attempts=0)
    await api.platform.event_configs.put(described.function, "$LATEST", no_retries)
    api.invoker.answer = FakeAnswer(function_error="Unhandled", body=json.dumps({"errorType": HOSTILE}).encode())
    for event in events:
        sent = await api("POST", f"{path}/invocations", params={"type": "event"}, content=event)
        assert sent.status_code == 202
        await asyncio.sleep(0.002)  # the list is by the millisecond
    letters = (await letters_of(api, path, count=len(events)))[::-1]
    api.invoker.answer = FakeAnswer()
    api.invoker.events.clear()
    return path, letters


async def letters_of(api: Api, path: str, *, count: int) -> list[dict[str, Any]]:
    """When there are as many."""
    async with asyncio.timeout(WITHIN_S):
        while len(found := (await api("GET", f"{path}/dead-letters")).json()["items"]) != count:
            await asyncio.sleep(0.05)
    return list(found)


async def ran(api: Api, *events: bytes) -> None:
    async with asyncio.timeout(WITHIN_S):
        while sorted(api.invoker.events) != sorted(events):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("event", ['{"a":1}', '"' + "x" * INLINE_LIMIT_BYTES + '"'])
async def test_redriving_one(api: Api, event: str) -> None:
    """It runs again with its request id, also one whose payload is too large to be shown, and its letter is gone."""
    path, [letter] = await failed(api, event)
    answer = await api("POST", f"{path}/dead-letters/{letter['id']}/redrive")
    assert (answer.status_code, answer.json()) == (202, {"request_id": letter["request_id"]})
    assert answer.headers["x-amzn-requestid"] == letter["request_id"]
    await ran(api, event.encode())
    assert await letters_of(api, path, count=0) == []
    again = await api("POST", f"{path}/dead-letters/{letter['id']}/redrive")
    assert (again.status_code, again.json()["type"]) == (404, "urn:lateen:problem:not-found")


async def test_the_same_request_twice(api: Api) -> None:
    """With an Idempotency-Key the second is answered as the first one was, and runs nothing."""
    path, [letter, other] = await failed(api, "1", "2")
    headers = {"Idempotency-Key": "once"}
    for _ in range(2):
        answer = await api("POST", f"{path}/dead-letters/{letter['id']}/redrive", headers=headers)
        assert (answer.status_code, answer.json()) == (202, {"request_id": letter["request_id"]})
    wrong = await api("POST", f"{path}/dead-letters/{other['id']}/redrive", headers=headers)
    assert wrong.status_code == 409
    await ran(api, b"1")
    assert [each["id"] for each in await letters_of(api, path, count=1)] == [other["id"]]


async def test_redriving_all(api: Api) -> None:
    """By pages, as listings are."""
    path, letters = await failed(api, "1", "2", "3")
    first = await api("POST", f"{path}/dead-letters/redrive", params={"limit": "2"})
    assert first.status_code == 200
    cursor = first.json()["next_cursor"]
    assert first.json() == {"redriven": 2, "refused": [], "next_cursor": cursor}
    second = await api("POST", f"{path}/dead-letters/redrive", params={"cursor": cursor})
    assert second.json() == {"redriven": 1, "refused": [], "next_cursor": None}
    await ran(api, b"1", b"2", b"3")
    assert await letters_of(api, path, count=0) == []
    for params in ({"limit": "0"}, {"limit": "101"}, {"cursor": "x"}):
        refused = await api("POST", f"{path}/dead-letters/redrive", params=params)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, next(iter(params)))
    assert len(letters) == 3


async def test_what_has_no_payload_any_more(api: Api) -> None:
    """409 with the reason, also among others; removing it is all that is left, and again is no error."""
    path, [letter] = await failed(api, '"' + "x" * INLINE_LIMIT_BYTES + '"')
    async for blob in api.platform.objects.list("events/"):
        await api.platform.objects.delete(blob.key)
    answer = await api("POST", f"{path}/dead-letters/{letter['id']}/redrive")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:lateen:problem:conflict")
    assert "payload is not kept any more" in answer.json()["detail"]
    page = (await api("POST", f"{path}/dead-letters/redrive")).json()
    assert page == {
        "redriven": 0,
        "refused": [{"id": letter["id"], "reason": answer.json()["detail"]}],
        "next_cursor": None,
    }
    for _ in range(2):
        assert (await api("DELETE", f"{path}/dead-letters/{letter['id']}")).status_code == 204
    assert await letters_of(api, path, count=0) == []


async def test_only_who_may_see_the_function(api: Api) -> None:
    """Another workspace's key is told that there is nothing."""
    path, [letter] = await failed(api, "1")
    other = await api.key(await api.workspace("other"))
    one = f"{path}/dead-letters/{letter['id']}"
    for method, where in (("POST", f"{one}/redrive"), ("POST", f"{path}/dead-letters/redrive"), ("DELETE", one)):
        assert (await api(method, where, key=other)).status_code == 404, where
        assert (await api(method, where, key=None)).status_code == 401, where
    assert (await api("DELETE", f"{path}/dead-letters/nothing")).status_code == 404
    assert len(await letters_of(api, path, count=1)) == 1


async def test_on_the_functions_page(api: Api, browser: Browser) -> None:
    """What failed is shown as text, whatever it says; one button runs one again, another one all of them."""
    path, letters = await failed(api, json.dumps(HOSTILE), '"two"', '"three"', '"four"', name="hello")
    page = f"/ui{path.removeprefix('/api')}/failed"
    shown = (await browser.get(page)).text
    for letter in letters:
        assert f"Redrive the event {letter['request_id']}" in shown
    assert "the function failed in each attempt" in shown
    assert "<script>alert" not in shown
    assert "&lt;script&gt;alert" in shown
    token = await browser.token(page)
    forms = re.findall(r'<form method="post" action="(/ui/functions/[^"]*/failed/[^"]*)"', shown)
    assert len(forms) == 1 + 2 * len(letters)
    strangers = await Browser(api.platform).token()
    for form in forms:
        assert (await browser.post(form, token=strangers)).status_code == 403

    answer = await browser.post(forms[1], token=token)
    assert (answer.status_code, answer.headers["location"]) == (303, page)
    await ran(api, b'"four"')
    answer = await browser.post(forms[4], token=token)
    assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert forms[4].endswith("/delete")
    assert len(await letters_of(api, path, count=2)) == 2
    gone = await browser.post(forms[1], token=token)
    assert gone.status_code == 404
    assert "no such dead letter" in gone.text
    answer = await browser.post(forms[0], token=token)
    assert "2 events are in the queue again." in answer.text
    assert "None in the last 14 days" in answer.text
    await ran(api, b'"four"', b'"two"', json.dumps(HOSTILE).encode())


async def test_older_ones_are_on_further_pages(api: Api, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    path, letters = await failed(api, "1", "2", "3")
    monkeypatch.setattr("lateen.ui.failed_pages.PER_PAGE", 2)
    page = f"/ui{path.removeprefix('/api')}/failed"
    first = (await browser.get(page)).text
    [older] = re.findall(r'rel="next" href="([^"]+)"', first)
    second = (await browser.get(older)).text
    seen = [re.findall(r"Redrive the event ([0-9a-f-]+)", text) for text in (first, second)]
    assert seen == [[letters[2]["request_id"], letters[1]["request_id"]], [letters[0]["request_id"]]]
    assert 'rel="next"' not in second
    assert f'rel="first" href="{page}"' in second
