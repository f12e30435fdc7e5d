"""Fetches the code of a pod's function, and its layers, from the object store: `python -m lateen_invoker.fetch`, a
short-lived process.

The store's client takes tens of megabytes and is needed once, if at all, so it lives and ends here. Each line on stdout
is a JSON object with `state`: `retrying` with its `reason`, and last `done` with seconds spent, or `failed` with
`reason`.

What is in the code's folder is whole if the marker, which lies elsewhere and is written last, names its SHA-256, and
after it those of the layers: then a restarted container fetches nothing. Whatever else lies there is removed.
"""

import contextlib
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from lateen_invoker import folders
from lateen_invoker.artifact import CODE, UNPACKED_LIMIT, ArtifactError, extract
from lateen_invoker.fetching import name_region
from lateen_invoker.quick_get import NotPlain, is_path_style, quick_get

CONNECT_S, READ_S = 3.0, 10.0
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 3.0
REFUSED_FOR_S = 30.0
"""A refusal may heal: rights that were just given take a while to be known everywhere."""
_CHUNK = 1024 * 1024
_NOT_THERE = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})
_REFUSED = frozenset(
    {
        "403", "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "Forbidden",
        "InvalidAccessKeyId", "InvalidIdentityToken", "InvalidToken", "RequestTimeTooSkewed", "SignatureDoesNotMatch",
    }
)  # fmt: skip


class Wanted(NamedTuple):
    """One zip, and where it is to be unpacked."""

    key: str
    sha256: str
    folder: Path
    what: str
    """Said of it where something is wrong with it."""
    over: bool
    """It replaces what is there."""


class Unreachable(Exception):
    """The store could not be asked, or not to the end."""


class Refused(Exception):
    """The store answered that it won't give the code to us."""


def main() -> int:
    os.umask(0o022)
    try:
        configure = json.loads(Path(os.environ["LATEEN_CONFIGURE"]).read_bytes())
        bucket = str(configure["artifact_bucket"])
        wanted = _wanted(configure, Path(os.environ["LATEEN_CODE"]), Path(os.environ["LATEEN_LAYERS"]))
        name_region(str(configure["region"]))
    except (OSError, ValueError, KeyError, TypeError):
        return 2  # the invoker itself says what is wrong with it
    if not wanted:
        _tell({"state": "done", "seconds": {}})
        return 0
    marker, whole = Path(os.environ["LATEEN_CODE_MARKER"]), " ".join(each.sha256 for each in wanted)
    try:
        if _is_whole(marker, whole):
            _tell({"state": "done", "seconds": {}})
            return 0
        marker.unlink(missing_ok=True)
        for folder in {each.folder for each in wanted}:
            clear(folder)
        seconds = Fetching(bucket, give_up_s=float(os.environ["LATEEN_FETCH_SECONDS"])).all(wanted)
        marker.write_text(whole)
    except ArtifactError as exc:
        _tell({"state": "failed", "reason": str(exc)})
        return 1
    except OSError as exc:
        _tell({"state": "failed", "reason": f"the code can't be stored ({exc.strerror})"})
        return 1
    _tell({"state": "done", "seconds": seconds})
    return 0


def _wanted(configure: Mapping[str, Any], code_dir: Path, layers_dir: Path) -> list[Wanted]:
    code = Wanted(str(configure["artifact_key"]), str(configure["artifact_sha256"]), code_dir, CODE, False)
    return [
        *([code] if code.key else []),  # without one it is in the runtime's image
        *(
            Wanted(str(layer["key"]), str(layer["sha256"]), layers_dir, f"the layer {layer['arn']}", True)
            for layer in configure.get("layers", [])
        ),
    ]


def clear(folder: Path) -> None:
    """Remove what lies in the folder, which itself is a mount point and stays."""
    for entry in list(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            folders.remove(str(entry))
        else:
            entry.unlink()


class Fetching:
    """`all`, once. The store's client is made when it is needed, and for all that is fetched."""

    def __init__(self, bucket: str, *, give_up_s: float) -> None:
        self._bucket = bucket
        self._give_up_s = give_up_s
        self._invoker = os.getppid()
        self._started = time.monotonic()
        self._refused_at = 0.0
        self._told = ""
        self._client: Any = None
        self._seconds = {"client": 0.0, "download": 0.0, "unpack": 0.0}

    def all(self, wanted: Sequence[Wanted]) -> dict[str, float]:
        """One after the other. Returns: where the time went. Raises: `ArtifactError` when one of them will not come."""
        left = {each.folder: UNPACKED_LIMIT for each in wanted}
        for each in wanted:
            left[each.folder] -= self._fetch(each, left[each.folder])
        return {name: round(spent, 3) for name, spent in self._seconds.items()}

    def _fetch(self, wanted: Wanted, limit: int) -> int:
        wait_s = FIRST_RETRY_S
        while True:
            try:
                return self._attempt(wanted, limit)
            except Unreachable as exc:
                reason, within_s, since = str(exc), self._give_up_s, self._started
            except Refused as exc:
                self._refused_at = self._refused_at or time.monotonic()
                reason, within_s, since = str(exc), min(REFUSED_FOR_S, self._give_up_s), self._refused_at
            if time.monotonic() - since + wait_s > within_s:
                raise ArtifactError(reason)
            if reason != self._told:
                _tell({"state": "retrying", "reason": reason})
                self._told = reason
            if os.getppid() != self._invoker:
                raise ArtifactError("the invoker has ended")
            time.sleep(wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
            wait_s = min(LAST_RETRY_S, wait_s * 2)

    def _attempt(self, wanted: Wanted, limit: int) -> int:
        """Returns: bytes unpacked."""
        began = imported = time.monotonic()
        with _file_in(wanted.folder) as package:
            if self._client is not None or _download_quickly(self._bucket, wanted.key, package) != wanted.sha256:
                package.seek(0)
                package.truncate()
                self._client = self._client or _client()
                imported = time.monotonic()
                if _download(self._client, self._bucket, wanted, package) != wanted.sha256:
                    raise ArtifactError(f"{wanted.what} does not have the SHA-256 that it was deployed with")
            downloaded = time.monotonic()
            package.seek(0)
            size = extract(package, wanted.folder, wanted.what, over=wanted.over, limit=limit)
        for name, spent in (
            ("client", imported - began),
            ("download", downloaded - imported),
            ("unpack", time.monotonic() - downloaded),
        ):
            self._seconds[name] += spent
        return size


def _download_quickly(bucket: str, key: str, package: IO[bytes]) -> str:
    """Without the SDK, where that is possible. Returns: the SHA-256, hex, or nothing."""
    digest = hashlib.sha256()
    try:
        for chunk in quick_get(os.environ, bucket, key):
            digest.update(chunk)
            package.write(chunk)
    except NotPlain:
        return ""
    return digest.hexdigest()


def _client() -> Any:
    """Of the standard chain: credentials, region, endpoint, CA bundle and proxies as all AWS tools read them."""
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1},
        s3={"addressing_style": "path" if is_path_style(os.environ) else "virtual"},
        # What is checked is the SHA-256 that the function was deployed with.
        response_checksum_validation="when_required",
    )  # fmt: skip
    try:
        return botocore.session.get_session().create_client("s3", config=config)
    except (BotoCoreError, ValueError) as exc:
        raise ArtifactError(f"the object store's settings are wrong: {_in_one_line(exc)}") from exc


def _download(client: Any, bucket: str, wanted: Wanted, package: IO[bytes]) -> str:
    """Returns: the SHA-256, hex. Raises: `Unreachable`, `Refused`, `ArtifactError`."""
    from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError
    from urllib3.exceptions import HTTPError

    digest = hashlib.sha256()
    try:
        with contextlib.closing(client.get_object(Bucket=bucket, Key=wanted.key)["Body"]) as body:
            while chunk := body.read(_CHUNK):
                digest.update(chunk)
                package.write(chunk)
    except ClientError as exc:
        code = str(exc.response.get("Error", {}).get("Code", ""))
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _NOT_THERE:
            what = "the bucket" if code == "NoSuchBucket" else wanted.what
            raise ArtifactError(f"{what} was not found in the object store") from exc
        if code in _REFUSED or status in (401, 403):
            raise Refused(f"the object store refused access to {wanted.what} ({code})") from exc
        raise Unreachable(f"the object store can't give {wanted.what} now ({code})") from exc
    except (NoCredentialsError, CredentialRetrievalError) as exc:
        raise Refused(f"there are no credentials for the object store ({type(exc).__name__})") from exc
    except (BotoCoreError, HTTPError) as exc:
        raise Unreachable(f"the object store can't be reached ({type(exc).__name__})") from exc
    return digest.hexdigest()


def _file_in(folder: Path) -> IO[bytes]:
    """A file without a name on the code's own volume, whose size is made for packages."""
    return tempfile.TemporaryFile(dir=folder)


def _is_whole(marker: Path, sha256: str) -> bool:
    try:
        return marker.read_text() == sha256
    except OSError:
        return False


def _tell(line: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the invoker has ended
        os.write(1, json.dumps(line).encode() + b"\n")


def _in_one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())


if __name__ == "__main__":
    sys.exit(main())
