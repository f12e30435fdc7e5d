"""Workspaces: the tenants."""

from msgspec import Struct

DEFAULT_ID = "default"
"""Id and name of the workspace that the first start makes."""


class Workspace(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    """Unique in the installation."""
    account_id: str
    """12 digits: what the workspace is called in ARNs."""
    description: str = ""
    revision: int = 0
    created_at: str
    updated_at: str
    is_closing: bool = False
    """Being deleted: nothing new may be made in it."""
    deleted_at: str | None = None
