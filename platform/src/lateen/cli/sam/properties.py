"""The properties of one resource: read by their types, and what nobody reads is named."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from lateen.cli.refusals import Refused
from lateen.cli.sam.intrinsics import Intrinsics, Unknown
from lateen.cli.sam.reading import Value

LeftOut: TypeAlias = Callable[[str, str], None]
"""Is told where something stands that is not deployed, and why."""


class Skipped(Exception):
    """The resource is not deployed; the text says why."""


class Properties:
    def __init__(self, where: str, values: Mapping[str, Value], *, intrinsics: Intrinsics, left_out: LeftOut) -> None:
        self.where = where
        self._values = dict(values)
        self._intrinsics = intrinsics
        self._left_out = left_out

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def is_null(self, name: str) -> bool:
        """Whether null stands there, which is something else than nothing or `AWS::NoValue`."""
        return name in self._values and self._values[name] is None

    def raw(self, name: str) -> Value:
        """With its functions not carried out."""
        return self._values.pop(name, None)

    def get(self, name: str) -> Value:
        """None: it is not there, or can't be known, which is told then. Raises: `NotYet`, `Refused`."""
        try:
            return self.need(name)
        except Skipped as skipped:
            self.leave(name, str(skipped))
            return None

    def need(self, name: str) -> Value:
        """As `get`, but raises `Skipped` where it can't be known."""
        try:
            return self._intrinsics.value(self._values.pop(name, None))
        except Unknown as exc:
            raise Skipped(str(exc)) from exc
        except Refused as refusal:
            raise self.wrong(name, refusal.message) from refusal

    def leave(self, name: str, reason: str) -> None:
        self._left_out(f"{self.where}.{name}", reason)

    def rest(self, reasons: Mapping[str, str], otherwise: str = "not known here") -> None:
        """Names all that nobody asked for."""
        for name in self._values:
            self.leave(name[:64], reasons.get(name, otherwise))
        self._values.clear()

    def text(self, name: str) -> str | None:
        return self._is_text(name, self.get(name))

    def needed_text(self, name: str) -> str | None:
        return self._is_text(name, self.need(name))

    def number(self, name: str) -> int | None:
        return self._is_number(name, self.text(name))

    def needed_number(self, name: str) -> int | None:
        return self._is_number(name, self.needed_text(name))

    def truth(self, name: str) -> bool | None:
        text = self.text(name)
        if text is None:
            return None
        if text not in ("true", "false"):
            raise self.wrong(name, "true or false")
        return text == "true"

    def texts(self, name: str) -> list[str] | None:
        found = self.need(name)
        if found is None:
            return None
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise self.wrong(name, "a list of texts")
        return [each for each in found if isinstance(each, str)]

    def within(self, name: str) -> "Properties":
        """The mapping under this name, as properties of its own; without any where there is none."""
        found = self.raw(name)
        if found is not None and not isinstance(found, dict):
            raise self.wrong(name, "a mapping")
        if isinstance(found, dict) and is_function(found):
            try:
                found = self._intrinsics.value(found)
            except Unknown as exc:
                self.leave(name, str(exc))
                found = None
            if found is not None and not isinstance(found, dict):
                raise self.wrong(name, "a mapping")
        return Properties(f"{self.where}.{name}", found or {}, intrinsics=self._intrinsics, left_out=self._left_out)

    @property
    def names(self) -> list[str]:
        """Of those that nobody has asked for yet."""
        return list(self._values)

    def wrong(self, name: str, what: str) -> Refused:
        return Refused(f"{self.where}.{name}: {what}")

    def _is_text(self, name: str, found: Value) -> str | None:
        if found is not None and not isinstance(found, str):
            raise self.wrong(name, "a text")
        return found

    def _is_number(self, name: str, text: str | None) -> int | None:
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise self.wrong(name, "a whole number")
        return int(text)


def is_function(value: Value) -> bool:
    """Whether it is one of CloudFormation's functions and no mapping."""
    return isinstance(value, dict) and len(value) == 1 and all(key == "Ref" or key.startswith("Fn::") for key in value)
