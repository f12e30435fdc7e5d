"""Pages out of templates. Whatever users wrote is text in them: the engine escapes all that is put in."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.template.config import TemplateConfig

from lateen.ui.assets import asset_url
from lateen.ui.sessions import Session

PageRequest = Request[Any, Any, Any]
THEMES = ("dark", "light")
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(ago=ago, moment=moment, milliseconds=milliseconds, size=size)
    environment.globals.update(asset=asset_url)
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))


def page(request: PageRequest, template: str, *, status: int = 200, **context: Any) -> Template:
    """A page, or a part of one, for who has sent `request`."""
    state = request.scope["state"]
    session: Session = state["session"]
    theme = request.cookies.get("lateen_theme", "")
    whole = {
        "token": state["token"],
        "is_signed_in": session.is_signed_in,
        "theme": theme if theme in THEMES else "",
        **context,
    }
    return Template(template, context=whole, status_code=status, media_type="text/html")


def ago(iso: str) -> str:
    """How long ago a moment was, in one unit."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(iso)).total_seconds()
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def moment(iso: str) -> str:
    """`2026-01-31 23:59:59 UTC`."""
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def size(value: int) -> str:
    """Bytes for a person."""
    if value < 1024:
        return f"{value} B"
    if value < 1024 * 1024:
        return f"{value / 1024:.0f} KiB"
    return f"{value / 1024 / 1024:.1f} MiB"
