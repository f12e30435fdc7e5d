"""The scripts of hack/ and .ci/: clean by shellcheck's word, and with the commands that they are meant to run."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recording_stand_ins import StandIns

ROOT = Path(__file__).parents[2]
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
DOCKER_ASKED = "docker version --format {{.Server.Version}}"


def is_shell(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:32].split(b"\n")[0] in (b"#!/bin/sh", b"#!/usr/bin/env bash")


SCRIPTS = sorted(
    path.relative_to(ROOT) for folder in ("hack", ".ci") for path in (ROOT / folder).iterdir() if is_shell(path)
)


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_shellcheck_finds_nothing(script: Path) -> None:
    """No style remark either; a script says in itself where it knows better."""
    checked = subprocess.run([SHELLCHECK, "--severity=style", ROOT / script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_all_scripts_are_checked() -> None:
    """Also those that come later: what is executable and no Python is shell."""
    found = {path.relative_to(ROOT) for folder in ("hack", ".ci") for path in (ROOT / folder).iterdir()}
    others = {path for path in found - set(SCRIPTS) if (ROOT / path).is_file() and os.access(ROOT / path, os.X_OK)}
    assert {(ROOT / path).read_bytes().split(b"\n")[0] for path in others} <= {b"#!/usr/bin/env python3"}
    assert {Path("hack/build-images"), Path("hack/cluster-up"), Path("hack/kind-up"), Path(".ci/run")} <= set(SCRIPTS)


@pytest.fixture
def stand_ins(tmp_path: Path) -> StandIns:
    return StandIns(tmp_path, ("docker", "podman", "buildah", "kind", "kubectl", "helm", "load"))


def run(stand_ins: StandIns, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LATEEN_", "KUBE"))}
    return subprocess.run(
        words, cwd=ROOT, env=kept | {"PATH": stand_ins.path} | environment, capture_output=True, text=True, timeout=60
    )


def lines(stand_ins: StandIns) -> list[str]:
    return [call.line for call in stand_ins.calls]


def test_the_engine_that_answers_is_taken(stand_ins: StandIns) -> None:
    """A docker client without an engine, and a podman that can't run, are passed over."""
    stand_ins.answer("docker version", code=1)
    stand_ins.answer("podman info", code=125)
    stand_ins.answer("buildah images", prints="91.2 MB\n")
    ran = run(stand_ins, "hack/build-images", "platform")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("localhost/lateen/platform:dev 91.2 MB, ")
    assert lines(stand_ins) == [
        DOCKER_ASKED,
        "podman info",
        "buildah info",
        "buildah build --layers --file platform/Dockerfile --tag localhost/lateen/platform:dev .",
        "buildah images --format {{.Size}} localhost/lateen/platform:dev",
    ]


def test_without_an_engine_it_says_so(stand_ins: StandIns) -> None:
    """Nothing is built."""
    for asked in ("docker version", "podman info", "buildah info"):
        stand_ins.answer(asked, code=1)
    ran = run(stand_ins, "hack/build-images")
    assert (ran.returncode, ran.stderr.splitlines()[0]) == (1, "error: neither docker, podman nor buildah answers")
    assert len(stand_ins.calls) == 3


def test_all_images_are_built_named_and_loaded(stand_ins: StandIns) -> None:
    """Each Dockerfile in the folders of runtimes/ is one; the loader gets the names, its own words first."""
    stand_ins.answer("docker image inspect", prints="123456789\n")
    loader = {"LATEEN_LOAD_IMAGES": "load --into here", "LATEEN_BUILD_JOBS": "1"}
    options = {"LATEEN_IMAGE_PREFIX": "registry.example:5000/team", "LATEEN_IMAGE_TAG": "v1"}
    ran = run(stand_ins, "hack/build-images", "--load", **loader, **options)
    assert ran.returncode == 0, ran.stderr
    runtimes = [file.parent.name for file in sorted(ROOT.glob("runtimes/*/Dockerfile"))]
    assert runtimes
    builds = [file.parent.name for file in sorted(ROOT.glob("runtimes/*/build.Dockerfile"))]
    assert builds
    each = ("platform", "invoker", *runtimes, *(f"{name}-build" for name in builds))
    names = [f"registry.example:5000/team/{name}:v1" for name in each]
    files = ["platform/Dockerfile", "invoker/Dockerfile", *(f"runtimes/{name}/Dockerfile" for name in runtimes)]
    files += [f"runtimes/{name}/build.Dockerfile" for name in builds]
    expected = [DOCKER_ASKED]
    for name, file in zip(names, files, strict=True):
        expected.append(f"docker build --file {file} --tag {name} .")
        expected.append(f"docker image inspect --format {{{{.Size}}}} {name}")
    assert lines(stand_ins) == [*expected, f"load --into here {' '.join(names)}"]
    assert [line.split(",")[0] for line in ran.stdout.splitlines()] == [f"{name} 123 MB" for name in names]


def test_further_versions_are_built_where_they_are_named(stand_ins: StandIns) -> None:
    """By the Dockerfile of what they extend, on a base of their own."""
    ran = run(stand_ins, "hack/build-images", "python3.13", "node22", LATEEN_BUILD_JOBS="1")
    assert ran.returncode == 0, ran.stderr
    assert [line for line in lines(stand_ins) if line.startswith("docker build")] == [
        "docker build --file runtimes/python3.12/Dockerfile --build-arg BASE=python:3.13-slim"
        " --build-arg RUNTIME=python3.13 --tag localhost/lateen/python3.13:dev .",
        "docker build --file runtimes/node20/Dockerfile --build-arg BASE=node:22-slim"
        " --build-arg RUNTIME=node22 --tag localhost/lateen/node22:dev .",
    ]


@pytest.mark.parametrize(
    ("engine", "built"),
    [
        ("docker", ["docker buildx build --file invoker/Dockerfile --platform {p} --tag {i} --push ."]),
        (
            "podman",
            [
                "podman manifest rm {i}",
                "podman build --layers --file invoker/Dockerfile --platform {p} --manifest {i} .",
                "podman manifest push --all {i} docker://{i}",
            ],
        ),
    ],
)
def test_one_image_for_two_platforms(stand_ins: StandIns, engine: str, built: list[str]) -> None:
    """It goes to a registry, which alone can keep such a thing."""
    platforms = "linux/amd64,linux/arm64"
    words = ["hack/build-images", "--prefix", "ghcr.example/lateen", "--platform", platforms, "--push", "invoker"]
    ran = run(stand_ins, *words, LATEEN_ENGINE=engine)
    assert ran.returncode == 0, ran.stderr
    assert lines(stand_ins)[1:] == [line.format(p=platforms, i="ghcr.example/lateen/invoker:dev") for line in built]


def test_a_failed_build_shows_why(stand_ins: StandIns) -> None:
    """What the engine printed, the image's name, exit code 1; nothing is loaded."""
    stand_ins.answer("docker build", prints="no space left on device\n", code=1)
    ran = run(stand_ins, "hack/build-images", "--load", "platform", LATEEN_LOAD_IMAGES="load")
    assert ran.returncode == 1
    assert "no space left on device\nerror: localhost/lateen/platform:dev could not be built\n" in ran.stderr
    assert "load" not in {call.program for call in stand_ins.calls}


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["hack/build-images", "--tag", "$(touch {made})"], {}),
        (["hack/build-images", "--prefix", "a;touch {made}"], {}),
        (["hack/build-images", "--platform", "linux/amd64`touch {made}`"], {}),
        (["hack/build-images", "../../etc"], {}),
        (["hack/build-images", "--platform", "linux/amd64,linux/arm64"], {}),
        (["hack/build-images", "--unknown"], {}),
        (["hack/build-images", "--tag"], {}),
        (["hack/build-images"], {"LATEEN_ENGINE": "sh -c true"}),
        (["hack/build-images"], {"LATEEN_BUILD_JOBS": "a[$(touch {made})]"}),
        (["hack/cluster-up", "--unknown"], {}),
        (["hack/cluster-up"], {"LATEEN_RELEASE": "a$(touch {made})"}),
        (["hack/cluster-up"], {"LATEEN_URL": "http://a;touch {made}"}),
        (["hack/cluster-down"], {"LATEEN_RELEASE": "--all"}),
        (["hack/kind-up"], {"LATEEN_KIND_CLUSTER": "a b"}),
        (["hack/kind-up"], {"LATEEN_KIND_PORT": "80\n    - role: worker"}),
        (["hack/kind-down"], {"LATEEN_KIND_CLUSTER": "--help"}),
    ],
)
def test_what_makes_no_sense_runs_nothing(
    stand_ins: StandIns, tmp_path: Path, words: list[str], environment: dict[str, str]
) -> None:
    """Exit code 2 and one line; a name is never run, and never becomes an option or a line of a file."""
    made = tmp_path / "made"
    given: dict[str, Any] = {name: value.format(made=made) for name, value in environment.items()}
    ran = run(stand_ins, *(word.format(made=made) for word in words), **given)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith("error: ")
    assert not made.exists()
    assert stand_ins.calls == []


def test_words_for_the_engine_are_words(stand_ins: StandIns, tmp_path: Path) -> None:
    """LATEEN_BUILD_OPTIONS and LATEEN_LOAD_IMAGES are split at blanks and not looked at by a shell."""
    made = tmp_path / "made"
    options = {"LATEEN_BUILD_OPTIONS": f"--pull-never $(touch {made})", "LATEEN_LOAD_IMAGES": f"load ;touch {made} *"}
    ran = run(stand_ins, "hack/build-images", "--load", "platform", LATEEN_ENGINE="buildah", **options)
    assert ran.returncode == 0, ran.stderr
    assert not made.exists()
    assert lines(stand_ins)[1].startswith(
        f"buildah build --layers --pull-never $(touch {made}) --file platform/Dockerfile"
    )
    assert stand_ins.calls[-1].arguments == [";touch", str(made), "*", "localhost/lateen/platform:dev"]


def test_one_uv_for_all() -> None:
    """Images are made with the version that the checkout has."""
    pinned = re.search(r"^version=(\S+)$", (ROOT / "hack" / "uv").read_text(), re.MULTILINE)
    assert pinned
    files = [
        file
        for file in [*ROOT.glob("*/Dockerfile"), *ROOT.glob("runtimes/*/*Dockerfile")]
        if "uv==" in file.read_text()
    ]
    assert len(files) >= 3
    for file in files:
        assert re.findall(r"uv==(\S+)", file.read_text()) == [pinned[1]], file
