"""A template's text → plain values, with CloudFormation's short tags as what they are short for.

Scalars stay the texts that they were written as: `012` is no octal number, `2010-09-09` no date, `on` no truth. What
wants a number asks for one. Nothing is evaluated and no object is made by a tag; the template's size, its depth and
what its aliases add up to are bounded.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from lateen.cli.refusals import Refused

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"

MAX_BYTES = 1024 * 1024
"""CloudFormation's limit for a template."""
MAX_DEPTH = 60
MAX_SIZE = 4 * MAX_BYTES
"""Of all values together, each alias counted with what it stands for."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHORT = re.compile(r"^!([A-Za-z][A-Za-z0-9:]{0,63})\Z")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
_NULLS = {"", "~", "null", "Null", "NULL"}
_TRUTHS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
_MERGE = "<<"


def read_template(path: Path) -> Value:
    """The one document in the file; JSON is YAML too. Raises: `Refused`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise Refused(f"{path} can't be read: {(exc.strerror or str(exc)).lower()}") from exc
    if len(content) > MAX_BYTES:
        raise Refused(f"{path} has more than {MAX_BYTES // 1024} KiB")
    try:
        return value_of(content.decode())
    except UnicodeDecodeError as exc:
        raise Refused(f"{path} is not UTF-8") from exc
    except Wrong as exc:
        raise Refused(f"{path} is no template that can be read: {exc}") from exc


class Wrong(Exception):
    """What is wrong with a text, and in which line."""


def value_of(text: str) -> Value:
    """Raises: `Wrong`."""
    try:
        return _Builder().built(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as exc:
        raise Wrong(_at(exc.problem_mark or exc.context_mark, exc.problem or "not YAML")) from exc
    except yaml.YAMLError as exc:
        raise Wrong("it holds characters that YAML does not allow") from exc


class _Open:
    """A list or a mapping that is not at its end yet."""

    def __init__(self, event: Any, before: int) -> None:
        self.event = event
        self.before = before
        """Size of everything that came before it."""
        self.items: list[Value] = []
        self.keys: list[str] = []
        self.seen: set[str] = set()
        self.is_mapping = isinstance(event, yaml.MappingStartEvent)

    @property
    def wants_key(self) -> bool:
        return self.is_mapping and len(self.keys) == len(self.items)


class _Builder:
    """From the parser's events, so that depth costs no stack."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Value, int]] = {}
        self._size = 0
        self._found: list[Value] = []

    def built(self, events: Iterator[Any]) -> Value:
        for event in events:
            if isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._start(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
            elif isinstance(event, yaml.DocumentStartEvent) and self._found:
                raise Wrong(_at(event.start_mark, "a second document"))
        if not self._found:
            raise Wrong("it is empty")
        return self._found[0]

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise Wrong(_at(event.start_mark, f"*{event.anchor} stands for nothing before it"))
        value, size = self._anchors[event.anchor]
        self._grow(event, size)
        self._put(event, value)

    def _scalar(self, event: Any) -> None:
        text: str = event.value
        self._grow(event, len(text) + 1)
        if self._open and self._open[-1].wants_key:
            self._key(event, text)
            return
        value: Value = text
        if event.tag is None and event.implicit[0]:
            value = None if text in _NULLS else _TRUTHS.get(text, text)
        self._done(event, _tagged(event, value), len(text) + 1)

    def _key(self, event: Any, text: str) -> None:
        mapping = self._open[-1]
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            raise Wrong(_at(event.start_mark, "a key with a tag"))
        if text in mapping.seen and text != _MERGE:
            raise Wrong(_at(event.start_mark, f"{text[:64]!r} a second time"))
        mapping.seen.add(text)
        mapping.keys.append(text)

    def _start(self, event: Any) -> None:
        if self._open and self._open[-1].wants_key:
            raise Wrong(_at(event.start_mark, "a key that is no text"))
        if len(self._open) >= MAX_DEPTH:
            raise Wrong(_at(event.start_mark, f"more than {MAX_DEPTH} levels"))
        self._open.append(_Open(event, self._size))
        self._grow(event, 1)

    def _end(self) -> None:
        whole = self._open.pop()
        value: Value = _mapping(whole) if whole.is_mapping else whole.items
        self._done(whole.event, _tagged(whole.event, value), self._size - whole.before)

    def _done(self, event: Any, value: Value, size: int) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = value, size
        self._put(event, value)

    def _put(self, event: Any, value: Value) -> None:
        if not self._open:
            self._found.append(value)
        elif self._open[-1].wants_key:
            raise Wrong(_at(event.start_mark, "a key that is an alias"))
        else:
            self._open[-1].items.append(value)

    def _grow(self, event: Any, size: int) -> None:
        self._size += size
        if self._size > MAX_SIZE:
            raise Wrong(_at(event.start_mark, "aliases that stand for too much"))


def _mapping(whole: _Open) -> dict[str, Value]:
    """Keys of the mapping itself go before those that are merged into it, as YAML has it."""
    own = dict(zip(whole.keys, whole.items, strict=True))
    merged: dict[str, Value] = {}
    for key, given in zip(whole.keys, whole.items, strict=True):
        if key == _MERGE:
            for each in given if isinstance(given, list) else [given]:
                if not isinstance(each, dict):
                    raise Wrong(_at(whole.event.start_mark, "<< of what is no mapping"))
                merged = {**each, **merged}
    own.pop(_MERGE, None)
    return {**merged, **own}


def _tagged(event: Any, value: Value) -> Value:
    """`!Sub x` → `{"Fn::Sub": x}`."""
    if event.tag is None or event.tag in _PLAIN_TAGS or event.tag == "!":
        return value
    if not (short := _SHORT.match(event.tag)):
        raise Wrong(_at(event.start_mark, f"the tag {event.tag[:64]!r} is none of CloudFormation's"))
    name = short[1]
    if name in ("Ref", "Condition"):
        return {name: value}
    if name == "GetAtt" and isinstance(value, str):
        return {"Fn::GetAtt": list(value.split(".", 1))}
    return {f"Fn::{name}": value}


def _at(mark: Any, problem: str) -> str:
    return problem if mark is None else f"line {mark.line + 1}: {problem}"
