"""What the command line says when something was refused: what happened, to what, and what to do next."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

DONE, REFUSED, INTERRUPTED = 0, 1, 130


class Refused(click.ClickException):
    """Ends the command with exit code 1.

    `slug` is the problem's short name, such as `revision-mismatch`; scripts and the commands themselves branch on it.
    """

    exit_code = REFUSED

    def __init__(self, message: str, *, slug: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.slug = slug
        self.hint = hint


@contextmanager
def hints(**by_slug: str) -> Iterator[None]:
    """Says what to do next where the command knows it better than the client: `hints(not_found="…")`."""
    try:
        yield
    except Refused as refusal:
        refusal.hint = by_slug.get((refusal.slug or "").replace("-", "_"), refusal.hint)
        raise


def shown(error: click.ClickException) -> str:
    """The lines for stderr."""
    message, hint = error.format_message().rstrip("."), None
    if isinstance(error, Refused):
        hint = error.hint
        if error.slug:
            message += f" ({error.slug})"
    elif isinstance(error, click.UsageError):
        # Click begins with a capital, unless a name such as LATEEN_PORT comes first.
        message = message if message[1:2].isupper() else message[:1].lower() + message[1:]
        if error.ctx is not None:
            hint = f"see '{error.ctx.command_path} --help'"
    return f"error: {message}\n" + (f"hint: {hint}\n" if hint else "")


def note(text: str) -> None:
    """A line for the person at the terminal; never in the way of what a script reads."""
    click.echo(text, file=sys.stderr)
