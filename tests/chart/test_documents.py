"""What is generated is up to date, and what is said about values is true of all of them."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from chart import CHART, ROOT


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Those of all values, groups included, with their paths."""
    for name, each in schema.get("properties", {}).items():
        yield f"{path}{name}", each
        yield from schemas(each, f"{path}{name}.")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return found


def test_generated_files_are_up_to_date() -> None:
    """hack/update-chart-docs writes the schema and the README's table from the comments in values.yaml."""
    done = subprocess.run([ROOT / "hack" / "verify-chart-docs"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_value_is_described(schema: dict[str, Any]) -> None:
    """In the schema, which editors show, and in the README."""
    readme = (CHART / "README.md").read_text()
    for path, each in schemas(schema):
        if "properties" not in each:
            assert each["description"], path
            assert f"| `{path}` |" in readme


def test_schema_knows_exactly_the_values(schema: dict[str, Any]) -> None:
    """A default without a schema, or the other way round, would be a typo that nobody sees."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def paths(part: dict[str, Any], described: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, value in part.items():
            yield f"{path}{name}"
            inner = described["properties"][name]
            if "properties" in inner:
                yield from paths(value, inner, f"{path}{name}.")

    assert set(paths(values, schema)) == {path for path, _ in schemas(schema)}


def test_schema_is_closed(schema: dict[str, Any]) -> None:
    """Every mapping with known keys refuses others; `global` belongs to other charts too."""
    for path, each in schemas(schema):
        if "properties" in each and path != "global":
            assert each["additionalProperties"] is False, path
    for name, each in schema["$defs"].items():
        for inner in _closed_by_right(each):
            assert inner["additionalProperties"] is False, name


def _closed_by_right(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        # Volumes have some thirty kinds, which the API server knows.
        if "properties" in schema and set(schema["properties"]) != {"name"}:
            yield schema
        for value in schema.values():
            yield from _closed_by_right(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _closed_by_right(value)


def test_every_value_is_used() -> None:
    """A value that no template reads has no effect, whatever its comment says."""
    templates = "\n".join(file.read_text() for file in (CHART / "templates").rglob("*") if file.is_file())
    words = set(re.findall(r"[A-Za-z0-9_]+", templates))
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def keys(part: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, value in part.items():
            yield f"{path}{name}"
            if isinstance(value, dict) and name not in {"runtimes", "resources"}:
                yield from keys(value, f"{path}{name}.")

    # What is handed to Kubernetes as a whole.
    whole = ("SecurityContext.", "securityContext.", "Probe.")
    unused = [
        path
        for path in keys(values)
        if path.rpartition(".")[2] not in words and not any(part in path for part in whole)
    ]
    assert unused == []


def test_chart_names_no_image_that_floats_but_the_trials() -> None:
    """The platform's images have the chart's version; `latest` is for the trial's servers only."""
    values = (CHART / "values.yaml").read_text()
    assert len(re.findall(r"tag: latest", values)) == 2
