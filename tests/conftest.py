"""Fixtures for all tests: the event loop, and the embedded stores in a folder of the test's own."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

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


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs a cluster is named where there is none. In CI there has to be one: there it fails."""
    if item.get_closest_marker("cluster") is None:
        return
    kubeconfig = os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config"
    if not Path(kubeconfig).is_file():
        reason = "needs a Kubernetes cluster: there is no KUBECONFIG and no ~/.kube/config"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
