"""A template's sections, and the values of its parameters."""

import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from lateen.cli.refusals import Refused
from lateen.cli.sam.reading import Value, read_template

NAMES = ("template.yaml", "template.yml", "template.json")
"""Of the template in a folder."""
_ENDS = (".yaml", ".yml", ".json", ".template")
_MARKS = (b"AWS::Serverless", b"AWSTemplateFormatVersion", b"AWS::Lambda::")
_LOGICAL_ID = re.compile(r"^[A-Za-z0-9]{1,255}\Z")
_NUMBER = re.compile(r"^[+-]?[0-9]{1,30}(\.[0-9]{1,30})?\Z")
_BUILT = (".aws-sam", "build")


class Resource(Struct, frozen=True):
    id: str
    kind: str
    properties: dict[str, Value]
    condition: Value
    build_method: Value


class Template(Struct, frozen=True):
    folder: Path
    """What its paths lead from, and not out of."""
    resources: dict[str, Resource]
    parameters: dict[str, Value]
    globals: dict[str, Value]
    """Of functions."""
    mappings: Value
    conditions: Value
    outputs: dict[str, Value]

    @property
    def is_built(self) -> bool:
        """It is what `sam build` has left, so its code is not source."""
        return self.folder.parts[-2:] == _BUILT


def template_at(path: Path) -> Template | None:
    """The template that PATH is, or that lies in the folder; None: it is none. Raises: `Refused`."""
    if path.is_file():
        if path.suffix.lower() not in _ENDS:
            return None
        return _template(path)
    for name in NAMES:
        if (path / name).is_file() and _is_marked(path / name):
            return _template(path / name)
    return None


def parameters_of(template: Template, given: Mapping[str, str]) -> dict[str, Value]:
    """By name, and what is given of resources that are not deployed here. Raises: `Refused`."""
    unknown = [
        name for name in given if name not in template.parameters and name.partition(".")[0] not in template.resources
    ]
    if unknown:
        raise Refused(
            f"the template has no parameter '{unknown[0]}'",
            hint=f"it has: {', '.join(template.parameters) or 'none'}",
        )
    values: dict[str, Value] = {name: text for name, text in given.items() if name not in template.parameters}
    missing = []
    for name, declared in template.parameters.items():
        kind, default = _declared(name, declared)
        text = given.get(name, default)
        if text is None:
            missing.append(name)
            continue
        values[name] = _checked(name, declared, kind, text)
    if missing:
        raise Refused(
            f"these parameters have no value: {', '.join(missing)}", hint=f"give each: --parameter {missing[0]}=VALUE"
        )
    return values


def _declared(name: str, declared: Value) -> tuple[str, str | None]:
    """Type and default."""
    if not isinstance(declared, dict):
        raise Refused(f"Parameters.{name}: a mapping")
    kind, default = declared.get("Type"), declared.get("Default")
    if not isinstance(kind, str):
        raise Refused(f"Parameters.{name}.Type: a text")
    if "Default" in declared and default is None:
        default = ""
    if default is not None and not isinstance(default, str):
        raise Refused(f"Parameters.{name}.Default: a text")
    # What stands there is the name of a parameter of SSM, not the value.
    return kind, None if kind.startswith("AWS::SSM::") else default


def _checked(name: str, declared: Value, kind: str, text: str) -> Value:
    assert isinstance(declared, dict)
    is_list = kind == "CommaDelimitedList" or kind.startswith("List<")
    each = [part.strip() for part in text.split(",")] if is_list else [text]
    if kind in ("Number", "List<Number>") and not all(_NUMBER.match(part) for part in each):
        raise Refused(f"the parameter '{name}' is a number")
    allowed = declared.get("AllowedValues")
    if isinstance(allowed, list) and not all(part in allowed for part in each):
        shown = ", ".join(str(value) for value in allowed)
        raise Refused(f"the parameter '{name}' is one of: {shown}")
    return [*each] if is_list else text


def _template(path: Path) -> Template:
    found = read_template(path)
    resources = found.get("Resources") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(resources, dict):
        raise Refused(f"{path} is no template: it has no Resources", hint="name a source file, a zip or a folder")
    both = _section(found, "Globals").get("Function")
    return Template(
        folder=Path(path).resolve().parent,
        resources={name: _resource(name, each) for name, each in resources.items()},
        parameters=_section(found, "Parameters"),
        globals=both if isinstance(both, dict) else {},
        mappings=found.get("Mappings"),
        conditions=found.get("Conditions"),
        outputs=_section(found, "Outputs"),
    )


def _resource(name: str, given: Value) -> Resource:
    if name.startswith("Fn::"):
        return Resource(name[:64], "Fn::ForEach" if name.startswith("Fn::ForEach") else name[:64], {}, None, None)
    if not _LOGICAL_ID.match(name):
        raise Refused(f"Resources: {name[:64]!r} can't be a logical id", hint="letters of a to z and digits only")
    if not isinstance(given, dict) or not isinstance(kind := given.get("Type"), str):
        raise Refused(f"Resources.{name}.Type: a text")
    properties, metadata = given.get("Properties"), given.get("Metadata")
    if properties is not None and not isinstance(properties, dict):
        raise Refused(f"Resources.{name}.Properties: a mapping")
    method = metadata.get("BuildMethod") if isinstance(metadata, dict) else None
    return Resource(name, kind, properties or {}, given.get("Condition"), method)


def _section(template: dict[str, Value], name: str) -> dict[str, Value]:
    found = template.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refused(f"{name}: a mapping")
    return found


def _is_marked(path: Path) -> bool:
    """Whether it says what it is; a function may have a template of its own."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise Refused(f"{path} can't be read: {(exc.strerror or str(exc)).lower()}") from exc
    return any(mark in content for mark in _MARKS)
