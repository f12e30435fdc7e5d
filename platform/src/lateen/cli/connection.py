"""Where Lateen is and with which key to speak to it: from the environment, else from the data folder."""

import os
from collections.abc import Callable, Mapping
from functools import update_wrapper
from ipaddress import ip_address
from pathlib import Path
from typing import Concatenate, ParamSpec, Self
from urllib.parse import urlsplit

from msgspec import Struct

from lateen.cli.refusals import Refused
from lateen.domain.keys import ADMIN_FILE

P = ParamSpec("P")

DEFAULT_PORT = 8000


class Connection(Struct, frozen=True, kw_only=True):
    """`workspace` is a name or an id; None: the one that the key belongs to, or `default`."""

    endpoint: str
    token: str | None
    workspace: str | None
    data: Path

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises: `Refused` if the endpoint or the key is none, or the data folder has a key that can't be read."""
        data = Path(env.get("LATEEN_DATA") or ".lateen")
        endpoint = env.get("LATEEN_ENDPOINT") or f"http://127.0.0.1:{env.get('LATEEN_PORT') or DEFAULT_PORT}"
        _check(endpoint)
        token = env.get("LATEEN_TOKEN") or None
        # The administrator's key of this machine is never sent to another one.
        if token is None and is_loopback(endpoint):
            token = administrator_key(data)
        if token is not None and not (token.isascii() and token.isprintable()):
            raise Refused("the key is none that Lateen gave out", hint="see LATEEN_TOKEN; keys are such as ltn_…")
        return cls(endpoint=endpoint.rstrip("/"), token=token, workspace=env.get("LATEEN_WORKSPACE") or None, data=data)


def with_connection(command: Callable[Concatenate[Connection, P], None]) -> Callable[P, None]:
    """Gives a command its `Connection` as the first argument, when it runs: help and `lateen up` need none."""

    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        command(Connection.from_env(os.environ), *args, **kwargs)

    return update_wrapper(run, command)


def administrator_key(data: Path) -> str | None:
    """What the first start of Lateen left in its data folder; None if it has none."""
    path = data / ADMIN_FILE
    try:
        return path.read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise Refused(
            f"{path} is not readable", hint="run this as the user who runs Lateen, or set LATEEN_TOKEN"
        ) from exc


def is_loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if is_address:
        return
    raise Refused(f"'{endpoint}' is no address of a Lateen", hint="LATEEN_ENDPOINT is such as http://127.0.0.1:8000")
