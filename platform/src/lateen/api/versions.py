"""`/api/functions/{id}/versions` and `/api/functions/{id}/aliases`."""

from typing import Annotated

from litestar import Controller, Response, delete, get, post, put
from litestar.params import FromPath, JSONBody, PathParameter

from lateen.api.bodies import PublishVersion, PutAlias, alias_change
from lateen.api.dependencies import CallerDep, UseCases, UseCasesDep
from lateen.api.functions import expected_of_function, function_answer
from lateen.api.requests import DEFAULT, Cursor, IfMatch, Limit, etag, expected_revision
from lateen.api.views.aliases import AliasView, alias_view
from lateen.api.views.functions import FunctionView, VersionView, version_view
from lateen.api.views.pages import Page, page_of
from lateen.domain.access import Caller
from lateen.domain.versions import ALIAS_NAME
from lateen.services.aliases import DescribedAlias


class VersionController(Controller):
    path = "/api/functions/{function_id:str}/versions"
    tags = ("Versions",)

    @post("/", summary="Publish a version", operation_id="publishVersion")
    async def publish(
        self,
        function_id: FromPath[str],
        data: JSONBody[PublishVersion],
        use_cases: UseCasesDep,
        caller: CallerDep,
        if_match: IfMatch = None,
    ) -> Response[VersionView]:
        """The function as it is, by a number, for good. If nothing was changed since the last one that is the answer.
        `If-Match` is about the function."""
        expected = await expected_of_function(if_match, function_id, use_cases, caller)
        published = await use_cases.versions.publish(
            caller, function_id, description=data.description, expected=expected
        )
        view = version_view(published.version)
        headers = {"Location": f"/api/functions/{function_id}/versions/{view.version}"}
        return Response(view, status_code=201 if published.is_new else 200, headers=headers)

    @get("/", summary="List versions", operation_id="listVersions")
    async def list(
        self,
        function_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
    ) -> Page[VersionView]:
        """The published ones, by number."""
        page = await use_cases.versions.list(caller, function_id, limit=limit, cursor=cursor)
        return page_of(page, [version_view(described) for described in page.items])

    @get("/{version:str}", summary="Show a version", operation_id="getVersion")
    async def show(
        self, function_id: FromPath[str], version: FromPath[str], use_cases: UseCasesDep, caller: CallerDep
    ) -> VersionView:
        """By its number, or the draft by `$LATEST`."""
        return version_view(await use_cases.versions.get(caller, function_id, version))

    @delete("/{version:str}", summary="Remove a version", operation_id="deleteVersion")
    async def remove(
        self, function_id: FromPath[str], version: FromPath[str], use_cases: UseCasesDep, caller: CallerDep
    ) -> None:
        """Not while an alias leads to it. Its number is never used again. Again is no error."""
        await use_cases.versions.delete(caller, function_id, version)

    @post(
        "/{version:str}/restore",
        summary="Make the function what a version is",
        operation_id="restoreVersion",
        status_code=200,
    )
    async def restore(
        self,
        function_id: FromPath[str],
        version: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        if_match: IfMatch = None,
    ) -> Response[FunctionView]:
        """Code and configuration; not its name, who may call its URL, and the number of its pods. `If-Match` is about
        the function."""
        expected = await expected_of_function(if_match, function_id, use_cases, caller)
        restored = await use_cases.versions.restore(caller, function_id, version, expected=expected)
        return function_answer(restored, use_cases.base_url)


# Said in the document only: elsewhere a name that can't be one is 404.
NewAlias = Annotated[str, PathParameter(schema_extra={"pattern": ALIAS_NAME})]


class AliasController(Controller):
    path = "/api/functions/{function_id:str}/aliases"
    tags = ("Versions",)

    @get("/", summary="List aliases", operation_id="listAliases")
    async def list(
        self,
        function_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
    ) -> Page[AliasView]:
        """By name."""
        page = await use_cases.aliases.list(caller, function_id, limit=limit, cursor=cursor)
        return page_of(page, [alias_view(described, use_cases.base_url) for described in page.items])

    @get("/{alias:str}", summary="Show an alias", operation_id="getAlias")
    async def show(
        self, function_id: FromPath[str], alias: FromPath[str], use_cases: UseCasesDep, caller: CallerDep
    ) -> Response[AliasView]:
        """`state` says whether its calls go where it leads."""
        return _answer(await use_cases.aliases.get(caller, function_id, alias), use_cases.base_url)

    @put("/{alias:str}", summary="Make or move an alias", operation_id="putAlias")
    async def store(
        self,
        function_id: FromPath[str],
        alias: NewAlias,
        data: JSONBody[PutAlias],
        use_cases: UseCasesDep,
        caller: CallerDep,
        if_match: IfMatch = None,
    ) -> Response[AliasView]:
        """Its calls go where they went until the versions that it leads to run; none fails meanwhile."""
        expected = await _expected(if_match, function_id, alias, use_cases, caller)
        stored, is_new = await use_cases.aliases.put(caller, function_id, alias, alias_change(data), expected=expected)
        return _answer(stored, use_cases.base_url, status=201 if is_new else 200)

    @delete("/{alias:str}", summary="Remove an alias", operation_id="deleteAlias")
    async def remove(
        self,
        function_id: FromPath[str],
        alias: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        if_match: IfMatch = None,
    ) -> None:
        """Its URL is gone for good. Again is no error."""
        expected = await _expected(if_match, function_id, alias, use_cases, caller)
        await use_cases.aliases.delete(caller, function_id, alias, expected=expected)


async def _expected(
    if_match: str | None, function_id: str, alias: str, use_cases: UseCases, caller: Caller
) -> int | None:
    async def current() -> int:
        return (await use_cases.aliases.get(caller, function_id, alias)).alias.revision

    return await expected_revision(if_match, current)


def _answer(described: DescribedAlias, base_url: str, *, status: int = 200) -> Response[AliasView]:
    alias = described.alias
    headers = {"ETag": etag(alias.revision)}
    if status == 201:
        headers["Location"] = f"/api/functions/{alias.function_id}/aliases/{alias.name}"
    return Response(alias_view(described, base_url), status_code=status, headers=headers)
