"""Finding the function that a call names, and showing it."""

from lateen.aws.calls import Call
from lateen.aws.configurations import Shown, configuration_of, listed_configuration
from lateen.aws.errors import function_not_found
from lateen.aws.references import Reference
from lateen.domain.errors import NotFound
from lateen.domain.functions import LATEST, Described
from lateen.domain.runtimes import Runtime
from lateen.services.functions import Functions
from lateen.services.runtimes import Runtimes


class Finding:
    def __init__(self, functions: Functions, runtimes: Runtimes) -> None:
        self._functions = functions
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
        """What the name and the qualifier lead to. Raises: `AwsError`."""
        described = await self.draft(call, reference)
        if reference.version != LATEST:
            raise function_not_found(reference.arn)
        return described

    def shown(self, described: Described, reference: Reference) -> Shown:
        """`FunctionConfiguration`, under the name by which it was asked for."""
        shown = configuration_of(described, reference.place, self._runtime(described))
        return shown | {"FunctionArn": reference.arn}

    def listed(self, described: Described, reference: Reference) -> Shown:
        """As `shown`, for a listing."""
        shown = listed_configuration(described, reference.place, self._runtime(described))
        return shown | {"FunctionArn": reference.arn}

    def _runtime(self, described: Described) -> Runtime | None:
        try:
            return self._runtimes.get(described.function.runtime)
        except NotFound:
            return None
