"""The OpenAPI document: whole, with examples that are true, and as strict as the server."""

import pkgutil
from importlib import import_module
from typing import Any

import msgspec
import pytest
from litestar.routes import HTTPRoute

from lateen.api import bodies, views
from lateen.api.application import litestar_app
from lateen.api.edge import PUBLIC
from lateen.api.examples import EXAMPLES
from lateen.api.health import Ready
from lateen.api.problems import Problem
from lateen.services import statistics

from .conftest import Api


@pytest.fixture
async def document(api: Api) -> dict[str, Any]:
    answer = await api("GET", "/openapi.json", key=None)
    assert answer.status_code == 200
    return dict(answer.json())


async def test_every_route_is_in_it(document: dict[str, Any]) -> None:
    """All that serve people and scripts; the documentation's own files are not."""
    assert document["openapi"].startswith("3.1")
    app = litestar_app(None, readiness=None, metrics=None)  # type: ignore[arg-type]
    served = {
        (route.path_format, method.lower())
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method != "OPTIONS" and not route.path.startswith(("/docs", "/redoc", "/openapi"))
    }
    assert {(path, method) for path, item in document["paths"].items() for method in item} == served


async def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    """A summary, an id, a tag that is explained, each parameter described, and refusals as problems."""
    tags = {tag["name"] for tag in document["tags"]}
    for path, item in document["paths"].items():
        for operation in item.values():
            assert operation["summary"]
            assert operation["operationId"]
            assert set(operation["tags"]) <= tags
            assert all(parameter["description"] for parameter in operation.get("parameters", ()))
            assert operation.get("security") == ([] if path in PUBLIC else None)
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")) and "content" not in answer:
                    assert answer == {"$ref": f"#/components/responses/{status}"}
    assert document["security"] == [{"key": []}]
    for answer in document["components"]["responses"].values():
        assert list(answer["content"]) == ["application/problem+json"]


async def test_examples_are_true(document: dict[str, Any]) -> None:
    """Each one is of its type; every body has one; what they show of creates works."""
    shown = [import_module(f"{views.__name__}.{each.name}") for each in pkgutil.iter_modules(views.__path__)]
    types = {
        name: getattr(module, name)
        for module in (bodies, statistics, *shown)
        for name in EXAMPLES
        if hasattr(module, name)
    }
    types |= {"Problem": Problem, "Ready": Ready}
    assert set(types) == set(EXAMPLES)
    for name, example in EXAMPLES.items():
        msgspec.convert(example, types[name], strict=True)
        assert document["components"]["schemas"][name]["examples"] == [example]
    for item in document["paths"].values():
        for operation in item.values():
            for content in (operation.get("requestBody") or {}).get("content", {}).values():
                reference = content["schema"].get("$ref", "").rpartition("/")[2]
                assert "example" in content or reference in EXAMPLES


async def test_examples_work(api: Api) -> None:
    """Who copies them gets what they show."""
    workspace = await api("POST", "/api/workspaces", json=EXAMPLES["CreateWorkspace"])
    function = await api("POST", "/api/workspaces/default/functions", json=EXAMPLES["CreateFunction"])
    changed = await api("PATCH", f"/api/functions/{function.json()['id']}", json=EXAMPLES["UpdateFunction"])
    key = await api("POST", "/api/keys", json=EXAMPLES["CreateKey"])
    console = await api("POST", "/lambda", json=EXAMPLES["ConsoleCreate"] | {"name": "other"})
    assert [a.status_code for a in (workspace, function, changed, key, console)] == [201, 201, 200, 201, 201]
    for answer, name in ((workspace, "WorkspaceView"), (function, "FunctionView"), (key, "NewKeyView")):
        assert set(answer.json()) == set(EXAMPLES[name])


async def test_bodies_are_closed(document: dict[str, Any]) -> None:
    """The document refuses what the server refuses: unknown fields, and patterns that end."""
    schemas = document["components"]["schemas"]
    for name in ("CreateFunction", "UpdateFunction", "CreateWorkspace", "CreateKey", "ConsoleCreate", "ConsoleUpdate"):
        assert schemas[name]["additionalProperties"] is False
    assert schemas["CreateFunction"]["properties"]["name"]["pattern"] == "^[A-Za-z0-9_-]{1,64}$"
    assert r"\Z" not in msgspec.json.encode(document).decode()


async def test_no_outside_address(document: dict[str, Any]) -> None:
    """But for a function's own, which is this host's."""
    text = msgspec.json.encode(document).decode()
    assert text.count("http") == text.count("http://127.0.0.1:8000/") + text.count("lateen_http") + text.count(
        '"type":"http"'
    )
