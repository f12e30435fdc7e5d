"""A real browser before the pages, and what it must never say: errors, and what the pages' policy had to stop."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WITHIN_MS = 60_000
"""For a machine that has other things to do."""
SERIOUS = ("serious", "critical")
NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
"""What Chromium makes of its requests where a node starts or ends pods: each is a network interface."""
ITS_PAGE = "chrome-error:"
"""Which it shows for that, and which may come while one goes on already."""


def chromium() -> str | None:
    return os.environ.get("LATEEN_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = chromium()
    if found is None:
        reason = f"needs Chromium: one of {', '.join(NAMES)}, or LATEEN_CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    expect.set_options(timeout=WITHIN_MS)
    with sync_playwright() as playwright:
        # Root may not use Chromium's sandbox; the pages are our own.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


class Person:
    """Somebody with a browser of their own. `close` fails where it had to say something that wasn't expected."""

    def __init__(self, browser: Browser, endpoint: str, **context: Any) -> None:
        self.endpoint = endpoint
        self.context: BrowserContext = browser.new_context(
            viewport=context.pop("viewport", {"width": 1280, "height": 800}), **context
        )
        if "://127.0.0.1" in endpoint:  # elsewhere browsers give it to pages with TLS only
            self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=endpoint)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(WITHIN_MS)
        self.said: list[str] = []
        self.refusals: set[int] = set()
        """Statuses of answers that the test provokes; the browser says each."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))

    def _on_console(self, message: Any) -> None:
        if message.type not in ("error", "warning") or NETWORK_CHANGED in message.text:
            return
        refused = re.search(r"Failed to load resource: .* status of (\d+)", message.text)
        if refused is None or int(refused[1]) not in self.refusals:
            self.said.append(f"{message.type}: {message.text} {message.location}")

    def open(self, path: str) -> None:
        for left in reversed(range(5)):
            try:
                self.page.goto(f"{self.endpoint}{path}")
                return
            except Error as exc:
                if not left or (NETWORK_CHANGED not in str(exc) and ITS_PAGE not in str(exc)):
                    raise

    def sign_in(self, key: str) -> None:
        self.open("/ui")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/ui/functions*")

    def write_code(self, text: str) -> None:
        """Instead of what is in the editor."""
        editor = self.page.get_by_role("textbox", name="Code", exact=True)
        editor.click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.press("Delete")
        # Typed text would be indented and given brackets by the editor.
        self.page.keyboard.insert_text(text)

    def check_accessible(self) -> None:
        """axe-core finds nothing serious on the page as it is."""
        found = Axe().run(self.page).response["violations"]
        serious = [
            (each["id"], [node["html"] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS
        ]
        assert not serious, (self.page.url, serious)

    def shoot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        expect(self.page.locator(".state-pending")).to_have_count(0)
        self.page.evaluate("document.querySelector('#toasts').replaceChildren()")
        self.page.screenshot(path=path, animations="disabled")

    def close(self) -> None:
        self.context.close()
        assert not self.said, self.said
