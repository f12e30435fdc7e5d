"""Each runtime's own smoke test, started as the machine's deployer starts it, in the sandbox, with the least memory."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import invoker_process
import pytest
from invoker_process import InvokerProcess
from runtimes_here import FOLDER, catalogue, command, packed, smoke_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="environments are held by Linux' means")

NAMES = sorted(file.parent.name for file in FOLDER.glob("*/runtime.toml"))
IN_CI = {"python3.12", "node20", "golang1.22", "provided.al2023"}
"""A machine that has to have them all."""


@pytest.mark.parametrize("name", NAMES)
def test_smoke(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is the expected one, the environment is held, and a second call finds it warm."""
    runtime = catalogue()[1][name]
    if runtime.disabled is not None:
        if os.environ.get("CI") == "true" and name in IN_CI:
            pytest.fail(runtime.disabled)
        pytest.skip(runtime.disabled)
    if name.startswith("golang") and shutil.which("go") is None:
        pytest.skip("go is not on the PATH")
    files = smoke_files(runtime, tmp_path)
    smoke: dict[str, Any] = runtime.settings["smoke"]
    event, expected = files.pop(smoke["event"]), json.loads(files.pop(smoke["answer"]))
    if expected.get("python") and command(name).command[0].endswith(f"python{sys.version_info.major}"):
        expected["python"] = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setattr(invoker_process, "package", packed)
    (tmp_path / "invoker").mkdir()
    invoker = InvokerProcess(tmp_path / "invoker")
    try:
        ready = invoker.configure(files, command(name), handler=smoke["handler"], memory_mib=128)
        assert ready.init_error is None, ready
        assert isinstance(event, bytes)
        answers = [invoker.invoke(event) for _ in range(2)]
        assert [json.loads(answer.body) for answer in answers] == [expected] * 2
        records = [invoker.record(number) for number in (1, 2)]
        assert [record.cold for record in records] == [True, False]
        assert 0 < records[1].memory_peak_mib < 128
    finally:
        invoker.close()
