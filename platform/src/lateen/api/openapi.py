"""The OpenAPI 3.1 document: paths and parameters as Litestar reads them from the handlers, and the rest said exactly.

Bodies are described by msgspec, which also decodes them, so that the document and the decoder can't differ. Every
refusal is a problem document.
"""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, get_args, get_origin

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Tag
from litestar.response import Stream
from litestar.routes import HTTPRoute

from lateen.api.examples import EXAMPLES, STREAM_EXAMPLE
from lateen.api.problems import MEDIA_TYPE, SLUGS, Problem
from lateen.api.views.events import AcceptedView

_REF = "#/components/schemas/{name}"
_TAGS = {
    "Workspaces": "Tenants. Each has its own functions and keys.",
    "Functions": "A name, a configuration and code.",
    "Logs": "What a function's invocations left behind, one by one and counted.",
    "Versions": "Snapshots of a function, by number; and aliases, which lead to one or two of them.",
    "Invocations": "One event to a function, and its answer.",
    "Layers": "Zips that functions share, unpacked into their `/opt`.",
    "Keys": "API keys, each with an AWS pair beside it.",
    "Console": "What the web pages call: functions by hash, in the key's workspace.",
    "Operations": "Health and metrics.",
}
_DESCRIPTION = """Functions, their workspaces, keys and logs.

Every call but health needs a key: `Authorization: Bearer ltn_…`. A list answers `items` and `next_cursor`; send that as
`cursor` for the next page. Every refusal is `application/problem+json`: branch on its `type`, show its `detail`;
`errors` names the field and the reason. Each answer bears an `X-Request-Id`, which the log has too."""
_PUBLIC = {"health", "healthLive", "healthReady"}
_EVENT = {
    "description": "The event: any JSON, at most 6 MiB. None stands for `{}`.",
    "required": False,
    "content": {"application/json": {"schema": {}, "example": {"name": "world"}}},
}
_CONDITIONAL = {
    "updateWorkspace", "deleteWorkspace", "updateFunction", "deleteFunction", "publishVersion", "deleteVersion",
    "restoreVersion", "putAlias", "deleteAlias",
}  # fmt: skip
_TAGGED = {
    "createWorkspace", "getWorkspace", "updateWorkspace", "createFunction", "getFunction", "updateFunction",
    "restoreVersion", "getAlias", "putAlias",
}  # fmt: skip
_MAY_MAKE = {"publishVersion", "putAlias"}
_TEXT = {"description": "As the header of this name says.", "schema": {"type": "string"}}


def document(routes: dict[str, Any]) -> bytes:
    """Args:
    routes: Litestar's arguments that make the application, `route_handlers` and `dependencies` above all.
    """
    config = OpenAPIConfig(
        title="Lateen",
        version=version("lateen"),
        description=_DESCRIPTION,
        use_handler_docstrings=True,
        tags=[Tag(name, description) for name, description in _TAGS.items()],
    )
    app = Litestar(**{**routes, "openapi_config": config, "logging_config": None})
    whole: dict[str, Any] = app.openapi_schema.to_schema()
    handlers = dict(_handlers(app))
    bodies = {handler.parsed_data_field.annotation for handler in handlers.values() if handler.parsed_data_field}
    answers = {_answer_type(handler) for handler in handlers.values()} - {None, bytes}
    types = [*bodies, *answers, AcceptedView, Problem]
    described, components = msgspec.json.schema_components(types, ref_template=_REF)
    schemas = dict(zip(types, described, strict=True))
    for path in whole["paths"].values():
        for operation in path.values():
            _complete(operation, handlers[operation["operationId"]], schemas)
    for name, example in EXAMPLES.items():
        components[name]["examples"] = [example]
    whole["components"] = {
        "schemas": dict(sorted(components.items())),
        "responses": {str(status): _problem(status, schemas[Problem]) for status in sorted(_STATUSES)},
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
    }
    whole["security"] = [{"key": []}]
    return msgspec.json.encode(_portable(whole))


_STATUSES = {status for status, _ in SLUGS.values()}


def _handlers(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if isinstance(handler.operation_id, str):
                    yield handler.operation_id, handler


def _answer_type(handler: HTTPRouteHandler) -> Any:
    """`T` of a handler that returns `T` or `Response[T]`; None where there is no body."""
    answer = handler.parsed_fn_signature.return_type.annotation
    if get_origin(answer) is Response:
        (answer,) = get_args(answer)
    return None if answer in (None, type(None), Stream) else answer


def _complete(operation: dict[str, Any], handler: HTTPRouteHandler, schemas: dict[Any, Any]) -> None:
    name = operation["operationId"]
    operation.pop("deprecated", None)
    for parameter in operation.get("parameters", ()):
        _complete_parameter(parameter)
    if handler.parsed_data_field is not None:
        schema = schemas[handler.parsed_data_field.annotation]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    statuses = {400} if name in _PUBLIC else {400, 401, 403, 421, 503}
    if handler.parsed_data_field is not None:
        statuses |= {408, 409, 413, 415}
    if operation.get("parameters") and any(each["in"] == "path" for each in operation["parameters"]):
        statuses |= {404}
    if name in _CONDITIONAL:
        statuses |= {409, 412}
    if name.startswith("console"):
        statuses |= {404}
    if name == "createKey":
        statuses |= {404}
    if name == "invokeFunction":
        operation["requestBody"] = _EVENT
        statuses |= {408, 413, 415, 424, 429, 502, 504}
    if name == "streamLogs":
        statuses |= {429}
    if name.startswith("redriveDeadLetter"):
        statuses |= {409, 429}
    success = next(status for status in operation["responses"] if status.startswith("2"))
    responses = {success: _success(name, int(success), _answer_type(handler), schemas)}
    if name in _MAY_MAKE:
        responses |= {str(each): _success(name, each, _answer_type(handler), schemas) for each in (200, 201)}
    if name == "invokeFunction":
        responses["202"] = _success("accepted", 202, AcceptedView, schemas)
    for status in sorted(statuses):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    if name == "healthReady":
        responses["503"] = {**responses["200"], "description": "Not ready: a store is down, or Lateen is stopping."}
    operation["responses"] = responses
    if name in _PUBLIC:
        operation["security"] = []


def _complete_parameter(parameter: dict[str, Any]) -> None:
    parameter.pop("deprecated", None)
    parameter["description"] = parameter["schema"].pop("description", None) or parameter.get("description") or ""
    schema = parameter["schema"]
    # A parameter is absent, never null.
    kinds = [kind for kind in schema.pop("oneOf", ()) if kind.get("type") != "null"]
    for kind in kinds:
        schema.update(kind)
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [value for value in schema["enum"] if value is not None]
    if isinstance(schema.get("type"), list):
        schema["type"] = next(kind for kind in schema["type"] if kind != "null")
    for bound in ("minimum", "maximum"):
        if isinstance(schema.get(bound), float):
            schema[bound] = int(schema[bound])
    if not parameter["description"]:
        parameter["description"] = f"The {parameter['name'].replace('_', ' ')}."


def _success(name: str, status: int, answer: Any, schemas: dict[Any, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "description": {200: "Done.", 201: "Made.", 202: "Stored; it will be run.", 204: "Gone."}[status],
        "headers": {},
    }
    said["headers"]["X-Request-Id"] = _TEXT
    if name in _TAGGED:
        said["headers"]["ETag"] = _TEXT
    if status == 201:
        said["headers"]["Location"] = _TEXT
    if name == "metrics":
        said["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif name == "streamLogs":
        said["content"] = {"text/event-stream": {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}}
    elif name == "invokeFunction":
        said["description"] = "What the function answered, untouched."
        said["headers"]["X-Amzn-RequestId"] = _TEXT
        said["headers"]["X-Lateen-Executed-Version"] = _TEXT
        said["content"] = {"application/json": {"schema": {}, "example": "hello"}}
    elif answer is not None:
        if answer is AcceptedView:
            said["headers"]["X-Amzn-RequestId"] = _TEXT
        said["content"] = {"application/json": {"schema": schemas[answer]}}
    return said


def _problem(status: int, schema: dict[str, Any]) -> dict[str, Any]:
    slugs = [slug for slug, (each, _) in SLUGS.items() if each == status]
    return {
        "description": f"{SLUGS[slugs[0]][1]}. `type`: " + ", ".join(f"`urn:lateen:problem:{slug}`" for slug in slugs),
        "content": {
            MEDIA_TYPE: {
                "schema": schema,
                "example": {
                    "type": f"urn:lateen:problem:{slugs[0]}",
                    "title": SLUGS[slugs[0]][1],
                    "status": status,
                    "detail": "What was wrong, for a person.",
                    "request_id": "3f0c8f0e-2f5a-4c53-9d3b-0f6f0b6f6a55",
                },
            }
        },
    }


def _portable(value: Any) -> Any:
    """Patterns as JavaScript has them: there `$` is the very end, and JSON can't carry half a character."""
    if isinstance(value, dict):
        return {name: _portable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_portable(each) for each in value]
    return value.replace(r"\Z", "$").replace(r"\ud800-\udfff", "") if isinstance(value, str) else value
