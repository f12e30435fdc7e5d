"""The list of functions: what is searched for, in the order asked for, a page at a time. Values in, values out."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

PER_PAGE = 25
MOST = 2000
"""Functions that are looked through."""

Row = dict[str, Any]
_STATES = ("Failed", "Pending", "Inactive", "Active")


def _number(name: str) -> Callable[[Row], Any]:
    return lambda row: row[name] if row[name] is not None else -1


_KEYS: Mapping[str, Callable[[Row], Any]] = {
    "name": lambda row: row["name"].lower(),
    "runtime": lambda row: row["runtime"],
    "state": lambda row: _STATES.index(row["state"]) if row["state"] in _STATES else len(_STATES),
    "calls": _number("calls"),
    "errors": _number("errors"),
    "p95": _number("p95_ms"),
    "updated": lambda row: row["updated_at"],
}
_MANY_FIRST = ("calls", "errors", "p95", "updated")


class Asked(Struct, frozen=True):
    """What the address of the page says."""

    workspace: str
    text: str = ""
    sort: str = "name"
    is_reversed: bool = False
    page: int = 1

    @classmethod
    def of(cls, workspace: str, query: Mapping[str, str]) -> "Asked":
        """Whatever is in the address, some page is shown."""
        sort = query.get("sort", "")
        column = sort.removeprefix("-")
        page = query.get("page", "1")
        return cls(
            workspace=workspace,
            text=query.get("q", "").strip()[:100],
            sort=column if column in _KEYS else "name",
            is_reversed=sort.startswith("-") and column in _KEYS,
            page=int(page) if page.isascii() and page.isdecimal() and len(page) < 6 else 1,
        )

    def address(self, *, sort: str | None = None, page: int = 1) -> str:
        query: dict[str, str | int] = {"workspace": self.workspace}
        if self.text:
            query["q"] = self.text
        order = sort or self.order
        if order != "name":
            query["sort"] = order
        if page > 1:
            query["page"] = page
        return f"/ui/functions?{urlencode(query)}"

    @property
    def order(self) -> str:
        return f"-{self.sort}" if self.is_reversed else self.sort

    def sorted_by(self, column: str) -> str:
        """The address for a click on a column's head: again turns the order round."""
        if column == self.sort:
            return self.address(sort=column if self.is_reversed else f"-{column}")
        return self.address(sort=f"-{column}" if column in _MANY_FIRST else column)

    def aria_sort(self, column: str) -> str:
        if column != self.sort:
            return "none"
        return "descending" if self.is_reversed else "ascending"


class Listed(Struct, frozen=True):
    rows: list[Row]
    page: int
    pages: int
    found: int
    total: int


def rows(functions: list[Row], last_hour: Mapping[str, Row] | None) -> list[Row]:
    """Functions as the API has them, with what the last hour brought. None: it isn't known."""
    nothing = dict.fromkeys(("calls", "errors"), None if last_hour is None else 0) | {"p95_ms": None}
    found = last_hour or {}
    return [
        each | {name: found.get(each["id"], nothing)[name] for name in ("calls", "errors", "p95_ms")}
        for each in functions
    ]


def listed(rows: list[Row], asked: Asked) -> Listed:
    text = asked.text.lower()
    found = [each for each in rows if text in f"{each['name']}\n{each['description']}\n{each['runtime']}".lower()]
    found.sort(key=_KEYS["name"])
    found.sort(key=_KEYS[asked.sort], reverse=asked.is_reversed)
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(max(1, asked.page), pages)
    return Listed(found[(page - 1) * PER_PAGE : page * PER_PAGE], page, pages, len(found), len(rows))
