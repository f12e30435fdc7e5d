"""`python -m lateen_invoker.build_pod fetch|pack`: what happens in a build's pod before the build and after it.

Both hold addresses in the object store that are good for one blob, and no credentials. The volume between them and the
build is read as what it is: a stranger's.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO

from lateen_invoker.artifact import ArtifactError, extract
from lateen_invoker.build_folders import PackRefused, pack, unpack_source

WORK, SCRATCH = Path("/build"), Path("/scratch")
TERMINATION_LOG = Path("/dev/termination-log")
REFUSED_EXIT = 3
TIMEOUT_S = 60
_CHUNK = 1024 * 1024


def fetch(work: Path) -> None:
    """Folders for the build: the source, and what an earlier one kept. Raises: `ArtifactError`, `OSError`."""
    for name in ("output", "cache", "tmp", "home"):
        (work / name).mkdir()
    given, kept = SCRATCH / "source.zip", SCRATCH / "cache.zip"
    _get(os.environ["LATEEN_SOURCE_URL"], given)
    unpack_source(given, os.environ["LATEEN_SOURCE_SHA256"], work / "source")
    with suppress(OSError, ArtifactError):  # whatever is wrong with it, it can be done without
        _get(os.environ["LATEEN_CACHE_URL"], kept)
        extract(kept, work / "cache")
        for folder, _, names in os.walk(work / "cache"):
            for name in names:
                path = os.path.join(folder, name)
                os.chmod(path, os.stat(path).st_mode & 0o777 | 0o200)


def pack_all(work: Path) -> None:
    """Raises: `PackRefused`, `OSError`."""
    made, kept = SCRATCH / "artifact.zip", SCRATCH / "cache.zip"
    folder = work / ("source" if os.environ["LATEEN_BUILD_RESULT"] == "source" else "output")
    pack(folder, made)
    _put(os.environ["LATEEN_ARTIFACT_URL"], made)
    with suppress(OSError, PackRefused):
        cache = work / "cache"
        if not cache.is_symlink() and any(cache.iterdir()):
            pack(cache, kept)
            _put(os.environ["LATEEN_CACHE_URL"], kept)


def _get(url: str, target: Path) -> None:
    with _opened(urllib.request.Request(url)) as answer, target.open("xb") as file:  # noqa: S310 - the platform's own
        while chunk := answer.read(_CHUNK):
            file.write(chunk)


def _put(url: str, source: Path) -> None:
    with source.open("rb") as file:
        headers = {"Content-Length": str(source.stat().st_size), "Content-Type": ""}
        request = urllib.request.Request(url, data=file, headers=headers, method="PUT")  # noqa: S310
        with _opened(request) as answer:
            answer.read()


def _opened(request: urllib.request.Request) -> IO[bytes]:
    """Raises: `OSError` whose text has no address in it, which is as good as a password."""
    bundle = os.environ.get("AWS_CA_BUNDLE")
    context = ssl.create_default_context(cafile=bundle) if request.type == "https" else None
    try:
        opened: IO[bytes] = urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context)  # noqa: S310
        return opened
    except urllib.error.HTTPError as exc:
        raise OSError(f"the object store answers {exc.code}") from None
    except urllib.error.URLError as exc:
        raise OSError(f"the object store can't be reached: {exc.reason}") from None


def main(what: str) -> None:
    try:
        if what == "fetch":
            fetch(WORK)
        else:
            pack_all(WORK)
    except (PackRefused, ArtifactError, OSError) as exc:
        with suppress(OSError):
            TERMINATION_LOG.write_text(str(exc))
        sys.exit(REFUSED_EXIT if isinstance(exc, PackRefused) else 1)


if __name__ == "__main__":
    main(sys.argv[1])
