"""Runtimes: the catalogue, read once from the folders under `runtimes/`."""

import asyncio
import hashlib
import re
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lateen.domain.errors import InvalidInput, LateenError, NotFound
from lateen.domain.names import RUNTIME, check_handler
from lateen.domain.runtimes import Runtime, RuntimeEntry
from lateen.domain.times import iso_ms
from lateen.ports.table import Item, ItemNotFound, Key, RevisionConflict, Table

Disabled = Callable[[Runtime], str | None]
"""Why a runtime can't be used on this machine; None: it can. Given in by the deployer's side."""

_NAME = re.compile(RUNTIME)
_FILE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\Z")
_FILE_END = re.compile(r"^[A-Za-z0-9._-]{1,40}\Z")
_MAX_EXTENDS = 8


class Runtimes:
    def __init__(
        self,
        folder: Path,
        *,
        table: Table,
        disabled: Disabled = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Raises: `ValueError` that names the file, if a `runtime.toml` is wrong."""
        self._table = table
        self._now = now
        self._by_name: dict[str, Runtime] = {}
        self._by_alias: dict[str, Runtime] = {}
        for file in sorted(folder.glob("*/runtime.toml")):
            runtime = _read(file)
            runtime = msgspec.structs.replace(runtime, disabled=disabled(runtime))
            self._by_name[runtime.name] = runtime
            for alias in (runtime.name, *runtime.aliases):
                if (other := self._by_alias.setdefault(alias, runtime)) is not runtime:
                    raise ValueError(f"{file}: {alias!r} is a name of {other.name} too")

    def get(self, name: str) -> Runtime:
        """By canonical name. Raises: `NotFound`."""
        try:
            return self._by_name[name]
        except KeyError:
            raise NotFound("no such runtime") from None

    def resolve(self, name: str, version: str | None = None) -> Runtime:
        """The runtime that a user means: a name or alias, or a pair.

        Raises: `InvalidInput`, also for a disabled one.
        """
        if version is None:
            runtime = self._by_alias.get(name)
        else:
            pair = (r for r in self._by_name.values() if name in (r.runtime, r.name) and r.version == version)
            runtime = next(pair, None)
        if runtime is None:
            known = ", ".join(self._by_name)
            raise InvalidInput("runtime" if version is None else "version", f"not one of: {known}")
        if runtime.disabled is not None:
            raise InvalidInput("runtime", f"{runtime.name} can't be used here: {runtime.disabled}")
        return runtime

    async def setup(self) -> "list[RuntimeEntry]":
        """Seed one item per runtime; again changes nothing. Returns: `entries()`."""
        return await self.entries()

    async def entries(self) -> "list[RuntimeEntry]":
        """The runtimes with the dates of their seeding; those not seeded yet are seeded."""
        return list(await asyncio.gather(*(self._seeded(runtime) for runtime in self._by_name.values())))

    async def _seeded(self, runtime: Runtime) -> RuntimeEntry:
        key = Key("RUNTIMES", f"RUNTIME#{runtime.name}")
        settings = hashlib.sha256(msgspec.json.encode(runtime.settings, order="deterministic")).hexdigest()
        while True:
            now = iso_ms(self._now())
            data, expected = {"reg_date": now, "update_date": now, "settings_sha256": settings}, None
            try:
                found = await self._table.get(key)
                if found.data["settings_sha256"] == settings:
                    data = found.data
                    break
                data["reg_date"], expected = found.data["reg_date"], found.revision
            except ItemNotFound:
                pass
            try:
                await self._table.put(Item(key=key, data=data), expected=expected)
                break
            except RevisionConflict:  # another process seeds it
                continue
        return RuntimeEntry(runtime=runtime, reg_date=data["reg_date"], update_date=data["update_date"])

    # Last: below it, `list` in an annotation would be this method.
    def list(self) -> list[Runtime]:
        """By name."""
        return list(self._by_name.values())


def _read(file: Path) -> Runtime:
    settings, folders = _merged(file)
    try:
        starter = settings.get("starter")
        runtime = Runtime(
            name=_text(settings, "name", _NAME),
            runtime=_text(settings, "runtime", _NAME),
            version=_text(settings, "version", _NAME),
            aliases=tuple(settings.get("aliases", ())),
            file=_text(settings, "file", _FILE),
            handler=_text(settings, "handler"),
            sources=tuple(settings.get("sources", ())),
            starter=_find(folders, starter).read_text("utf-8") if starter else "",
            deprecated=settings.get("deprecated") or None,
            folders=tuple(str(folder) for folder in folders),
            settings=settings,
        )
        check_handler(runtime.handler)
        if runtime.name != file.parent.name:
            raise ValueError("its name is not the folder's")
        if not all(isinstance(alias, str) and _NAME.match(alias) for alias in runtime.aliases):
            raise ValueError("aliases: a list of names")
        if not all(isinstance(end, str) and _FILE_END.match(end) for end in runtime.sources):
            raise ValueError("sources: a list of ends of file names")
    except (ValueError, OSError, LateenError) as exc:
        raise ValueError(f"{file}: {exc}") from exc
    return runtime


def _merged(file: Path) -> tuple[dict[str, Any], list[Path]]:
    """The file's settings over those of what it extends, and the folders of all of them."""
    chain: list[dict[str, Any]] = []
    folders: list[Path] = []
    while True:
        try:
            settings = tomllib.loads(file.read_text("utf-8"))
        except (ValueError, OSError) as exc:
            raise ValueError(f"{file}: {exc}") from exc
        chain.append(settings)
        folders.append(file.parent.absolute())
        base = settings.get("extends")
        if base is None:
            break
        if not isinstance(base, str) or not _NAME.match(base) or len(chain) > _MAX_EXTENDS:
            raise ValueError(f"{file}: extends: the name of another runtime, without a circle")
        file = file.parent.parent / base / "runtime.toml"
    merged: dict[str, Any] = {}
    for settings in reversed(chain):
        # Aliases are a runtime's own: two runtimes must not share one.
        merged = _over({k: v for k, v in merged.items() if k not in ("aliases", "deprecated")}, settings)
    merged.pop("extends", None)
    return merged, folders


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _find(folders: list[Path], name: str) -> Path:
    return next((path for folder in folders if (path := folder / name).is_file()), folders[0] / name)


def _text(settings: dict[str, Any], key: str, pattern: re.Pattern[str] | None = None) -> str:
    value = settings.get(key)
    if not isinstance(value, str) or not value or (pattern and not pattern.match(value)):
        raise ValueError(f"{key}: a text is needed")
    return value
