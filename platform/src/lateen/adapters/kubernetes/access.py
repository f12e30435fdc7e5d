"""How the API server is reached: by the pod's service account, or, outside of a cluster, by a kubeconfig."""

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_KEPT_S = 60.0


class NoAccess(Exception):
    """Neither in a cluster nor with a kubeconfig that can be used; the text says which."""


class Access(Struct, kw_only=True):
    url: str
    ca: str | None = None
    """PEM; None: the system's."""
    token: str | None = None
    token_file: Path | None = None
    """Read again every minute: the kubelet replaces it."""
    certificate: str | None = None
    """PEM, with `key`, for a client certificate."""
    key: str | None = None
    _read_at_s: float = 0.0

    @classmethod
    def found(cls, env: Mapping[str, str] = os.environ) -> Self:
        """The pod's own, else by the kubeconfig that `KUBECONFIG` names. Raises: `NoAccess`."""
        if env.get("KUBERNETES_SERVICE_HOST"):
            return cls.in_cluster(env)
        path = Path(env.get("KUBECONFIG") or Path.home() / ".kube" / "config")
        if not path.is_file():
            raise NoAccess("this is no pod of a cluster, and there is no kubeconfig")
        return cls.from_kubeconfig(path)

    @classmethod
    def in_cluster(cls, env: Mapping[str, str] = os.environ, *, folder: Path = _ACCOUNT) -> Self:
        """Raises: `NoAccess`."""
        host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
        try:
            ca = (folder / "ca.crt").read_text("ascii")
        except (OSError, ValueError) as exc:
            raise NoAccess(f"the service account can't be read: {exc}") from exc
        host = f"[{host}]" if ":" in host else host
        return cls(url=f"https://{host}:{port}", ca=ca, token_file=folder / "token")

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Self:
        """The current context's: a token or a client certificate, no program that logs in. Raises: `NoAccess`."""
        import yaml

        try:
            config = yaml.safe_load(path.read_text("utf-8"))
            context = _named(config["contexts"], config["current-context"])["context"]
            cluster = _named(config["clusters"], context["cluster"])["cluster"]
            user = _named(config["users"], context["user"])["user"]
            return cls(
                url=cluster["server"].rstrip("/"),
                ca=_pem(cluster, "certificate-authority", path.parent),
                token=user.get("token"),
                token_file=Path(user["tokenFile"]) if "tokenFile" in user else None,
                certificate=_pem(user, "client-certificate", path.parent),
                key=_pem(user, "client-key", path.parent),
            )
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as exc:
            raise NoAccess(f"{path}: {exc!r}") from exc

    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca)
        # Clusters' own authorities often lack extensions that newer Pythons ask for by default.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.certificate is not None and self.key is not None:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # the ssl module takes nothing but files
                file.write(f"{self.certificate}\n{self.key}\n")
                file.flush()
                context.load_cert_chain(file.name)
        return context

    def bearer(self) -> str | None:
        if self.token_file is not None and time.monotonic() >= self._read_at_s + _TOKEN_KEPT_S:
            self.token = self.token_file.read_text("ascii").strip()
            self._read_at_s = time.monotonic()
        return self.token


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _pem(part: dict[str, Any], name: str, folder: Path) -> str | None:
    if f"{name}-data" in part:
        return base64.b64decode(part[f"{name}-data"]).decode("ascii")
    return (folder / part[name]).read_text("ascii") if name in part else None
