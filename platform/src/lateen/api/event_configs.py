"""`/api/functions/{id}/event-config`: how often asynchronous invocations are tried, and who is told of their end."""

from litestar import Controller, delete, get, put
from litestar.params import FromPath, JSONBody

from lateen.api.bodies import PutEventConfig, event_config_change
from lateen.api.dependencies import CallerDep, UseCases, UseCasesDep
from lateen.api.invocations import Qualifier
from lateen.api.views.events import EventConfigView, event_config_view
from lateen.domain.access import Caller
from lateen.domain.errors import InvalidInput, NotFound
from lateen.domain.functions import LATEST, Function

_NAMES = {
    "DestinationConfig.OnSuccess.Destination": "on_success",
    "DestinationConfig.OnFailure.Destination": "on_failure",
    "Qualifier": "qualifier",
}
"""What the rules, which are AWS's, call fields of ours."""


class EventConfigController(Controller):
    path = "/api/functions/{function_id:str}/event-config"
    tags = ("Invocations",)

    @get("/", summary="What is set for asynchronous invocations", operation_id="getEventConfig")
    async def show(
        self, function_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep, qualifier: Qualifier = None
    ) -> EventConfigView:
        """404 where nothing is set: the defaults hold."""
        function = await _function(function_id, qualifier, use_cases, caller)
        return event_config_view(function, await use_cases.event_configs.get(function, qualifier or LATEST))

    @put("/", summary="Set what holds for asynchronous invocations", operation_id="putEventConfig")
    async def store(
        self,
        function_id: FromPath[str],
        data: JSONBody[PutEventConfig],
        use_cases: UseCasesDep,
        caller: CallerDep,
        qualifier: Qualifier = None,
    ) -> EventConfigView:
        """For events that are sent to this qualifier. Replaces what was set."""
        function = await _function(function_id, qualifier, use_cases, caller)
        try:
            config = await use_cases.event_configs.put(function, qualifier or LATEST, event_config_change(data))
        except InvalidInput as exc:
            raise InvalidInput(_NAMES.get(exc.field, exc.field), exc.reason) from exc
        return event_config_view(function, config)

    @delete("/", summary="Back to the defaults for asynchronous invocations", operation_id="deleteEventConfig")
    async def remove(
        self, function_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep, qualifier: Qualifier = None
    ) -> None:
        """Again is no error."""
        function = (await use_cases.functions.get(caller, function_id)).function
        try:
            await use_cases.event_configs.delete(function, qualifier or LATEST)
        except NotFound:
            return


async def _function(function_id: str, qualifier: str | None, use_cases: UseCases, caller: Caller) -> Function:
    """Raises: `NotFound`, also for a qualifier that leads nowhere."""
    function = (await use_cases.functions.get(caller, function_id)).function
    await use_cases.aliases.resolve(function, qualifier)
    return function
