"""The options that name an image in the place of code, shared by `deploy` and `update`."""

import re
import shlex
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
_LAST_PART = re.compile(r"([^/:@]+)(?::[^/@]*)?(?:@.*)?\Z")


def image_options(command: F) -> F:
    """They arrive as keyword arguments; None: not given. What they may be is the server's to check."""
    for option in reversed(
        (
            click.option("--image", metavar="REF", help="A container image that is the code: registry/repository:tag."),
            click.option(
                "--entry-point",
                metavar="WORDS",
                callback=_words,
                help="What the image starts; /lambda-entrypoint.sh unless told.",
            ),
            click.option("--command", metavar="WORDS", callback=_words, help="The entry point's arguments."),
            click.option("--working-directory", metavar="PATH", help="Where the image's program starts."),
        )
    ):
        command = option(command)
    return command


def image_fields(options: MutableMapping[str, Any], *, known: dict[str, Any] | None) -> dict[str, Any]:
    """The fields to send. Takes the options out of `options`; settings that aren't named stay.

    Args:
        known: the settings that the image has.
    """
    image = options.pop("image", None)
    given = {name: options.pop(name, None) for name in ("entry_point", "command", "working_directory")}
    settings = {name: value for name, value in given.items() if value is not None}
    fields = {} if image is None else {"image": image}
    return fields | ({"image_config": (known or {}) | settings} if settings else {})


def name_in(image: str) -> str:
    """The last part of a reference, without tag and digest."""
    found = _LAST_PART.search(image)
    return found[1] if found else image


def _words(context: click.Context, parameter: click.Parameter, given: str | None) -> list[str] | None:
    if given is None:
        return None
    try:
        return shlex.split(given)
    except ValueError as exc:
        raise click.BadParameter(f"'{given}' can't be split into words: {exc}") from None
