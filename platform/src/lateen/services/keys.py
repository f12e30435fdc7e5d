"""API keys: made, listed, revoked, and checked on every call."""

import hmac
import secrets
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from lateen.domain.access import PLATFORM, Caller
from lateen.domain.errors import Conflict, NotFound, Unauthenticated
from lateen.domain.keys import (
    ApiKey,
    AwsPair,
    NewKey,
    digest,
    is_secret_of,
    key_id_in,
    key_id_of_access_key,
    secret_text,
)
from lateen.domain.master import MasterKey
from lateen.domain.names import check_description, is_id, new_id
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.times import iso_ms
from lateen.ports.table import Delete, Item, ItemNotFound, Key, Operation, Put, RevisionConflict, Table
from lateen.services.cursors import Cursors, check_limit
from lateen.services.idempotency import Idempotency, Once
from lateen.services.known import LIVES_S, Known
from lateen.services.tenants import ATTEMPTS, BUSY, check_open, partition, read_workspace

CACHE_S = LIVES_S
_CACHE_ENTRIES = 1024
_RANDOM_BYTES = 24
_NO_SUCH_KEY = "no such key"
_UNKNOWN = "no key, or not one that is known here"


class AwsIdentity(Struct, frozen=True):
    """Who signs with an access key id, and the secret that the signature is checked against."""

    caller: Caller
    secret_access_key: str


class Keys:
    def __init__(
        self,
        table: Table,
        *,
        master: MasterKey,
        cursors: Cursors,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._master = master
        self._cursors = cursors
        self._now = now
        self._idempotency = Idempotency(table, now=now)
        self.known: Known[_Shown, Caller] = Known(self._caller, entries=_CACHE_ENTRIES, clock=monotonic)
        self._signers: Known[str, AwsIdentity] = Known(self._signer, entries=_CACHE_ENTRIES, clock=monotonic)

    async def ensure_administrator(self, secret: str) -> bool:
        """Have the administrator's key, whose secret was made with `new_secret` and is kept outside of the stores. For
        every start. False: the text is no secret of ours, or its key was revoked, which stays so."""
        if (key_id := key_id_in(secret)) is None:
            return False
        for _ in range(ATTEMPTS):
            try:
                key, _ = await self._find(key_id)
                return key.revoked_at is None and key.workspace_id is None and is_secret_of(key, secret)
            except NotFound:
                pass
            try:
                await self._store(self._key(key_id, None, "administrator", secret, is_administrator=True))
            except RevisionConflict:  # another process was faster
                continue
        raise Conflict(BUSY)

    async def administrator(self, secret: str | None, save: Callable[[str], None]) -> str:
        """The administrator's secret, whose key exists from then on.

        Args:
            secret: what was saved by an earlier start.
            save: keeps a new secret (in `.lateen/admin`); called before the key is stored, so that a crash between the
                two leaves a secret whose key the next start stores.
        """
        while secret is None or not await self.ensure_administrator(secret):
            secret = new_secret()
            save(secret)
        return secret

    async def create(
        self, caller: Caller, *, workspace_id: str | None, description: str = "", once: Once | None = None
    ) -> NewKey:
        """Args:
            workspace_id: None: a key like the caller's own, for its workspace or the whole installation.
        Raises: `NotFound` (workspace), `InvalidInput`, `Conflict` (by `once`).
        """
        check_description(description)
        workspace_id = workspace_id if workspace_id is not None else caller.workspace_id
        for _ in range(ATTEMPTS):
            if (outcome := await self._idempotency.outcome(caller, once)) is not None:
                key = msgspec.convert(outcome, ApiKey)
                return NewKey(key, self._secret(key.id, once), self.aws_pair(key))
            operations: list[Operation] = []
            if workspace_id is not None:
                operations.append(check_open(await read_workspace(self._table, caller, workspace_id)))
            key_id = new_id()
            secret = self._secret(key_id, once)
            key = self._key(key_id, workspace_id, description, secret)
            operations += self._idempotency.record(caller, once, msgspec.to_builtins(key))
            try:
                await self._store(key, operations)
            except RevisionConflict:
                continue  # the workspace was changed, or the same request was faster
            return NewKey(key, secret, self.aws_pair(key))
        raise Conflict(BUSY)

    async def list(self, caller: Caller, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[ApiKey]:
        """Keys that are not revoked: all for an installation's key, else the workspace's."""
        pk = _index(caller.workspace_id)
        listing = f"keys/{pk}"
        after = self._cursors.open(listing, cursor)
        page = await self._table.query(pk, begins="KEY#", after=after, limit=check_limit(limit))
        keys = [msgspec.convert(item.data, ApiKey) for item in page.items]
        return Page(keys, self._cursors.seal(listing, page.next) if page.next else None)

    async def revoke(self, caller: Caller, key_id: str) -> None:
        """From the return on this process refuses it, others at most 5 s later. Again is no error.

        Raises: `NotFound`.
        """
        for _ in range(ATTEMPTS):
            key, revision = await self._find(key_id)
            if caller.workspace_id is not None and key.workspace_id != caller.workspace_id:
                raise NotFound(_NO_SUCH_KEY)
            if key.revoked_at is None:
                revoked = msgspec.structs.replace(key, revoked_at=iso_ms(self._now()))
                operations: list[Operation] = [Put(_item(revoked), expected=revision)]
                operations += [Delete(index) for index in _indexes(key)]
                try:
                    await self._table.transact(operations)
                except RevisionConflict:
                    continue
            self._forget(key_id)
            return
        raise Conflict(BUSY)

    async def revoke_all(self, workspace_id: str) -> None:
        """All keys of a workspace that ends."""
        while True:
            page = await self._table.query(_index(workspace_id), begins="KEY#")
            for item in page.items:
                await self.revoke(PLATFORM, item.key.sk.removeprefix("KEY#"))
            if page.next is None:
                return

    async def authenticate(self, secret: str) -> Caller:
        """Raises: `Unauthenticated`."""
        if (key_id := key_id_in(secret)) is None:
            raise Unauthenticated(_UNKNOWN)
        return await self.known.get((key_id, digest(secret)))

    async def _caller(self, shown: "_Shown") -> Caller:
        caller, key = await self._valid(shown[0])
        if not hmac.compare_digest(key.secret_sha256, shown[1]):
            raise Unauthenticated(_UNKNOWN)
        return caller

    def aws_pair(self, key: ApiKey) -> AwsPair:
        """The pair beside a key: a secret that follows from the master key, and is nowhere stored."""
        return AwsPair(key.access_key_id, self._master.aws_secret(key.id))

    async def aws_secret(self, access_key_id: str) -> AwsIdentity:
        """For checking a signature (SigV4). Raises: `Unauthenticated`."""
        if (key_id := key_id_of_access_key(access_key_id)) is None:
            raise Unauthenticated(_UNKNOWN)
        return await self._signers.get(key_id)

    async def _signer(self, key_id: str) -> AwsIdentity:
        caller, key = await self._valid(key_id)
        return AwsIdentity(caller, self._master.aws_secret(key.id))

    async def _valid(self, key_id: str) -> tuple[Caller, ApiKey]:
        try:
            key, _ = await self._find(key_id)
        except NotFound:
            raise Unauthenticated(_UNKNOWN) from None
        if key.revoked_at is not None:
            raise Unauthenticated(_UNKNOWN)
        return Caller(key.id, key.workspace_id), key

    async def _find(self, key_id: str) -> tuple[ApiKey, int]:
        if not is_id(key_id):
            raise NotFound(_NO_SUCH_KEY)
        try:
            item = await self._table.get(_key(key_id))
        except ItemNotFound:
            raise NotFound(_NO_SUCH_KEY) from None
        return msgspec.convert(item.data, ApiKey), item.revision

    def _secret(self, key_id: str, once: Once | None) -> str:
        """A request that is sent again must get the same secret, which is not stored. So it follows from the master key
        and from the Idempotency-Key, of which only a digest is stored: neither store nor caller alone can make it."""
        if once is None:
            return new_secret(key_id)
        return secret_text(key_id, self._master.derive("key", key_id, once.key)[:_RANDOM_BYTES])

    def _key(
        self, key_id: str, workspace_id: str | None, description: str, secret: str, *, is_administrator: bool = False
    ) -> ApiKey:
        return ApiKey(
            id=key_id,
            workspace_id=workspace_id,
            description=description,
            is_administrator=is_administrator,
            secret_sha256=digest(secret),
            created_at=iso_ms(self._now()),
        )

    async def _store(self, key: ApiKey, operations: Sequence[Operation] = ()) -> None:
        item = _item(key)
        indexes = [Put(msgspec.structs.replace(item, key=index), expected=None) for index in _indexes(key)]
        await self._table.transact([*operations, Put(item, expected=None), *indexes])

    def _forget(self, key_id: str) -> None:
        self.known.forget_all(lambda shown: shown[0] == key_id)
        self._signers.forget(key_id)


_Shown = tuple[str, str]
"""A key's id, and the digest of the whole secret."""


def new_secret(key_id: str | None = None) -> str:
    """A random one, `ltn_{key id}_{hex}`. None: of a key that is still to be made."""
    return secret_text(key_id or new_id(), secrets.token_bytes(_RANDOM_BYTES))


def _key(key_id: str) -> Key:
    return Key(f"KEY#{key_id}", "METADATA")


def _item(key: ApiKey) -> Item:
    return Item(key=_key(key.id), data=msgspec.to_builtins(key))


def _index(workspace_id: str | None) -> str:
    return "INSTALLATION" if workspace_id is None else partition(workspace_id)


def _indexes(key: ApiKey) -> Sequence[Key]:
    """The installation lists all keys, a workspace its own."""
    found = [Key(_index(None), f"KEY#{key.id}")]
    return found if key.workspace_id is None else [*found, Key(_index(key.workspace_id), f"KEY#{key.id}")]
