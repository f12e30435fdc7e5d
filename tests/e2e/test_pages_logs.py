"""A function's logs and charts in a real browser, on Lateen as `lateen up` starts it."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from browser import Person, browser
from lateen_release import eventually
from playwright.sync_api import Browser, Route, expect
from running_lateen import Running

__all__ = ["browser"]

CODE = """
import json, time

def handler(event, context):
    word = event["rawPath"].strip("/")
    print("asked for", word)
    print("<img src=x onerror='window.hacked=1'>")
    if word == "nothing":
        raise ValueError("no <b>word</b>")
    if word == "slow":
        time.sleep(30)
    return word
"""


class Function:
    """What it is called by, from outside of the browser."""

    def __init__(self, api: httpx.Client, made: dict[str, Any]) -> None:
        self.id: str = made["id"]
        self.url: str = made["url"]
        self._api = api

    def call(self, *paths: str) -> None:
        for path in paths:
            httpx.get(f"{self.url}/{path}", timeout=60, trust_env=False)

    def has_counted(self, calls: int) -> bool:
        totals = self._api.get(f"/api/functions/{self.id}/statistics").json()["totals"]
        return bool(totals["calls"] >= calls)


@pytest.fixture
def key(server: Running) -> str:
    return (server.data / "admin").read_text().strip()


@pytest.fixture
def api(server: Running, key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=server.endpoint, headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def ada(browser: Browser, server: Running, key: str) -> Iterator[Person]:
    person = Person(browser, server.endpoint)
    person.sign_in(key)
    yield person
    person.close()


@pytest.fixture
def function(api: httpx.Client) -> Iterator[Callable[..., Function]]:
    made: list[str] = []

    def function(name: str) -> Function:
        body = {
            "name": name, "runtime": "python3.12", "code": base64.b64encode(CODE.encode()).decode(), "timeout": 1,
        }  # fmt: skip
        answer = api.post("/api/workspaces/default/functions", json=body)
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])
        return Function(api, answer.json())

    yield function
    for each in made:
        api.delete(f"/api/functions/{each}")


def test_logs_come_by_themselves(ada: Person, function: Callable[..., Function]) -> None:
    """What was there, then what comes, each opening to its whole record; and what was printed is text."""
    watched = function("watched")
    page = ada.page
    ada.open(f"/ui/functions/{watched.id}/logs")
    expect(page.get_by_text("No call is recorded yet")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    watched.call("tea", "nothing")
    rows = page.locator("#records > li")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("ValueError: no <b>word</b>")
    expect(rows.nth(1)).to_contain_text("asked for tea")
    expect(page.get_by_text("No call is recorded yet")).to_be_hidden()
    rows.nth(0).locator("summary").focus()
    page.keyboard.press("Enter")
    expect(rows.nth(0).locator(".trace")).to_contain_text("raise ValueError")
    log = rows.nth(0).locator(".log")
    expect(log).to_contain_text("<img src=x")
    expect(log).to_contain_text("REPORT RequestId:")
    assert "ValueError: no <b>word</b>\nTraceback" in (log.text_content() or "")
    ada.check_accessible()
    assert page.evaluate("window.hacked") is None

    # From another visit on they are what was there.
    page.reload()
    expect(rows).to_have_count(2)
    watched.call("coffee")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("asked for coffee")


def test_attempts_of_one_event(ada: Person, api: httpx.Client, function: Callable[..., Function]) -> None:
    """They share the event's request id, and each has its row; the list and the stream together give it one."""
    tried = function("tried")
    tried.call("nothing")
    eventually(lambda: len(api.get(f"/api/functions/{tried.id}/logs").json()["items"]) == 1, "it is recorded")
    page = ada.page

    def with_more_attempts(route: Route) -> None:
        found = route.fetch().json()
        [last] = found["items"]
        moments = ("2026-01-02T03:04:05.000Z", "2026-01-02T03:03:05.000Z")
        items = [last, *({**last, "timestamp": moment} for moment in moments)]
        route.fulfill(body=json.dumps({**found, "items": items}), content_type="application/json")

    page.route("**/logs?*", with_more_attempts)
    ada.open(f"/ui/functions/{tried.id}/logs")
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    tried.call("tea")
    rows = page.locator("#records > li")
    expect(rows.nth(0)).to_contain_text("asked for tea")
    expect(rows).to_have_count(4)


def test_logs_are_filtered(ada: Person, function: Callable[..., Function]) -> None:
    """By result and by text, those that are there and those that come."""
    filtered = function("filtered")
    filtered.call("tea", "nothing", "slow")
    page = ada.page
    ada.open(f"/ui/functions/{filtered.id}/logs")
    rows = page.locator("#records > li")
    expect(rows).to_have_count(3)
    page.get_by_label("Result").select_option("timeout")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("timeout")
    page.get_by_label("Result").select_option("")
    page.get_by_label("Contains").fill("TEA")
    expect(rows).to_have_count(1)
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    filtered.call("coffee", "green-tea")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("green-tea")
    page.get_by_label("Contains").fill("nowhere")
    expect(page.get_by_text("No call matches")).to_be_visible()
    page.get_by_label("Contains").fill("")
    expect(rows).to_have_count(5)
    live = page.get_by_role("button", name="Live")
    live.click()
    expect(live).to_have_attribute("aria-pressed", "false")
    filtered.call("later")
    live.click()
    expect(rows).to_have_count(6)


def test_charts(ada: Person, api: httpx.Client, function: Callable[..., Function]) -> None:
    """Four of them for three periods, the same as a table, and what they say in words."""
    counted = function("counted")
    page = ada.page
    ada.open(f"/ui/functions/{counted.id}/charts")
    expect(page.get_by_text("No calls in the last hour")).to_be_visible()
    counted.call("one", "two", "nothing", "slow")
    eventually(lambda: counted.has_counted(4), "four calls are counted")
    page.reload()
    expect(page.locator("[data-totals]")).to_contain_text("Errors2 (50.0 %)")
    for period, words in (
        ("1 hour", "the last hour"),
        ("24 hours", "the last 24 hours"),
        ("7 days", "the last 7 days"),
    ):
        page.get_by_role("button", name=period).click()
        calls = page.get_by_role("img", name="Calls", exact=True)
        expect(calls.locator("desc")).to_contain_text(f"4 calls in {words}")
        expect(page.locator("figure svg[role=img]")).to_have_count(4)
        expect(page.get_by_role("img", name="Errors").locator("desc")).to_contain_text("2 errors")
        assert calls.locator("rect.bar-of").count() >= 1
    page.get_by_text("The numbers", exact=True).click()
    totals = api.get(f"/api/functions/{counted.id}/statistics?period=7d").json()["totals"]
    table = page.get_by_role("table")
    expect(table.locator("tbody tr").first).to_contain_text(f"{totals['p99_ms']:.0f} ms")
    ada.check_accessible()
    page.emulate_media(color_scheme="dark")
    ada.check_accessible()
