"""What a build's log says, and what it keeps to itself."""

from typing import cast

import pytest

from lateen.ports.table import Table
from lateen.services.build_logs import BuildLog
from lateen.services.builds import Build

SECRET = "s3cret-token"


@pytest.mark.parametrize(
    "printed",
    [
        SECRET,
        f"https://user:{SECRET}@index.example.org/simple",
        "s3cret\x1b[1m-token\x1b[0m",
        "s3\x1b]0;title\x07cret-\x00token",
    ],
)
def test_a_secret_is_hidden_however_it_is_coloured(printed: str) -> None:
    """Colours, and whatever else steers a terminal, are taken out; what is left then is looked through."""
    build = Build(id="b", workspace_id="w", runtime="python3.12")
    # The table is for what is written later.
    log = BuildLog(cast("Table", None), build, secrets=[SECRET])
    log.add(f"before {printed} after\n".encode())
    assert "before" in log.last_lines()
    assert "after" in log.last_lines()
    assert SECRET not in log.last_lines()
    assert SECRET not in log.masked(printed)
