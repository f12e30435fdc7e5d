"""What an invoker in a function pod is told: one JSON document that the controller makes and the pod mounts.

It says what `control.Configure` says embedded, and what only a pod has to know: where the code is, and how it stops.
The same document makes the same function, so a changed one is another pod's.
"""

from pathlib import Path
from typing import Annotated, Self

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lateen_invoker.control import Configure, Layer, RuntimeCommand, Share, SystemLogLevel
from lateen_invoker.urls import PLAIN, UrlSettings

PATH = Path("/etc/lateen/function/configure.json")


class PodLayer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One zip that is unpacked into `/opt`, from the bucket of the code."""

    arn: str
    """What it is called where something is wrong with it."""
    key: Annotated[str, Meta(min_length=1)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class PodConfigure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes are Base64, as `msgspec.json` writes them. What is not explained here is in `control.Configure`."""

    function_id: Annotated[str, Meta(min_length=1)]
    function_name: str
    workspace_id: str
    account_id: str
    version: str
    revision: int
    """Of the function's desired state, which `/_lateen/state` repeats."""
    hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    region: str
    handler: str
    environment: dict[str, str] = {}
    system_log_level: SystemLogLevel | UnsetType = UNSET
    """As `Configure.system_log_level`."""
    timeout_s: Annotated[int, Meta(ge=1)]
    memory_mib: Annotated[int, Meta(ge=1)]
    concurrency: Annotated[int, Meta(ge=1)]
    queue: Annotated[int, Meta(ge=0)]
    provisioned: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    """As `Configure.provisioned`; not set where there is none, so that functions without it are told what they were
    told before there was such a thing."""
    has_share: bool = False
    """The function has reserved concurrency: nothing runs before the controller has given this pod a share of it."""
    open: bool
    url: UrlSettings = PLAIN
    invoke_key: bytes
    artifact_bucket: Annotated[str, Meta(min_length=1)]
    artifact_key: str
    """Empty: the code is in the runtime's image."""
    artifact_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    layers: list[PodLayer] = []
    """In the order in which they are unpacked, each over those before."""
    runtime: RuntimeCommand
    """Paths are those in the runtime's image; `readable` says nothing here."""
    idle_s: Annotated[float, Meta(gt=0)] = 600.0
    """Environments that had no event for this long end, the last one excepted."""
    retention_s: Annotated[int, Meta(ge=1)] = 7 * 86_400
    """Execution records expire so long after they were written."""
    drain_lag_s: Annotated[float, Meta(ge=0, le=300)] = 5.0
    """Seconds for which a pod that stops still takes calls: endpoints lag."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises: `ValueError` in one line."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as exc:
            raise ValueError(f"{path}: {exc.strerror}") from None
        except msgspec.DecodeError as exc:
            raise ValueError(f"{path}: {exc}") from None

    def configure(self, work_dir: Path) -> Configure:
        """The same for the parts that both modes share."""
        return Configure(
            function_id=self.function_id, function_name=self.function_name, workspace_id=self.workspace_id,
            account_id=self.account_id, version=self.version, hash=self.hash, region=self.region, handler=self.handler,
            environment=self.environment, timeout_s=self.timeout_s, memory_mib=self.memory_mib,
            system_log_level=self.system_log_level or None,
            concurrency=self.concurrency, provisioned=self.provisioned or 0, queue=self.queue, open=self.open,
            url=self.url, invoke_key=self.invoke_key, artifact="", artifact_sha256=self.artifact_sha256,
            runtime=self.runtime, layers=[Layer(each.arn, "", each.sha256) for each in self.layers],
            work_dir=str(work_dir), idle_s=self.idle_s,
            # Of how many is not known yet; more than none, so that callers wait for it.
            share=Share(serial=0, most=0, of=1) if self.has_share else None,
        )  # fmt: skip
