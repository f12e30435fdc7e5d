"""The command line: click in front, HTTP behind. It knows the REST surface and nothing else of the platform."""

import sys


def main() -> None:
    """Runs the command that the arguments name, and ends the process with its exit code."""
    from lateen.cli.root import run

    sys.exit(run(sys.argv[1:]))
