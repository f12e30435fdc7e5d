"""`RevisionId`, which clients send back to say what they know. It follows from what it stands for: stored nowhere."""

import hashlib
import uuid
from collections.abc import Callable

from lateen.domain.functions import LATEST, Described, rolled_revision
from lateen.domain.versions import Alias
from lateen.services.function_extras import FunctionExtras
from lateen.services.version_policies import VersionPolicies
from lateen.services.versions import Versions


class Revisions:
    """Of functions and versions. As on AWS each changes with its resource policy; that of `$LATEST` with each update,
    again when that is through, and when a version is published."""

    def __init__(self, *, versions: Versions, extras: FunctionExtras, policies: VersionPolicies) -> None:
        self._versions = versions
        self._extras = extras
        self._policies = policies

    async def of(self, described: Described) -> str:
        function = described.function
        if function.version == LATEST:
            policy_revision = (await self._extras.of(function)).policy_revision
        else:
            policy_revision = (await self._policies.of(function, function.version)).revision
        return (await self.at(described))(policy_revision)

    async def at(self, described: Described) -> Callable[[int], str]:
        """What it is at a revision of the policy."""
        function = described.function
        if function.version != LATEST:
            return lambda policy: revision_uuid(function.id, function.version, str(policy))
        step = "changing" if described.status.state == "Pending" else "settled"
        update = f"{rolled_revision(function)}.{await self._versions.last(function)}"
        return lambda policy: revision_uuid(function.id, update, str(policy), step)


def alias_revision(alias: Alias) -> str:
    return revision_uuid(alias.function_id, "alias", alias.hash, str(alias.revision))


def revision_uuid(*parts: str) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256("\0".join(parts).encode()).digest()[:16], version=4))
