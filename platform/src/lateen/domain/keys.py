"""API keys: the value that is kept, the secret that is shown once, and the AWS pair beside it."""

import hashlib
import hmac
import re

from msgspec import Struct

ADMIN_FILE = "admin"
"""In the data folder of embedded mode, 0600: the administrator's key, the only plaintext of it."""

_SECRET = re.compile(r"^ltn_([a-z2-7]{17})_([0-9a-f]{48})\Z")
_ACCESS_KEY_ID = re.compile(r"^LTN([A-Z2-7]{17})\Z")


class ApiKey(Struct, frozen=True, kw_only=True):
    id: str
    workspace_id: str | None
    """None: the whole installation's."""
    description: str = ""
    is_administrator: bool = False
    """Made by the first start; its secret is in the installation's `admin` file."""
    secret_sha256: str
    """Hex, of the whole secret. The secret has 192 random bits, so no salt or stretching is due."""
    created_at: str
    revoked_at: str | None = None

    @property
    def access_key_id(self) -> str:
        return f"LTN{self.id.upper()}"


class AwsPair(Struct, frozen=True):
    access_key_id: str
    secret_access_key: str


class NewKey(Struct, frozen=True):
    """What the maker of a key sees, once."""

    key: ApiKey
    secret: str
    aws: AwsPair


def secret_text(key_id: str, random: bytes) -> str:
    """`ltn_{key id}_{hex}`; `random` is 24 bytes."""
    return f"ltn_{key_id}_{random.hex()}"


def key_id_in(secret: str) -> str | None:
    """The key id inside a well-formed secret."""
    found = _SECRET.match(secret)
    return found[1] if found else None


def key_id_of_access_key(access_key_id: str) -> str | None:
    found = _ACCESS_KEY_ID.match(access_key_id)
    return found[1].lower() if found else None


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_secret_of(key: ApiKey, secret: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(key.secret_sha256, digest(secret))
