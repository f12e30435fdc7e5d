"""What is shown of a function's build while it goes on."""

from typing import Any

import click

from lateen.cli.client import Client, refusal_from
from lateen.cli.output import plain


class BuildShown:
    """Each `more` prints on stderr what came since the one before."""

    def __init__(self, client: Client, function: dict[str, Any]) -> None:
        self._client = client
        self._path = f"/api/functions/{function['id']}/builds/latest"
        self._after = ""
        self._has_build = True

    def more(self) -> bool:
        """Returns: whether it goes on. Raises: `Refused`."""
        while self._has_build:
            answer = self._client.send("GET", self._path, params={"after": self._after} if self._after else None)
            if answer.status_code == 404:
                self._has_build = False
                break
            if not answer.is_success:
                raise refusal_from(answer)
            build = answer.json()
            self._after = build["next"]
            click.echo(plain(build["log"]), nl=False, err=True)
            if not build["log"]:
                return build["state"] in ("Waiting", "Building")
        return False
