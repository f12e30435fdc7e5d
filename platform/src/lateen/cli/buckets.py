"""`s3://bucket/key` in the place of a path: a zip that the server fetches. Nothing of S3 is asked from here."""

import re
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from lateen.cli.refusals import Refused

SCHEME = "s3://"
_FORM = re.compile(r"s3://([^/?#]+)/(.+?)(?:\?versionId=([^?&]+))?", re.DOTALL)


class S3Place(Struct, frozen=True):
    bucket: str
    key: str
    version: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """As the REST API is told."""
        return {"bucket": self.bucket, "key": self.key, "version": self.version}

    @property
    def stem(self) -> str:
        """What a file of the key's name would be called without its end."""
        return Path(self.key.rstrip("/")).stem


class CodePath(click.Path):
    """A `Path` that exists, or an `S3Place`."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, S3Place):
            return value
        if not isinstance(value, str) or not value.startswith(SCHEME):
            return super().convert(value, param, ctx)
        try:
            return place_from(value)
        except Refused as refusal:
            self.fail(refusal.message, param, ctx)


def place_from(uri: str) -> S3Place:
    """Raises: `Refused`."""
    if not (found := _FORM.fullmatch(uri)):
        raise Refused(f"{uri!r} is not of the form s3://BUCKET/KEY, or s3://BUCKET/KEY?versionId=VERSION")
    return S3Place(*found.groups())
