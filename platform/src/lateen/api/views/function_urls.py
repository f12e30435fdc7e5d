"""Settings of function URLs, as callers see them."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Id, InvokeMode, Timestamp
from lateen.domain.function_urls import AuthType
from lateen.services.function_urls import DescribedUrl


class CorsView(Struct, frozen=True, kw_only=True):
    """Null is not said."""

    allow_origins: list[str] | None
    allow_methods: list[str] | None
    allow_headers: list[str] | None
    expose_headers: list[str] | None
    max_age: int | None
    """Seconds."""
    allow_credentials: bool | None


class FunctionUrlView(Struct, frozen=True, kw_only=True):
    function: Id
    alias: Annotated[str | None, Meta(examples=["live"])]
    """Null: the function's own."""
    url: Annotated[str, Meta(examples=["http://127.0.0.1:8000/0123456789abcdef0123456789abcdef"])]
    auth_type: AuthType
    open: bool
    """Everybody may call it: `NONE`, and the resource policy says so."""
    invoke_mode: InvokeMode
    cors: CorsView | None
    created_at: Timestamp
    updated_at: Timestamp


def function_url_view(described: DescribedUrl, base_url: str) -> FunctionUrlView:
    config = described.config
    settings, cors = config.url.settings, config.url.settings.cors
    return FunctionUrlView(
        function=described.function_id,
        alias=described.alias,
        url=f"{base_url}/{described.hash}",
        auth_type=config.url.auth_type,
        open=described.is_open,
        invoke_mode="RESPONSE_STREAM" if settings.streams else "BUFFERED",
        cors=None
        if cors is None
        else CorsView(
            allow_origins=_texts(cors.allow_origins),
            allow_methods=_texts(cors.allow_methods),
            allow_headers=_texts(cors.allow_headers),
            expose_headers=_texts(cors.expose_headers),
            max_age=cors.max_age_s,
            allow_credentials=cors.allow_credentials,
        ),
        created_at=config.created_at,
        updated_at=config.updated_at,
    )


def _texts(given: tuple[str, ...] | None) -> list[str] | None:
    return None if given is None else list(given)
