"""What all tables hold items to: their keys, and their data as MessagePack.

MessagePack, not JSON: in JSON a log tail of control characters would grow sixfold and pass the item's limit.
"""

from typing import Any

import msgspec

from lateen.domain.errors import TooLarge
from lateen.ports.table import ITEM_LIMIT_BYTES, PK_LIMIT_BYTES, SK_LIMIT_BYTES, Item, Key

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


def check_key(key: Key) -> None:
    if not 1 <= len(key.pk.encode()) <= PK_LIMIT_BYTES or not 1 <= len(key.sk.encode()) <= SK_LIMIT_BYTES:
        raise ValueError(f"a key is 1 to {PK_LIMIT_BYTES} and 1 to {SK_LIMIT_BYTES} bytes long")


def encoded(item: Item) -> bytes:
    if item.expires_at is not None and not 0 <= item.expires_at < 1 << 53:
        raise ValueError("expires_at is Unix time in seconds")
    try:
        data = _encoder.encode(item.data)
    except OverflowError as exc:
        raise ValueError("integers in an item have at most 64 bits") from exc
    if len(data) > ITEM_LIMIT_BYTES:
        raise TooLarge(f"an item holds at most {ITEM_LIMIT_BYTES} bytes")
    return data


def decoded(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = _decoder.decode(data)
    return found


def end_of_prefix(prefix: str) -> str | None:
    """The least text greater than all that begin with `prefix`, by UTF-8 bytes; None if there is no such text.

    Code points order as their UTF-8 does, so the last one is raised by one, over the gap of UTF-16's surrogates.
    """
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    return stem[:-1] + ("\ue000" if stem[-1] == "\ud7ff" else chr(ord(stem[-1]) + 1))
