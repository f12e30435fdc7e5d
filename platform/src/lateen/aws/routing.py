"""From method, raw path and query to the operation that is asked for, and the parts of the path.

Paths carry the date of the feature: `/2015-03-31/functions/{FunctionName}`. A name may be an ARN, whose `:` and `/` are
encoded, so it is the raw path that is taken apart.
"""

import re
from urllib.parse import parse_qsl, unquote

from msgspec import Struct

from lateen.aws.model import Model

_DATED = re.compile(rb"/2[0-9]{3}-[0-9]{2}-[0-9]{2}/")
_LABEL = re.compile(r"\{([A-Za-z]+)\+?\}")


def is_dated(raw_path: bytes) -> bool:
    return _DATED.match(raw_path) is not None


class Routed(Struct, frozen=True):
    operation: str
    labels: dict[str, str]
    """By their names in the address."""
    query: dict[str, list[str]]


class _Address(Struct, frozen=True):
    operation: str
    segments: tuple[str | None, ...]
    """None: a label."""
    labels: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    """What must be in the query."""


class Router:
    def __init__(self, model: Model) -> None:
        self._by_date: dict[tuple[str, int, str], list[_Address]] = {}
        for name, operation in model.operations.items():
            path, _, query = operation.uri.partition("?")
            segments = path.split("/")[1:]
            address = _Address(
                operation=name,
                segments=tuple(None if _LABEL.fullmatch(segment) else segment for segment in segments),
                labels=tuple(found[1] for segment in segments if (found := _LABEL.fullmatch(segment))),
                query=tuple(parse_qsl(query, keep_blank_values=True)),
            )
            self._by_date.setdefault((operation.method, len(segments), segments[0]), []).append(address)
        for addresses in self._by_date.values():
            # What says more about itself comes first: `…/event-invoke-config/list` before a label in its place.
            addresses.sort(key=lambda address: (-len(address.query), len(address.labels)))

    def find(self, method: str, raw_path: bytes, raw_query: bytes) -> Routed | None:
        """None: there is no such operation. An address with a slash at its end is the same one, as on AWS."""
        segments = raw_path.decode("latin-1").split("/")[1:]
        if len(segments) > 2 and not segments[-1]:
            segments.pop()
        query: dict[str, list[str]] = {}
        for name, value in parse_qsl(raw_query.decode("latin-1"), keep_blank_values=True):
            query.setdefault(name, []).append(value)
        for address in self._by_date.get((method, len(segments), segments[0]), ()):
            if all(fixed in (None, segment) for fixed, segment in zip(address.segments, segments, strict=True)) and all(
                value in query.get(name, ()) for name, value in address.query
            ):
                given = (s for fixed, s in zip(address.segments, segments, strict=True) if fixed is None)
                labels = dict(zip(address.labels, (unquote(segment) for segment in given), strict=True))
                return Routed(address.operation, labels, query)
        return None
