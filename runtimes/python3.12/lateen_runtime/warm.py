"""What the fork server imports, so that no environment has to: what handlers use, weighed against memory that every
idle function takes. Most wanted first."""

import importlib

WARM = (
    "datetime", "re", "typing", "collections.abc", "functools", "base64", "urllib.parse", "uuid", "hashlib",
    "random", "threading", "dataclasses", "_strptime", "bisect", "calendar", "concurrent.futures.thread",
    "contextlib", "contextvars", "copy", "csv", "email.message", "email.parser", "email.utils", "enum", "gzip",
    "heapq", "hmac", "html", "http.client", "inspect", "io", "ipaddress", "itertools", "math", "operator",
    "pathlib", "pickle", "queue", "secrets", "select", "selectors", "shutil", "signal", "ssl", "string",
    "subprocess", "tempfile", "textwrap", "types", "urllib.request", "warnings", "weakref", "zipfile", "zlib",
    "zoneinfo", "asyncio",
)  # fmt: skip


def warm():
    """Import them one by one; each step is a few milliseconds."""
    for name in WARM:
        yield importlib.import_module(name)
