"""Images as packages: references, what an installation allows, and their pods. Nothing here needs a cluster."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from controller_setting import a_function, config_for

from lateen.adapters.kubernetes.config import ConfigError, FunctionImages, FunctionsConfig
from lateen.adapters.kubernetes.image_functions import command_of
from lateen.adapters.kubernetes.manifests import FunctionObjects, objects_for
from lateen.adapters.kubernetes.pod_manifests import user_of
from lateen.adapters.kubernetes.rollouts import rollout_of
from lateen.domain.errors import InvalidInput
from lateen.domain.images import Image, ImageConfig, ImagePolicy, check_image
from lateen.ports.deployer import Deployment
from lateen_invoker.control import RuntimeCommand
from lateen_invoker.pod_configure import PodConfigure
from lateen_invoker.variables import DEFAULTS, variables_for

DIGEST = "0123456789abcdef" * 4
CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.mark.parametrize(
    "uri",
    [
        "registry.example.org/thing",
        "registry.example.org/team/thing:1.2_x-Y",
        f"123456789012.dkr.ecr.us-east-1.amazonaws.com/a/b__c/d-e:tag@sha256:{DIGEST}",
        "localhost/lateen/test:dev",
        "localhost:5000/thing",
        "registry:5000/thing",
        f"10.0.0.1:443/a.b@sha256:{DIGEST}",
    ],
)
def test_references(uri: str) -> None:
    check_image(Image(uri=uri))


@pytest.mark.parametrize(
    "uri",
    [
        "", "thing", "team/thing:1", "registry.example.org", "registry.example.org/", "registry.example.org/Thing",
        "registry.example.org/a/../b", "registry.example.org//a", "https://registry.example.org/a",
        "registry.example.org/a:", "registry.example.org/a:.x", "registry.example.org/a b", "registry.example.org/a\n",
        "registry.example.org/a@sha256:abc", f"registry.example.org/a@sha256:{DIGEST}0", "-a.b/c", "a.b/c;d",
        "a.b/$(x)", "user@registry.example.org/a", "a.b/" + "c" * 600, "[::1]:5000/a", f"a.b/c@sha512:{DIGEST}",
    ],
)  # fmt: skip
def test_what_can_be_no_reference(uri: str) -> None:
    """Also what leaves it to each node which registry is meant."""
    with pytest.raises(InvalidInput, match=r"^image: registry, repository"):
        check_image(Image(uri=uri))


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (ImageConfig(entry_point=("",)), "image_config.entry_point"),
        (ImageConfig(entry_point=("a\0b",)), "image_config.entry_point"),
        (ImageConfig(command=("x",) * 1501), "image_config.command"),
        (ImageConfig(command=("\udc80",)), "image_config.command"),
        (ImageConfig(command=("é" * 8193,)), "image_config"),
        (ImageConfig(working_directory="here"), "image_config.working_directory"),
        (ImageConfig(working_directory="/" + "x" * 1000), "image_config.working_directory"),
        (ImageConfig(working_directory="/a\0"), "image_config.working_directory"),
    ],
)
def test_settings_that_are_refused(config: ImageConfig, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_image(Image(uri="a.b/c", config=config))
    assert refused.value.field == field


def test_what_a_reference_says() -> None:
    tagged = Image(uri="localhost:5000/a/b:1")
    pinned = Image(uri=f"localhost:5000/a/b:1@sha256:{DIGEST}")
    assert (tagged.digest, pinned.digest) == (None, DIGEST)
    assert tagged.repository == pinned.repository == Image(uri="localhost:5000/a/b").repository == "localhost:5000/a/b"
    assert pinned.sha256 == DIGEST
    again = msgspec.structs.replace(tagged, given_at=1)
    assert len({tagged.sha256, again.sha256, Image(uri="localhost:5000/a/b:2").sha256}) == 3
    newest = [Image(uri=f"a.b/c{end}").is_newest for end in ("", ":latest", ":1", f"@sha256:{DIGEST}")]
    assert newest == [True, True, False, False]


def test_what_an_installation_allows() -> None:
    """Whole registries, whole parts of a path: never a name that only begins like an allowed one."""
    policy = ImagePolicy(allowed=("registry.example.org", "ghcr.io/team"))
    for uri in (
        "registry.example.org/a",
        "registry.example.org/a/b:1",
        "ghcr.io/team:1",
        f"ghcr.io/team/a@sha256:{DIGEST}",
    ):
        policy.check(Image(uri=uri))
    for uri in (
        "registry.example.org.evil.example/a", "registry.example.org:5000/a", "ghcr.io/teammate/a", "ghcr.io/other",
        "docker.io/ghcr.io/team/a",
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=r"runs images of these only: registry\.example\.org, ghcr\.io/team"):
            policy.check(Image(uri=uri))
    with pytest.raises(InvalidInput, match="switched them off"):
        FunctionImages(enabled=False).policy.check(Image(uri="ghcr.io/team/a"))
    FunctionImages().policy.check(Image(uri="any.example/a"))


def test_a_wrong_list_stops_the_platform(tmp_path: Path) -> None:
    """One that would allow nothing, or something else than it says."""
    config = config_for(tmp_path, function_images=FunctionImages(allowed=["https://ghcr.io"]))
    file = tmp_path / "functions.json"
    file.write_bytes(msgspec.json.encode(config))
    with pytest.raises(ConfigError, match=r"functionImages\.allowed: 'https://ghcr.io' is no registry or repository"):
        FunctionsConfig.read(file)


def made(function: Deployment, config: FunctionsConfig) -> FunctionObjects:
    assert function.image is not None
    return objects_for(function, config, command=command_of(function.image), image=function.image.uri, has_init=False)


def of_image(uri: str = "a.b/c:1", **config: Any) -> Deployment:
    image = Image(uri=uri, config=ImageConfig(**config))
    return a_function(
        runtime="", handler=image.config.handler, artifact_key="", artifact_sha256=image.sha256, image=image
    )


def spec_of(function: Deployment, config: FunctionsConfig) -> dict[str, Any]:
    spec: dict[str, Any] = made(function, config).deployment["spec"]["template"]["spec"]
    return spec


def told(function: Deployment, config: FunctionsConfig) -> PodConfigure:
    return msgspec.json.decode(
        base64.b64decode(made(function, config).secret["data"]["configure.json"]), type=PodConfigure
    )


def test_a_pod_with_an_entry_point(tmp_path: Path) -> None:
    """`init` is brought and starts it; nothing lies over what the image has in /var/task; confined like any other."""
    config = config_for(tmp_path)
    function = of_image(entry_point=("/bin/boot", "-x"), command=("app.handler",), working_directory="/app")
    spec = spec_of(function, config)
    invoker, copying = spec["initContainers"]
    (runtime,) = spec["containers"]
    user = user_of(function.function_id, config)
    assert runtime["image"] == "a.b/c:1"
    assert runtime["command"] == ["/lateen/init"]
    assert "args" not in runtime
    assert runtime["securityContext"] == {**CONFINED, "runAsUser": user, "runAsGroup": user}
    mounts = {each["mountPath"]: each for each in runtime["volumeMounts"]}
    assert set(mounts) == {"/run/lateen", "/tmp", "/lateen"}
    assert mounts["/lateen"] == {"name": "init", "mountPath": "/lateen", "readOnly": True}
    assert "code" not in {each["name"] for each in (*spec["volumes"], *invoker["volumeMounts"])}
    assert (copying["name"], copying["image"]) == ("init", config.images.invoker)
    configure = told(function, config)
    assert configure.artifact_key == ""
    assert configure.handler == "app.handler"
    assert configure.runtime.command == ["/bin/boot", "-x", "app.handler"]
    assert (configure.runtime.inherits, configure.runtime.directory) == (True, "/app")


def test_a_pod_of_awss_base_images(tmp_path: Path) -> None:
    """Their entry point is known; with arguments of the function's it is started with these."""
    configure = told(of_image(command=("app.other", "{memory:50%}{handler}")), config_for(tmp_path))
    words = ["/lambda-entrypoint.sh", "app.other", "{memory:50%}{handler}"]
    assert configure.runtime.command == words
    assert configure.runtime.environment_command(128, configure.handler) == words
    assert configure.handler == "app.other"


def test_a_pod_whose_image_says_everything(tmp_path: Path) -> None:
    """Only the kubelet knows an image's arguments, and gives them to what is in the place of its entry point: `init`.
    The entry point itself is copied beside it before, by nothing but `init` either."""
    config = config_for(tmp_path)
    function = of_image()
    spec = spec_of(function, config)
    _, copying, taking = spec["initContainers"]
    (runtime,) = spec["containers"]
    assert "command" not in runtime
    assert "args" not in runtime
    over = {"name": "init", "mountPath": "/lambda-entrypoint.sh", "subPath": "init", "readOnly": True}
    assert over in runtime["volumeMounts"]
    assert copying["name"] == "init"
    assert (taking["name"], taking["image"]) == ("entrypoint", "a.b/c:1")
    assert taking["command"] == ["/lateen/init", "take", "/lateen/entrypoint"]
    user = user_of(function.function_id, config)
    assert taking["securityContext"] == {**CONFINED, "runAsUser": user, "runAsGroup": user}
    assert taking["volumeMounts"] == [{"name": "init", "mountPath": "/lateen"}]
    assert set(taking["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    assert told(function, config).runtime.command == ["/lateen/entrypoint"]


def test_the_words_of_a_user_are_in_no_manifest(tmp_path: Path) -> None:
    """But in the Secret; `$(NAME)` would be Kubernetes' to replace."""
    function = of_image(entry_point=("/bin/$(HOME)",), command=("word-of-mine",), working_directory="/place-of-mine")
    objects = made(function, config_for(tmp_path))
    text = json.dumps(objects.deployment) + json.dumps(objects.service)
    assert not any(word in text for word in ("$(HOME)", "word-of-mine", "place-of-mine"))


def test_when_images_are_pulled(tmp_path: Path) -> None:
    """As Kubernetes has it by itself, unless the chart says otherwise."""
    config = config_for(tmp_path)
    latest, tagged = (spec_of(of_image(uri), config)["containers"][0] for uri in ("a.b/c:latest", "a.b/c:1"))
    assert (latest["imagePullPolicy"], tagged["imagePullPolicy"]) == ("Always", "IfNotPresent")
    never = msgspec.structs.replace(config, images=msgspec.structs.replace(config.images, pull_policy="Never"))
    spec = spec_of(of_image("a.b/c"), never)
    assert {each["imagePullPolicy"] for each in (*spec["initContainers"], *spec["containers"])} == {"Never"}


def test_the_same_tag_again_is_another_pod(tmp_path: Path) -> None:
    """For what it leads to may have changed."""
    config, function = config_for(tmp_path), of_image()
    assert function.image is not None
    image = msgspec.structs.replace(function.image, given_at=2)
    again = msgspec.structs.replace(function, revision=2, image=image, artifact_sha256=image.sha256)
    assert made(function, config).template != made(again, config).template


def test_what_is_wrong_with_an_image() -> None:
    """In words that say what to do."""

    def reason(init: list[Any], containers: list[Any]) -> str | None:
        pod = {
            "metadata": {"annotations": {"lateen.dev/template": "t"}},
            "status": {"initContainerStatuses": init, "containerStatuses": containers},
        }
        live = {"metadata": {}, "spec": {"template": {"metadata": {}}}}
        return rollout_of(template="t", replicas=1, live=live, pods=[pod]).reason

    done = {"name": "entrypoint", "ready": True, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    said = "the image has no /lambda-entrypoint.sh; name its entry point"
    ended = {"exitCode": 1, "reason": "Error", "message": f"{said}\n"}
    assert reason([{"name": "entrypoint", "ready": False, "state": {"terminated": ended}}], []) == said
    pulled = {"name": "entrypoint", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
    assert reason([pulled], []) == "The image of the function can't be pulled (ErrImagePull): not found"
    again = {
        "name": "runtime",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 3}},
    }
    assert reason([done], [again]) == (
        "The container of the runtime ends again and again, with exit code 3. The image's entry point may be another "
        "one than /lambda-entrypoint.sh; name it (EntryPoint)."
    )
    assert "name it" not in str(reason([], [again]))


class ASpawner:
    task_root, code_dir, layers_root, layers_dir, isolation = "/var/task", "/var/task", "/opt", "", "container"

    def variables(self, directory: str) -> dict[str, str]:
        return {"LAMBDA_RUNTIME_DIR": "/var/runtime"}


def test_variables_of_an_image(tmp_path: Path) -> None:
    """What the image sets itself is not set over it; what AWS sets is; a handler only where one is known."""
    config = config_for(tmp_path)
    for function, handler in ((of_image(), None), (of_image(command=("app.h",)), "app.h")):
        told_ = told(function, config).configure(tmp_path)
        found = variables_for(told_, ASpawner(), "", "127.0.0.1:9001", started=1)  # type: ignore[arg-type]
        assert not set(found) & set(DEFAULTS)
        assert found.get("_HANDLER") == handler
        assert found["AWS_LAMBDA_RUNTIME_API"] == "127.0.0.1:9001"
        assert (found["LAMBDA_TASK_ROOT"], found["LAMBDA_RUNTIME_DIR"]) == ("/var/task", "/var/runtime")
        assert "AWS_EXECUTION_ENV" not in found


def test_an_ordinary_runtime_inherits_nothing() -> None:
    command = RuntimeCommand(name="x", execution_env=None, command=["x"], forks=False, channel=False, runtime_dir="/")
    assert not command.inherits
