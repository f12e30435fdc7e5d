"""The command line: click in front, HTTP behind. It knows the REST surface and nothing else of the platform."""

import sys


def main() -> None:
    """Runs the command that the arguments name, and ends the process with its exit code."""
    # httpx has a command line too, and imports it where rich and pygments are: as long as all that ours needs.
    # None is Python's word for a module that can't be imported, which httpx gets along with.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    from lateen.cli.root import run

    sys.exit(run(sys.argv[1:]))
