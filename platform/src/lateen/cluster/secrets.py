"""`lateen secrets`: the Secret with the installation's master key and the administrator's token, made once.

What is there is never changed: everything that was signed or handed out depends on it. Nothing of it is printed or
logged; who may read Secrets has it from there.
"""

import asyncio
import base64
import logging
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_bytes

from lateen.adapters.kubernetes.access import Access, NoAccess
from lateen.adapters.kubernetes.api import ApiError, ApiRefused, KubernetesApi
from lateen.adapters.kubernetes.kinds import SECRET, Manifest, Ref
from lateen.cluster.parts import ADMIN_TOKEN, MASTER_KEY
from lateen.cluster.process import FAILED, begin, refuse
from lateen.cluster.settings import ClusterSettings
from lateen.domain.master import MIN_BYTES
from lateen.services.keys import new_secret

log = logging.getLogger(__name__)

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LABEL = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?=[A-Za-z0-9._-]{0,63}")

Values = Callable[[], Mapping[str, bytes]]


class Incomplete(Exception):
    """The Secret is there and lacks a key; the text says which."""


def make_secrets(settings: ClusterSettings) -> None:
    """Ends the process where it could not."""
    begin(settings, service="secrets")
    if not settings.secret_name:
        refuse("LATEEN_SECRET_NAME: the Secret's name is needed")
    for label in settings.secret_labels:
        if not _LABEL.fullmatch(label):
            refuse(f"LATEEN_SECRET_LABELS: '{label}' is not of the form name=value")
    try:
        ref = Ref(SECRET, NAMESPACE_FILE.read_text("ascii").strip(), settings.secret_name)
    except OSError as exc:
        refuse(f"{NAMESPACE_FILE}: {exc.strerror}; the pod needs its service account's token")
    labels = dict(label.split("=", 1) for label in settings.secret_labels)
    try:
        made = asyncio.run(_made(ref, labels))
    except (ApiError, NoAccess, Incomplete) as exc:
        log.error("no secret", extra={"secret": settings.secret_name, "reason": str(exc)})
        sys.exit(FAILED)
    log.info("secret made" if made else "secret is there", extra={"secret": settings.secret_name})


def installation_values() -> Mapping[str, bytes]:
    """New ones, at random."""
    return {MASTER_KEY: token_bytes(MIN_BYTES), ADMIN_TOKEN: new_secret().encode()}


async def ensure_secret(
    api: KubernetesApi, ref: Ref, *, labels: Mapping[str, str], keys: frozenset[str], values: Values
) -> bool:
    """Args:
        keys: what it has to have.
        values: makes what is stored if it is not there.
    Returns: whether it was made now. Raises: `ApiError`, `Incomplete`.
    """
    for _ in range(2):
        if (found := await api.get(ref)) is not None:
            if missing := keys - set(found.get("data") or {}):
                raise Incomplete(f"it has no {', '.join(sorted(missing))}, and what is there is not changed")
            return False
        manifest: Manifest = {
            "apiVersion": SECRET.version,
            "kind": SECRET.name,
            "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": dict(labels)},
            "type": "Opaque",
            "data": {name: base64.b64encode(value).decode() for name, value in values().items()},
        }
        try:
            await api.create(manifest)
        except ApiRefused as exc:
            if exc.status != 409:
                raise
            continue  # another one was faster; is it whole?
        return True
    raise Incomplete("it comes and goes")


async def _made(ref: Ref, labels: Mapping[str, str]) -> bool:
    api = KubernetesApi(Access.found())
    try:
        return await ensure_secret(
            api, ref, labels=labels, keys=frozenset({MASTER_KEY, ADMIN_TOKEN}), values=installation_values
        )
    finally:
        await api.close()
