"""values.yaml → values.schema.json and the README's table. The comments above the values are the one source of both.

And values-production.yaml → its copy in Kustomize's overlay, since Kustomize reads nothing outside of that folder.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from definitions import DEFINITIONS, Schema

CHART = Path("charts/lateen")
MARK = "@schema "
BEGIN, END = "<!-- values: made by hack/update-chart-docs -->", "<!-- end of values -->"


class Undocumented(Exception):
    """A value has no comment; the text names it."""


@dataclass(frozen=True, kw_only=True)
class Value:
    path: tuple[str, ...]
    default: Any
    comment: str
    schema: Schema | None
    """What the comment says of it; None: what the default says."""
    children: "list[Value]"
    """Of a group."""


def values_of(text: str) -> list[Value]:
    """Raises: `Undocumented`."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return _children(root, (), text.splitlines())


def _children(node: yaml.MappingNode, path: tuple[str, ...], lines: list[str]) -> list[Value]:
    found = []
    for key, value in node.value:
        here = (*path, key.value)
        comment, schema = _comment_above(lines, key.start_mark.line)
        is_group = isinstance(value, yaml.MappingNode) and bool(value.value) and schema is None
        if not comment and not is_group:
            raise Undocumented(f"values.yaml: {'.'.join(here)} has no comment")
        children = _children(value, here, lines) if is_group else []
        default = yaml.SafeLoader.construct_document(yaml.SafeLoader(""), value)
        found.append(Value(path=here, default=default, comment=comment, schema=schema, children=children))
    return found


def _comment_above(lines: list[str], line: int) -> tuple[str, Schema | None]:
    block: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        block.insert(0, lines[line].lstrip().removeprefix("#").strip())
    schema = [json.loads(text.removeprefix(MARK)) for text in block if text.startswith(MARK)]
    return " ".join(text for text in block if not text.startswith(MARK)), schema[0] if schema else None


def schema_of(values: list[Value], *, is_open: bool = False) -> Schema:
    properties = {value.path[-1]: _schema_of(value) for value in values}
    return {"type": "object", "additionalProperties": is_open, "properties": properties}


def _schema_of(value: Value) -> Schema:
    described = {"description": value.comment} if value.comment else {}
    if value.children:
        # `global` is every chart's.
        return described | schema_of(value.children, is_open=value.path == ("global",))
    said = value.schema or {}
    if {"$ref", "anyOf", "enum", "type"} & set(said):
        return described | said
    return described | {"type": _type_of(value)} | said


def _type_of(value: Value) -> str:
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string")):
        if isinstance(value.default, kind):
            return name
    raise Undocumented(f"values.yaml: {'.'.join(value.path)} needs an @schema line")


def rows(values: list[Value]) -> Iterator[str]:
    for value in values:
        if value.children:
            if value.comment:
                yield f"| **`{_dotted(value.path)}`** | | {_cell(value.comment)} |"
            yield from rows(value.children)
        else:
            default = json.dumps(value.default, ensure_ascii=False)
            yield f"| `{_dotted(value.path)}` | `{_cell(default)}` | {_cell(value.comment)} |"


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    try:
        values = values_of((CHART / "values.yaml").read_text("utf-8"))
        schema = {"$schema": "http://json-schema.org/draft-07/schema#"} | schema_of(values) | {"$defs": DEFINITIONS}
    except Undocumented as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    readme = CHART / "README.md"
    before, _, rest = readme.read_text("utf-8").partition(BEGIN)
    table = "\n".join(["| value | default | |", "| --- | --- | --- |", *rows(values)])
    made = {
        CHART / "values.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        CHART.parent / "kustomize/overlays/prod/values.yaml": (CHART / "values-production.yaml").read_text("utf-8"),
        readme: f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}",
    }
    stale = [path for path, text in made.items() if not path.is_file() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"error: {path} is not what it is made from says; hack/update-chart-docs writes it", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(made[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
