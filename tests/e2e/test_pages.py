"""The pages in a real browser, on Lateen as `lateen up` starts it."""

import base64
import json
import os
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Person, browser
from lateen_release import eventually
from pages_flow import from_sign_in_to_deletion
from playwright.sync_api import Browser, Dialog, Request, expect
from running_lateen import ROOT, Running
from tcp_road import TcpRoad

__all__ = ["browser"]

IMAGES = ROOT / "docs" / "images"
"""Written where LATEEN_SCREENSHOTS is set."""
MARKUP = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"


@pytest.fixture
def person(browser: Browser, server: Running) -> Iterator[Callable[..., Person]]:
    """Another one at each call."""
    made: list[Person] = []

    def person(endpoint: str = server.endpoint, **context: Any) -> Person:
        made.append(Person(browser, endpoint, **context))
        return made[-1]

    yield person
    for each in made:
        each.close()


@pytest.fixture
def key(server: Running) -> str:
    return (server.data / "admin").read_text().strip()


@pytest.fixture
def api(server: Running, key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=server.endpoint, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def a_function(api: httpx.Client, name: str, code: str, *, workspace: str = "default", **fields: Any) -> dict[str, Any]:
    body = {"name": name, "runtime": "python3.12", "code": base64.b64encode(code.encode()).decode()} | fields
    made = api.post(f"/api/workspaces/{workspace}/functions", json=body)
    assert made.status_code == 201, made.text
    return dict(made.json())


def test_from_sign_in_to_deletion(person: Callable[..., Person], api: httpx.Client) -> None:
    """Somebody who has never seen Lateen: signs in, creates, tests, changes and deletes a function."""
    from_sign_in_to_deletion(person(), api, picture=_picture)


def test_two_editors(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """The slower one is told, sees what would be changed in the other's, and undoes nothing without knowing."""
    function = a_function(api, "shared", "def handler(event, context):\n    return 1\n")
    ada, ben = person(), person()
    for each in (ada, ben):
        each.sign_in(key)
        each.open(f"/ui/functions/{function['id']}/code")
    ben.page.get_by_label("Timeout, seconds").fill("20")
    ben.page.get_by_role("button", name="Review and save").click()
    ben.page.get_by_role("dialog").get_by_role("button", name="Save", exact=True).click()
    expect(ben.page.locator(".toast")).to_have_text("Revision 2 is saved")

    expect(ada.page.get_by_text("Somebody saved revision 2 while this page was open")).to_be_visible()
    ada.refusals = {412}
    ada.write_code("def handler(event, context):\n    return 2\n")
    ada.page.get_by_role("button", name="Review and save").click()
    dialog = ada.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog.get_by_role("heading", name="Save over somebody else’s changes?")).to_be_visible()
    expect(dialog).to_contain_text("you began with revision 1, it is now at revision 2")
    expect(dialog.locator(".cm-changedLine")).to_contain_text("return 2")
    expect(dialog.get_by_role("table")).to_have_count(0)
    ada.check_accessible()
    dialog.get_by_role("button", name="Save mine over theirs").click()
    expect(ada.page.locator(".toast")).to_have_text("Revision 3 is saved")
    assert api.get(f"/api/functions/{function['id']}").json()["timeout"] == 20
    assert "return 2" in api.get(f"/lambda?hash={function['hash']}").json()["file"]


def test_variables_of_several_lines(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """Those that nobody has touched stay as they are, byte for byte, also where somebody else saved meanwhile."""
    kept = {
        "PEM": "line1\nline2\nline3",
        "CRLF": "a\r\nb\r\n",
        "CR": "a\rb",
        "AROUND": "\n\n a\n",
        "MARKUP": f"{MARKUP}\n</textarea>",
    }
    environment = kept | {"OTHER": "1", "CHANGED": "x\r\ny"}
    function = a_function(api, "lines", "def handler(event, context):\n    return 1\n", environment=environment)
    path = f"/api/functions/{function['id']}"
    ada = person()
    page = ada.page
    ada.sign_in(key)
    ada.open(f"/ui/functions/{function['id']}/code")
    expect(page.get_by_text("Nothing is changed.")).to_be_visible()
    names = list(api.get(path).json()["environment"])
    values = page.get_by_label("Value", exact=True)
    values.nth(names.index("OTHER")).fill("2")
    values.nth(names.index("CHANGED")).fill("x\ny\nz")
    page.get_by_role("button", name="Add a variable").click()
    page.get_by_label("Name", exact=True).last.fill("NEW")
    values.last.fill("1\n2\n")
    ada.check_accessible()
    page.get_by_role("button", name="Review and save").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".added")).to_contain_text("PEM=line1\nline2\nline3", use_inner_text=True)
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".toast")).to_have_text("Revision 2 is saved")
    expected = kept | {"OTHER": "2", "CHANGED": "x\ny\nz", "NEW": "1\n2\n"}
    assert api.get(path).json()["environment"] == expected

    ada.refusals = {412}
    page.get_by_label("Timeout, seconds").fill("20")
    assert api.patch(path, json={"environment": kept | {"OTHER": "3"}}).status_code == 200
    page.get_by_role("button", name="Review and save").click()
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog.get_by_role("button", name="Save mine over theirs")).to_be_visible()
    dialog.get_by_role("button", name="Keep editing").click()
    values.nth(names.index("OTHER")).wait_for()
    page.locator(".pair", has=page.get_by_role("button", name="Remove OTHER")).get_by_label("Value").fill("4")
    page.get_by_role("button", name="Review and save").click()
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".toast")).to_have_text("Revision 4 is saved")
    assert api.get(path).json()["environment"] == kept | {"OTHER": "4"}


def test_failed_events(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """Somebody looks at what was never done, runs one of them again, removes one, and runs the rest."""
    code = "def handler(event, context):\n    return 1\n"
    function = a_function(api, "closed", code, reserved_concurrency=0)
    path = f"/api/functions/{function['id']}"
    for event in (MARKUP, "two", "three", "x" * 200_000):
        sent = api.post(f"{path}/invocations", params={"type": "event"}, json=event)
        assert sent.status_code == 202
    eventually(lambda: len(api.get(f"{path}/dead-letters").json()["items"]) == 4, "they have ended")
    assert api.patch(path, json={"reserved_concurrency": None}).status_code == 200
    ada = person()
    page = ada.page
    ada.sign_in(key)
    ada.open(f"/ui/functions/{function['id']}")
    page.get_by_role("link", name="Failed events").click()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.nth(0)).to_contain_text("the function's reserved concurrency is 0")
    for row in (0, 3):
        rows.nth(row).locator("summary").click()
    expect(rows.nth(0)).to_contain_text("has more than 128 KiB and is not shown")
    expect(rows.nth(3).locator("pre")).to_contain_text("<img src=x")
    assert page.evaluate("window.hacked") is None
    ada.check_accessible()
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator(".table-frame").evaluate("table => table.scrollWidth <= table.clientWidth")

    rows.nth(0).get_by_role("button", name="Redrive").click()
    expect(page.locator(".toast")).to_have_text("The event is in the queue again")
    expect(rows).to_have_count(3)
    rows.nth(0).get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("dialog", name="Remove the event?")
    expect(dialog).to_be_visible()
    ada.check_accessible()
    dialog.get_by_role("button", name="Remove event").click()
    expect(page.locator(".toast")).to_have_text("The event is removed")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Redrive all").click()
    expect(page.get_by_text("2 events are in the queue again.")).to_be_visible()
    expect(page.get_by_text("None in the last 14 days")).to_be_visible()
    ada.check_accessible()
    eventually(lambda: len(api.get(f"{path}/logs").json()["items"]) == 3, "they have run")


def test_a_large_upload(
    person: Callable[..., Person], key: str, server: Running, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """20 MB: one sees how far it is, and it runs."""
    archive = tmp_path / "large.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("code.py", "def handler(event, context):\n    return 'large'\n")
        packed.writestr("data.bin", random.Random(1).randbytes(20_000_000))
    road = TcpRoad(server.endpoint, bytes_s=4_000_000)
    request.addfinalizer(road.close)
    ada = person(endpoint=road.url)
    ada.sign_in(key)
    seen: list[str] = []
    ada.context.expose_binding("progressed", lambda _, text: seen.append(text))
    ada.open("/ui/functions/new")
    ada.page.evaluate("""() => {
        const text = document.querySelector("[data-upload-text]");
        new MutationObserver(() => progressed(text.textContent)).observe(text, {childList: true, subtree: true});
    }""")
    ada.page.get_by_label("Name", exact=True).fill("large")
    ada.page.get_by_label("Runtime").select_option("python3.12")
    ada.page.get_by_label("Choose a file or zip").set_input_files(archive)
    expect(ada.page.locator("[data-archive-size]")).to_have_text("19.1 MiB")
    ada.page.get_by_role("button", name="Create function").click()
    expect(ada.page.get_by_role("heading", name="large", exact=True)).to_be_visible()
    parts = [int(found[1]) for text in seen if (found := re.match(r"(\d+) % of 25", text))]
    assert len(set(parts)) >= 2
    assert parts == sorted(parts)
    expect(ada.page.locator(".state")).to_have_text("Active")
    ada.page.get_by_role("button", name="Send").click()
    expect(ada.page.get_by_role("region", name="Answer")).to_contain_text("large")
    ada.page.get_by_role("link", name="Code and settings").click()
    expect(ada.page.get_by_text("What is inside isn’t shown")).to_be_visible()


def test_what_is_wrong_is_said_beside_its_field(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """By the browser, and by the API: a name that is taken, a variable that may not be set."""
    a_function(api, "taken", "def handler(event, context):\n    return 1\n")
    ada = person()
    ada.refusals = {400, 409}
    ada.sign_in(key)
    ada.open("/ui/functions/new")
    create = ada.page.get_by_role("button", name="Create function")
    create.click()
    expect(ada.page.locator("#name-error")).to_have_text("Required")
    expect(ada.page.get_by_label("Name", exact=True)).to_be_focused()
    ada.page.get_by_label("Name", exact=True).fill("taken")
    create.click()
    expect(ada.page.locator("#name-error")).to_contain_text("taken")
    ada.page.get_by_label("Name", exact=True).fill("other")
    ada.page.get_by_role("button", name="Add a variable").click()
    ada.page.get_by_label("Name", exact=True).nth(1).fill("AWS_REGION")
    create.click()
    expect(ada.page.locator("#environment-error")).to_be_visible()
    ada.check_accessible()


def test_a_zip_that_is_dropped(person: Callable[..., Person], key: str, tmp_path: Path) -> None:
    """On the editor it is the code; beside it nothing happens, and of two neither is taken."""
    archive = tmp_path / "dropped.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("code.py", "def handler(event, context):\n    return 'dropped'\n")
    ada = person()
    ada.sign_in(key)
    ada.open("/ui/functions/new")
    page = ada.page
    page.get_by_label("Name", exact=True).fill("dropped")
    page.get_by_label("Runtime").select_option("python3.12")
    carried = page.evaluate_handle(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
            const carried = [new DataTransfer(), new DataTransfer()];
            carried.forEach((each, more) => {
                for (let i = 0; i <= more; i += 1) each.items.add(new File([bytes], "dropped.zip"));
            });
            return carried;
        }""",
        base64.b64encode(archive.read_bytes()).decode(),
    )
    one, two = (carried.get_property(each) for each in ("0", "1"))
    page.dispatch_event("main h1", "drop", {"dataTransfer": one})
    page.dispatch_event(".code .editor", "drop", {"dataTransfer": two})
    expect(page.locator("#code-error")).to_contain_text("One file")
    expect(page.locator("[data-archive]")).to_be_hidden()
    page.dispatch_event(".code .editor", "drop", {"dataTransfer": one})
    expect(page.locator("[data-archive-name]")).to_have_text("dropped.zip")
    page.get_by_role("button", name="Create function").click()
    expect(page.locator(".state")).to_have_text("Active")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("region", name="Answer")).to_contain_text("dropped")


def test_a_page_that_is_out_of_date(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """It belongs to a session that has ended in another tab: nothing is done, and nothing is said to be done."""
    function = a_function(api, "kept", "def handler(event, context):\n    return 1\n")
    ada = person()
    ada.refusals = {403}
    ada.sign_in(key)
    ada.open(f"/ui/functions/{function['id']}")
    first, ada.page = ada.page, ada.context.new_page()
    ada.page.set_default_timeout(60_000)
    ada.open("/ui/keys")
    ada.page.get_by_role("button", name="Sign out").click()
    ada.sign_in(key)
    first.get_by_role("button", name="Delete kept").click()
    first.get_by_role("button", name="Delete function kept").click()
    expect(first.get_by_role("heading", name="That did not work")).to_be_visible()
    expect(first.locator("#toasts")).to_be_empty()
    first.get_by_role("link", name="Back to the functions").click()
    expect(first.get_by_role("link", name="kept")).to_be_visible()
    expect(first.locator("#toasts")).to_be_empty()


def test_what_was_written_is_kept(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """Leaving asks first; and who was signed out meanwhile signs in in another tab, and saves it then."""
    ada = person()
    ada.refusals = {401, 403}
    page = ada.page
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)

    def sign_out() -> None:
        ada.page = ada.context.new_page()
        ada.open("/ui/keys")
        ada.page.get_by_role("button", name="Sign out").click()
        expect(ada.page.get_by_label("API key")).to_be_visible()
        ada.page.close()
        ada.page = page

    def sign_in_again() -> None:
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Sign in in another tab").click()
        if opened.value.get_by_label("API key").is_visible():
            opened.value.get_by_label("API key").fill(key)
            opened.value.get_by_role("button", name="Sign in").click()
        expect(opened.value.get_by_role("heading", name="Functions", exact=True)).to_be_visible()
        opened.value.close()

    ada.sign_in(key)
    ada.open("/ui/functions/new")
    ada.write_code("def handler(event, context):\n    return 1\n")
    page.get_by_role("link", name="Cancel").click()
    eventually(lambda: asked == ["beforeunload"], "it asked")
    page.get_by_label("Name", exact=True).fill("written")
    sign_out()
    page.get_by_role("button", name="Create function").click()
    expect(page.get_by_role("alert")).to_contain_text("You were signed out. Sign in in another tab, then save again.")
    ada.check_accessible()
    sign_in_again()
    page.get_by_role("button", name="Create function").click()
    expect(page.locator(".state")).to_have_text("Active")

    page.get_by_role("link", name="Code and settings").click()
    expect(page.locator(".cm-content")).to_be_visible()
    ada.write_code("def handler(event, context):\n    return 2\n")
    sign_out()
    # Somebody who signs in without the link comes back to a page of the session before.
    ada.page = ada.context.new_page()
    ada.sign_in(key)
    ada.page.close()
    ada.page = page
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Review and save").click()
    dialog.get_by_role("button", name="Save", exact=True).click()
    sign_in_again()
    page.get_by_role("button", name="Review and save").click()
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".toast")).to_have_text("Revision 2 is saved")
    assert asked == ["beforeunload"]


def test_a_function_that_fails(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """Its error, its trace, and what it printed before."""
    code = "def handler(event, context):\n    print('almost')\n    raise ValueError('no signature')\n"
    function = a_function(api, "failing", code)
    ada = person()
    ada.refusals = {424}
    ada.sign_in(key)
    ada.open(f"/ui/functions/{function['id']}")
    expect(ada.page.locator(".state")).to_have_text("Active")
    ada.page.get_by_role("button", name="Send").click()
    answer = ada.page.get_by_role("region", name="Answer")
    expect(answer).to_contain_text("ValueError: no signature")
    expect(answer.locator(".trace")).to_contain_text("raise ValueError")
    expect(answer.locator(".log")).to_contain_text("almost")
    ada.check_accessible()


@pytest.mark.parametrize(
    ("body", "media_type"), [("plain ü", "text/plain"), ("a=1", "application/x-www-form-urlencoded")]
)
def test_the_panel_sends_what_the_url_brings(
    person: Callable[..., Person], key: str, api: httpx.Client, body: str, media_type: str
) -> None:
    """So that what works in the test panel works for callers: path, query, cookies, bodies that are text or not."""
    ada = person()
    ada.sign_in(key)
    code = "import json\n\ndef handler(event, context):\n    print(json.dumps(event))\n"
    function = a_function(api, f"echo-{len(body)}", code)
    address = f"/api/functions/{function['id']}/logs"

    def events() -> list[dict[str, Any]]:
        return [json.loads(each["log_tail"].splitlines()[1]) for each in api.get(address).json()["items"]]

    ada.open(f"/ui/functions/{function['id']}")
    page = ada.page
    page.get_by_label("Method").select_option("PUT")
    page.get_by_label("Path", exact=True).fill("/a b/%2F/ü?x=1&x=2&e=")
    page.get_by_label("Body").fill(body)
    for number, (name, value) in enumerate((("Cookie", "a=1; b=2"), ("X-Shop", "north"), ("Content-Type", media_type))):
        page.get_by_role("button", name="Add a header").click()
        page.locator("[data-pairs=headers] input").nth(2 * number).fill(name)
        page.locator("[data-pairs=headers] input").nth(2 * number + 1).fill(value)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("region", name="Answer").locator(".log")).to_contain_text("rawPath")
    [sent] = events()
    headers = sent["headers"] | {"cookie": "; ".join(sent["cookies"])}
    httpx.put(f"{function['url']}/a b/%2F/ü?x=1&x=2&e=", content=body.encode(), headers=headers, trust_env=False)
    eventually(lambda: len(events()) == 2, "the call of the URL is recorded")
    [brought] = [
        each for each in events() if each["requestContext"]["requestId"] != sent["requestContext"]["requestId"]
    ]
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", sent["requestContext"]["time"])
    for each in (sent, brought):
        for name in ("requestId", "time", "timeEpoch"):
            del each["requestContext"][name]
        each["headers"] = {name: each["headers"].get(name) for name in ("content-type", "host", "x-shop", "user-agent")}
    assert sent == brought
    page.get_by_label("Method").select_option("GET")
    page.get_by_role("button", name="Send").click()
    eventually(lambda: len(events()) == 3, "the next test is recorded")
    assert "body" not in events()[0]


def test_an_answer_that_is_an_image(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """It is shown, and so is an event of any form for what is not called by HTTP."""
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    answer = {"statusCode": 200, "headers": {"content-type": "image/png"}, "body": pixel, "isBase64Encoded": True}
    code = f"def handler(event, context):\n    return event.get('records') or {answer}\n"
    function = a_function(api, "drawing", code)
    ada = person()
    ada.sign_in(key)
    ada.open(f"/ui/functions/{function['id']}")
    expect(ada.page.locator(".state")).to_have_text("Active")
    ada.page.get_by_role("button", name="Send").click()
    shown = ada.page.get_by_role("region", name="Answer")
    expect(shown.get_by_role("img", name="The answer, an image")).to_be_visible()
    assert shown.locator("img").evaluate("image => image.naturalWidth") == 1
    ada.page.get_by_label("Method").select_option("Event (JSON)")
    ada.page.get_by_label("Event, JSON").fill("{wrong")
    ada.page.get_by_role("button", name="Send").click()
    expect(ada.page.locator("#body-error")).to_be_visible()
    ada.page.get_by_label("Event, JSON").fill('{"records": ["first"]}')
    ada.page.get_by_role("button", name="Send").click()
    expect(shown.locator(".json")).to_contain_text('0: "first"')


def test_what_users_wrote_is_never_markup(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """Descriptions, code, variables, answers and log lines: all of it is text."""
    code = f'MARKUP = """{MARKUP}"""\n\n\ndef handler(event, context):\n    print(MARKUP)\n    return {{"a": MARKUP}}\n'
    function = a_function(api, "hostile", code, description=MARKUP, environment={"A": MARKUP})
    ada = person()
    ada.sign_in(key)
    address = f"/ui/functions/{function['id']}"
    for path in ("/ui/functions", "/ui/functions?q=img", f"{address}/code", f"{address}/logs", f"{address}/charts"):
        ada.open(path)
        expect(ada.page.locator("body")).to_contain_text("hostile")
    ada.open(address)
    expect(ada.page.locator(".state")).to_have_text("Active")
    ada.page.get_by_role("button", name="Send").click()
    answer = ada.page.get_by_role("region", name="Answer")
    expect(answer.locator(".json")).to_contain_text("<img src=x")
    expect(answer.locator(".log")).to_contain_text("<script>window.hacked=1</script>")
    assert ada.page.evaluate("window.hacked") is None
    ada.open(f"{address}/code")
    expect(ada.page.get_by_role("textbox", name="Code", exact=True)).to_contain_text("<img src=x")
    ada.page.get_by_label("Description").fill(f"{MARKUP} again")
    ada.page.get_by_role("button", name="Review and save").click()
    expect(ada.page.get_by_role("dialog")).to_contain_text("<script>")
    assert ada.page.evaluate("window.hacked") is None
    ada.page.get_by_role("button", name="Keep editing").click()
    ada.page.get_by_label("Description").fill(MARKUP)


def test_a_strangers_workspace(person: Callable[..., Person], api: httpx.Client) -> None:
    """Its functions are not there, and it is not among those to choose from."""
    function = a_function(api, "private", "def handler(event, context):\n    return 1\n")
    workspace = api.post("/api/workspaces", json={"name": "guests"}).json()
    guest = api.post("/api/keys", json={"workspace": workspace["id"]}).json()
    ada = person()
    ada.refusals = {404}
    ada.sign_in(guest["secret"])
    expect(ada.page.get_by_role("heading", name="No functions in guests yet")).to_be_visible()
    ada.open(f"/ui/functions/{function['id']}")
    expect(ada.page.get_by_role("heading", name="Nothing is here")).to_be_visible()
    expect(ada.page.locator("body")).not_to_contain_text("private")


def test_a_link_leads_to_its_page_after_signing_in(person: Callable[..., Person], key: str, api: httpx.Client) -> None:
    """A wrong key first; and from a page whose session has ended back to it."""
    function = a_function(api, "linked", "def handler(event, context):\n    return 1\n")
    ada = person()
    ada.refusals = {401}
    page = ada.page
    ada.open(f"/ui/functions/{function['id']}/logs?status=error")
    for given in ("wrong", key):
        page.get_by_label("API key").fill(given)
        page.get_by_role("button", name="Sign in").click()
        if given == "wrong":
            expect(page.get_by_role("alert")).to_contain_text("not known here")
    page.wait_for_url(f"**/ui/functions/{function['id']}/logs?status=error")

    ada.open(f"/ui/functions/{function['id']}")
    ada.context.clear_cookies()
    page.get_by_role("button", name="Send").click()
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert page.url.endswith(f"/ui/functions/{function['id']}")

    made = api.post("/api/keys", json={}).json()
    ben = person()
    ben.sign_in(made["secret"])
    ben.open("/ui/functions?sort=-name")
    assert api.delete(f"/api/keys/{made['id']}").status_code == 204
    ben.page.get_by_role("searchbox").press_sequentially("linked")
    ben.page.get_by_label("API key").fill(key)
    ben.page.get_by_role("button", name="Sign in").click()
    expect(ben.page.get_by_role("link", name="linked")).to_be_visible()
    assert ben.page.url.endswith("/ui/functions?sort=-name")


def test_a_link_of_another_site(person: Callable[..., Person], key: str, server: Running) -> None:
    """Who has signed in stays so, and comes to the page; who has not comes to the form, after one more request."""
    elsewhere = "http://tickets.example/"
    link = f'<!doctype html><a href="{server.endpoint}/ui/keys">keys</a>'
    for is_signed_in in (True, False):
        ada = person()
        page = ada.page
        if is_signed_in:
            ada.sign_in(key)
        before = ada.context.cookies()
        page.route(f"{elsewhere}**", lambda route: route.fulfill(body=link, content_type="text/html"))
        page.goto(elsewhere)
        asked: list[Request] = []
        page.on("request", lambda request, asked=asked: asked.append(request))
        page.get_by_role("link", name="keys").click()
        expect(page.get_by_role("heading", name="Keys" if is_signed_in else "Sign in to Lateen")).to_be_visible()
        page.wait_for_timeout(500)
        # Who has to sign in is redirected.
        assert len([each for each in asked if each.is_navigation_request()]) == (2 if is_signed_in else 3)
        if is_signed_in:
            assert ada.context.cookies() == before
        page.go_back()
        expect(page).to_have_url(elsewhere)


def test_keys_and_the_keyboard(person: Callable[..., Person], key: str) -> None:
    """A key is made, works, and is revoked; all of it without a mouse."""
    ada = person()
    ada.sign_in(key)
    page = ada.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_role("link", name="Keys").focus()
    page.keyboard.press("Enter")
    page.get_by_label("What it is for").focus()
    page.keyboard.type("ci")
    page.keyboard.press("Enter")
    secret = page.locator("#made-secret").inner_text()
    ada.check_accessible()
    ben = person()
    ben.sign_in(secret)
    page.get_by_role("link", name="I have copied it").click()
    expect(page.locator("body")).not_to_contain_text(secret)
    _picture(ada, "keys.png")
    page.get_by_role("button", name="Revoke ci").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("button", name="Revoke key").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_have_text("The key is revoked")
    ben.open("/ui/functions")
    expect(ben.page.get_by_label("API key")).to_be_visible()


def test_search_sort_and_phones(person: Callable[..., Person], api: httpx.Client) -> None:
    """The list follows what is typed; dark, and on a phone, it has all that matters and nothing beside the screen."""
    workspace = api.post("/api/workspaces", json={"name": "shop"}).json()["id"]
    key = api.post("/api/keys", json={"workspace": workspace}).json()["secret"]
    code = "def handler(event, context):\n    return 1 / len(event['rawPath'].strip('/'))\n"
    for name, description, good, bad in (
        ("invoice-pdf", "Renders an invoice", 7, 0),
        ("resize-images", "Makes what was uploaded smaller", 9, 1),
        ("webhook-orders", "Takes orders of the shop", 0, 0),
    ):
        url = a_function(api, name, code, workspace=workspace, description=description)["url"]
        for path in [*["/one"] * good, *["/"] * bad]:
            httpx.get(f"{url}{path}", timeout=30, trust_env=False)
    ada = person(viewport={"width": 390, "height": 844}, color_scheme="dark")
    ada.sign_in(key)
    page = ada.page
    ada.check_accessible()
    page.keyboard.press("/")
    page.keyboard.type("images")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("resize-images")
    assert "q=images" in page.url
    page.get_by_label("Search functions").fill("nothing like it")
    expect(page.get_by_role("heading", name="Nothing is called like")).to_be_visible()
    page.get_by_role("link", name="Show all functions").click()
    page.get_by_role("link", name="Name").click()
    expect(page.locator("thead th").first).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("link", name="Name")).to_be_focused()
    page.get_by_label("Search functions").fill("ers")
    expect(page.locator("tbody th a")).to_have_text(["webhook-orders", "invoice-pdf"])
    page.get_by_label("Search functions").fill("")
    expect(page.locator("tbody tr")).to_have_count(3)
    eventually(lambda: page.reload() and page.locator("td.bad").count() == 1, "the error of the last minutes is there")
    for path in ("/ui/functions", "/ui/keys"):
        ada.open(path)
        assert page.locator(".table-frame").evaluate("table => table.scrollWidth <= table.clientWidth"), path
    ada.open("/ui/functions")
    ben = person()
    ben.sign_in(key)
    _picture(ben, "functions.png")
    page.get_by_role("link", name="resize-images").click()
    address = page.url
    for path in ("", "/code", "/logs", "/charts", "/failed"):
        page.goto(f"{address}{path}")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, (page.url, width)
        ada.check_accessible()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(16, 20, 22)"
    page.get_by_role("button", name="Change between dark and light").click()
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(247, 248, 248)"


def _picture(person: Person, name: str) -> None:
    if os.environ.get("LATEEN_SCREENSHOTS"):
        person.shoot(IMAGES / name)
