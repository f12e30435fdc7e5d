"""Few files that may be open, for what is started meanwhile; its hard limit stays."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def few_open_files(number: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
