"""CloudFormation's functions in a template: what they stand for, as far as it can be known here.

`Ref`, `Fn::Sub`, `Fn::GetAtt`, `Fn::FindInMap`, `Fn::If`, `Fn::Join`, `Fn::Select`, `Fn::Split` and conditions. What
leads to something that is not deployed here is `Unknown`, with the reason; whoever needs the value says what becomes of
it.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

from msgspec import Struct

from lateen.cli.refusals import Refused
from lateen.cli.sam.reading import Value

MAX_MADE = 16 * 1024 * 1024
"""Characters that functions make of a template, all together."""
_PLACEHOLDER = re.compile(r"\$\{(!?)([^{}]*)\}")
_LITERAL = "!"


class Unknown(Exception):
    """The value can't be known here; the text says why."""


class NotYet(Exception):
    """The value is known when something else of the template is deployed."""


class _Nothing:
    """`AWS::NoValue`: what it is given to is as if it was not there."""


_NOTHING = _Nothing()
_Resolved: TypeAlias = "Value | _Nothing"


class Later(Struct, frozen=True):
    """Known when it is deployed. `like`: what such a value looks like."""

    like: str


class Intrinsics:
    def __init__(self, *, mappings: Value, conditions: Value, resources: Mapping[str, str]) -> None:
        """Args:
        resources: the type of each, by its logical id.
        """
        self.known: dict[str, Value | Later] = {}
        """What `Ref` of a name, and `Fn::GetAtt` of `Name.Attribute`, stand for."""
        self.is_rehearsal = True
        """Nothing is deployed yet: what will be known later is what such values look like."""
        self._mappings = mappings
        self._conditions = conditions if isinstance(conditions, dict) else {}
        self._resources = resources
        self._held: dict[str, bool] = {}
        self._asking: list[str] = []
        self._size = 0
        self._functions: dict[str, Callable[[Value], _Resolved]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_att,
            "Fn::Sub": self._sub,
            "Fn::FindInMap": self._find_in_map,
            "Fn::If": self._if,
            "Fn::Join": self._join,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
        }

    def value(self, given: Value) -> Value:
        """`given` with all functions in it carried out. Raises: `Unknown`, `NotYet`, `Refused`."""
        found = self._resolved(given)
        return None if isinstance(found, _Nothing) else found

    def holds(self, condition: Value) -> bool:
        """Raises: `Unknown`, `Refused`."""
        name = _text(condition, "Condition")
        if name not in self._held:
            if name not in self._conditions:
                raise Refused(f"the template has no condition '{name[:64]}'")
            if name in self._asking:
                raise Refused(f"the condition '{name[:64]}' depends on itself")
            self._asking.append(name)
            try:
                self._held[name] = self._truth(self._conditions[name])
            finally:
                self._asking.pop()
        return self._held[name]

    def _resolved(self, given: Value) -> _Resolved:
        if isinstance(given, list):
            each = (self._resolved(item) for item in given)
            return [item for item in each if not isinstance(item, _Nothing)]
        if not isinstance(given, dict):
            return given
        if len(given) == 1:
            ((name, argument),) = given.items()
            if name in self._functions:
                return self._functions[name](argument)
            if name.startswith("Fn::"):
                raise Unknown(f"{name} is not known here")
        both = ((name, self._resolved(item)) for name, item in given.items())
        return {name: item for name, item in both if not isinstance(item, _Nothing)}

    def _named(self, name: str) -> _Resolved:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in self.known:
            found = self.known[name]
            if isinstance(found, Later):
                if self.is_rehearsal:
                    return found.like
                raise NotYet(name)
            return found
        resource = name.partition(".")[0]
        if resource in self._resources:
            reason = f"refers to '{name[:128]}' ({self._resources[resource]}), which is not known here"
            raise Unknown(f"{reason}; --parameter {name[:128]}=VALUE says it")
        raise Unknown(f"refers to '{name[:128]}', which the template does not have")

    def _ref(self, argument: Value) -> _Resolved:
        return self._named(_text(argument, "Ref"))

    def _get_att(self, argument: Value) -> _Resolved:
        parts = argument.split(".", 1) if isinstance(argument, str) else argument
        if not isinstance(parts, list) or len(parts) != 2:
            raise Refused("Fn::GetAtt wants a name and an attribute")
        return self._named(f"{_text(parts[0], 'Fn::GetAtt')}.{_text(self.value(parts[1]), 'Fn::GetAtt')}")

    def _sub(self, argument: Value) -> _Resolved:
        own: dict[str, Value] = {}
        if isinstance(argument, list):
            if len(argument) != 2 or not isinstance(argument[1], dict):
                raise Refused("Fn::Sub wants a text, or a text and a mapping")
            own = {name: self.value(item) for name, item in argument[1].items()}
            argument = argument[0]
        text = _text(argument, "Fn::Sub")

        def placed(found: "re.Match[str]") -> str:
            is_literal, name = found[1] == _LITERAL, found[2]
            if is_literal:
                return f"${{{name}}}"
            value = own[name] if name in own else self._named(name.strip())
            return "" if isinstance(value, _Nothing) else _text(value, f"Fn::Sub of ${{{name[:64]}}}")

        self._made(len(text))
        parts, at = [], 0
        for found in _PLACEHOLDER.finditer(text):
            parts += [text[at : found.start()], placed(found)]
            at = found.end()
            self._made(len(parts[-1]))
        return "".join([*parts, text[at:]])

    def _find_in_map(self, argument: Value) -> _Resolved:
        keys = self.value(argument)
        if not isinstance(keys, list) or len(keys) != 3:
            raise Refused("Fn::FindInMap wants a mapping's name and two keys")
        found = self._mappings
        for key in keys:
            name = _text(key, "Fn::FindInMap")
            if not isinstance(found, dict) or name not in found:
                raise Refused(f"Fn::FindInMap: the template's mappings have no '{name[:64]}' there")
            found = found[name]
        return found

    def _if(self, argument: Value) -> _Resolved:
        if not isinstance(argument, list) or len(argument) != 3:
            raise Refused("Fn::If wants a condition and two values")
        return self._resolved(argument[1] if self.holds(argument[0]) else argument[2])

    def _join(self, argument: Value) -> _Resolved:
        given = self.value(argument)
        if not isinstance(given, list) or len(given) != 2 or not isinstance(given[1], list):
            raise Refused("Fn::Join wants a text and a list")
        texts = [_text(item, "Fn::Join") for item in given[1]]
        between = _text(given[0] or "", "Fn::Join")
        self._made(sum(map(len, texts)) + len(between) * len(texts))
        return between.join(texts)

    def _select(self, argument: Value) -> _Resolved:
        given = self.value(argument)
        if not isinstance(given, list) or len(given) != 2 or not isinstance(given[1], list):
            raise Refused("Fn::Select wants a number and a list")
        index = _text(given[0], "Fn::Select")
        if not (index.isascii() and index.isdigit() and len(index) < 6 and int(index) < len(given[1])):
            raise Refused(f"Fn::Select: the list has no entry {index[:32]!r}")
        return given[1][int(index)]

    def _split(self, argument: Value) -> _Resolved:
        given = self.value(argument)
        if not isinstance(given, list) or len(given) != 2 or not given[0]:
            raise Refused("Fn::Split wants a text to split by, and a text")
        text = _text(given[1], "Fn::Split")
        self._made(len(text))
        return cast("Value", text.split(_text(given[0], "Fn::Split")))

    def _made(self, characters: int) -> None:
        self._size += characters
        if self._size > MAX_MADE:
            raise Refused(f"the template makes texts of more than {MAX_MADE // 1024**2} MiB")

    def _truth(self, given: Value) -> bool:
        if isinstance(given, dict) and len(given) == 1:
            ((name, argument),) = given.items()
            if name == "Condition":
                return self.holds(argument)
            if isinstance(argument, list):
                if name == "Fn::Equals" and len(argument) == 2:
                    return self.value(argument[0]) == self.value(argument[1])
                if name == "Fn::And":
                    return all(self._truth(each) for each in argument)
                if name == "Fn::Or":
                    return any(self._truth(each) for each in argument)
                if name == "Fn::Not" and len(argument) == 1:
                    return not self._truth(argument[0])
        raise Refused("a condition is made of Fn::Equals, Fn::And, Fn::Or, Fn::Not and Condition")


def _text(value: Value, where: str) -> str:
    if not isinstance(value, str):
        raise Refused(f"{where} wants a text")
    return value
