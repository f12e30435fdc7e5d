"""Workspaces: the tenants."""

from typing import Annotated

from msgspec import Meta, Struct

CPU = r"^[1-9][0-9]{0,6}m?\Z"
MEMORY = r"^[1-9][0-9]{0,6}(Mi|Gi|Ti)\Z"
DEFAULT_ID = "default"
"""Id and name of the workspace that the first start makes."""


class Quota(Struct, frozen=True, kw_only=True):
    """What a workspace's functions may use together, where a deployer can hold them to it. None: the installation's."""

    pods: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    """Pods at a time."""
    cpu: Annotated[str, Meta(pattern=CPU)] | None = None
    """CPUs of all pods' limits: `20`, `500m`."""
    memory: Annotated[str, Meta(pattern=MEMORY)] | None = None
    """Memory of all pods' limits: `512Mi`, `64Gi`."""


class Workspace(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    """Unique in the installation."""
    account_id: str
    """12 digits: what the workspace is called in ARNs."""
    description: str = ""
    quota: Quota = Quota()
    code_buckets: tuple[str, ...] = ()
    """From where its callers may take code; see `code_places.py`."""
    revision: int = 0
    created_at: str
    updated_at: str
    is_closing: bool = False
    """Being deleted: nothing new may be made in it."""
    is_final: bool = False
    """Nobody opens it again: its delete is a forced one, or has found it empty."""
    deleted_at: str | None = None
