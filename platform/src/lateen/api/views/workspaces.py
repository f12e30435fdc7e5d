"""Workspaces, as callers see them."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Id, Timestamp
from lateen.domain.workspaces import Quota, Workspace


class WorkspaceView(Struct, frozen=True, kw_only=True):
    id: Id
    name: str
    description: str
    account_id: Annotated[str, Meta(examples=["123456789012"])]
    """What the workspace is called in ARNs."""
    quota: Quota
    code_buckets: list[str]
    """S3 buckets, or folders in them, that callers may take code from."""
    revision: int
    created_at: Timestamp
    updated_at: Timestamp


def workspace_view(workspace: Workspace) -> WorkspaceView:
    return WorkspaceView(
        id=workspace.id,
        name=workspace.name,
        description=workspace.description,
        account_id=workspace.account_id,
        quota=workspace.quota,
        code_buckets=list(workspace.code_buckets),
        revision=workspace.revision,
        created_at=workspace.created_at,
        updated_at=workspace.updated_at,
    )
