"""The management surfaces as one ASGI application: Litestar inside of the edge."""

import logging
import re
from functools import cache
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.router import Router
from litestar.routes import HTTPRoute

from lateen.api.builds import BuildController, BuildSettingsController
from lateen.api.console import ConsoleController
from lateen.api.dead_letters import DeadLetterController
from lateen.api.dependencies import UseCases, providers
from lateen.api.docs import Docs
from lateen.api.edge import CallerLeft, Edge
from lateen.api.event_configs import EventConfigController
from lateen.api.function_urls import FunctionUrlController
from lateen.api.functions import FunctionController
from lateen.api.health import Readiness
from lateen.api.invocations import InvocationController
from lateen.api.keys import KeyController
from lateen.api.layers import LayerController
from lateen.api.logs import LogController
from lateen.api.metrics import Metrics
from lateen.api.openapi import document
from lateen.api.operations import Operations
from lateen.api.origins import Origins
from lateen.api.problems import MEDIA_TYPE, FieldError, Refusal, internal, reason_of, refusal_for_status, refusal_from
from lateen.api.provisioned import ProvisionedController
from lateen.api.requests import LateenRequest, refuse_null
from lateen.api.statistics import StatisticsController
from lateen.api.versions import AliasController, VersionController
from lateen.api.workspaces import WorkspaceController
from lateen.domain.errors import LateenError

log = logging.getLogger(__name__)

_NAMES = {
    "idempotency_key": "Idempotency-Key",
    "if_match": "If-Match",
    "last_event_id": "Last-Event-ID",
    "function_hash": "hash",
    "type_": "type",
    "aws_type": "X-Amz-Invocation-Type",
}
"""Parameters that are called otherwise in the code."""
_MISSING = re.compile(r"Missing required (?:query|header|cookie) parameter '([^']*)'")
CONTROLLERS = (
    WorkspaceController,
    BuildSettingsController,
    FunctionController,
    FunctionUrlController,
    LogController,
    StatisticsController,
    VersionController,
    AliasController,
    ProvisionedController,
    BuildController,
    InvocationController,
    DeadLetterController,
    EventConfigController,
    LayerController,
    KeyController,
    ConsoleController,
    Operations,
    Docs,
)


def management_app(use_cases: UseCases, *, readiness: Readiness, metrics: Metrics, origins: Origins) -> Edge:
    """What serves everything but `/{hash}`."""
    return Edge(
        _WholeAllow(litestar_app(use_cases, readiness=readiness, metrics=metrics)),
        authenticate=use_cases.keys.authenticate,
        origins=origins,
        metrics=metrics,
    )


def litestar_app(use_cases: UseCases, *, readiness: Readiness, metrics: Metrics) -> Litestar:
    """Without the edge, so without any check of who asks. `management_app` is what is served."""
    routes: dict[str, Any] = {
        "route_handlers": [Router("/", route_handlers=list(CONTROLLERS))],
        "request_class": LateenRequest,
    }
    routes["dependencies"] = providers(use_cases, readiness, metrics, cache(lambda: document(routes)))
    return Litestar(
        **routes,
        exception_handlers={
            Refusal: _answer_refusal,
            LateenError: _answer_domain,
            HTTPException: _answer_litestar,
            CallerLeft: _answer_nobody,
            Exception: _answer_unexpected,
        },
        before_request=refuse_null,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


class _WholeAllow:
    """Answers to OPTIONS name all methods of a path. Litestar's own name those of the handlers that it had seen when it
    made the answer."""

    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._methods = {
            route.path_format: ", ".join(sorted({*route.methods, *(("HEAD",) if "GET" in route.methods else ())}))
            for route in app.routes
            if isinstance(route, HTTPRoute)
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_whole(message: Any) -> None:
            if message["type"] == "http.response.start" and scope.get("path_template") in self._methods:
                given = [header for header in message["headers"] if header[0].lower() != b"allow"]
                allow = self._methods[scope["path_template"]].encode()
                message = {**message, "headers": [*given, (b"allow", allow)]}
            await send(message)

        await self._app(scope, receive, send_whole if scope["method"] == "OPTIONS" else send)


def _answer(refusal: Refusal) -> Response[bytes]:
    return Response(refusal.body(), status_code=refusal.status, media_type=MEDIA_TYPE, headers=dict(refusal.headers))


def _answer_refusal(_: Request[Any, Any, Any], exc: Refusal) -> Response[bytes]:
    return _answer(exc)


def _answer_domain(_: Request[Any, Any, Any], exc: LateenError) -> Response[bytes]:
    refusal = refusal_from(exc)
    if refusal.status == 500:
        log.error("request failed", exc_info=exc)
    return _answer(refusal)


def _answer_litestar(request: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
    if isinstance(exc, ValidationException):
        return _answer(_parameters_refused(exc))
    if exc.status_code >= 500:
        return _answer_unexpected(request, exc)
    headers = dict(exc.headers or {})
    detail = exc.detail
    if exc.status_code == 404:
        detail = "there is nothing at this path"
    elif exc.status_code == 405:
        allowed = {method.strip() for method in headers.pop("allow", "").split(",") if method.strip()}
        allowed |= {"HEAD"} if "GET" in allowed else set()
        headers["Allow"] = ", ".join(sorted(allowed))
        detail = f"{request.scope['method']} is not among what this path takes: {headers['Allow']}"
    return _answer(refusal_for_status(exc.status_code, detail, headers))


def _parameters_refused(exc: ValidationException) -> Refusal:
    extra = exc.extra if isinstance(exc.extra, list) else []
    found = [
        FieldError(_shown(str(each.get("key") or "request")), reason_of(str(each.get("message", ""))))
        for each in extra
        if isinstance(each, dict)
    ]
    if missing := _MISSING.match(exc.detail):
        found.append(FieldError(missing[1], "required"))
    errors = found or [FieldError("request", "not valid")]
    detail = "; ".join(f"{error.field}: {error.reason}" for error in errors)
    return Refusal("invalid-input", detail, errors=errors)


def _shown(parameter: str) -> str:
    return _NAMES.get(parameter, parameter)


def _answer_nobody(_: Request[Any, Any, Any], exc: CallerLeft) -> Response[bytes]:
    raise exc


def _answer_unexpected(_: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
    log.error("request failed", exc_info=exc)
    return _answer(internal())
