"""`/api/functions/{id}/builds/latest` and `/api/workspaces/{id}/build-settings`: how code is built, what came of it."""

from typing import Annotated

from litestar import Controller, get, patch
from litestar.params import FromPath, JSONBody, QueryParameter

from lateen.api.bodies import UpdateBuildSettings
from lateen.api.dependencies import CallerDep, UseCasesDep
from lateen.api.views.builds import BuildSettingsView, BuildView, build_view
from lateen.domain.errors import NotFound

After = Annotated[
    str | None,
    QueryParameter(
        description="`next` of the answer before: only what was printed since.", max_length=40, pattern=r"^[0-9-]*\Z"
    ),
]


class BuildController(Controller):
    path = "/api"
    tags = ("Functions",)

    @get("/functions/{function_id:str}/builds/latest", summary="Show how code was built", operation_id="getBuild")
    async def show(
        self, function_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep, after: After = None
    ) -> BuildView:
        """Of the function's current code; 404 where that runs as it is. Asked again and again with `after`, it gives
        the log as it comes, until the state is `Built` or `Failed` and the log is empty."""
        function = (await use_cases.functions.get(caller, function_id)).function
        if function.code.build is None:
            raise NotFound("the function's code is run as it was given: there is no build")
        build = await use_cases.builds.find(function.workspace_id, function.code.build.id)
        page = None if build is None else await use_cases.builds.log(build, after or "")
        return build_view(function.code.build.id, build, page)


class BuildSettingsController(Controller):
    path = "/api/workspaces"
    tags = ("Workspaces",)

    @get("/{workspace_id:str}/build-settings", summary="Show what builds are given", operation_id="getBuildSettings")
    async def show(self, workspace_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep) -> BuildSettingsView:
        """The variables' names. Their values, which may be secrets, are never shown."""
        return BuildSettingsView(await use_cases.build_settings.names(caller, workspace_id))

    @patch(
        "/{workspace_id:str}/build-settings", summary="Change what builds are given", operation_id="updateBuildSettings"
    )
    async def update(
        self,
        workspace_id: FromPath[str],
        data: JSONBody[UpdateBuildSettings],
        use_cases: UseCasesDep,
        caller: CallerDep,
    ) -> BuildSettingsView:
        """Such as where packages are fetched and with which password. Code that is sent from now on is built with them;
        what was built before stays."""
        return BuildSettingsView(await use_cases.build_settings.change(caller, workspace_id, data.variables))
