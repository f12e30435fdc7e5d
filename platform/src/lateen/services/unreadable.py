"""What can't be decoded, because a newer version wrote it or something broke it: it must not keep others waiting."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lateen.domain.errors import LateenError


@contextmanager
def passed_over(
    log: logging.Logger, what: str, *, but: type[LateenError] = LateenError, **extra: str
) -> Iterator[None]:
    """Whatever is raised inside ends there, and is logged as `what` that can't be read; not `but`, which says something
    else."""
    try:
        yield
    except but:
        raise
    except Exception:
        log.exception("%s can't be read", what, extra=extra)
