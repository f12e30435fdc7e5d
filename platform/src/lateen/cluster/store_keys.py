"""`python -m lateen.cluster.store_keys`: keys of the stores that the chart runs for a trial, made once.

Beside `lateen secrets`, in the same job and by the same rule: a Secret that is there stays as it is.

Read from the environment: `LATEEN_SECRET_NAME`, `LATEEN_SECRET_LABELS`. Exit codes: 0 done, 1 could not.
"""

import asyncio
import os
import secrets
import string
import sys
from collections.abc import Mapping

from lateen.adapters.kubernetes.access import Access, NoAccess
from lateen.adapters.kubernetes.api import ApiError, KubernetesApi
from lateen.adapters.kubernetes.kinds import SECRET, Ref
from lateen.cluster.secrets import NAMESPACE_FILE, Incomplete, ensure_secret

ID_KEY, SECRET_KEY, FILE_KEY = "access-key-id", "secret-access-key", "credentials"
_LETTERS = string.ascii_uppercase + string.digits


def store_keys() -> Mapping[str, bytes]:
    """New keys, under the names that the chart looks for.

    DynamoDB Local asks for no secret; who knows the id sees the data. So the id is one too: 100 random bits.
    """
    key_id = "LTN" + "".join(secrets.choice(_LETTERS) for _ in range(20))
    secret = secrets.token_urlsafe(30)
    file = f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n"
    return {ID_KEY: key_id.encode(), SECRET_KEY: secret.encode(), FILE_KEY: file.encode()}


def labels_from(text: str) -> dict[str, str]:
    """`name=value,…`"""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {name: value for name, _, value in pairs}


async def _main(ref: Ref, labels: Mapping[str, str]) -> None:
    api = KubernetesApi(Access.found())
    try:
        keys = frozenset({ID_KEY, SECRET_KEY, FILE_KEY})
        made = await ensure_secret(api, ref, labels=labels, keys=keys, values=store_keys)
    finally:
        await api.close()
    print(f"Secret {ref.name}: {'made' if made else 'is there'}")


if __name__ == "__main__":
    try:
        namespace = NAMESPACE_FILE.read_text("ascii").strip()
        ref = Ref(SECRET, namespace, os.environ["LATEEN_SECRET_NAME"])
        asyncio.run(_main(ref, labels_from(os.environ.get("LATEEN_SECRET_LABELS", ""))))
    except (ApiError, NoAccess, Incomplete, OSError, KeyError) as exc:
        print(f"error: the keys of the trial's stores: {exc!r}", file=sys.stderr)
        sys.exit(1)
