"""The use cases put together for tests, over any stores and on a clock that tests move."""

from pathlib import Path

from msgspec import Struct

from lateen.domain.access import PLATFORM, Caller
from lateen.domain.master import MasterKey
from lateen.ports.objects import Objects
from lateen.ports.table import Table
from lateen.services.cursors import Cursors
from lateen.services.functions import Functions
from lateen.services.keys import Keys
from lateen.services.records import Records
from lateen.services.runtimes import Disabled, Runtimes
from lateen.services.workspaces import Workspaces

MASTER = MasterKey(bytes(range(32)))
RETENTION_S = 14 * 24 * 3600


class ManualClock:
    """Unix time in seconds; stands still unless it is moved."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Services(Struct, frozen=True, kw_only=True):
    table: Table
    objects: Objects
    clock: ManualClock
    runtimes: Runtimes
    functions: Functions
    keys: Keys
    workspaces: Workspaces
    records: Records
    admin: Caller = PLATFORM
    """Sees all; keys that tests make are further callers."""


def assemble(
    table: Table, objects: Objects, runtimes: Path, *, clock: ManualClock, disabled: Disabled = lambda _: None
) -> Services:
    cursors = Cursors(MASTER)
    catalogue = Runtimes(runtimes, table=table, disabled=disabled, now=clock)
    functions = Functions(table, objects, runtimes=catalogue, master=MASTER, cursors=cursors, now=clock)
    keys = Keys(table, master=MASTER, cursors=cursors, now=clock, monotonic=clock)
    return Services(
        table=table,
        objects=objects,
        clock=clock,
        runtimes=catalogue,
        functions=functions,
        keys=keys,
        workspaces=Workspaces(table, functions=functions, keys=keys, cursors=cursors, now=clock),
        records=Records(table, functions=functions, cursors=cursors, retention_s=RETENTION_S, now=clock),
    )
