"""How a function's first initialisation went, asked of one of its pods. The answer is not trusted: it is small, soon
there, or not read."""

import asyncio
import time
from collections.abc import Callable

import aiohttp
import msgspec
from msgspec import Struct

from lateen.adapters.kubernetes.config import HTTP_PORT
from lateen.adapters.kubernetes.rollouts import clean
from lateen.ports.deployer import Deployment
from lateen_invoker import signing

STATE_PATH = "/_lateen/state"
LIMIT_BYTES = 64 * 1024
LIMIT_S = 2.0
AT_A_TIME = 32


class _InitError(Struct):
    type: str = ""
    message: str = ""


class _State(Struct):
    ready: bool = False
    init_error: _InitError | None = None


class NoState(Exception):
    """The pod did not say."""


class PodStates:
    def __init__(self, *, port: int = HTTP_PORT, now: Callable[[], float] = time.time) -> None:
        self._port = port
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(AT_A_TIME)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def init_error(self, deployment: Deployment, address: str) -> str | None:
        """What went wrong, in one line; None: nothing. Raises: `NoState`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        host = f"[{address}]" if ":" in address else address
        signature = signing.sign(
            deployment.invoke_key, method="GET", target=STATE_PATH, source="", request_id="", now_s=self._now()
        )
        async with self._slots:
            try:
                async with (
                    asyncio.timeout(LIMIT_S),
                    self._session.get(
                        f"http://{host}:{self._port}{STATE_PATH}",
                        headers={signing.SIGNATURE: signature},
                        allow_redirects=False,
                    ) as answer,
                ):
                    if answer.status != 200:
                        raise NoState(f"status {answer.status}")
                    body = await _read(answer.content)
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                raise NoState(repr(exc)) from exc
        try:
            error = _decoder.decode(body).init_error
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise NoState("the answer is not what an invoker says") from exc
        if error is None:
            return None
        return clean(f"{error.type}: {error.message}" if error.type else error.message) or "unknown"


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = b""
    while chunk := await content.read(LIMIT_BYTES + 1 - len(body)):
        body += chunk
        if len(body) > LIMIT_BYTES:
            raise NoState("the answer is too long")
    return body


_decoder = msgspec.json.Decoder(_State)
