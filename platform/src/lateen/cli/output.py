"""How results look: columns for people, JSON for scripts."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import click

Output = Literal["text", "json"]
F = TypeVar("F", bound=Callable[..., Any])

# Function names aside, what is shown may be a stranger's: a log line must not move the cursor or retitle the window.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def output_option(command: F) -> F:
    """`--output json`, the same on each command."""
    return click.option(
        "--output", "-o", type=click.Choice(["text", "json"]), default="text", show_default=True, help="For whom."
    )(command)


def plain(text: str) -> str:
    """Without what a terminal would obey; tabs and line ends stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def show_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(entries: Iterable[Mapping[str, Any]], columns: Mapping[str, str], *, empty: str) -> None:
    """One line an entry. `columns`: heading → key. `empty` is the first step for who has none yet."""
    rows = [[_cell(entry.get(key)) for key in columns.values()] for entry in entries]
    if not rows:
        click.echo(empty, err=True)
        return
    for row in _aligned([list(columns), *rows]):
        click.echo(row)


def show_fields(fields: Mapping[str, Any]) -> None:
    """One line a field, for a single thing."""
    for row in _aligned([[name, _cell(value)] for name, value in fields.items()]):
        click.echo(row)


def size_of(count: int) -> str:
    """Bytes for people: `640 B`, `12.4 KiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(str(value)).replace("\n", " ")


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
