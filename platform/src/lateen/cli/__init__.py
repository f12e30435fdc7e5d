"""The command line: click in front, HTTP behind. It knows the REST surface and nothing else of the platform."""

from lateen.cli.root import main

__all__ = ["main"]
