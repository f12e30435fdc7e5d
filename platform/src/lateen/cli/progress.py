"""A bar for a long upload, on terminals only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

WORTH_A_BAR = 1024 * 1024
"""Bytes; what is smaller is there before a bar is drawn."""
CHUNK = 64 * 1024


@contextmanager
def measured(body: bytes | None) -> Iterator[bytes | Iterator[bytes] | None]:
    """The body as it is, or in chunks that move a bar while they are sent."""
    if body is None or len(body) < WORTH_A_BAR or not sys.stderr.isatty():
        yield body
        return
    with click.progressbar(length=len(body), label="uploading", file=sys.stderr) as bar:
        yield _chunks(body, bar)


def _chunks(body: bytes, bar: "click._termui_impl.ProgressBar[int]") -> Iterator[bytes]:
    for start in range(0, len(body), CHUNK):
        chunk = body[start : start + CHUNK]
        yield chunk
        bar.update(len(chunk))
