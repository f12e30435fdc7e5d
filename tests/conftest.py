"""Fixtures for all tests: the event loop, the embedded stores in a folder of the test's own, Lateen in a cluster."""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cluster_install import ingress_controller, installed, release, unreachable  # noqa: F401 - fixtures
from cluster_stores import cluster_stores  # noqa: F401

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sqlite_table(tmp_path: Path) -> AsyncIterator[SqliteTable]:
    table = SqliteTable(tmp_path / "table" / "lateen.db")
    yield table
    await table.close()


@pytest.fixture
def file_objects(tmp_path: Path) -> FileObjects:
    return FileObjects(tmp_path / "objects")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several processes: files with slow tests first, for all would wait for who began such a file last; then one
    of each folder in turn, so that those which wait run beside those which need processors."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    turns: dict[Path, int] = {}
    files: Counter[Path] = Counter()
    for path in dict.fromkeys(item.path for item in items):
        turns[path] = files[path.parent]
        files[path.parent] += 1
    items.sort(key=lambda item: (item.path not in slow, turns[item.path]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs a cluster is named where there is none. In CI there has to be one: there it fails."""
    if item.get_closest_marker("cluster") is None or not (why := unreachable()):
        return
    reason = f"needs a Kubernetes cluster, which KUBECONFIG names: {why}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
