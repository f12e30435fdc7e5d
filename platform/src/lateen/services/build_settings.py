"""A workspace's build settings: variables for its builds, such as where packages are fetched and with which password.

They are stored encrypted under a key of the installation's master key, and shown to nobody again: only their names are.
Runtimes say how the names of those begin that they understand, and a build gets no others.
"""

import base64
import hmac
import os
import re
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lateen.domain.access import Caller
from lateen.domain.errors import Conflict, InvalidInput, Unavailable
from lateen.domain.master import MasterKey
from lateen.ports.table import Item, ItemNotFound, Key, Put, RevisionConflict, Table
from lateen.services.tenants import ATTEMPTS, BUSY, check_open, partition, read_workspace

NAME = r"^[A-Za-z][A-Za-z0-9_]{0,127}(//[A-Za-z0-9./:_-]{1,255})?\Z"
"""A variable's; the second half is how registries are named to some package managers, by their address."""
MAX_VARIABLES = 50
MAX_VALUE = 4096
MAX_BYTES = 32 * 1024
"""Of all names and values together."""
_NAME = re.compile(NAME)
_NONCE = 12


class BuildSettings:
    def __init__(self, table: Table, *, master: MasterKey, prefixes: Sequence[str]) -> None:
        """Args:
        prefixes: all that runtimes understand; others are refused.
        """
        self._table = table
        self._master = master
        self._prefixes = tuple(sorted(set(prefixes)))

    async def names(self, caller: Caller, workspace_id: str) -> list[str]:
        """Raises: `NotFound`."""
        await read_workspace(self._table, caller, workspace_id)
        sealed, _ = await self._sealed(workspace_id)
        return sorted(self._open(workspace_id, sealed))

    async def change(self, caller: Caller, workspace_id: str, change: Mapping[str, str | None]) -> list[str]:
        """What is absent stays, None removes. Returns: the names. Raises: `NotFound`, `InvalidInput`, `Conflict`."""
        for name, value in change.items():
            self._check(name, value)
        for _ in range(ATTEMPTS):
            workspace = await read_workspace(self._table, caller, workspace_id)
            sealed, revision = await self._sealed(workspace_id)
            try:
                variables = self._open(workspace_id, sealed)
            except Unavailable:  # nobody can read them any more; this is how they are set again
                variables = {}
            variables = {name: value for name, value in {**variables, **change}.items() if value is not None}
            if len(variables) > MAX_VARIABLES or len(msgspec.json.encode(variables)) > MAX_BYTES:
                raise InvalidInput("variables", f"at most {MAX_VARIABLES}, and {MAX_BYTES} bytes together")
            item = Item(key=settings_key(workspace_id), data={"sealed": self._seal(workspace_id, variables)})
            try:
                await self._table.transact([Put(item, expected=revision), check_open(workspace)])
            except RevisionConflict:
                continue
            return sorted(variables)
        raise Conflict(BUSY)

    async def variables(self, workspace_id: str, prefixes: Sequence[str]) -> dict[str, str]:
        """Those whose names begin so. Raises: `Unavailable` if they can't be read."""
        sealed, _ = await self._sealed(workspace_id)
        found = self._open(workspace_id, sealed)
        return {name: value for name, value in found.items() if name.upper().startswith(tuple(prefixes))}

    def digest(self, workspace_id: str, variables: Mapping[str, str]) -> str:
        """Tells two settings apart and nothing of what is in them."""
        content = msgspec.json.encode(dict(variables), order="deterministic")
        return hmac.new(self._master.derive("build-settings-digest", workspace_id), content, "sha256").hexdigest()

    def _check(self, name: str, value: str | None) -> None:
        shown = name[:64].encode("ascii", "backslashreplace").decode()
        if not _NAME.match(name):
            raise InvalidInput(f"variables.{shown}", "a name is a letter, then letters, digits and '_'")
        if not name.upper().startswith(self._prefixes):
            known = ", ".join(f"{prefix}…" for prefix in self._prefixes) or "no runtime understands any"
            raise InvalidInput(f"variables.{shown}", f"no runtime's builds understand it; they do: {known}")
        if value is not None and (len(value) > MAX_VALUE or not value.isprintable()):
            raise InvalidInput(f"variables.{shown}", f"at most {MAX_VALUE} characters, no control characters")

    async def _sealed(self, workspace_id: str) -> tuple[str, int | None]:
        try:
            item = await self._table.get(settings_key(workspace_id))
        except ItemNotFound:
            return "", None
        return item.data["sealed"], item.revision

    def _seal(self, workspace_id: str, variables: Mapping[str, str]) -> str:
        nonce = os.urandom(_NONCE)
        content = msgspec.json.encode(dict(variables))
        return base64.b64encode(nonce + self._cipher(workspace_id).encrypt(nonce, content, None)).decode()

    def _open(self, workspace_id: str, sealed: str) -> dict[str, str]:
        if not sealed:
            return {}
        whole = base64.b64decode(sealed)
        try:
            content = self._cipher(workspace_id).decrypt(whole[:_NONCE], whole[_NONCE:], None)
        except InvalidTag:
            raise Unavailable("the build settings were stored under another master key; set them again") from None
        return msgspec.json.decode(content, type=dict[str, str])

    def _cipher(self, workspace_id: str) -> AESGCM:
        return AESGCM(self._master.derive("build-settings", workspace_id))


def settings_key(workspace_id: str) -> Key:
    return Key(partition(workspace_id), "BUILD-SETTINGS")
