"""Fetches the code of a pod's function from the object store: `python -m lateen_invoker.fetch`, a short-lived process.

The store's client takes tens of megabytes and is needed once, if at all, so it lives and ends here. Each line on stdout
is a JSON object with `state`: `retrying` with its `reason`, and last `done` with seconds spent, or `failed` with
`reason`.

What is in the code's folder is whole if the marker, which lies elsewhere and is written last, names its SHA-256: then a
restarted container fetches nothing. Whatever else lies there is removed.
"""

import contextlib
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from lateen_invoker import folders
from lateen_invoker.artifact import ArtifactError, extract
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


class Unreachable(Exception):
    """The store could not be asked, or not to the end."""


class Refused(Exception):
    """The store answered that it won't give the code to us."""


def main() -> int:
    os.umask(0o022)
    try:
        configure = json.loads(Path(os.environ["LATEEN_CONFIGURE"]).read_bytes())
        bucket, key = str(configure["artifact_bucket"]), str(configure["artifact_key"])
        sha256 = str(configure["artifact_sha256"])
        name_region(str(configure["region"]))
    except (OSError, ValueError, KeyError, TypeError):
        return 2  # the invoker itself says what is wrong with it
    code_dir, marker = Path(os.environ["LATEEN_CODE"]), Path(os.environ["LATEEN_CODE_MARKER"])
    try:
        if _is_whole(marker, sha256):
            _tell({"state": "done", "seconds": {}})
            return 0
        clear(code_dir, marker)
        seconds = _fetch(bucket, key, sha256, code_dir, give_up_s=float(os.environ["LATEEN_FETCH_SECONDS"]))
        marker.write_text(sha256)
    except ArtifactError as exc:
        _tell({"state": "failed", "reason": str(exc)})
        return 1
    except OSError as exc:
        _tell({"state": "failed", "reason": f"the code can't be stored ({exc.strerror})"})
        return 1
    _tell({"state": "done", "seconds": seconds})
    return 0


def clear(code_dir: Path, marker: Path) -> None:
    """Remove what lies in the folder, which itself is a mount point and stays."""
    marker.unlink(missing_ok=True)
    for entry in list(code_dir.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            folders.remove(str(entry))
        else:
            entry.unlink()


def _fetch(bucket: str, key: str, sha256: str, code_dir: Path, *, give_up_s: float) -> dict[str, float]:
    """Raises: `ArtifactError` when it will not come."""
    started = time.monotonic()
    invoker = os.getppid()
    wait_s, refused_at, told = FIRST_RETRY_S, 0.0, ""
    client: Any = None
    while True:
        imported = started
        try:
            with _file_in(code_dir) as package:
                if client is not None or _download_quickly(bucket, key, package) != sha256:
                    package.seek(0)
                    package.truncate()
                    client = client or _client()
                    imported = time.monotonic()
                    if _download(client, bucket, key, package) != sha256:
                        raise ArtifactError("the code does not have the SHA-256 that it was deployed with")
                downloaded = time.monotonic()
                package.seek(0)
                extract(package, code_dir)
            return {
                "client": round(imported - started, 3),
                "download": round(downloaded - imported, 3),
                "unpack": round(time.monotonic() - downloaded, 3),
            }
        except Unreachable as exc:
            reason, limit, since = str(exc), give_up_s, started
        except Refused as exc:
            refused_at = refused_at or time.monotonic()
            reason, limit, since = str(exc), min(REFUSED_FOR_S, give_up_s), refused_at
        if time.monotonic() - since + wait_s > limit:
            raise ArtifactError(reason)
        if reason != told:
            _tell({"state": "retrying", "reason": reason})
            told = reason
        if os.getppid() != invoker:
            raise ArtifactError("the invoker has ended")
        time.sleep(wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
        wait_s = min(LAST_RETRY_S, wait_s * 2)


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


def _download(client: Any, bucket: str, key: str, package: IO[bytes]) -> str:
    """Returns: the SHA-256, hex. Raises: `Unreachable`, `Refused`, `ArtifactError`."""
    from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError
    from urllib3.exceptions import HTTPError

    digest = hashlib.sha256()
    try:
        with contextlib.closing(client.get_object(Bucket=bucket, Key=key)["Body"]) as body:
            while chunk := body.read(_CHUNK):
                digest.update(chunk)
                package.write(chunk)
    except ClientError as exc:
        code = str(exc.response.get("Error", {}).get("Code", ""))
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _NOT_THERE:
            what = "bucket" if code == "NoSuchBucket" else "code"
            raise ArtifactError(f"the {what} was not found in the object store") from exc
        if code in _REFUSED or status in (401, 403):
            raise Refused(f"the object store refused access to the code ({code})") from exc
        raise Unreachable(f"the object store can't give the code now ({code})") from exc
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
