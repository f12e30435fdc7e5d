"""`python -m lateen.cluster.smoke`, what `helm test` runs: makes a function, calls it, reads its log, deletes it.

Read from the environment: `LATEEN_ENDPOINT` (the api), `LATEEN_GATEWAY`, `LATEEN_SECRETS` (a folder that has
`admin-token`), `LATEEN_SMOKE_RUNTIME` (one of Python), `LATEEN_SMOKE_STEP_SECONDS`. Exit codes: 0 all is well, 1
something is not; the last line says what.
"""

import base64
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from msgspec import Struct

T = TypeVar("T")

WORKSPACE = "default"
PAUSE_S = 0.2
CALL_S = 35.0
"""The gateway itself tries for 30."""
_CODE = """\
def handler(event, context):
    print(event["body"])
    return {"statusCode": 200, "body": event["body"][::-1]}
"""


class NotWell(Exception):
    """The text says what is not as it should be."""


class Smoke(Struct, frozen=True, kw_only=True):
    api: str
    gateway: str
    token: str
    runtime: str
    step_s: float

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises: `KeyError`, `OSError`."""
        return cls(
            api=env["LATEEN_ENDPOINT"].rstrip("/"),
            gateway=env["LATEEN_GATEWAY"].rstrip("/"),
            token=(Path(env["LATEEN_SECRETS"]) / "admin-token").read_text("ascii").strip(),
            runtime=env.get("LATEEN_SMOKE_RUNTIME", "python3.12"),
            step_s=float(env.get("LATEEN_SMOKE_STEP_SECONDS", "120")),
        )

    def run(self) -> None:
        """Raises: `NotWell`. Leaves nothing behind, whatever happens."""
        headers = {"authorization": f"Bearer {self.token}"}
        with httpx.Client(headers=headers, timeout=CALL_S, trust_env=False) as http:
            function = self._create(http)
            path = f"{self.api}/api/functions/{function['id']}"
            try:
                self._use(http, function, path)
            finally:
                with suppress(httpx.HTTPError):
                    http.delete(path)
            _step(f"deleting {function['name']}")
            _expect(http.delete(path), 204)
            _expect(http.get(path), 404)
            url = f"{self.gateway}/{function['hash']}"
            self._until("its URL answers 404", lambda: http.get(url).status_code == 404 or None)

    def _create(self, http: httpx.Client) -> dict[str, Any]:
        name = f"helm-test-{secrets.token_hex(4)}"
        body = {
            "name": name,
            "runtime": self.runtime,
            "auth": "key",
            "code": base64.b64encode(_CODE.encode()).decode(),
        }
        _step(f"creating {name} with {self.runtime}")
        path = f"{self.api}/api/workspaces/{WORKSPACE}/functions"

        # The api may be up before the migration is over, and then says so: 503, or no workspace and no key yet.
        def created() -> dict[str, Any] | None:
            answer = http.post(path, json=body)
            return None if answer.status_code in (401, 404, 503) else _expect(answer, 201)

        return self._until("the api makes functions", created)

    def _use(self, http: httpx.Client, function: dict[str, Any], path: str) -> None:
        _step("waiting until it is active")

        def settled() -> dict[str, Any] | None:
            shown = _expect(http.get(path), 200)
            return None if shown["state"] == "Pending" else shown

        shown = self._until("it is active", settled)
        if shown["state"] != "Active" or shown["state_reason"]:
            raise NotWell(f"the function is {shown['state']}: {shown['state_reason']}")
        url, said = f"{self.gateway}/{function['hash']}", secrets.token_hex(8)
        _step("calling it without a key")
        without = httpx.post(url, content=said, timeout=CALL_S, trust_env=False)
        if without.status_code != 401:
            raise NotWell(f"a call without a key was answered with {without.status_code}")
        _step("calling it")
        answer = http.post(url, content=said, headers={"content-type": "text/plain"})
        if (answer.status_code, answer.text) != (200, said[::-1]):
            raise NotWell(f"the call was answered with {answer.status_code}: {answer.text[:200]}")
        _step("looking for what it printed")

        def recorded() -> bool | None:
            page = _expect(http.get(f"{path}/logs", params={"limit": 10}), 200)
            return any(said in record["log_tail"] for record in page["items"]) or None

        self._until("its log has the call", recorded)

    def _until(self, what: str, look: Callable[[], T | None]) -> T:
        """What `look` finds. Raises: `NotWell` if it doesn't within the step's time."""
        last = ""
        until = time.monotonic() + self.step_s
        while True:
            try:
                if (found := look()) is not None:
                    return found
            except httpx.HTTPError as exc:
                last = f" ({exc!r})"
            if time.monotonic() > until:
                raise NotWell(f"after {self.step_s:.0f} s still not true: {what}{last}")
            time.sleep(PAUSE_S)


def _expect(answer: httpx.Response, status: int) -> dict[str, Any]:
    if answer.status_code != status:
        raise NotWell(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}")
    found: dict[str, Any] = json.loads(answer.content) if answer.content else {}
    return found


def _step(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    try:
        Smoke.from_env(os.environ).run()
    except (NotWell, httpx.HTTPError, OSError, KeyError, ValueError) as exc:
        print(f"error: {exc if isinstance(exc, NotWell) else repr(exc)}", file=sys.stderr)
        return 1
    print("all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
