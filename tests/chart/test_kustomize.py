"""Kustomize makes the same of the chart as Helm does."""

import subprocess
from pathlib import Path

import pytest
import yaml
from chart import CHART, ROOT, Manifest, named, of_kind, program, rendered

KUSTOMIZE = ROOT / "charts" / "kustomize"


def built(overlay: str) -> list[Manifest]:
    program("helm")
    words = ["kustomize", "--enable-helm", "--helm-command", str(ROOT / "hack" / "helm-for-kustomize")]
    done = subprocess.run(
        [program("kubectl"), *words, str(KUSTOMIZE / overlay)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


def ids(manifests: list[Manifest]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in manifests}


@pytest.mark.parametrize(
    ("overlay", "values"),
    [("base", KUSTOMIZE / "base/values.yaml"), ("overlays/prod", CHART / "values-production.yaml")],
)
def test_same_objects_as_helm(overlay: str, values: Path) -> None:
    """The namespace comes on top; the test, which Helm runs, is left out."""
    installed = [each for each in rendered([values], namespace="lateen") if each["kind"] != "Pod"]
    assert ids(built(overlay)) == ids(installed) | {("Namespace", "lateen")}


def test_dev_has_one_pod_of_each() -> None:
    manifests = built("overlays/dev")
    assert not of_kind(manifests, "HorizontalPodAutoscaler")
    assert not of_kind(manifests, "PodDisruptionBudget")
    for component in ("api", "gateway", "controller", "worker"):
        assert named(manifests, "Deployment", component)["spec"]["replicas"] == 1


def test_all_images_are_of_one_build() -> None:
    """Those in functions.json too, which no image transformer reaches."""
    manifests = built("overlays/dev")
    assert "invoker:dev" in named(manifests, "ConfigMap", "functions")["data"]["functions.json"]
    assert named(manifests, "Deployment", "api")["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":dev")
