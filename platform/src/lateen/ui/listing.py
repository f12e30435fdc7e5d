"""The list of functions: what is searched for, in the order asked for, a page at a time. Values in, values out.

By name, as the API lists them, a page is a page of the API's. For all else they are looked through, `MOST` of them.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

PER_PAGE = 25
MOST = 2000

Row = dict[str, Any]
_STATES = ("Failed", "Pending", "Inactive", "Active")


def _number(name: str) -> Callable[[Row], Any]:
    return lambda row: row[name] if row[name] is not None else -1


_FIGURES: Mapping[str, Callable[[Row], Any]] = {
    "calls": _number("calls"),
    "errors": _number("errors"),
    "p95": _number("p95_ms"),
}
_KEYS: Mapping[str, Callable[[Row], Any]] = {
    **_FIGURES,
    "name": lambda row: row["name"].lower(),
    "runtime": lambda row: row["runtime"],
    "state": lambda row: _STATES.index(row["state"]) if row["state"] in _STATES else len(_STATES),
    "updated": lambda row: row["updated_at"],
}
_MANY_FIRST = (*_FIGURES, "updated")


class Asked(Struct, frozen=True):
    """What the address of the page says."""

    workspace: str
    text: str = ""
    sort: str = "name"
    is_reversed: bool = False
    page: int = 1
    after: str = ""
    """By name: the API's cursor."""

    @classmethod
    def of(cls, workspace: str, query: Mapping[str, str]) -> "Asked":
        """What makes no sense counts for nothing; of `after` only the API knows."""
        sort = query.get("sort", "")
        column = sort.removeprefix("-")
        page = query.get("page", "1")
        return cls(
            workspace=workspace,
            text=query.get("q", "").strip()[:100],
            sort=column if column in _KEYS else "name",
            is_reversed=sort.startswith("-") and column in _KEYS,
            page=int(page) if page.isascii() and page.isdecimal() and len(page) < 6 else 1,
            after=query.get("after", ""),
        )

    def address(self, *, sort: str | None = None, page: int = 1, after: str = "") -> str:
        order = sort or self.order
        query = {
            "workspace": self.workspace,
            "q": self.text,
            "sort": "" if order == "name" else order,
            "page": "" if page == 1 else str(page),
            "after": after,
        }
        return f"/ui/functions?{urlencode({name: value for name, value in query.items() if value})}"

    @property
    def order(self) -> str:
        return f"-{self.sort}" if self.is_reversed else self.sort

    @property
    def is_as_the_api_lists(self) -> bool:
        return not self.text and self.order == "name"

    @property
    def is_by_figures(self) -> bool:
        return self.sort in _FIGURES

    def sorted_by(self, column: str) -> str:
        """The address for a click on a column's head: again turns the order round."""
        if column == self.sort:
            return self.address(sort=column if self.is_reversed else f"-{column}")
        return self.address(sort=f"-{column}" if column in _MANY_FIRST else column)

    def aria_sort(self, column: str) -> str:
        if column != self.sort:
            return "none"
        return "descending" if self.is_reversed else "ascending"


class Link(Struct, frozen=True):
    rel: str
    text: str
    address: str


class Listed(Struct, frozen=True):
    rows: list[Row]
    total: int | None
    """Functions of the workspace; None: nobody has counted them."""
    summary: str
    links: list[Link]


def with_figures(functions: list[Row], last_hour: Mapping[str, Row] | None) -> list[Row]:
    """Functions as the API has them, with what the last hour brought. None: it isn't known."""
    nothing = dict.fromkeys(("calls", "errors"), None if last_hour is None else 0) | {"p95_ms": None}
    found = last_hour or {}
    return [
        each | {name: found.get(each["id"], nothing)[name] for name in ("calls", "errors", "p95_ms")}
        for each in functions
    ]


def listed_by_name(functions: list[Row], asked: Asked, cursor: str | None) -> Listed:
    """A page of the API's."""
    if not (asked.after or cursor):
        return Listed(functions, len(functions), _counted(len(functions)), [])
    links = [Link("first", "First page", asked.address())] if asked.after else []
    links += [Link("next", "Next", asked.address(after=cursor))] if cursor else []
    summary = f"{functions[0]['name']} to {functions[-1]['name']}" if functions else ""
    return Listed(functions, None, summary, links)


def listed(functions: list[Row], asked: Asked) -> Listed:
    """A page of what was looked for among all."""
    text = asked.text.lower()
    found = [each for each in functions if text in f"{each['name']}\n{each['description']}\n{each['runtime']}".lower()]
    found.sort(key=_KEYS["name"])
    found.sort(key=_KEYS[asked.sort], reverse=asked.is_reversed)
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(max(1, asked.page), pages)
    links = [Link("prev", "Previous", asked.address(page=page - 1))] if page > 1 else []
    links += [Link("next", "Next", asked.address(page=page + 1))] if page < pages else []
    summary = _counted(len(found))
    if len(functions) >= MOST:
        summary += f", among the first {MOST} by name"
    if pages > 1:
        summary += f" · page {page} of {pages}"
    return Listed(found[(page - 1) * PER_PAGE : page * PER_PAGE], len(functions), summary, links)


def _counted(functions: int) -> str:
    return f"{functions} function{'' if functions == 1 else 's'}"
