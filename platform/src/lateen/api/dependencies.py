"""What handlers ask for by type: the use cases, and who calls. All are given in by `api.application`."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation
from litestar.types import Scope

from lateen.api.health import Readiness
from lateen.api.invoking import Invoker
from lateen.api.metrics import Metrics
from lateen.domain.access import Caller
from lateen.services.assembled import Services
from lateen.services.events import Events
from lateen.services.redrives import Redrives


class UseCases(Services, frozen=True, kw_only=True):
    """All that the surfaces call."""

    invoker: Invoker
    events: Events
    redrives: Redrives
    base_url: str
    """What functions' URLs begin with, without a slash at its end."""


UseCasesDep = NamedDependency[SkipValidation[UseCases]]
CallerDep = NamedDependency[SkipValidation[Caller]]
RecheckDep = NamedDependency[SkipValidation[Callable[[], Awaitable[object]]]]
"""Raises `Unauthenticated` once the caller is not let in any more."""
ReadinessDep = NamedDependency[SkipValidation[Readiness]]
MetricsDep = NamedDependency[SkipValidation[Metrics]]
DocumentDep = NamedDependency[SkipValidation[Callable[[], bytes]]]


def providers(
    use_cases: UseCases, readiness: Readiness, metrics: Metrics, document: Callable[[], bytes]
) -> dict[str, Provide]:
    def provide(value: Any) -> Provide:
        return Provide(lambda: value, sync_to_thread=False)

    return {
        "use_cases": provide(use_cases),
        "readiness": provide(readiness),
        "metrics": provide(metrics),
        "document": provide(document),
        "caller": Provide(_caller, sync_to_thread=False),
        "recheck": Provide(_recheck, sync_to_thread=False),
    }


def _caller(scope: Scope) -> Caller:
    """Put there by the edge, which lets nobody through without."""
    caller: Caller = scope["state"]["caller"]
    return caller


def _recheck(scope: Scope) -> Callable[[], Awaitable[object]]:
    recheck: Callable[[], Awaitable[object]] = scope["state"]["recheck"]
    return recheck
