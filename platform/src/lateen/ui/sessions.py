"""Sessions: a sealed cookie, which any replica opens with a key that all derive from the installation's master key.

The cookie holds the API key of who signed in. Nothing is stored but the end of a session that somebody signed out of;
it ends as well where its key is revoked, and after `LIVES_S`. The token against forged requests follows from its id.
"""

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

LIVES_S = 12 * 3600
COOKIE = "lateen_session"
_NONCE_BYTES = 12
_FOR = b"lateen-ui-session-1"
_LONGEST = 2048


class Session(Struct, frozen=True):
    id: str
    expires_s: int
    """Unix time."""
    secret: str = ""
    """The API key; empty: nobody has signed in."""

    @property
    def is_signed_in(self) -> bool:
        return bool(self.secret)


class EndedSessions(Protocol):
    """Sessions that were signed out of, for all replicas."""

    async def end(self, session_id: str, *, until_s: int) -> None:
        """`until_s`: Unix time at which the session is over by itself."""

    async def has_ended(self, session_id: str) -> bool: ...


class Sessions:
    def __init__(self, key: bytes, *, now: Callable[[], float] = time.time) -> None:
        """Args:
        key: 32 bytes, the same in all replicas.
        """
        self._box = AESGCM(key)
        self._token_key = hmac.digest(key, b"lateen-ui-token-1", "sha256")
        self._now = now

    def begin(self, secret: str = "") -> Session:
        """A new id each time, so that nobody who knew the one before sign-in knows the one after."""
        return Session(secrets.token_hex(16), int(self._now()) + LIVES_S, secret)

    def seal(self, session: Session) -> str:
        """The cookie's value."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._box.encrypt(nonce, msgspec.json.encode(session), _FOR)
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, cookie: str) -> Session | None:
        """None: not sealed by us, or over."""
        if not cookie or len(cookie) > _LONGEST:
            return None
        try:
            whole = base64.b64decode(cookie.encode("ascii") + b"==="[: -len(cookie) % 4], altchars=b"-_", validate=True)
            plain = self._box.decrypt(whole[:_NONCE_BYTES], whole[_NONCE_BYTES:], _FOR)
            session = msgspec.json.decode(plain, type=Session)
        except (ValueError, binascii.Error, InvalidTag, msgspec.MsgspecError):
            return None
        return session if session.expires_s > self._now() else None

    def token(self, session: Session) -> str:
        """What requests of our own pages carry, and nobody else's can."""
        return hmac.digest(self._token_key, session.id.encode(), "sha256").hex()

    def is_token(self, session: Session, given: str) -> bool:
        return hmac.compare_digest(self.token(session).encode(), given.encode("utf-8", "surrogatepass"))


def cookie_header(value: str, *, secure: bool, lives_s: int = LIVES_S) -> str:
    """`lives_s` 0: the browser forgets it. Its path keeps it from functions, which answer on the same host."""
    text = f"{COOKIE}={value}; Path=/ui; Max-Age={lives_s}; HttpOnly; SameSite=Strict"
    return f"{text}; Secure" if secure else text
