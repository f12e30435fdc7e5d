"""Documentation pages: Swagger UI at `/docs`, ReDoc at `/redoc`, each file of theirs served from here.

The files are those of the package `drf_spectacular_sidecar`. It is never imported: that would ask for Django. The pages
allow no other host, and no script that is not one of the files.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from litestar import Controller, MediaType, Response, get
from litestar.types import Scope

from lateen.api.dependencies import DocumentDep

_STATIC = Path("static", "drf_spectacular_sidecar")
_FILES = {
    "/docs/swagger-ui.css": (_STATIC / "swagger-ui-dist/swagger-ui.css", "text/css; charset=utf-8"),
    "/docs/swagger-ui-bundle.js": (_STATIC / "swagger-ui-dist/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "/docs/favicon.png": (_STATIC / "swagger-ui-dist/favicon-32x32.png", "image/png"),
    "/redoc/redoc.standalone.js": (_STATIC / "redoc/bundles/redoc.standalone.js", "text/javascript; charset=utf-8"),
}
_TEXTS = {
    "/docs/start.js": (
        b"""window.addEventListener("load", () => SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
}));
""",
        "text/javascript; charset=utf-8",
    ),
    "/redoc/start.js": (
        b"""window.addEventListener("load", () => Redoc.init(
  "/openapi.json",
  { disableSearch: true, hideDownloadButton: false, nativeScrollbars: true },
  document.getElementById("page"),
));
""",
        "text/javascript; charset=utf-8",
    ),
    "/docs/page.css": (
        b"body { margin: 0; font-family: system-ui, sans-serif; }\n",
        "text/css; charset=utf-8",
    ),
}
ASSET_PATHS = frozenset(_FILES) | frozenset(_TEXTS)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/png" href="/docs/favicon.png">
<link rel="stylesheet" href="/docs/page.css">
{head}</head>
<body>
<div id="page"></div>
<script src="{bundle}"></script>
<script src="{start}"></script>
</body>
</html>
"""
_SWAGGER = _PAGE.format(
    title="Lateen: API",
    head='<link rel="stylesheet" href="/docs/swagger-ui.css">\n',
    bundle="/docs/swagger-ui-bundle.js",
    start="/docs/start.js",
)
_REDOC = _PAGE.format(
    title="Lateen: API reference", head="", bundle="/redoc/redoc.standalone.js", start="/redoc/start.js"
)

# Both write styles into the page themselves, which no hash can name; neither needs a script that is not a file.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MARK = (b"https://cdn.redoc.ly/redoc/logo-mini.svg", b"data:,")
"""ReDoc's mark at the foot of its page comes from another host; without an image it leaves it out."""
_CACHED = "public, max-age=86400"


class Docs(Controller):
    @get("/openapi.json", include_in_schema=False)
    async def openapi(self, document: DocumentDep) -> Response[bytes]:
        return Response(document(), media_type="application/json", headers={"Cache-Control": "no-cache"})

    @get("/docs", include_in_schema=False, media_type=MediaType.HTML)
    async def swagger(self) -> Response[str]:
        return _page(_SWAGGER)

    @get("/redoc", include_in_schema=False, media_type=MediaType.HTML)
    async def redoc(self) -> Response[str]:
        return _page(_REDOC)

    @get(sorted(ASSET_PATHS), include_in_schema=False)
    async def file(self, scope: Scope) -> Response[bytes]:
        content, media_type = _content(scope["path"])
        return Response(content, media_type=media_type, headers={"Cache-Control": _CACHED})


def _page(text: str) -> Response[str]:
    headers = {
        "Content-Security-Policy": _POLICY,
        "Cache-Control": "no-cache",
        # Keys are typed into the page, and the page of a function that opened it is of the same origin.
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return Response(text, media_type=MediaType.HTML, headers=headers)


@cache
def _content(path: str) -> tuple[bytes, str]:
    if path in _TEXTS:
        return _TEXTS[path]
    file, media_type = _FILES[path]
    root = _package()
    assert root is not None
    return (root / file).read_bytes().replace(*_MARK), media_type


@cache
def _package() -> Path | None:
    spec = find_spec("drf_spectacular_sidecar")
    return None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0])
