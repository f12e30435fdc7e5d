"""Keys, as callers see them."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Id, Timestamp
from lateen.domain.keys import ApiKey, NewKey


class KeyView(Struct, frozen=True, kw_only=True):
    id: Id
    workspace: Id | None
    """Null: of the whole installation."""
    description: str
    aws_access_key_id: Annotated[str, Meta(examples=["LTNABCDEFGHIJKLMNOPQ"])]
    created_at: Timestamp


class NewKeyView(KeyView, frozen=True, kw_only=True):
    """The two secrets are shown this once."""

    secret: Annotated[str, Meta(examples=["ltn_abcdefghijklmnopq_…"])]
    aws_secret_access_key: Annotated[str, Meta(examples=["…"])]


def key_view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        workspace=key.workspace_id,
        description=key.description,
        aws_access_key_id=key.access_key_id,
        created_at=key.created_at,
    )


def new_key_view(made: NewKey) -> NewKeyView:
    return NewKeyView(
        id=made.key.id,
        workspace=made.key.workspace_id,
        description=made.key.description,
        aws_access_key_id=made.aws.access_key_id,
        created_at=made.key.created_at,
        secret=made.secret,
        aws_secret_access_key=made.aws.secret_access_key,
    )
