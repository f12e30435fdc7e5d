"""Fixtures of end-to-end tests: Lateen as people start it."""

from running_lateen import server, start  # noqa: F401 - fixtures
