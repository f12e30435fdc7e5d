"""Fixtures of end-to-end tests: Lateen as people start it."""

from cluster_events import failing
from running_lateen import LATEEN, ROOT, STOP_S, Running, Start, clean_environment, server, start

__all__ = ["LATEEN", "ROOT", "STOP_S", "Running", "Start", "clean_environment", "failing", "server", "start"]
