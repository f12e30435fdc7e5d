"""API keys: made, listed, revoked, and checked on every call."""

import time
from collections.abc import Callable

from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.keys import ApiKey, AwsPair, NewKey
from lateen.domain.master import MasterKey
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.ports.table import Table
from lateen.services.cursors import Cursors
from lateen.services.idempotency import Once


class AwsIdentity(Struct, frozen=True):
    """Who signs with an access key id, and the secret that the signature is checked against."""

    caller: Caller
    secret_access_key: str


class Keys:
    def __init__(
        self, table: Table, *, master: MasterKey, cursors: Cursors, now: Callable[[], float] = time.time
    ) -> None: ...

    async def ensure_administrator(self, secret: str | None, save: Callable[[str], None]) -> str:
        """The administrator's secret, whose key exists from then on. For every start.

        Args:
            secret: what was saved by an earlier start.
            save: keeps a new secret (in `.lateen/admin`); called before the key is stored, so that a crash between the
                two leaves a secret whose key the next start stores.
        """
        raise NotImplementedError

    async def create(
        self, caller: Caller, *, workspace_id: str | None, description: str = "", once: Once | None = None
    ) -> NewKey:
        """Args:
            workspace_id: None: a key like the caller's own, for its workspace or the whole installation.
        Raises: `NotFound` (workspace), `InvalidInput`, `Conflict` (by `once`).
        """
        raise NotImplementedError

    async def list(self, caller: Caller, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[ApiKey]:
        """Keys that are not revoked: all for an installation's key, else the workspace's."""
        raise NotImplementedError

    async def revoke(self, caller: Caller, key_id: str) -> None:
        """From the return on this process refuses it, others at most 5 s later. Again is no error. Raises: `NotFound`."""
        raise NotImplementedError

    async def revoke_all(self, workspace_id: str) -> None:
        """All keys of a workspace that ends."""
        raise NotImplementedError

    async def authenticate(self, secret: str) -> Caller:
        """Raises: `Unauthenticated`."""
        raise NotImplementedError

    def aws_pair(self, key: ApiKey) -> AwsPair:
        """What `lateen env` prints beside the secret."""
        raise NotImplementedError

    async def aws_secret(self, access_key_id: str) -> AwsIdentity:
        """For checking a signature (SigV4). Raises: `Unauthenticated`."""
        raise NotImplementedError
