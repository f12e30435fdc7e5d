"""The pages without a browser: sessions, tokens against forged requests, headers, and what is text and stays text."""

import base64
import html
import re
import time
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from lateen.app import Platform
from lateen.ports.table import TableUnavailable
from lateen.ui.attempts import AT_MOST, WITHIN_S, Attempts
from lateen.ui.listing import PER_PAGE, Asked, listed, with_figures
from lateen.ui.rendering import template_config
from lateen.ui.sessions import COOKIE, LIVES_S, Session, Sessions
from lateen_invoker.rollups import Rollup

from .conftest import SOURCE, Api

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
BASE = "http://localhost:8000"


class Browser:
    """As much of one as the server can tell: cookies, and what it says of itself. One for each person."""

    def __init__(self, platform: Platform) -> None:
        transport = httpx.ASGITransport(platform, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url=BASE)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={"sec-fetch-dest": "document"} | headers)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        headers = {"sec-fetch-dest": "document", "origin": BASE}
        return await self.client.post(path, data=fields, headers=headers)

    async def token(self, path: str = "/ui/sign-in") -> str:
        found = re.search(r'data-token="([0-9a-f]{64})"', (await self.get(path)).text)
        assert found
        return found[1]

    async def sign_in(self, key: str) -> httpx.Response:
        return await self.post("/ui/sign-in", token=await self.token(), key=key)


@pytest.fixture
async def browser(api: Api) -> Browser:
    browser = Browser(api.platform)
    assert (await browser.sign_in(api.secret)).status_code == 303
    return browser


async def test_the_key_is_in_the_sealed_cookie_only(api: Api) -> None:
    """Scripts can't read the cookie, other sites can't use it, functions never get it, and nobody can read it."""
    browser = Browser(api.platform)
    answer = await browser.sign_in(api.secret)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/functions")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/ui"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie
    for path in ("/ui/functions", "/ui/functions/new", "/ui/keys"):
        assert api.secret not in (await browser.get(path)).text
    assert api.secret not in cookie


async def test_signing_in_begins_another_session(api: Api) -> None:
    """Who knew the one before, or had the browser take it, knows nothing of this one."""
    browser = Browser(api.platform)
    before = await browser.token("/ui/sign-in")
    assert await browser.token("/ui/sign-in") == before
    await browser.sign_in(api.secret)
    assert await browser.token("/ui/keys") != before


async def test_a_cookie_of_https_is_for_https(api: Api) -> None:
    """Also behind a proxy that we weren't told of: the page says where it is from."""
    browser = Browser(api.platform)
    fields = {"token": await browser.token(), "key": api.secret}
    answer = await browser.client.post(
        "/ui/sign-in", data=fields, headers={"origin": "https://localhost:8000", "sec-fetch-dest": "document"}
    )
    assert answer.headers["set-cookie"].endswith("; Secure")


@pytest.mark.parametrize("key", ["", "  ", "wrong", "ltn_" + "a" * 17 + "_" + "0" * 48, "é", "x" * 5000, "a\nb"])
async def test_wrong_keys(api: Api, key: str) -> None:
    """Each is told so on the form, and nobody is signed in."""
    browser = Browser(api.platform)
    answer = await browser.sign_in(key)
    assert answer.status_code in (400, 401)
    assert 'role="alert"' in answer.text
    assert (await browser.get("/ui/functions")).headers["location"] == "/ui/sign-in"


async def test_who_guesses_has_to_wait(api: Api) -> None:
    """With that key, also when it comes to the right one; nobody else is kept out by it."""
    browser = Browser(api.platform)
    wrong = api.secret[:-4] + ("0000" if not api.secret.endswith("0000") else "1111")
    for _ in range(AT_MOST):
        assert (await browser.sign_in(wrong)).status_code == 401
    answer = await browser.sign_in(api.secret)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= WITHIN_S
    assert (await browser.sign_in(await api.key())).status_code == 303


def test_attempts_are_forgotten() -> None:
    """After a minute, each by itself, and never more of them than are counted."""
    now = [0.0]
    attempts = Attempts(clock=lambda: now[0])
    for _ in range(AT_MOST):
        assert not attempts.wait_s("a")
        attempts.failed("a")
    assert attempts.wait_s("a") == WITHIN_S
    assert not attempts.wait_s("b")
    now[0] = WITHIN_S + 1
    assert not attempts.wait_s("a")
    for number in range(10_000):
        attempts.failed(str(number))
    assert len(attempts._failed) <= 4096


def test_sessions_are_sealed() -> None:
    """Changed, cut, of another installation or over: it is none. Every replica with the same key opens it."""
    now = [1000.0]
    sessions = Sessions(b"k" * 32, now=lambda: now[0])
    session = sessions.begin("secret")
    cookie = sessions.seal(session)
    assert "secret" not in cookie
    assert Sessions(b"k" * 32, now=lambda: now[0]).open(cookie) == session
    assert Sessions(b"x" * 32, now=lambda: now[0]).open(cookie) is None
    middle = len(cookie) // 2
    other = "A" if cookie[middle] != "A" else "B"
    for wrong in ("", "A", cookie[:-2], cookie[:middle] + other + cookie[middle + 1 :], "é", "=" * 50, cookie * 100):
        assert sessions.open(wrong) is None
    now[0] += LIVES_S
    assert sessions.open(cookie) is None


def test_tokens_belong_to_one_session() -> None:
    sessions = Sessions(b"k" * 32)
    one, two = sessions.begin("a"), sessions.begin("a")
    assert sessions.is_token(one, sessions.token(one))
    assert not sessions.is_token(two, sessions.token(one))
    assert not sessions.is_token(one, "")
    assert not Sessions(b"x" * 32).is_token(one, sessions.token(one))
    assert Session("i", 0).is_signed_in is False


async def test_signing_out(api: Api, browser: Browser) -> None:
    """The browser forgets the key at once, and a copy of its cookie is good for nothing; other sessions go on."""
    other = Browser(api.platform)
    await other.sign_in(api.secret)
    [copied] = [each.value for each in browser.client.cookies.jar if each.name == COOKIE]
    token = await browser.token("/ui/keys")
    answer = await browser.post("/ui/sign-out", token=token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (await browser.get("/ui/functions")).headers["location"] == "/ui/sign-in"
    browser.client.cookies.set(COOKIE, copied, path="/ui")
    assert (await browser.client.get("/ui/api/keys", headers={"x-csrf-token": token})).status_code == 401
    assert (await browser.get("/ui/functions")).headers["location"] == "/ui/sign-in"
    assert (await other.get("/ui/functions")).status_code == 200


async def test_while_the_store_is_away(api: Api, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages say so, and nobody is signed out by that; who signs out is rid of the cookie all the same."""

    async def away(*_: Any, **__: Any) -> None:
        raise TableUnavailable("away")

    token = await browser.token("/ui/functions")
    with monkeypatch.context() as patch:
        for name in ("get", "query", "write"):
            patch.setattr(api.platform.table, name, away)
        page = await browser.get("/ui/functions")
        assert (page.status_code, "Not available at the moment" in page.text) == (503, True)
    assert (await browser.get("/ui/functions")).status_code == 200
    monkeypatch.setattr(api.platform.table, "write", away)
    answer = await browser.post("/ui/sign-out", token=token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in")
    assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_a_revoked_key_ends_its_sessions(api: Api) -> None:
    """Nothing has to be found and deleted for that."""
    made = (await api("POST", "/api/keys", json={})).json()
    browser = Browser(api.platform)
    await browser.sign_in(made["secret"])
    token = await browser.token("/ui/functions")
    await api("DELETE", f"/api/keys/{made['id']}")
    page = await browser.get("/ui/functions")
    assert (page.status_code, page.headers["location"]) == (303, "/ui/sign-in")
    await browser.sign_in(api.secret)
    part = await browser.client.get("/ui/api/keys", headers={"x-csrf-token": token})
    assert part.status_code == 403  # of the session before


PAGES = ("/ui/functions", "/ui/functions/new", "/ui/functions/{id}", "/ui/functions/{id}/code")
MORE_PAGES = (
    "/ui/functions/{id}/logs",
    "/ui/functions/{id}/charts",
    "/ui/functions/{id}/state",
    "/ui/functions/{id}/failed",
    "/ui/keys",
)


async def test_every_page_has_the_strict_policy(api: Api, browser: Browser) -> None:
    """No script, style or handler in the page itself, nothing from another host, no frame around it."""
    function = await api.function()
    for path in (*PAGES, *MORE_PAGES, "/ui/nothing", "/ui/functions/" + "a" * 17):
        answer = await browser.get(path.format(id=function["id"]))
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        _check_markup(answer.text)


async def test_nobody_signed_in_is_led_to_the_form(api: Api) -> None:
    """Whatever the page, and whether or not there is such a function."""
    browser = Browser(api.platform)
    for path in (*PAGES, *MORE_PAGES):
        address = path.format(id="a" * 17)
        answer = await browser.get(address)
        back = "" if address == "/ui/functions" else f"?next={quote(address, safe='')}"
        assert (answer.status_code, answer.headers["location"]) == (303, f"/ui/sign-in{back}"), path
    for path in ("/ui/api/keys", "/ui/lambda/list", "/ui/api/workspaces"):
        assert (await browser.get(path)).status_code == 401


async def test_signing_in_leads_to_where_the_link_led(api: Api) -> None:
    """With its query, and also after a wrong key; who has signed in meanwhile is there at once."""
    browser = Browser(api.platform)
    wanted = "/ui/functions?sort=name&q=a%26b%20%C3%A9&after=x%2Fy"
    led = (await browser.get(wanted)).headers["location"]
    form = await browser.get(led)
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form.text))
    fields = {name: html.unescape(value) for name, value in fields.items()}
    assert fields["next"] == wanted
    refused = await browser.post("/ui/sign-in", key="wrong", **fields)
    assert (refused.status_code, f'name="next" value="{html.escape(wanted)}"' in refused.text) == (401, True)
    answer = await browser.post("/ui/sign-in", key=api.secret, **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, wanted)
    assert (await browser.get(led)).headers["location"] == wanted


async def test_a_part_of_a_page_leads_back_to_the_page(api: Api) -> None:
    """What a form or htmx asks for is none; the browser says which page it is on."""
    browser = Browser(api.platform)
    for referrer, back in (
        (f"{BASE}/ui/functions/a/code?x=1", "?next=%2Fui%2Ffunctions%2Fa%2Fcode%3Fx%3D1"),
        (f"{BASE}/a-function", ""),
        ("", ""),
        ("http://[", ""),
    ):
        asked = await browser.get("/ui/functions/a/state", **{"hx-request": "true", "referer": referrer})
        assert (asked.status_code, asked.headers["hx-redirect"]) == (204, f"/ui/sign-in{back}")
        headers = {"sec-fetch-dest": "document", "origin": BASE, "referer": referrer}
        sent = await browser.client.post("/ui/functions/a/delete", headers=headers)
        assert (sent.status_code, sent.headers["location"]) == (303, f"/ui/sign-in{back}")


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "https:/ui/keys",
        "//evil.example/ui/",
        "/\\evil.example",
        "\\\\evil.example",
        "/ui\\..\\x",
        "javascript:alert(1)",
        "/0123456789abcdef",
        "/ui/../0123456789abcdef",
        "/ui/%2e%2e/x",
        "/ui/functions\r\nSet-Cookie: a=b",
        "/ui/functions?x=\n",
        "/ui/functions\n",
        "/ui/fun\tctions",
        "/ui/funct\u0131ons",
        "/ui//evil.example",
        "/ui/functions?" + "x" * 4000,
        "ui/keys",
        " /ui/keys",
        "",
    ],
)
async def test_signing_in_leads_nowhere_else(shared_api: Api, wanted: str) -> None:
    """Neither to another site nor to a function, which could look like these pages."""
    browser = Browser(shared_api.platform)
    form = await browser.get(f"/ui/sign-in?next={quote(wanted, safe='')}")
    assert (form.status_code, 'name="next"' in form.text) == (200, False)
    answer = await browser.post("/ui/sign-in", token=await browser.token(), key=shared_api.secret, next=wanted)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/functions")
    signed_in = await browser.get(f"/ui/sign-in?next={quote(wanted, safe='')}")
    assert signed_in.headers["location"] == "/ui/functions"


async def test_a_link_of_another_site_ends_no_session(api: Api, browser: Browser) -> None:
    """The browser keeps the cookie back, so the page asks once more by itself; nothing takes the cookie's place."""
    stranger = Browser(api.platform)
    for path in (*PAGES, "/ui", "/ui/sign-in"):
        answer = await stranger.get(path, **{"sec-fetch-site": "cross-site"})
        assert (answer.status_code, "set-cookie" in answer.headers) == (200, False), path
        assert '<meta http-equiv="refresh" content="0">' in answer.text
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
    answer = await stranger.get("/ui/functions", **{"sec-fetch-site": "same-origin"})
    assert (answer.status_code, answer.headers["location"], "set-cookie" in answer.headers) == (
        303,
        "/ui/sign-in",
        False,
    )
    answer = await browser.get("/ui/functions", **{"sec-fetch-site": "cross-site"})
    assert "data-token" in answer.text


async def test_the_host_alone_leads_to_the_pages(api: Api) -> None:
    """Only a browser: programs are told that they need a key."""
    answer = await api.client.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui")
    assert (await api.client.get("/")).status_code == 401


async def test_changes_need_the_token(api: Api, browser: Browser) -> None:
    """A form or a script of another page has the cookie, at most."""
    function = await api.function()
    strangers = await Browser(api.platform).token()
    for path in (f"/ui/functions/{function['id']}/delete", "/ui/keys", "/ui/keys/abc/revoke", "/ui/sign-out"):
        for token in ("", "0" * 64, strangers):
            assert (await browser.post(path, token=token)).status_code == 403, path
    for method, path in (("POST", "/api/keys"), ("DELETE", f"/api/functions/{function['id']}"), ("GET", "/api/keys")):
        for headers in ({}, {"x-csrf-token": strangers}):
            answer = await browser.client.request(method, f"/ui{path}", headers=headers)
            assert answer.status_code == 403
    assert (await api("GET", f"/api/functions/{function['id']}")).status_code == 200


async def test_scripts_of_functions_can_not_read_pages(api: Api, browser: Browser) -> None:
    """Functions answer on the same host. What a script asks for is no document, and its browser says so."""
    for dest in ("empty", "iframe", "object", "script", "image"):
        answer = await browser.client.get("/ui/functions", headers={"sec-fetch-dest": dest})
        assert answer.status_code == 403
        assert "data-token" not in answer.text


async def test_pages_are_for_https_and_this_machine(api: Api, browser: Browser) -> None:
    """Over http browsers say to no other host what a request is for: who can't be told from a script gets nothing."""
    for path in ("/ui/functions", "/ui/keys", "/ui/sign-in"):
        answer = await browser.client.get(path)
        assert answer.status_code == 403
        assert "need https" in answer.text
        assert "data-token" not in answer.text


async def test_a_second_session_cookie(api: Api, browser: Browser) -> None:
    """A function's script can set one for a path below the pages', which comes first. Nobody acts as another by it."""
    sessions = Sessions(b"k" * 32)
    [ours] = [each.value for each in browser.client.cookies.jar if each.name == COOKIE]
    for second in (ours, sessions.seal(sessions.begin("x")), ""):
        cookies = {"cookie": f"{COOKIE}={second}; {COOKIE}={ours}"}
        browser.client.cookies.clear()
        answer = await browser.get("/ui/keys", **cookies)
        assert answer.headers["location"] == "/ui/sign-in?next=%2Fui%2Fkeys"


async def test_other_origins_are_refused(api: Api, browser: Browser) -> None:
    """As everywhere in the management API."""
    answer = await browser.client.post("/ui/sign-out", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    answer = await browser.client.get("/ui/functions", headers={"host": "evil.example"})
    assert answer.status_code == 421


async def test_the_api_is_reached_with_the_sessions_key(api: Api, browser: Browser) -> None:
    """The same answers as with the key itself; what a page says in its own name about who it is, is not passed on."""
    function = await api.function()
    token = await browser.token("/ui/functions")
    headers = {"x-csrf-token": token, "authorization": "Bearer other", "x-request-id": "mine"}
    answer = await browser.client.get(f"/ui/api/functions/{function['id']}", headers=headers)
    assert answer.json()["id"] == function["id"]
    assert answer.headers["etag"] == '"1"'
    assert answer.headers.get_list("x-request-id") == ["mine"]
    assert len(answer.headers.get_list("x-content-type-options")) == 1
    body = {"timeout": 9}
    changed = await browser.client.patch(f"/ui/api/functions/{function['id']}", headers=headers, json=body)
    assert changed.json()["timeout"] == 9
    refused = await browser.client.patch(
        f"/ui/api/functions/{function['id']}", headers=headers | {"if-match": '"1"'}, json={"timeout": 10}
    )
    assert refused.status_code == 412
    shown = await browser.client.get(f"/ui/lambda?hash={function['hash']}", headers=headers)
    assert shown.json()["file"] == SOURCE.decode()
    for path in ("/ui/api/../metrics", "/ui/lambda/../../metrics", "/ui/lambdax", "/ui/metrics"):
        wrong = await browser.client.get(path, headers=headers)
        assert wrong.status_code in (401, 404), path


async def test_strangers_functions_are_not_there(api: Api) -> None:
    """A workspace's key sees its own, on every page, and is offered no other workspace."""
    ours, theirs = await api.workspace("ours"), await api.workspace("theirs")
    secret = await api.function(name="undisclosed", workspace=theirs)
    browser = Browser(api.platform)
    await browser.sign_in(await api.key(ours))
    for path in (*PAGES[2:], *MORE_PAGES[:4]):
        answer = await browser.get(path.format(id=secret["id"]))
        assert answer.status_code == 404, path
        assert "undisclosed" not in answer.text
    listing = await browser.get(f"/ui/functions?workspace={theirs}")
    assert "undisclosed" not in listing.text
    assert "theirs" not in listing.text
    assert "No functions in ours yet" in listing.text


async def test_what_users_wrote_is_text(api: Api, browser: Browser) -> None:
    """On every page: descriptions, code, variables, searches, keys, names of workspaces."""
    function = await api.function(
        description=HOSTILE, environment={"A": HOSTILE}, code=_base64(f"# {HOSTILE}</textarea>\n")
    )
    await api("POST", "/api/keys", json={"description": HOSTILE})
    for path in (*PAGES, *MORE_PAGES, f"/ui/functions?q={HOSTILE}"):
        answer = await browser.get(path.format(id=function["id"]))
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
        _check_markup(answer.text)
    assert "&lt;script&gt;" in (await browser.get(f"/ui/functions/{function['id']}")).text


async def test_a_new_key_is_shown_once(api: Api, browser: Browser) -> None:
    """With its AWS pair; it works, and revoking it on the page ends it."""
    workspace = await api.workspace("ours")
    token = await browser.token("/ui/keys")
    made = await browser.post("/ui/keys", token=token, description="for a script", workspace=workspace)
    found = re.search(r"ltn_([a-z2-7]{17})_[0-9a-f]{48}", made.text)
    assert found
    assert found[0] not in (await browser.get("/ui/keys")).text
    seen = (await api("GET", "/api/workspaces", key=found[0])).json()["items"]
    assert [each["id"] for each in seen] == [workspace]
    await browser.post(f"/ui/keys/{found[1]}/revoke", token=token)
    assert (await api("GET", "/api/workspaces", key=found[0])).status_code == 401
    refused = await browser.post("/ui/keys", token=token, description="x" * 300)
    assert refused.status_code == 400
    assert 'id="description-error"' in refused.text


async def test_deleting(api: Api, browser: Browser) -> None:
    """It leads to the list of the function's workspace, whichever was looked at last."""
    workspace = await api.workspace("ours")
    function = await api.function(workspace=workspace)
    page = await browser.get(f"/ui/functions/{function['id']}")
    assert f"Delete function {function['name']}" in page.text
    fields = dict(re.findall(r'<input type="hidden" name="(token|workspace)" value="([^"]*)">', page.text))
    await browser.get("/ui/functions?workspace=default")
    answer = await browser.post(f"/ui/functions/{function['id']}/delete", **fields)
    assert answer.headers["location"] == f"/ui/functions?workspace={workspace}"
    assert "No functions in ours yet" in (await browser.get(answer.headers["location"])).text
    assert (await api("GET", f"/api/functions/{function['id']}")).status_code == 404


async def test_files_are_small_and_kept(api: Api) -> None:
    """The list's first paint is at most 150 KiB over the wire; a file's address changes with the file."""
    browser = Browser(api.platform)
    for number in range(PER_PAGE):
        await api.function(name=f"function-{number}", description="What it does, in some words")
    await browser.sign_in(api.secret)
    page = await browser.get("/ui/functions")
    whole = len(page.content)
    for path in set(re.findall(r'(?:src|href)="(/ui/static/[^"]+)"', page.text)):
        answer = await browser.client.get(path, headers={"accept-encoding": "gzip"})
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        whole += int(answer.headers["content-length"])
        other = await browser.client.get(re.sub("/[0-9a-f]{12}/", "/000000000000/", path))
        assert (other.status_code, other.headers["cache-control"]) == (200, "no-store")
    for path in ("/ui/static/000000000000/nothing.js", "/ui/static/000000000000/NOTICE", "/ui/static/app.js"):
        assert (await browser.client.get(path)).status_code == 404
    assert "editor.js" not in page.text
    assert whole <= 150 * 1024


def a_row(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "description": "",
        "runtime": "r",
        "state": "Active",
        "updated_at": "2026-01-01T00:00:00.000Z",
    } | fields


def test_the_list_is_searched_sorted_and_cut_into_pages() -> None:
    """What has no figure comes last where many come first; functions that nobody called have 0 calls."""
    many = [a_row(f"f{number:02}", description="odd" if number % 2 else "") for number in range(60)]
    last_hour = {"f07": {"calls": 5, "errors": 1, "p95_ms": 2.0}, "f08": {"calls": 9, "errors": 0, "p95_ms": 1.0}}
    found = listed(with_figures(many, last_hour), Asked.of("w", {"sort": "-calls"}))
    assert [row["name"] for row in found.rows[:3]] == ["f08", "f07", "f00"]
    assert (found.total, found.summary) == (60, "60 functions · page 1 of 3")
    assert [link.text for link in found.links] == ["Next"]
    found = listed(with_figures(many, None), Asked.of("w", {"q": "ODD", "page": "2"}))
    assert [row["name"] for row in found.rows] == [f"f{number:02}" for number in range(51, 60, 2)]
    assert found.rows[0]["calls"] is None
    assert [link.address for link in found.links] == ["/ui/functions?workspace=w&q=ODD"]
    for query in ({"sort": "password", "page": "-1"}, {"page": "9" * 400}, {"page": "٣"}, {"sort": "--name"}):
        assert listed(with_figures(many, None), Asked.of("w", query)).rows[0]["name"] == "f00"


async def test_an_address_of_the_list_brings_it_back(api: Api, browser: Browser) -> None:
    """Search, order and page are in it; a click on the column again turns the order round."""
    asked = Asked.of("w", {"q": "a b&c", "sort": "-calls", "page": "2"})
    query = dict(httpx.URL(asked.address(page=2)).params)
    assert Asked.of("w", query) == asked
    assert asked.sorted_by("calls").endswith("sort=calls")
    assert asked.sorted_by("name").endswith("q=a+b%26c")
    await api.function(name="one")
    headers = {"hx-request": "true", "hx-target": "functions", "x-csrf-token": await browser.token("/ui/functions")}
    part = await browser.client.get("/ui/functions?q=two", headers=headers)
    assert "<html" not in part.text
    assert "Nothing is called like" in part.text


async def test_the_list_by_name_reads_one_page(api: Api, browser: Browser) -> None:
    """However many functions there are: the API's page, and where it goes on. A cursor of elsewhere is refused."""
    names = [f"f{number:02}" for number in range(PER_PAGE + 3)]
    for name in names:
        await api.function(name=name)
    first = await browser.get("/ui/functions")
    assert _names(first.text) == names[:PER_PAGE]
    assert "f00 to f24" in first.text
    [more] = re.findall(r'rel="next" href="([^"]+)"', first.text)
    second = await browser.get(more.replace("&amp;", "&"))
    assert _names(second.text) == names[PER_PAGE:]
    assert 'rel="first" href="/ui/functions?workspace=default"' in second.text
    assert 'rel="next"' not in second.text
    other = await api.workspace("other")
    refused = await browser.get(more.replace("&amp;", "&").replace("=default", f"={other}"))
    assert refused.status_code == 400
    assert "Back to the functions" in refused.text


async def test_figures_of_the_last_hour(api: Api, browser: Browser) -> None:
    """However the functions are put in order or looked for."""
    busy = await api.function(name="busy")
    await api.function(name="idle")
    now_s = int(time.time())
    errors_and_more, bin_and_calls = [2, 0, 0, 0], [10, 7]
    minute = [now_s % 3600 // 60, *errors_and_more, *bin_and_calls]
    rollup = Rollup(
        function_id=busy["id"], series="MINUTES", start=now_s - now_s % 3600, writer="w", slots=[minute]
    )  # fmt: skip
    await api.platform.records.store(busy["id"], [], [rollup])
    for query in ("", "?q=python", "?sort=-calls", "?sort=-name"):
        page = await browser.get(f"/ui/functions{query}")
        figures = {
            name: re.findall(r'<td class="number[^"]*">([^<]*)</td>', row)[:2]
            for name, row in zip(_names(page.text), page.text.split("<tr>")[2:], strict=True)
        }
        assert figures == {"busy": ["7", "2"], "idle": ["0", "0"]}, query


async def test_forms_have_a_limit(api: Api, browser: Browser) -> None:
    answer = await browser.post("/ui/keys", token="x" * 70_000)
    assert answer.status_code == 413


def _names(page: str) -> list[str]:
    return re.findall(r'<a class="name" href="[^"]*">([^<]*)</a>', page)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class _Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        inline = tag == "style" or (tag == "script" and not (names.get("src") or "").startswith("/ui/static/"))
        if inline or "style" in names or any(name.startswith("on") for name in names):
            self.wrong.append(self.get_starttag_text() or tag)


def _check_markup(text: str) -> None:
    """Nothing in it that the policy would have to stop."""
    markup = _Markup()
    markup.feed(text)
    assert not markup.wrong


async def test_a_function_that_is_an_image(api: Api) -> None:
    """There are some in clusters only: it has an image to change, and neither a runtime nor code to show."""
    function = await api.function()
    shown = (await api("GET", f"/api/functions/{function['id']}")).json()
    image = "registry.example/shop:1"
    shown |= {"image": image, "runtime": "", "handler": ""}
    context = {"token": "", "is_signed_in": True, "theme": "", "tab": "code", "source": None, "runtimes": []}
    template = template_config().engine_instance.get_template("function_code.html")
    text = template.render(**context, function=shown)
    assert f'name="image" value="{image}"' in text
    assert 'name="runtime"' not in text
    assert "data-source" not in text
    assert "image · revision 1" in text
