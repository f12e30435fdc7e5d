"""Each runtime's own smoke test, started as the machine's deployer starts it, in the sandbox, with the least memory."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import invoker_process
import pytest
from invoker_process import InvokerProcess
from runtimes_here import FOLDER, PACKAGES, catalogue, command, needs_packages, packed, smoke_files

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
    if runtime.runtime in PACKAGES:
        needs_packages(runtime.runtime)
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


TELLS = """#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while :; do
    id=$(curl -fsS -o /dev/null -D - "$api/next" | tr -d '\\r' | sed -n 's/^lambda-runtime-aws-request-id: //Ip')
    printf '"%s"' "$(printf %s "$_HANDLER" | od -An -tx1 | tr -d ' \\n')" |
        curl -fsS -o /dev/null -X POST --data-binary @- "$api/$id/response"
done
"""


@pytest.mark.parametrize("handler", ["größe/$(touch${IFS}x)`y`;a\\b.'\"{memory:90%}", ".hidden/a", "処理.実行"])
def test_a_program_is_told_the_handler_to_the_letter(
    handler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be anything, and nobody on the way to it takes it for something else."""
    if os.environ.get("CI") != "true" and (why := catalogue()[1]["provided.al2023"].disabled) is not None:
        pytest.skip(why)
    monkeypatch.setattr(invoker_process, "package", packed)
    invoker = InvokerProcess(tmp_path)
    try:
        ready = invoker.configure({"bootstrap": TELLS}, command("provided.al2023"), handler=handler)
        assert ready.init_error is None, ready
        assert bytes.fromhex(json.loads(invoker.invoke(b"{}").body)).decode() == handler
    finally:
        invoker.close()


@pytest.mark.parametrize("name", ["provided.al2023", "golang1.22"])
@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("main", r"Couldn't find valid bootstrap\(s\): \[/\S+/bootstrap /\S+/bootstrap\]"),
        ("bootstrap", r"fork/exec /\S+/bootstrap: permission denied"),
    ],
)
def test_a_package_without_a_program(name: str, file: str, why: str, tmp_path: Path) -> None:
    """Whatever the handler, AWS's error for it, and for one that can't be executed; not how the attempt ended."""
    if os.environ.get("CI") != "true" and (reason := catalogue()[1][name].disabled) is not None:
        pytest.skip(reason)
    invoker = InvokerProcess(tmp_path)
    try:
        ready = invoker.configure({file: "x"}, command(name), handler=file)
        assert ready.init_error.type == "Runtime.InvalidEntrypoint"
        assert re.fullmatch(f"RequestId:  Error: {why}", ready.init_error.message)
        for _ in range(2):
            answer = invoker.invoke(b"{}")
            assert (answer.status, json.loads(answer.body)["errorType"]) == (200, "Runtime.InvalidEntrypoint")
        assert invoker.record(2).error.type == "Runtime.InvalidEntrypoint"
    finally:
        invoker.close()
