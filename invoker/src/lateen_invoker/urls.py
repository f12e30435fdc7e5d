"""How a function's URL answers, and what the gateway says of a call of it. Shared by platform and invoker."""

import base64

import msgspec
from msgspec import Struct


class Cors(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who may read answers in a browser. None: was not given."""

    allow_origins: tuple[str, ...] | None = None
    """`*`: every one."""
    allow_methods: tuple[str, ...] | None = None
    allow_headers: tuple[str, ...] | None = None
    expose_headers: tuple[str, ...] | None = None
    max_age_s: int | None = None
    allow_credentials: bool | None = None


class UrlSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    streams: bool = False
    """InvokeMode RESPONSE_STREAM: what the function streams goes out as it comes."""
    cors: Cors | None = None
    """None: that is the function's own business, preflights included."""


PLAIN = UrlSettings()


class Signer(Struct, frozen=True, kw_only=True):
    """Who has signed a call, as the function is told."""

    access_key_id: str
    account_id: str
    user_arn: str
    user_id: str


class Said(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one call, by the gateway; part of what it signs."""

    url: UrlSettings = PLAIN
    """Of an alias; a function's own are in its configuration."""
    signer: Signer | None = None


_decode = msgspec.json.Decoder(Said).decode


def encoded(said: Said) -> str:
    """Without a space. Empty: there is nothing to say."""
    return "" if said == _NOTHING else base64.urlsafe_b64encode(msgspec.json.encode(said)).decode()


def decoded(text: str) -> Said:
    """What `encoded` has made; only of a text whose signature is right."""
    return _decode(base64.urlsafe_b64decode(text)) if text else _NOTHING


_NOTHING = Said()
