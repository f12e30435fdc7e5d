"""A container registry of the tests' own: the machine's `docker-registry`, which is Debian's name for Distribution.

It listens twice, over the same images: one address lets everybody in, the other only who has the password. Both are
loopback addresses, so nodes speak plain HTTP to them. Tests have to run on the node itself.
"""

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

USER, PASSWORD = "lateen", "lateen-test-secret"
_HTPASSWD = f"{USER}:$2b$04$HCmJAGTl2HrnhFKC6feWsOFUaiXH/.hhpwoUl0Y320E7dpIR/7zAG\n"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIGURATION = """
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: "{folder}/images"}}
  cache: {{blobdescriptor: ""}}
http: {{addr: "127.0.0.1:{port}", secret: of-tests}}
"""
_AUTH = 'auth: {{htpasswd: {{realm: tests, path: "{folder}/htpasswd"}}}}\n'


class ImageRegistry:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "htpasswd").write_text(_HTPASSWD)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.open = self._start("open", "")
        """`127.0.0.1:port`; everybody may pull and push."""
        self.closed = self._start("closed", _AUTH)
        """The same images, for who has the password."""

    def push(self, image: str, repository: str) -> None:
        """What buildah has under a name, as the tag `base`. Layers stay as they are, which spares time."""
        to = f"docker://{self.open}/{repository}:base"
        words = [
            "buildah",
            "push",
            "--quiet",
            "--tls-verify=false",
            "--disable-compression",
            "--format=v2s2",
            image,
            to,
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    def tag(self, repository: str, tag: str, **variables: str) -> str:
        """Has a tag lead to the pushed image with further variables. Returns: its digest, hex."""
        with httpx.Client(base_url=f"http://{self.open}/v2/{repository}/", trust_env=False, timeout=30) as http:
            manifest = http.get("manifests/base", headers={"accept": _MANIFEST}).raise_for_status().json()
            config = http.get(f"blobs/{manifest['config']['digest']}").raise_for_status().json()
            config["config"]["Env"] += [f"{name}={value}" for name, value in variables.items()]
            blob = json.dumps(config).encode()
            upload = http.post("blobs/uploads/").raise_for_status().headers["location"]
            digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
            http.put(httpx.URL(upload).copy_merge_params({"digest": digest}), content=blob).raise_for_status()
            manifest["config"] |= {"digest": digest, "size": len(blob)}
            put = http.put(f"manifests/{tag}", content=json.dumps(manifest), headers={"content-type": _MANIFEST})
            return put.raise_for_status().headers["docker-content-digest"].removeprefix("sha256:")

    def login(self, password: str = PASSWORD) -> str:
        """The content of a pull secret's `.dockerconfigjson`."""
        return docker_config(self.closed, USER, password)

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(10)

    def _start(self, name: str, auth: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        file = self.folder / f"{name}.yml"
        file.write_text((_CONFIGURATION + auth).format(folder=self.folder, port=port))
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(["docker-registry", "serve", str(file)], stdout=log, stderr=log)
        self._processes.append(process)
        until_s = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"127.0.0.1:{port}"
            except OSError:
                assert process.poll() is None, (self.folder / f"{name}.log").read_text()
                assert time.monotonic() < until_s, "docker-registry did not listen"
                time.sleep(0.05)


def docker_config(registry: str, user: str, password: str) -> str:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    auths: dict[str, Any] = {registry: {"username": user, "password": password, "auth": auth}}
    return json.dumps({"auths": auths})


def need_registry() -> None:
    """Skips where there is no program for it; in CI that is a failure."""
    missing = [name for name in ("docker-registry", "buildah") if shutil.which(name) is None]
    if missing:
        reason = f"needs {' and '.join(missing)} (Debian's packages of these names)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
