"""Scripts and styles: files of the package, made by `hack/build-ui`, compressed once and named by what is in them."""

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from msgspec import Struct

FOLDER = Path(__file__).with_name("static")
PATH = "/ui/static"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_DIGEST = 12
_FOR_EVER = "public, max-age=31536000, immutable"


class _Asset(Struct, frozen=True):
    content: bytes
    compressed: bytes
    media_type: str
    digest: str


@cache
def _assets() -> dict[str, _Asset]:
    found = {}
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in _TYPES:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:_DIGEST]
            found[file.name] = _Asset(content, gzip.compress(content, 9, mtime=0), _TYPES[file.suffix], digest)
    return found


def asset_url(name: str) -> str:
    """Where a page finds a file. A file that changes is at another address."""
    return f"{PATH}/{_assets()[name].digest}/{name}"


@get("/static/{digest:str}/{name:str}", include_in_schema=False)
async def asset(request: Request[Any, Any, Any], digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """Public: there is nothing of anybody's in it."""
    if (found := _assets().get(name)) is None:
        raise NotFoundException
    # While replicas are replaced, a page may be of one that has another: ours is better than none, until the next load.
    kept = _FOR_EVER if found.digest == digest else "no-store"
    headers = {"Cache-Control": kept, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(found.compressed, media_type=found.media_type, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)
