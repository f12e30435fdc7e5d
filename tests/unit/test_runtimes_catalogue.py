"""The catalogue of runtimes: folders in, values out."""

from pathlib import Path

import pytest

from lateen.adapters.sqlite import SqliteTable
from lateen.domain.errors import InvalidInput, NotFound
from lateen.domain.runtimes import Runtime
from lateen.services.runtimes import Runtimes
from lateen.testing.assembled import ManualClock

BASE = """
name = "toy1.0"
runtime = "toy"
version = "1.0"
aliases = ["toy", "toy1.x"]
file = "code.toy"
handler = "code.handler"
starter = "starter.toy"
deprecated = "gone soon"
[embedded]
command = ["toy", "run"]
interpreters = ["toy1.0"]
"""
NEXT = """
extends = "toy1.0"
name = "toy1.1"
version = "1.1"
aliases = ["toy1.x-next"]
[embedded]
interpreters = ["toy1.1"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("toy1.0", BASE), ("toy1.1", NEXT)):
        (tmp_path / "runtimes" / name).mkdir(parents=True)
        (tmp_path / "runtimes" / name / "runtime.toml").write_text(text)
    (tmp_path / "runtimes" / "toy1.0" / "starter.toy").write_text("say hello")
    (tmp_path / "runtimes" / "notes").mkdir()
    return tmp_path / "runtimes"


async def test_a_runtime_takes_the_rest_from_the_one_it_extends(folder: Path, sqlite_table: SqliteTable) -> None:
    """Keys over keys, tables key by key, files from the first folder that has them; aliases are each one's own."""
    base, extended = Runtimes(folder, table=sqlite_table).list()
    assert (extended.runtime, extended.version, extended.file) == ("toy", "1.1", "code.toy")
    assert extended.settings["embedded"] == {"command": ["toy", "run"], "interpreters": ["toy1.1"]}
    assert extended.starter == base.starter == "say hello"
    assert extended.aliases == ("toy1.x-next",)
    assert (base.deprecated, extended.deprecated) == ("gone soon", None)
    assert extended.folders == (str(folder / "toy1.1"), str(folder / "toy1.0"))


async def test_names_aliases_and_pairs_lead_to_a_runtime(folder: Path, sqlite_table: SqliteTable) -> None:
    """And nothing else does."""
    runtimes = Runtimes(folder, table=sqlite_table)
    assert (
        runtimes.resolve("toy1.0").name == runtimes.resolve("toy1.x").name == runtimes.resolve("toy").name == "toy1.0"
    )
    assert runtimes.resolve("toy", "1.1").name == runtimes.resolve("toy1.1", "1.1").name == "toy1.1"
    for name, version in (
        ("cobol", None),
        ("../toy1.0", None),
        ("", None),
        ("toy", "2.0"),
        ("toy1.0", "1.1"),
        ("toy", ""),
    ):
        with pytest.raises(InvalidInput):
            runtimes.resolve(name, version)
    with pytest.raises(NotFound):
        runtimes.get("toy")


async def test_a_runtime_without_toolchain_says_why(folder: Path, sqlite_table: SqliteTable) -> None:
    """It is listed, and nothing can be made with it."""

    def missing(runtime: Runtime) -> str | None:
        return (
            "there is no toy1.1 on this machine" if "toy1.1" in runtime.settings["embedded"]["interpreters"] else None
        )

    runtimes = Runtimes(folder, table=sqlite_table, disabled=missing)
    assert [r.disabled for r in runtimes.list()] == [None, "there is no toy1.1 on this machine"]
    with pytest.raises(InvalidInput, match=r"there is no toy1\.1"):
        runtimes.resolve("toy", "1.1")


async def test_seeding_again_changes_nothing(folder: Path, sqlite_table: SqliteTable) -> None:
    """The dates stay, until a runtime itself changes; then the first one stays."""
    clock = ManualClock()
    first = await Runtimes(folder, table=sqlite_table, now=clock).setup()
    clock.now_s += 60
    assert await Runtimes(folder, table=sqlite_table, now=clock).setup() == first
    file = folder / "toy1.1" / "runtime.toml"
    file.write_text(file.read_text() + 'command = ["toy", "start"]\n')
    base, changed = await Runtimes(folder, table=sqlite_table, now=clock).entries()
    assert base == first[0]
    assert changed.reg_date == first[1].reg_date < changed.update_date


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "toy1.0"', 'name = "other"'),
        ('file = "code.toy"', 'file = "../code.toy"'),
        ('file = "code.toy"', 'file = "a/code.toy"'),
        ('handler = "code.handler"', 'handler = "../x"'),
        ('version = "1.0"', "version = 1.0"),
        ('aliases = ["toy", "toy1.x"]', 'aliases = ["toy1.1"]'),
        ('aliases = ["toy", "toy1.x"]', "aliases = [1]"),
        ('aliases = ["toy", "toy1.x"]', 'extends = "toy1.1"'),
        ('aliases = ["toy", "toy1.x"]', 'extends = "../x"'),
        ('aliases = ["toy", "toy1.x"]', 'extends = "nowhere"'),
        ('starter = "starter.toy"', 'starter = "absent"'),
        ("[embedded]", "[embedded"),
    ],
)
async def test_a_wrong_description_names_its_file(folder: Path, sqlite_table: SqliteTable, old: str, new: str) -> None:
    """The platform does not start with half a catalogue."""
    file = folder / "toy1.0" / "runtime.toml"
    assert old in BASE
    file.write_text(BASE.replace(old, new))
    with pytest.raises(ValueError, match=r"runtime\.toml"):
        Runtimes(folder, table=sqlite_table)
