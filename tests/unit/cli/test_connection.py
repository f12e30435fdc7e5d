"""Where the command line looks for Lateen and for a key."""

from pathlib import Path

import pytest

from lateen.cli.connection import Connection
from lateen.cli.refusals import Refused


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "admin").write_text("ltn_local\n")
    return tmp_path


def test_the_data_folder_gives_the_key(data: Path) -> None:
    """After `lateen up` nothing is to be set."""
    found = Connection.from_env({"LATEEN_DATA": str(data)})
    assert (found.endpoint, found.token) == ("http://127.0.0.1:8000", "ltn_local")


def test_the_environment_comes_first(data: Path) -> None:
    """What a person set is what is used."""
    found = Connection.from_env(
        {"LATEEN_DATA": str(data), "LATEEN_ENDPOINT": "https://lateen.example.org/", "LATEEN_TOKEN": "ltn_other"}
    )
    assert (found.endpoint, found.token) == ("https://lateen.example.org", "ltn_other")


def test_the_port_moves_the_endpoint(data: Path) -> None:
    """LATEEN_PORT=9000 lateen up, then LATEEN_PORT=9000 lateen list."""
    assert Connection.from_env({"LATEEN_PORT": "9000"}).endpoint == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    "endpoint",
    ["https://lateen.example.org", "http://127.0.0.1.example.org", "http://localhost@example.org", "http://192.0.2.1"],
)
def test_the_administrators_key_never_leaves_this_machine(data: Path, endpoint: str) -> None:
    """Another endpoint gets no key that was not given for it."""
    assert Connection.from_env({"LATEEN_DATA": str(data), "LATEEN_ENDPOINT": endpoint}).token is None


@pytest.mark.parametrize("endpoint", ["http://localhost:9000", "http://[::1]:8000", "http://127.0.0.2"])
def test_loopback_is_this_machine(data: Path, endpoint: str) -> None:
    """However it is written."""
    assert Connection.from_env({"LATEEN_DATA": str(data), "LATEEN_ENDPOINT": endpoint}).token == "ltn_local"


def test_no_data_folder_is_no_key(tmp_path: Path) -> None:
    """The server then says that one is needed, and we say where it comes from."""
    assert Connection.from_env({"LATEEN_DATA": str(tmp_path / "none")}).token is None


@pytest.mark.parametrize("token", ["ltn_é", "ltn_a\nb", "ltn_\udcff"])
def test_a_key_that_no_header_can_hold_is_refused(token: str) -> None:
    """With a sentence that doesn't repeat it."""
    with pytest.raises(Refused) as caught:
        Connection.from_env({"LATEEN_TOKEN": token})
    assert token not in caught.value.message


def test_a_key_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """A folder of that name, or bytes that are no text."""
    (tmp_path / "admin").mkdir()
    with pytest.raises(Refused, match="not readable"):
        Connection.from_env({"LATEEN_DATA": str(tmp_path)})
    (tmp_path / "admin").rmdir()
    (tmp_path / "admin").write_bytes(b"\xff")
    with pytest.raises(Refused, match="not readable"):
        Connection.from_env({"LATEEN_DATA": str(tmp_path)})
