"""Aliases, as callers see them."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Hash, Id, Timestamp
from lateen.domain.functions import State
from lateen.services.aliases import DescribedAlias


class AliasTarget(Struct, frozen=True, kw_only=True):
    version: str
    routing: dict[str, float]
    """Another version and its share of the calls, 0 to 1."""


class AliasView(Struct, frozen=True, kw_only=True):
    function: Id
    name: Annotated[str, Meta(examples=["live"])]
    description: str
    version: str
    routing: dict[str, float]
    """Another version and its share of the calls, 0 to 1."""
    previous: AliasTarget | None
    """Where it led before, which serves until what it leads to runs."""
    state: State
    state_reason: str | None
    """For a person: what is being started, or what is wrong."""
    hash: Hash
    url: Annotated[str, Meta(examples=["http://127.0.0.1:8000/0123456789abcdef0123456789abcdef"])]
    revision: int
    """Counts its changes; also the `ETag`."""
    created_at: Timestamp
    updated_at: Timestamp


def alias_view(described: DescribedAlias, base_url: str) -> AliasView:
    alias = described.alias
    before = alias.before
    return AliasView(
        function=alias.function_id,
        name=alias.name,
        description=alias.description,
        version=alias.target.version,
        routing=alias.target.weights,
        previous=None if before is None else AliasTarget(version=before.version, routing=before.weights),
        state=described.status.state,
        state_reason=described.status.reason,
        hash=alias.hash,
        url=f"{base_url}/{alias.hash}",
        revision=alias.revision,
        created_at=alias.created_at,
        updated_at=alias.updated_at,
    )
