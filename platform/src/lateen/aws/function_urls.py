"""Function URLs: a function's own, `/{hash}`, and one of each alias, by the alias's hash.

A URL of AuthType NONE is open while a statement of the resource policy (`policies.py`) lets everybody call it; one of
AWS_IAM is for who signs with a key pair of the workspace. `services/function_urls.py` says where that lies.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.configurations import Shown
from lateen.aws.errors import AwsError, conflict, invalid, no_such_resource, not_found
from lateen.aws.finding import Finding
from lateen.aws.references import Reference
from lateen.domain.errors import InvalidInput, NotFound
from lateen.domain.function_urls import FunctionUrl, UrlConfig, check_cors
from lateen.domain.functions import Function
from lateen.domain.times import iso_ms
from lateen.domain.versions import Alias
from lateen.services.aliases import Aliases
from lateen.services.function_extras import FunctionExtras
from lateen.services.function_urls import UrlSync
from lateen_invoker.urls import Cors

_CORS = (
    ("AllowCredentials", "allow_credentials"),
    ("AllowHeaders", "allow_headers"),
    ("AllowMethods", "allow_methods"),
    ("AllowOrigins", "allow_origins"),
    ("ExposeHeaders", "expose_headers"),
    ("MaxAge", "max_age_s"),
)
_PAGE = 50


class FunctionUrlOperations:
    def __init__(
        self,
        sync: UrlSync,
        *,
        extras: FunctionExtras,
        aliases: Aliases,
        finding: Finding,
        base_url: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sync = sync
        self._extras = extras
        self._aliases = aliases
        self._finding = finding
        self._base_url = base_url
        self._now = now

    @operation("CreateFunctionUrlConfig")
    async def create_function_url_config(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        url = _changed(FunctionUrl(), call.parameters)
        now = iso_ms(self._now())

        def made(old: UrlConfig | None) -> UrlConfig:
            if old is not None:
                raise conflict(
                    f"Failed to create function url config for [functionArn = {reference.arn}]. Error message:  "
                    "FunctionUrlConfig exists for this Lambda function"
                )
            return UrlConfig(created_at=now, updated_at=now, url=url)

        try:
            function = await self._function(call, reference)
            shown = await self._change(call, function, reference, made)
        except (AwsError, NotFound) as exc:
            if isinstance(exc, AwsError) and exc.status != 404:
                raise
            raise not_found("Function does not exist") from None
        del shown["LastModifiedTime"]
        return Answer(body=shown)

    @operation("GetFunctionUrlConfig")
    async def get_function_url_config(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        function = await self._function(call, reference)
        if reference.qualifier is None:
            config, url_hash = (await self._extras.of(function)).url, function.hash
        else:
            alias = await self._alias(call, function, reference)
            config, url_hash = alias.url, alias.hash
        if config is None:
            raise no_such_resource()
        return Answer(body=self._shown(config, url_hash, reference))

    @operation("ListFunctionUrlConfigs")
    async def list_function_url_configs(self, call: Call) -> Answer:
        reference = call.reference()
        function = await self._function(call, reference)
        marker = call.parameters.get("Marker") or "0"
        if not (marker.isascii() and marker.isdigit() and len(marker) < 10):
            raise invalid("Invalid Marker.")
        begin, most = int(marker), call.parameters.get("MaxItems", _PAGE)
        shown: list[Shown] = []
        if (url := (await self._extras.of(function)).url) is not None:
            shown.append(self._shown(url, function.hash, reference))
        cursor = None
        while len(shown) <= begin + most:
            page = await self._aliases.list(call.caller, function.id, cursor=cursor)
            for each in page.items:
                if each.alias.url is not None:
                    place = msgspec.structs.replace(reference, qualifier=each.alias.name)
                    shown.append(self._shown(each.alias.url, each.alias.hash, place))
            if (cursor := page.cursor) is None:
                break
        more = {"NextMarker": str(begin + most)} if len(shown) > begin + most else {}
        return Answer(body={"FunctionUrlConfigs": shown[begin : begin + most]} | more)

    @operation("UpdateFunctionUrlConfig")
    async def update_function_url_config(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        function = await self._function(call, reference)

        def changed(old: UrlConfig | None) -> UrlConfig:
            if old is None:
                raise no_such_resource()
            url = _changed(old.url, call.parameters)
            return msgspec.structs.replace(old, url=url, updated_at=iso_ms(self._now()))

        return Answer(body=await self._change(call, function, reference, changed))

    @operation("DeleteFunctionUrlConfig")
    async def delete_function_url_config(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        function = await self._function(call, reference)
        if reference.qualifier is not None:
            if (await self._alias(call, function, reference)).url is None:
                raise no_such_resource()
            await self._aliases.change(
                call.caller, function.id, reference.qualifier, lambda old: msgspec.structs.replace(old, url=None)
            )
            return Answer(status=204)
        if (await self._extras.of(function)).url is None:
            raise no_such_resource()
        # Closed before it is forgotten why it was open; and after, for somebody may have opened it meanwhile.
        await self._sync.close(call.caller, function)
        await self._extras.change(function, lambda old: msgspec.structs.replace(old, url=None))
        await self._sync.close(call.caller, function)
        return Answer(status=204)

    async def _function(self, call: Call, reference: Reference) -> Function:
        return (await self._finding.draft(call, reference)).function

    async def _alias(self, call: Call, function: Function, reference: Reference) -> Alias:
        try:
            return (await self._aliases.get(call.caller, function.id, reference.version)).alias
        except NotFound:
            raise no_such_resource() from None

    async def _change(
        self,
        call: Call,
        function: Function,
        reference: Reference,
        change: Callable[[UrlConfig | None], UrlConfig],
    ) -> Shown:
        """Raises: `NotFound` (alias), what `change` raises."""
        if (name := reference.qualifier) is not None:
            try:
                alias = await self._aliases.change(
                    call.caller, function.id, name, lambda old: msgspec.structs.replace(old, url=change(old.url))
                )
            except NotFound:
                raise no_such_resource() from None
            assert alias.url is not None
            return self._shown(alias.url, alias.hash, reference)
        extras = await self._sync.change(
            call.caller, function, lambda old: msgspec.structs.replace(old, url=change(old.url))
        )
        assert extras.url is not None
        return self._shown(extras.url, function.hash, reference)

    def _shown(self, config: UrlConfig, url_hash: str, reference: Reference) -> Shown:
        url = config.url
        shown: Shown = {
            "FunctionUrl": f"{self._base_url}/{url_hash}/",
            "FunctionArn": reference.arn,
            "AuthType": url.auth_type,
            "InvokeMode": "RESPONSE_STREAM" if url.settings.streams else "BUFFERED",
            "CreationTime": config.created_at,
            "LastModifiedTime": config.updated_at,
        }
        if (cors := url.settings.cors) is not None:
            values = {name: getattr(cors, field) for name, field in _CORS}
            shown["Cors"] = {name: value for name, value in values.items() if value is not None}
        return shown


def _changed(old: FunctionUrl, given: dict[str, Any]) -> FunctionUrl:
    """With what the request says; `Cors` is replaced as a whole."""
    settings = old.settings
    if (mode := given.get("InvokeMode")) is not None:
        settings = msgspec.structs.replace(settings, streams=mode == "RESPONSE_STREAM")
    if (cors := given.get("Cors")) is not None:
        settings = msgspec.structs.replace(settings, cors=_cors(cors))
    return FunctionUrl(auth_type=given.get("AuthType") or old.auth_type, settings=settings)


def _cors(given: dict[str, Any]) -> Cors | None:
    """None where nothing is in it. Raises: `AwsError`."""
    values = {field: given[name] for name, field in _CORS if given.get(name) is not None}
    if not values:
        return None
    cors = msgspec.convert(values, Cors)
    try:
        check_cors(cors)
    except InvalidInput as exc:
        names = {f"cors.{field}": f"Cors.{name}" for name, field in _CORS}
        raise invalid(f"The value of {names.get(exc.field, 'Cors')} is not valid: {exc.reason}.") from None
    return cors
