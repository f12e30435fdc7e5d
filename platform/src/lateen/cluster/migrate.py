"""`lateen migrate`: what has to be there before the processes are of use. Again changes nothing.

The table, its expiry and the bucket; then what a first start makes: a mark of whose they are, the administrator's key,
the workspace `default`, the runtimes. Stores that do not answer yet are waited for: they may be starting beside it.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lateen.adapters.dynamodb_schema import SchemaError, check_table, create_table, enable_ttl
from lateen.adapters.s3_bucket import create_bucket
from lateen.cluster.parts import (
    ADMIN_TOKEN,
    RUNTIMES,
    BadSecret,
    master_of,
    objects_of,
    read_secret,
    table_of,
)
from lateen.cluster.process import FAILED, begin, refuse
from lateen.cluster.settings import ClusterSettings
from lateen.domain.errors import LateenError, Unavailable
from lateen.domain.master import MasterKey
from lateen.services.assembled import assemble
from lateen.services.installation import OthersStores, claim

log = logging.getLogger(__name__)

AGAIN_S = 2.0
T = TypeVar("T")


def migrate(settings: ClusterSettings) -> None:
    """Ends the process where it could not."""
    begin(settings, service="migrate")
    try:
        master = master_of(settings)
        token = read_secret(settings, ADMIN_TOKEN).decode("ascii", "replace").strip()
        folder = settings.runtimes or RUNTIMES
        if not any(folder.glob("*/runtime.toml")):
            raise ValueError(f"LATEEN_RUNTIMES: there is no runtime in {folder}")
    except (BadSecret, ValueError) as exc:
        refuse(str(exc))
    try:
        _make_stores(settings)
        asyncio.run(_fill(settings, master, token, folder))
    except (LateenError, OthersStores, SchemaError) as exc:
        log.error("not migrated", extra={"reason": str(exc)})
        sys.exit(FAILED)
    log.info("migrated")


def _make_stores(settings: ClusterSettings) -> None:
    """Raises: `SchemaError`, `Unavailable`."""
    until_s = time.monotonic() + settings.wait_seconds

    def waited(step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except Unavailable as exc:
                if time.monotonic() >= until_s:
                    raise
                log.warning("store does not answer yet", extra={"reason": str(exc)})
                time.sleep(AGAIN_S)

    region = settings.region
    if settings.create_table:
        made = waited(lambda: create_table(settings.table, region=region))
        waited(lambda: enable_ttl(settings.table, region=region))
        log.info("table", extra={"table": settings.table, "made": made})
    else:
        waited(lambda: check_table(settings.table, region=region))
    if settings.create_bucket:
        made = waited(lambda: create_bucket(settings.bucket, region=region, path_style=settings.s3_path_style))
        log.info("bucket", extra={"bucket": settings.bucket, "made": made})


async def _fill(settings: ClusterSettings, master: MasterKey, token: str, folder: Path) -> None:
    """Raises: `LateenError`, `OthersStores`."""
    table, objects = table_of(settings), objects_of(settings)
    try:
        services = assemble(table, objects, master=master, runtimes=folder)
        deadline = asyncio.get_running_loop().time() + settings.wait_seconds
        while True:
            try:
                await objects.ping()
                await claim(table, objects, master)
                await services.workspaces.ensure_default()
                is_known = await services.keys.ensure_administrator(token)
                await services.runtimes.setup()
                break
            except Unavailable as exc:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                log.warning("store does not answer yet", extra={"reason": str(exc)})
                await asyncio.sleep(AGAIN_S)
        if not is_known:
            # Somebody's decision, and no reason to refuse an upgrade.
            log.warning("the administrator's token is of no use: its key was revoked, or it is not one of Lateen's")
    finally:
        await table.close()
        await objects.close()
