"""schemathesis reads the OpenAPI document and tries to break what it promises: every phase, seeded, in bounded time."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from .conftest import PROGRAM, free_port

SEED = 20260131
EXAMPLES = 12
"""Requests for each operation and phase."""
LIMIT_S = 400
"""Ends a run that hangs; one takes a minute or two."""
CONFIG = f"""
seed = {SEED}
hooks = "schemathesis_hooks"
color = false
warnings = false
max-failures = 10

[phases.stateful]
enabled = true

[checks.positive_data_acceptance]
enabled = false
"""


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 100)
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """No server error, no answer outside of the document, no invalid data taken, no valid data refused, on any path."""
    port = free_port()
    env = os.environ | {"LATEEN_DATA": str(tmp_path / "data"), "LATEEN_PORT": str(port), "LOG_LEVEL": "WARNING"}
    # A bucket that it lists and then names is anybody's: without credentials nobody is asked for it.
    env = {name: value for name, value in env.items() if not name.startswith("AWS_")}
    env |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}
    env |= {"AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as lateen:
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                async with asyncio.timeout(60):
                    while not await is_up(client):
                        await asyncio.sleep(0.05)
                secret = (tmp_path / "data" / "admin").read_text().strip()
                run = await asyncio.to_thread(schemathesis, tmp_path, f"http://127.0.0.1:{port}/openapi.json", secret)
                assert run.returncode == 0, run.stdout[-20_000:]
                headers = {"Authorization": f"Bearer {secret}"}
                assert (await client.get("/api/workspaces", headers=headers)).status_code == 200
        finally:
            lateen.terminate()
            output, _ = await asyncio.to_thread(lateen.communicate, timeout=15)
    assert b"Traceback" not in output
    assert b" ERROR " not in output


async def is_up(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/ready")).status_code == 200
    except httpx.TransportError:
        return False


def schemathesis(folder: Path, url: str, secret: str) -> "subprocess.CompletedProcess[str]":
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run", url,
            "--header", f"Authorization: Bearer {secret}", "--max-examples", str(EXAMPLES), "--workers", "1",
            # Has no end that it would wait for; `test_logs.py` has its tests.
            "--exclude-operation-id", "streamLogs",
        ],
        cwd=folder,
        env=env | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )  # fmt: skip
