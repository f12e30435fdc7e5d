"""The control socket between an embedded platform and its invokers: what is said on it.

A stream socket that the invoker inherits. Each message is a little-endian u32 length and a MessagePack map with its
`type`. The end of the stream is the platform's end: the invoker and all that it started end with it. In a pod `sink.py`
is in the platform's place, for execution records and statistics.
"""

import re
import struct
from collections.abc import Iterator
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from lateen_invoker.records import ErrorDocument, ExecutionRecord
from lateen_invoker.rollups import Rollup
from lateen_invoker.urls import PLAIN, UrlSettings

_MEMORY = re.compile(r"\{memory:([0-9]{1,3})%\}")
_FORK_SERVER_ONLY = ("-I", "-S")
MAX_MESSAGE = 64 * 1024 * 1024
T = TypeVar("T")
SystemLogLevel = Literal["DEBUG", "INFO", "WARN"]


class RuntimeCommand(Struct, frozen=True, kw_only=True):
    """How environments of one runtime are started; made from `runtimes/<name>/runtime.toml`."""

    name: str
    """`python3.12`."""
    execution_env: str | None
    """Value of `AWS_EXECUTION_ENV`, such as `AWS_Lambda_python3.12`; None: not set."""
    command: list[str]
    """The bootstrap's argv, absolute paths or such that begin with `./`, which are in the code's folder, or else the
    layers'; started with `LAMBDA_RUNTIME_DIR` as below. `{memory:90%}` stands for so much of the function's memory, in
    whole MiB, and `{handler}` for its handler."""
    forks: bool
    """The command is a fork server (see `spawner.py`) and not one environment."""
    channel: bool
    """The bootstrap speaks frames on an inherited socket (see `wire.py`) and does not need the HTTP Runtime API."""
    runtime_dir: str
    readable: list[str] = []
    """Files and folders, outside of the system's own, that the runtime must be able to read and execute; on the
    embedded machine only."""
    environment: dict[str, str] = {}
    """Variables that the runtime adds, such as `PATH`; `{task_root}` stands for the code's folder, `{layers}` for that
    of the layers."""
    layers: dict[str, str] = {}
    """Search paths that a function gets besides, folders separated by colons. Of those in `{layers}` only what some
    layer has is kept; a variable is set where one is kept, or where one in `{task_root}` holds a shared library."""
    inherits: bool = False
    """In a pod, for an image of the user's: its variables count too, over those that every environment has and below
    all others, and its working directory is where environments start."""
    directory: str = ""
    """Where they start instead, if `inherits`."""

    def environment_command(self, memory_mib: int, handler: str) -> list[str]:
        """The argv of one environment, for which a fork server's flags are none of its own."""
        if self.inherits:
            return self.command  # the user's, to the letter
        words = [_MEMORY.sub(lambda share: str(max(1, memory_mib * int(share[1]) // 100)), w) for w in self.command]
        words = [word for word in words if word not in _FORK_SERVER_ONLY] if self.forks else words
        # The last: nothing of a handler is taken for anything else. It is a word, or part of one, and never an option.
        return [word.replace("{handler}", handler) for word in words]


class Layer(Struct, frozen=True):
    """One zip that is unpacked into `/opt`."""

    arn: str
    """What it is called where something is wrong with it."""
    artifact: str
    """`file://` address of the zip."""
    sha256: str
    """Hex."""


class Share(Struct, frozen=True, kw_only=True, tag="share"):
    """Platform to invoker: how many events it may run at a time, of those that all invokers of the function may
    together, which is the function's reserved concurrency."""

    serial: int
    """A higher one replaces a lower one."""
    most: int | None
    """None: as many as it has environments."""
    of: int = 0


class Load(Struct, frozen=True, kw_only=True, tag="load"):
    """Invoker to platform: what it makes of its share. Said when it is told one, when callers wait for want of it, when
    fewer run than may have run before, and, while it is used, when that has changed."""

    serial: int
    """Of the share that is in force."""
    most: int | None
    room: int
    """Environments that it may have."""
    running: int
    waiting: int


class Configure(Struct, frozen=True, kw_only=True, tag="configure"):
    """Platform to invoker, once: the function version that this process serves from now on."""

    function_id: str
    function_name: str
    workspace_id: str
    account_id: str
    """12 digits, for ARNs."""
    version: str
    hash: str
    region: str
    handler: str
    environment: dict[str, str]
    """The user's variables."""
    system_log_level: SystemLogLevel | None = None
    """What the platform says of invocations is JSON, from this level on. None: it is text."""
    timeout_s: int
    memory_mib: int
    concurrency: int
    provisioned: int = 0
    """Environments that are started before it is ready and stay however long there is no call."""
    queue: int
    """Callers that may wait for an environment before the next one is answered 429."""
    open: bool
    """`/{hash}` needs no signature (the function's `auth` is none)."""
    url: UrlSettings = PLAIN
    """How `/{hash}` answers."""
    invoke_key: bytes
    """Key of the signatures of `signing.py`; this function's own."""
    artifact: str
    """`file://` or `https://` address of the code's zip."""
    artifact_sha256: str
    """Hex."""
    layers: list[Layer] = []
    """In the order in which they are unpacked, each over those before."""
    runtime: RuntimeCommand
    work_dir: str
    """Absolute; 0700, this process' own: unpacked code and the environments' folders."""
    idle_s: float
    """Environments that had no event for this long end; when the last one has, `Idle` is sent."""
    share: Share | None = None
    """None: as many events may run as there are environments."""
    sandbox: bool = True
    """False: environments are plain child processes (the operator said that the code is trusted)."""


class Drain(Struct, frozen=True, kw_only=True, tag="drain"):
    """Platform to invoker: finish what runs within `within_s`, then exit with 0."""

    within_s: float


class RecordsStored(Struct, frozen=True, kw_only=True, tag="records_stored"):
    """Platform to invoker: the batch is stored."""

    batch: int
    lost: int = 0
    """Records of it that the store refused for what they are."""


class Listening(Struct, frozen=True, kw_only=True, tag="listening"):
    """Invoker to platform, once, before it is configured: the HTTP port on 127.0.0.1."""

    port: int


class Ready(Struct, frozen=True, kw_only=True, tag="ready"):
    """Invoker to platform, once: the code is there and a first initialisation has settled, well or badly."""

    init_error: ErrorDocument | None = None
    isolation: str = ""
    """What the environments are held by, in words: `namespaces, landlock`, `landlock`, `none`."""


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """Invoker to platform, once, instead of `Ready`: the code or the runtime can't be had. It exits after it."""

    reason: str


class Records(Struct, frozen=True, kw_only=True, tag="records"):
    """Invoker to platform. The next batch comes after this one's `RecordsStored`."""

    batch: int
    records: list[ExecutionRecord]
    dropped: int = 0
    """Records lost since the last batch, because the buffer was full."""
    rollups: list[Rollup] = []
    """Statistics, each to be stored in the place of the one before."""


class Log(Struct, frozen=True, kw_only=True, tag="log"):
    """Invoker to platform: a line for the platform's log, in whose form all lines are."""

    level: int
    logger: str
    message: str
    fields: dict[str, str] = {}


class Idle(Struct, frozen=True, tag="idle"):
    """Invoker to platform: no environment is left and no call runs. The platform drains it, or does nothing."""


ToInvoker = Configure | Drain | RecordsStored | Share
ToPlatform = Listening | Ready | Failed | Records | Log | Idle | Load
to_invoker = msgspec.msgpack.Decoder(ToInvoker)
to_platform = msgspec.msgpack.Decoder(ToPlatform)
_encoder = msgspec.msgpack.Encoder()
_length = struct.Struct("<I")
HEADER_SIZE = _length.size


def encode(message: ToInvoker | ToPlatform) -> bytes:
    """The message with its length in front."""
    body = _encoder.encode(message)
    return _length.pack(len(body)) + body


def body_size(header: bytes) -> int:
    """Bytes that follow the 4-byte header. Raises: `ValueError` beyond `MAX_MESSAGE`."""
    (size,) = _length.unpack(header)
    if size > MAX_MESSAGE:
        raise ValueError("control message too large")
    return int(size)


def taken(buffer: bytearray, decoder: msgspec.msgpack.Decoder[T]) -> Iterator[T]:
    """Whole messages off the front of `buffer`, which keeps what has come of the next. Raises: as `body_size`."""
    while len(buffer) >= HEADER_SIZE:
        end = HEADER_SIZE + body_size(bytes(buffer[:HEADER_SIZE]))
        if len(buffer) < end:
            return
        message = decoder.decode(buffer[HEADER_SIZE:end])
        del buffer[:end]
        yield message
