"""The use cases put together for tests, over any stores and on a clock that tests move."""

from pathlib import Path

from msgspec import structs

from lateen.domain.access import PLATFORM, Caller
from lateen.domain.images import ImagePolicy
from lateen.domain.master import MasterKey
from lateen.ports.code_store import CodeStore
from lateen.ports.objects import Objects
from lateen.ports.table import Table
from lateen.services import assembled
from lateen.services.function_drafts import NO_IMAGES
from lateen.services.runtimes import Disabled

MASTER = MasterKey(bytes(range(32)))
RETENTION_DAYS = 14
RETENTION_S = RETENTION_DAYS * 24 * 3600


class ManualClock:
    """Unix time in seconds; stands still unless it is moved."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Services(assembled.Services, frozen=True, kw_only=True):
    table: Table
    objects: Objects
    clock: ManualClock
    admin: Caller = PLATFORM
    """Sees all; keys that tests make are further callers."""


def assemble(
    table: Table,
    objects: Objects,
    runtimes: Path,
    *,
    clock: ManualClock,
    disabled: Disabled = lambda _: None,
    images: ImagePolicy = NO_IMAGES,
    code_store: CodeStore | None = None,
    own_bucket: str | None = None,
) -> Services:
    services = assembled.assemble(
        table,
        objects,
        master=MASTER,
        runtimes=runtimes,
        disabled=disabled,
        images=images,
        code_store=code_store,
        own_bucket=own_bucket,
        retention_days=RETENTION_DAYS,
        now=clock,
        monotonic=clock,
    )
    return Services(**structs.asdict(services), table=table, objects=objects, clock=clock)
