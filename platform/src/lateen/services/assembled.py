"""The use cases put together over any `Table` and `Objects`: what every process that serves them has in common."""

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from lateen.domain.images import ImagePolicy
from lateen.domain.master import MasterKey
from lateen.ports.builder import BuildPlace
from lateen.ports.code_store import CodeStore
from lateen.ports.objects import Objects
from lateen.ports.queue import Queue
from lateen.ports.table import Table
from lateen.services.aliases import Aliases
from lateen.services.artifacts import Artifacts
from lateen.services.build_recipes import understood_by
from lateen.services.build_settings import BuildSettings
from lateen.services.builds import Builds
from lateen.services.code_sources import CodeSources
from lateen.services.cursors import Cursors
from lateen.services.dead_letters import DeadLetters
from lateen.services.event_configs import EventConfigs
from lateen.services.event_runs import EventRuns, Invoker
from lateen.services.event_worker import EventWorker
from lateen.services.events import Events
from lateen.services.function_drafts import NO_IMAGES
from lateen.services.function_extras import FunctionExtras
from lateen.services.function_urls import FunctionUrls
from lateen.services.functions import Functions
from lateen.services.invocables import Invocables
from lateen.services.keys import Keys
from lateen.services.known import LIVES_S
from lateen.services.layer_policies import LayerPolicies
from lateen.services.layers import Layers
from lateen.services.log_streams import LogStreams
from lateen.services.provisioned import Provisioned
from lateen.services.records import Records
from lateen.services.runtimes import Disabled, Runtimes
from lateen.services.statistics import Statistics
from lateen.services.version_policies import VersionPolicies
from lateen.services.versions import Versions
from lateen.services.workspaces import Workspaces

RETENTION_DAYS = 7


class Services(Struct, frozen=True, kw_only=True):
    runtimes: Runtimes
    functions: Functions
    layers: Layers
    layer_policies: LayerPolicies
    versions: Versions
    version_policies: VersionPolicies
    aliases: Aliases
    invocables: Invocables
    extras: FunctionExtras
    urls: FunctionUrls
    keys: Keys
    workspaces: Workspaces
    records: Records
    statistics: Statistics
    log_streams: LogStreams
    build_settings: BuildSettings
    builds: Builds
    event_configs: EventConfigs
    provisioned: Provisioned
    dead_letters: DeadLetters


def event_worker(
    services: Services,
    queue: Queue,
    events: Events,
    *,
    invoker: Invoker,
    concurrency: int,
    region: str,
    now: Callable[[], float] = time.time,
) -> EventWorker:
    """What runs asynchronous invocations."""
    runs = EventRuns(
        queue,
        events=events,
        functions=services.functions,
        aliases=services.aliases,
        configs=services.event_configs,
        letters=services.dead_letters,
        invoker=invoker,
        region=region,
        now=now,
    )
    return EventWorker(queue, runs, concurrency=concurrency)


def assemble(
    table: Table,
    objects: Objects,
    *,
    master: MasterKey,
    runtimes: Path,
    disabled: Disabled = lambda _: None,
    build_place: BuildPlace | None = None,
    images: ImagePolicy = NO_IMAGES,
    code_store: CodeStore | None = None,
    own_bucket: str | None = None,
    most_functions: int | None = None,
    retention_days: int = RETENTION_DAYS,
    region: str = "us-east-1",
    known_s: float = LIVES_S,
    now: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Services:
    """Args:
        runtimes: the folder.
        region: part of ARNs.
        known_s: for how long what was read may be taken for true; infinite where this process makes all changes.
        build_place: where code is built that needs it; None: none is.
        images: those that functions may be made of; without it none.
        code_store: users' buckets, from which code may be taken; without it none.
        own_bucket: the one of them that is `objects`.
        most_functions: of one workspace; None: any number.
        now, monotonic: clocks, in seconds; for tests.
    Raises: `ValueError` that names the file, if a `runtime.toml` is wrong.
    """
    cursors = Cursors(master)
    catalogue = Runtimes(runtimes, table=table, disabled=disabled, now=now)
    build_settings = BuildSettings(table, master=master, prefixes=understood_by(catalogue.list()))
    builds = Builds(table, settings=build_settings, place=build_place, now=now)
    sources = CodeSources(table, code_store, own_bucket=own_bucket)
    functions = Functions(
        table,
        objects,
        runtimes=catalogue,
        master=master,
        cursors=cursors,
        builds=builds,
        sources=sources,
        images=images,
        most=most_functions,
        now=now,
        monotonic=monotonic,
    )
    keys = Keys(table, master=master, cursors=cursors, now=now, monotonic=monotonic)
    layers = Layers(table, objects, used=functions.layers_of, sources=sources, cursors=cursors, region=region, now=now)
    invocables = Invocables(table, lives_s=known_s, clock=monotonic)
    functions.subscribe(invocables.changed)
    aliases, extras = Aliases(table, functions=functions, cursors=cursors, now=now), FunctionExtras(table)
    return Services(
        runtimes=catalogue,
        functions=functions,
        layers=layers,
        layer_policies=LayerPolicies(table, layers),
        versions=Versions(table, functions=functions, artifacts=Artifacts(objects), cursors=cursors, now=now),
        version_policies=VersionPolicies(table),
        invocables=invocables,
        aliases=aliases,
        extras=extras,
        urls=FunctionUrls(functions, extras=extras, aliases=aliases, region=region, now=now),
        keys=keys,
        workspaces=Workspaces(
            table, functions=functions, layers=layers, keys=keys, sources=sources, cursors=cursors, now=now
        ),
        records=Records(table, functions=functions, cursors=cursors, retention_s=retention_days * 24 * 3600, now=now),
        statistics=Statistics(table, functions=functions, now=now),
        log_streams=LogStreams(table, functions=functions, now=now),
        build_settings=build_settings,
        builds=builds,
        event_configs=EventConfigs(table, cursors=cursors, now=now),
        provisioned=Provisioned(table, functions=functions, cursors=cursors, now=now),
        dead_letters=DeadLetters(table, functions=functions, cursors=cursors, now=now),
    )
