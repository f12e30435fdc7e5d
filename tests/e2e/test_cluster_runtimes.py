"""Each runtime in a function pod of a real cluster: its own smoke test, and what depends on the image."""

import base64
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from lateen_release import Json, Release, eventually
from package_index import wheel
from runtimes_here import catalogue, packed, smoke_files

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

Deploy = Callable[..., Json]


@pytest.fixture
def deploy(release: Release) -> Iterator[Deploy]:
    made: list[Json] = []

    def deployed(runtime: str, files: Mapping[str, str | bytes], handler: str, **settings: object) -> Json:
        name = f"rt-{secrets.token_hex(4)}"
        made.append(release.deploy(name, packed(files), runtime=runtime, handler=handler, **settings))
        return made[-1]

    yield deployed
    for function in made:
        release.delete(function)


def invoked(release: Release, function: Json, event: bytes) -> Json:
    answer = release.api.post(f"/api/functions/{function['id']}/invocations", content=event)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


@pytest.mark.parametrize("name", ["python3.12", "node20", "golang1.22", "provided.al2023"])
def test_smoke(release: Release, deploy: Deploy, tmp_path: Path, name: str) -> None:
    """The answer is the expected one, through the API and at the URL, and the second call finds it warm."""
    if name.startswith("golang") and shutil.which("go") is None:
        pytest.skip("go is not on the PATH")
    runtime = catalogue()[1][name]
    files = smoke_files(runtime, tmp_path)
    smoke = runtime.settings["smoke"]
    event, expected = files.pop(smoke["event"]), json.loads(files.pop(smoke["answer"]))
    for source in ("go.mod", "go.sum", "main.go"):
        files.pop(source, None)
    function = deploy(name, files, smoke["handler"], memory=128)
    assert isinstance(event, bytes)
    for _ in range(3):
        assert invoked(release, function, event) == expected
        time.sleep(0.5)  # an environment is free when it asks for the next event, which is after its answer
    eventually(lambda: len(list(release.log_tails(function))) == 3, "three records")
    tails = list(release.log_tails(function))
    assert sum("Init Duration" in tail for tail in tails) <= 1


def test_a_runtime_in_a_layer(release: Release, deploy: Deploy, tmp_path: Path) -> None:
    """The same program, which here comes from a layer."""
    runtime = catalogue()[1]["provided.al2023"]
    files = smoke_files(runtime, tmp_path)
    smoke = runtime.settings["smoke"]
    event, expected = files.pop(smoke["event"]), json.loads(files.pop(smoke["answer"]))
    layer = {"name": f"rt-{secrets.token_hex(4)}", "content": base64.b64encode(packed(files)).decode()}
    published = release.api.post("/api/workspaces/default/layers", json=layer)
    assert published.status_code == 201, published.text
    function = deploy(runtime.name, {"index.php": "x"}, "index.php", memory=128, layers=[published.json()["arn"]])
    assert isinstance(event, bytes)
    assert invoked(release, function, event) == expected


def test_what_a_function_depends_on_is_installed(release: Release) -> None:
    """By a build's pods, which get the source from the object store of the trial and bring there what they made."""
    package = "lateen_tiny-1.0-py3-none-any.whl"
    files = {
        "code.py": "import lateen_tiny\n\ndef handler(event, context):\n    return lateen_tiny.WORD\n",
        "requirements.txt": f"./{package}\n",
        package: wheel(),
    }
    function = release.create(f"rt-{secrets.token_hex(4)}", packed(files))
    shown = release.settled(function, within_s=240)
    assert (shown["state"], shown.get("state_reason")) == ("Active", None)
    assert invoked(release, function, b"{}") == "tiny"
    release.delete(function)


NODE = """
const { execFileSync } = require("node:child_process");
exports.handler = async (event) => {
  if (event.rawPath === "/fill") { const kept = []; for (;;) kept.push(Array.from({ length: 65536 }, () => ({}))); }
  return {
    statusCode: 200,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      node: process.version, uid: process.getuid(), cwd: process.cwd(), argv: process.execArgv, tmp: process.env.TMPDIR,
      tools: ["npm", "npx", "corepack", "apt-get", "perl", "gcc"].filter((name) => {
        try { execFileSync("/bin/sh", ["-c", `command -v ${name}`]); return true; } catch { return false; }
      }),
    }),
  };
};
"""


def test_node_in_its_pod(release: Release, deploy: Deploy) -> None:
    """Its heap is told the function's memory, nothing that installs is in the image, and who uses it up is replaced."""
    function = deploy("node20", {"index.js": NODE}, "index.handler", memory=256, auth="none", timeout=20)
    url = release.gateway_url(function)
    seen = httpx.get(url, trust_env=False, timeout=60).json()
    assert seen["node"].startswith("v20.")
    assert seen["uid"] >= 1000
    assert seen["tools"] == []
    assert {"--max-old-space-size=230", "--max-semi-space-size=12"} <= set(seen["argv"])
    assert httpx.get(f"{url}/fill", trust_env=False, timeout=60).status_code == 502
    assert httpx.get(url, trust_env=False, timeout=60).status_code == 200


STREAM = """
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const head = { statusCode: 203, headers: { "content-type": "text/plain", "x-own": "1" } };
  const answer = awslambda.HttpResponseStream.from(stream, head);
  for (const word of ["one ", "two ", "three"]) answer.write(word);
  answer.end();
});
"""


def test_a_streamed_answer_at_the_url(release: Release, deploy: Deploy) -> None:
    """Status and headers come from its prelude."""
    function = deploy("node20", {"index.mjs": STREAM}, "index.handler", auth="none")
    answer = httpx.get(release.gateway_url(function), trust_env=False, timeout=60)
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (203, "one two three", "1")
