"""Finding the function, or the version of one, that a call names, and showing it."""

from lateen.aws.calls import Call
from lateen.aws.configurations import Shown, configuration_of, listed_configuration
from lateen.aws.errors import function_not_found
from lateen.aws.references import Reference
from lateen.aws.revisions import Revisions
from lateen.domain.errors import NotFound
from lateen.domain.functions import LATEST, Described
from lateen.domain.runtimes import Runtime
from lateen.domain.versions import is_number
from lateen.services.aliases import Aliases
from lateen.services.functions import Functions
from lateen.services.runtimes import Runtimes
from lateen.services.versions import Versions


class Finding:
    def __init__(
        self,
        functions: Functions,
        *,
        versions: Versions,
        aliases: Aliases,
        runtimes: Runtimes,
        revisions: Revisions,
    ) -> None:
        self._functions = functions
        self.revisions = revisions
        self._versions = versions
        self._aliases = aliases
        self._runtimes = runtimes

    async def draft(self, call: Call, reference: Reference, *, missing: str | None = None) -> Described:
        """The function itself, whatever the qualifier. Raises: `AwsError`.

        Args:
            missing: the ARN that the refusal names; None: the one that was asked for.
        """
        try:
            return await self._functions.by_name(call.caller, call.workspace_id, reference.name)
        except NotFound:
            raise function_not_found(missing or reference.arn) from None

    async def found(self, call: Call, reference: Reference) -> Described:
        """What the name and the qualifier lead to; of an alias its main version. Raises: `AwsError`."""
        described = await self.draft(call, reference)
        function_id, version = described.function.id, reference.version
        if version == LATEST:
            return described
        try:
            if not is_number(version):
                alias = await self._aliases.get(call.caller, function_id, version)
                version = alias.alias.target.version
            return await self._versions.get(call.caller, function_id, version)
        except NotFound:
            raise function_not_found(reference.arn) from None

    async def shown(self, described: Described, reference: Reference) -> Shown:
        """`FunctionConfiguration`, under the name by which it was asked for."""
        revision = await self.revisions.of(described)
        shown = configuration_of(described, reference.place, self._runtime(described), revision)
        return shown | {"FunctionArn": reference.arn}

    async def listed(self, described: Described, reference: Reference) -> Shown:
        """As `shown`, for a listing."""
        revision = await self.revisions.of(described)
        shown = listed_configuration(described, reference.place, self._runtime(described), revision)
        return shown | {"FunctionArn": reference.arn}

    def _runtime(self, described: Described) -> Runtime | None:
        try:
            return self._runtimes.get(described.function.runtime)
        except NotFound:
            return None
