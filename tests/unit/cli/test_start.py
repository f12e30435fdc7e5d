"""What each command of `lateen` waits for before it does anything."""

import subprocess
import sys

ASKED = """
import sys
from lateen.cli import main
sys.argv = ["lateen", "--version"]
try:
    main()
except SystemExit:
    print(*sorted({name.partition(".")[0] for name in sys.modules} & {"httpx", "pygments", "rich"}), file=sys.stderr)
"""


def test_httpx_s_own_command_line_is_not_loaded() -> None:
    """httpx imports it where it can, with rich and pygments, which the platform's dependencies bring."""
    ended = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    assert ended.stderr == "httpx\n"
