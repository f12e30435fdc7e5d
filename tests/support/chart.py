"""The chart, rendered by helm as an operator would."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "lateen"
VALUES = ROOT / "tests" / "chart" / "values"
NAMESPACE = "platform"
RELEASE = "lateen"

Manifest = dict[str, Any]

PROFILES: dict[str, list[Path]] = {
    "defaults": [],
    "local": [CHART / "values-local.yaml"],
    "production": [CHART / "values-production.yaml"],
    "everything": [VALUES / "everything.yaml"],
    "shared-namespace": [VALUES / "shared-namespace.yaml"],
}
"""What is rendered in tests: by name, files of values."""


class HelmRefused(Exception):
    """The text is helm's."""


def program(name: str) -> str:
    """Its path; where there is none the test is skipped, and in CI it fails."""
    if (found := shutil.which(name)) is not None:
        return found
    reason = f"needs {name} on PATH"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def helm(*arguments: str, given: str | None = None, timeout_s: float = 60) -> str:
    """What it prints. Raises: `HelmRefused`."""
    done = subprocess.run([program("helm"), *arguments], input=given, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode:
        raise HelmRefused(done.stderr)
    return done.stdout


def rendered_text(
    files: Sequence[Path] = (),
    values: Mapping[str, Any] | None = None,
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    upgrade: bool = False,
    chart: Path = CHART,
) -> str:
    """Raises: `HelmRefused`."""
    arguments = ["template", release, str(chart), "--namespace", namespace, "--kube-version", "1.34.2"]
    for file in files:
        arguments += ["--values", str(file)]
    if upgrade:
        arguments.append("--is-upgrade")
    text = helm(*arguments, "--values", "-", given=yaml.safe_dump(dict(values or {})))
    # Helm 4 ends each document with an empty line, Helm 3 does not.
    return re.sub(r"\n{2,}", "\n", text)


def rendered(files: Sequence[Path] = (), values: Mapping[str, Any] | None = None, **options: Any) -> list[Manifest]:
    """Raises: `HelmRefused`."""
    documents = yaml.load_all(rendered_text(files, values, **options), Loader=yaml.CSafeLoader)
    return [document for document in documents if document]


@cache
def profile(name: str) -> tuple[Manifest, ...]:
    """Rendered once; don't change it."""
    return tuple(rendered(PROFILES[name]))


def named(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The one of that kind whose name is `name`, or ends with `-{name}`."""
    found = [
        each
        for each in manifests
        if each["kind"] == kind and (each["metadata"]["name"] == name or each["metadata"]["name"].endswith(f"-{name}"))
    ]
    assert len(found) == 1, (kind, name, [each["metadata"]["name"] for each in found])
    return found[0]


def of_kind(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def pods(manifests: Sequence[Manifest]) -> dict[str, Manifest]:
    """Every pod template and pod, by kind and name."""
    found = {}
    for each in manifests:
        if each["kind"] in ("Deployment", "Job"):
            found[f"{each['kind']}/{each['metadata']['name']}"] = each["spec"]["template"]
        elif each["kind"] == "Pod":
            found[f"Pod/{each['metadata']['name']}"] = each
    return found
