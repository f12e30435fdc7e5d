"""Our Python runtime beside AWS's client, unmodified: one suite of handlers, both behind the same invoker. Then what
is only ours: user modules that are named like the standard library's, warmed parents, variables that need an exec.
"""

import json
import os
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_stores import ClusterStores
from invoker_process import InvokerProcess, aws_client, own_bootstrap, program
from runtime_driver import RUNTIME, Function, resident_kib

from lateen_invoker import wire
from lateen_invoker.control import RuntimeCommand
from lateen_invoker.forkserver import descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="AWS's client is for Linux")

CODE = """
import collections, datetime, decimal, enum, json, logging, os, sys, time
from collections import namedtuple

logger = logging.getLogger("mine")
Point = namedtuple("Point", "x y")

class Colour(enum.Enum):
    RED = 1

class Level(enum.IntEnum):
    HIGH = 7

class Text(str):
    pass

class OwnError(Exception):
    pass

class HasFields:
    def _asdict(self):
        return {"a": Point(1, 2)}

def circle():
    values = []
    values.append(values)
    return values

def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value

RETURNS = {
    "object": lambda: {"a": 1, "b": [1, 2.5, None, True], "c": {"d": "e"}},
    "none": lambda: None,
    "text": lambda: "größer \\u2028 \\U0001f600 \\x00 \\x1f \\" \\\\ /",
    "keys": lambda: {1: "a", 2.5: "b", None: "c", True: "d", Text("t"): "e", b"bytes": "f", Level.HIGH: "g"},
    "bad key": lambda: {(1, 2): 3},
    "numbers": lambda: [1e300 * 1e10, -1e300 * 1e10, 2**70, 1.0, 1e-7, 1e22, -0.0, Level.HIGH],
    "nan": lambda: {"n": float("nan")},
    "decimals": lambda: [decimal.Decimal("1.10"), decimal.Decimal("1E+5"), decimal.Decimal("NaN")],
    "decimal": lambda: decimal.Decimal("3.140"),
    "decimal key": lambda: {decimal.Decimal(1): 1},
    "bytes inside": lambda: {"a": b"abc"},
    "bad bytes inside": lambda: {"a": b"\\xff"},
    "bytes": lambda: b"\\x00\\xffraw",
    "named tuple": lambda: {"p": Point(1, [Point(2, 3)])},
    "named tuple alone": lambda: Point(b"x", None),
    "as dict": lambda: [HasFields()],
    "tuple": lambda: (1, (2, 3)),
    "ordered": lambda: collections.OrderedDict(b=1, a=2),
    "default": lambda: collections.defaultdict(list, {"a": [1]}),
    "subclass": lambda: [Text("x"), Level.HIGH],
    "set": lambda: {1, 2},
    "date": lambda: {"when": datetime.datetime(2026, 1, 1)},
    "enum": lambda: Colour.RED,
    "generator": lambda: (x for x in "ab"),
    "bytearray": lambda: bytearray(b"x"),
    "instance": lambda: OwnError(),
    "circle": circle,
    "deep": lambda: deep(500),
    "empty": lambda: [[], {}, "", ()],
}

def fail_inside():
    raise OwnError("inside", 2)

def fail_again():
    try:
        fail_inside()
    except OwnError as exc:
        raise ValueError("outer\\nwith a second line") from exc

def fail_deep(n=0):
    fail_deep(n + 1)

def long_line():
    raise RuntimeError(  # a statement of more lines than one
        "wrapped"
    )

def exits(what):
    raise what

RAISES = {
    "plain": lambda: 1 / 0,
    "key": lambda: {}["größer"],
    "nested": fail_inside,
    "chained": fail_again,
    "no message": lambda: exits(OwnError()),
    "wrapped": long_line,
    "assertion": lambda: exits(AssertionError()),
    "stop": lambda: next(iter(())),
    "group": lambda: exits(ExceptionGroup("several", [ValueError(1), TypeError(2)])),
    "json": lambda: json.loads("{"),
    "compiled": lambda: eval("1 +"),
    "memory": lambda: exits(MemoryError()),
}

ENDS = {
    "exit 3": lambda: sys.exit(3),
    "exit": lambda: sys.exit(),
    "exit text": lambda: sys.exit("gone"),
    "hard exit": lambda: os._exit(7),
    "kill": lambda: os.kill(os.getpid(), 9),
    "interrupt": lambda: exits(KeyboardInterrupt()),
    "base": lambda: exits(BaseException("base")),
}

def printing():
    print("one", 2)
    print("no newline", end="")
    sys.stdout.write("\\nwritten")
    sys.stdout.writelines(["\\na", "b\\n"])
    print("größer \\u2028")
    print("a name that is no UTF-8: \\udc80")
    print("to stderr", file=sys.stderr)
    os.write(1, b"raw\\n")

def logging_some():
    logger.debug("not shown")
    logger.info("not shown either, unless the level is set")
    logger.warning("a %s with %d", "warning", 2)
    logger.error("two\\nlines", extra={"key": "value", "number": 2, "none": None})
    logging.critical({"a": "dict"})
    try:
        fail_inside()
    except OwnError:
        logger.exception("caught")
    logging.getLogger().setLevel(logging.INFO)
    logger.info("now shown")
    logging.getLogger().setLevel(logging.WARNING)

def describe(context):
    left = context.get_remaining_time_in_millis()
    assert isinstance(left, int) and 0 < left <= 3000, left
    shown = {name: repr(getattr(context, name)) for name in (
        "log_group_name", "function_name", "memory_limit_in_mb", "function_version", "invoked_function_arn",
        "tenant_id", "identity", "client_context")}
    client = context.client_context
    more = None if client is None else [client.custom, client.env, repr(client.client)]
    text = repr(context).replace(context.aws_request_id, "ID").replace(context.log_stream_name, "STREAM")
    assert isinstance(context._epoch_deadline_time_in_ms, int)
    return [shown, more, text, context.w3c(), context.identity.cognito_identity_id]

def surroundings():
    # An interpreter that is executed without its locale being there sets this one.
    names = [name for name in os.environ if name != "LC_CTYPE"]
    root = logging.getLogger()
    return {
        "environ": sorted(names), "cwd": os.getcwd(), "trace": os.environ["_X_AMZN_TRACE_ID"][:7],
        "zone": time.tzname[0], "file": __file__, "name": __name__,
        "handlers": [type(handler).__name__ for handler in root.handlers],
        "level": root.level, "stdout": [sys.stdout.encoding, sys.stdout.isatty()],
        "quit": str(exit), "umask": os.umask(0o22), "argv": sys.argv[1:],
    }

def handler(event, context):
    what = event["what"]
    if what == "context":
        return describe(context)
    if what == "log":
        context.log("logged by the context")
        context.log(5)
        print()
        return None
    if what == "event":
        return event
    return {"return": RETURNS, "raise": RAISES, "end": ENDS,
            "do": {"print": printing, "logging": logging_some, "surroundings": surroundings}}[what][event["which"]]()
"""
RETURNS = re.findall(r'^    "([^"]+)": ', CODE.partition("RETURNS = {")[2].partition("\n}")[0], re.MULTILINE)
RAISES = re.findall(r'^    "([^"]+)": ', CODE.partition("RAISES = {")[2].partition("\n}")[0], re.MULTILINE)
ENDS = re.findall(r'^    "([^"]+)": ', CODE.partition("ENDS = {")[2].partition("\n}")[0], re.MULTILINE)


class Pair:
    """The same function twice: with our runtime, and with AWS's client."""

    def __init__(self, folder: Path, code: Any = CODE, **configure: Any) -> None:
        self.invokers: list[InvokerProcess] = []
        self.init_errors = []
        handler = configure.get("handler", "lambda_function.handler")
        aws = aws_client()
        values = {name: getattr(aws, name) for name in RuntimeCommand.__struct_fields__}
        aws = RuntimeCommand(**{**values, "command": [*aws.command[:-1], handler]})
        for name, runtime in (("ours", own_bootstrap()), ("aws", aws)):
            (folder / name).mkdir()
            invoker = InvokerProcess(folder / name)
            self.invokers.append(invoker)
            ready = invoker.configure(code, runtime, **configure)
            self.init_errors.append(ready.init_error)
        self._calls = 0

    def both(self, event: Any, headers: dict[str, str] | None = None) -> tuple[Any, Any]:
        """Answer and log of each, without what differs from call to call."""
        self._calls += 1
        text = event if isinstance(event, bytes) else json.dumps(event).encode()
        return tuple(self._one(invoker, text, headers) for invoker in self.invokers)  # type: ignore[return-value]

    def _one(self, invoker: InvokerProcess, event: bytes, headers: dict[str, str] | None) -> Any:
        answer = invoker.invoke(event, headers)
        record = invoker.record(self._calls)
        log = record.log_tail.replace(record.request_id, "ID")
        log = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", log)
        log = re.sub(r"^REPORT .*$", "REPORT", log, flags=re.MULTILINE)
        log = re.sub(r"^\[WARNING\]\tTIME\t\S*\tLAMBDA_WARNING.*$\n?", "", log, flags=re.MULTILINE)
        return answer.status, answer.body.replace(record.request_id.encode(), b"ID"), log, record.status

    def close(self) -> None:
        for invoker in self.invokers:
            invoker.close()


def with_ended_traces(found: Any) -> Any:
    """With a line end behind a trace of `logging.exception`: outside AWS its client goes on in the same line."""
    status, body, log, ended = found
    return status, body, re.sub(r"^(\S*OwnError: .*?)(?=\[INFO\]\t)", r"\1\n", log, flags=re.MULTILINE), ended


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("pair"), concurrency=1)
    assert pair.init_errors == [None, None]
    yield pair
    pair.close()


@pytest.mark.parametrize("which", RETURNS)
def test_what_handlers_return(pair: Pair, which: str) -> None:
    """The answer, byte for byte, or the same error for what JSON can't say."""
    ours, aws = pair.both({"what": "return", "which": which})
    assert ours == aws


@pytest.mark.parametrize("which", RAISES)
def test_what_handlers_raise(pair: Pair, which: str) -> None:
    """The error document with its stack trace, and what the log says of it."""
    ours, aws = pair.both({"what": "raise", "which": which})
    assert ours == aws
    assert ours[3] == "error"


@pytest.mark.parametrize("which", ENDS)
def test_how_handlers_end_everything(pair: Pair, which: str) -> None:
    """The process ends in the same way, and the next call works."""
    ours, aws = pair.both({"what": "end", "which": which})
    assert (ours[0], json.loads(ours[1]), ours[3]) == (aws[0], json.loads(aws[1]), aws[3])
    ours, aws = pair.both({"what": "return", "which": "none"})
    assert ours == aws


@pytest.mark.parametrize("which", ["print", "logging", "surroundings"])
def test_what_handlers_do(pair: Pair, which: str) -> None:
    """Printing, logging, and what a handler finds around it."""
    ours, aws = pair.both({"what": "do", "which": which})
    aws = with_ended_traces(aws)
    if which == "surroundings":
        (_, ours_found, _, _), (_, aws_found, _, _) = ours, aws
        ours, aws = json.loads(ours_found), json.loads(aws_found)
    assert ours == aws


def test_context_log(pair: Pair) -> None:
    """`context.log` writes what it is given, as it is."""
    ours, aws = pair.both({"what": "log"})
    assert ours == aws
    assert "logged by the context5\n" in ours[2]


@pytest.mark.parametrize(
    "client",
    [None, {}, {"custom": {"a": 1}, "env": {"b": "c"}, "client": {"app_title": "t", "installation_id": "i"}},
     {"client": {}, "w3c": {"traceparent": "00-1", "tracestate": 5, "other": "x"}}],
)  # fmt: skip
def test_context(pair: Pair, client: Any) -> None:
    """Each attribute and the text form of the context."""
    import base64

    headers = (
        None if client is None else {"x-amz-client-context": base64.b64encode(json.dumps(client).encode()).decode()}
    )
    ours, aws = pair.both({"what": "context"}, headers)
    assert (ours[0], ours[1].replace(b"ID", b"")) == (aws[0], aws[1].replace(b"ID", b""))
    assert ours[3] == "success"


def test_events(pair: Pair) -> None:
    """Numbers, text and structure come as they were sent."""
    numbers = "[1, 2.50, 1e5, -0.0, 123456789012345678901234567890]"
    event = f'{{"what": "event", "a": {numbers}, "ü": "\\ud83d\\ude00é", "d": {{"": null}}}}'
    ours, aws = pair.both(event.encode())
    assert ours == aws


@pytest.mark.parametrize(
    ("files", "handler"),
    [
        ({"lambda_function.py": "import nothing_like_this"}, "lambda_function.handler"),
        ({"lambda_function.py": "from json import nothing"}, "lambda_function.handler"),
        ({"lambda_function.py": "x = 1\ndef handler(:\n    pass"}, "lambda_function.handler"),
        ({"lambda_function.py": "x = 1"}, "lambda_function.handler"),
        ({"lambda_function.py": "print('printed')\nraise RuntimeError('at import')"}, "lambda_function.handler"),
        ({"lambda_function.py": "import other", "other.py": "import json\njson.loads('[')"}, "lambda_function.handler"),
        ({"lambda_function.py": "import sys\nsys.exit(4)"}, "lambda_function.handler"),
        ({"lambda_function.py": "x = 1"}, "absent.handler"),
        ({"lambda_function.py": "x = 1"}, "sys.handler"),
        ({"lambda_function.py": "x = 1"}, "handler"),
        ({"lambda_function.py": "handler = 5"}, "lambda_function.handler"),
        ({"deep/er/module.py": "def handler(event, context):\n    return __name__"}, "deep/er/module.handler"),
        ({"package/__init__.py": "", "package/m.py": "from . import n\nhandler = n.f",
          "package/n.py": "def f(e, c): 1/0"}, "package.m.handler"),
        ({"src/module.py": "x = 1"}, "./src/module.handler"),
        ({"lambda_function.py": "x = 1"}, "/opt/python/module.handler"),
        ({"größe/módulo.py": "def händler(event, context):\n    return __name__"}, "größe/módulo.händler"),
        ({"a\\b.py": "def handler(event, context):\n    return __name__"}, "a\\b.handler"),
        ({"$(x).py": "def handler(event, context):\n    return __name__"}, "$(x).handler"),
        ({"lambda_function.py": "x = 1"}, "lambda_function.$LATEST"),
        ({".hidden/module.py": "x = 1"}, ".hidden/module.handler"),
        ({"lambda_function.py": "x = 1"}, "."),
        ({"lambda_function.py": "x = 1"}, ".handler"),
        ({"lambda_function.py": "x = 1"}, "a..b"),
        ({"lambda_function.py": "x = 1"}, "a//b.c"),
        ({"lambda_function.py": "x = 1"}, "%s.{0}"),
    ],
    ids=["import", "from", "syntax", "missing", "raise", "raise deeper", "exit", "absent", "builtin", "malformed",
         "not callable", "folders", "package", "relative", "absolute", "letters", "backslash", "dollar", "no attribute",
         "hidden", "dot", "dot first", "two dots", "two slashes", "signs"],
)  # fmt: skip
def test_initialisation(tmp_path: Path, files: dict[str, str], handler: str) -> None:
    """How a handler is found, and what is said when it is not, at deployment and to the first caller."""
    pair = Pair(tmp_path, files, handler=handler)
    try:
        assert pair.init_errors[0] == pair.init_errors[1]
        ours, aws = pair.both({})
        document = json.loads(aws[1])
        if "awslambdaric/bootstrap.py" in str(document):
            document["stackTrace"] = []  # a trace of the client's own lines only says nothing; ours leaves it out
        assert (ours[0], json.loads(ours[1])) == (aws[0], document)
    finally:
        pair.close()


@pytest.mark.parametrize(
    ("handler", "error_type", "message"),
    [
        ("módulo.handler", "Runtime.ImportModuleError", "Unable to import module 'módulo': No module named 'módulo'"),
        ("lambda_function.größe", "Runtime.HandlerNotFound", "Handler 'größe' missing on module 'lambda_function'"),
        ("処理", "Runtime.MalformedHandlerName",
         "Bad handler '処理': not enough values to unpack (expected 2, got 1)"),
    ],
)  # fmt: skip
def test_a_handler_in_other_letters_that_is_not_there(
    tmp_path: Path, handler: str, error_type: str, message: str
) -> None:
    """AWS's client has no words for these: they don't fit a header of its."""
    invoker = InvokerProcess(tmp_path)
    try:
        ready = invoker.configure({"lambda_function.py": "x = 1"}, own_bootstrap(), handler=handler)
        assert (ready.init_error.type, ready.init_error.message) == (error_type, message)
    finally:
        invoker.close()


@pytest.mark.parametrize(("form", "level"), [("JSON", None), ("JSON", "TRACE"), ("Text", "DEBUG"), ("Text", "ERROR")])
def test_log_formats(tmp_path: Path, form: str, level: str | None) -> None:
    """`AWS_LAMBDA_LOG_FORMAT` and `AWS_LAMBDA_LOG_LEVEL` have the effect that they have on AWS."""
    variables = {"AWS_LAMBDA_LOG_FORMAT": form} | ({} if level is None else {"AWS_LAMBDA_LOG_LEVEL": level})
    pair = Pair(tmp_path, environment=variables)
    try:
        for event in ({"what": "do", "which": "logging"}, {"what": "raise", "which": "chained"}):
            ours, aws = pair.both(event)
            assert ours == with_ended_traces(aws)
    finally:
        pair.close()


# What Sentry's and Honeybadger's libraries do while they are imported, or, with `late`, in a first call.
WATCHED = """
import sys

def watch(client):
    def watched(method):
        def post(*given, **more):
            print("posting", method.__name__)
            return method(*given, **more)
        return post

    handle = client.handle_event_request
    def handle_watched(runtime_client, request_handler, *given, **more):
        def wrapped(event, context):
            print("before", event, context.function_name)
            try:
                return request_handler(event, context)
            except Exception as exc:
                print("saw", repr(exc))
                raise
        return handle(runtime_client, wrapped, *given, **more)
    client.handle_event_request = handle_watched
    for name in ("post_invocation_result", "post_invocation_error"):
        setattr(client.LambdaRuntimeClient, name, watched(getattr(client.LambdaRuntimeClient, name)))
    post_init_error = client.LambdaRuntimeClient.post_init_error
    def init_watched(*given, **more):
        print("posting", given[1]["errorType"])
        return post_init_error(*given, **more)
    client.LambdaRuntimeClient.post_init_error = init_watched

def handler(event, context):
    if "watch" in event:
        watch(sys.modules["__main__"].bootstrap)
    return 10 // event.get("by", 1)
"""


@pytest.mark.parametrize("is_late", [False, True])
def test_what_watches_every_call(tmp_path: Path, is_late: bool) -> None:
    """Libraries that report errors put themselves around AWS's client, and find all of it that they look for."""
    pair = Pair(
        tmp_path, {"lambda_function.py": WATCHED + ("" if is_late else 'watch(sys.modules["__main__"].bootstrap)')}
    )
    try:
        if is_late:
            pair.both({"watch": 1})
        for event in ({}, {"by": 0}):
            ours, aws = pair.both(event)
            assert ours[1:] == aws[1:]
            assert "before" in ours[2]
    finally:
        pair.close()


def test_what_watches_a_failed_start(tmp_path: Path) -> None:
    """It also learns of an initialisation that failed."""
    ends = 'watch(sys.modules["__main__"].bootstrap)\nimport nothing_like_this'
    pair = Pair(tmp_path, {"lambda_function.py": f"{WATCHED}\n{ends}"})
    try:
        ours, aws = pair.both({})
        assert ours[1] == aws[1]
        assert "posting Runtime.ImportModuleError" in ours[2]
    finally:
        pair.close()


# What only ours does.


@pytest.fixture
async def function(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Function]:
    async with Function(tmp_path / "own", request.param) as running:
        yield running


def _a_module(name: str) -> dict[str, str]:
    return {
        "code.py": f"import {name}\ndef handler(event, context):\n    return {name}.WHO",
        f"{name}.py": "WHO = 'user'",
    }


@pytest.mark.parametrize("function", [_a_module(name) for name in ("uuid", "queue", "secrets", "email", "calendar")],
                         indirect=True)  # fmt: skip
async def test_user_modules_win(function: Function) -> None:
    """A module named like one that the warmed parent has imported is the user's, as it is on AWS."""
    assert await (await function.environment()).value() == "user"


LOADED = """
import sys
LOADED = [name in sys.modules for name in ("ctypes", "resource", "select")]
def handler(event, context):
    return LOADED
"""
DATA = {"ctypes/read.me": "", "resource.json": "{}", "select.so.txt": "", "logging.conf": ""}


@pytest.mark.parametrize("function", [{"code.py": LOADED, **DATA}], indirect=True)
async def test_files_that_are_no_modules(function: Function) -> None:
    """Data named like a module takes nothing's place, nor does a folder without `__init__.py`."""
    assert await (await function.environment()).value() == [True, True, True]


@pytest.mark.parametrize("name", ["logging", "string", "threading"])
async def test_modules_of_the_runtime_itself_win(tmp_path: Path, name: str) -> None:
    """As on AWS, where its client has imported them before: the user's is not what is found."""
    code = f"import logging, {name}\ndef handler(*_):\n    logging.error('said')\n    return {name}.__name__"
    async with Function(tmp_path, {"code.py": code, f"{name}.py": "__name__ = 'user'"}) as function:
        environment = await function.environment()
        assert await environment.value() == name
        assert "said" in environment.logs()


@pytest.mark.parametrize("function", ["def handler(event, context):\n    return __file__"], indirect=True)
async def test_a_file_named_code(function: Function) -> None:
    """The default file is not the standard library's `code`."""
    assert await (await function.environment()).value() == f"{function.spawner.task_root}/code.py"


RANDOM = """
import os, random, tempfile, threading, uuid
def handler(event, context):
    thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
    return [random.random(), str(uuid.uuid4()), next(tempfile._get_candidate_names()), os.urandom(4).hex()]
"""


@pytest.mark.parametrize("function", [RANDOM], indirect=True)
async def test_forks_differ(function: Function) -> None:
    """No two environments draw the same random numbers."""
    first, second = [await (await function.environment()).value() for _ in range(2)]
    assert not set(first) & set(second)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"PYTHONHASHSEED": "0"}, "0"), ({"PYTHONPATH": "/nowhere"}, "/nowhere"), ({"LD_BIND_NOW": "1"}, "1"), ({}, None)],
)
@pytest.mark.parametrize("function", ["""
import os, sys
def handler(event, context):
    return [sys.path[0], sys.path[1:], hash("a"), os.getpid(), dict(os.environ), "site-packages" in str(sys.path)]
"""], indirect=True)  # fmt: skip
async def test_variables_for_the_interpreter(
    function: Function, variables: dict[str, str], expected: str | None
) -> None:
    """Those that change how an interpreter starts have their effect; the machine's own packages are never seen."""
    first, second = await function.environment(**variables), await function.environment(**variables)
    assert first.first[0] == wire.READY, first.logs()
    root, path, hashed, _, environ, sees_packages = await first.value()
    assert root == function.spawner.task_root
    assert not sees_packages
    assert "_LATEEN_CHANNEL_FD" not in environ
    if expected is not None:
        assert environ[next(iter(variables))] == expected
    if "PYTHONHASHSEED" in variables:
        assert hashed == (await second.value())[2]
    if "PYTHONPATH" in variables:
        assert "/nowhere" in path


SDK = """
import boto3
def handler(event, context):
    return [boto3.__file__, boto3.__cached__]
"""


@pytest.mark.parametrize("variables", [{}, {"PYTHONHASHSEED": "0"}], ids=["forked", "own interpreter"])
@pytest.mark.parametrize("function", [SDK], indirect=True)
async def test_the_sdk_is_there(function: Function, variables: dict[str, str]) -> None:
    """Without being brought, as on AWS, and compiled."""
    file, compiled = await (await function.environment(**variables)).value()
    assert file == str(RUNTIME / "packages" / "boto3" / "__init__.py")
    assert Path(compiled).is_file()


@pytest.mark.parametrize("variables", [{}, {"PYTHONHASHSEED": "0"}], ids=["forked", "own interpreter"])
@pytest.mark.parametrize("function", [{"code.py": SDK, "boto3.py": ""}], indirect=True)
async def test_the_sdk_that_is_brought_wins(function: Function, variables: dict[str, str]) -> None:
    file, _ = await (await function.environment(**variables)).value()
    assert file == f"{function.spawner.task_root}/boto3.py"


STORING = """
import boto3
s3 = boto3.client("s3")
def handler(event, context):
    s3.create_bucket(Bucket=event)
    s3.put_object(Bucket=event, Key="key", Body=b"body")
    return s3.get_object(Bucket=event, Key="key")["Body"].read().decode()
"""


@pytest.mark.cluster
@pytest.mark.parametrize("function", [STORING], indirect=True)
async def test_the_sdk_goes_by_the_variables(function: Function, cluster_stores: ClusterStores) -> None:
    """Credentials and the endpoint are the function's own."""
    stores = cluster_stores.environment
    environment = await function.environment(**{name: stores[name] for name in stores if name != "AWS_REGION"})
    assert await environment.value(f"runtime-{uuid.uuid4().hex}") == "body"


def test_without_a_channel(tmp_path: Path) -> None:
    """The bootstrap is a client of the Runtime API too, where it inherits nothing faster."""
    invoker = InvokerProcess(tmp_path)
    try:
        bootstrap = program([sys.executable, "-s", "-P", str(RUNTIME / "bootstrap.py")])
        ready = invoker.configure(CODE, bootstrap, concurrency=1)
        assert ready.init_error is None
        for _ in range(2):
            assert invoker.invoke(b'{"what": "return", "which": "tuple"}').body == b"[1, [2, 3]]"
            failed = json.loads(invoker.invoke(b'{"what": "raise", "which": "nested"}').body)
            assert (failed["errorType"], len(failed["stackTrace"])) == ("OwnError", 2)
    finally:
        invoker.close()


def test_a_failed_start_without_a_channel(tmp_path: Path) -> None:
    """It tells of a failed initialisation as well."""
    invoker = InvokerProcess(tmp_path)
    try:
        bootstrap = program([sys.executable, "-s", "-P", str(RUNTIME / "bootstrap.py")])
        ready = invoker.configure("import nothing_like_this", bootstrap)
        assert ready.init_error.type == "Runtime.ImportModuleError"
    finally:
        invoker.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may see what a fork server uses")
def test_an_idle_function_is_small(tmp_path: Path) -> None:
    """Invoker, fork server, keeper and one idle environment take at most 60 MiB together (PSS)."""
    invoker = InvokerProcess(tmp_path)
    try:
        invoker.configure("def handler(event, context):\n    return event")
        for _ in range(20):
            assert invoker.invoke(b"{}").body == b"{}"
        time.sleep(1.5)  # the fork server imports what it likes to have when nobody wants anything
        pids = [invoker.process.pid, *descendants(invoker.process.pid)]
        assert len(pids) == 4
        assert sum(map(resident_kib, pids)) <= 60 * 1024
    finally:
        invoker.close()


WRAPPER = '#!/bin/sh\nexport WRAPPED="$#"\nexec "$@"\n'


async def test_an_exec_wrapper(tmp_path: Path) -> None:
    """`AWS_LAMBDA_EXEC_WRAPPER` starts the runtime itself, and may change its variables."""
    code = "import os\ndef handler(event, context):\n    return os.environ['WRAPPED']"
    async with Function(tmp_path / "own", {"code.py": code, "wrapper": WRAPPER}) as function:
        (function.code / "wrapper").chmod(0o755)
        environment = await function.environment(AWS_LAMBDA_EXEC_WRAPPER=f"{function.spawner.task_root}/wrapper")
        assert environment.first[0] == wire.READY, environment.logs()
        assert int(await environment.value()) >= 2


@pytest.mark.parametrize("function", ["def handler(event, context):\n    return event"], indirect=True)
@pytest.mark.parametrize("event", [b"{", b"", b"\xff", b'{"a": 1} x', b"[1,]", b"nul", b'"\x00"', b"NaN and more"])
async def test_events_that_are_not_json(function: Function, event: bytes) -> None:
    """They are an error of their own type, and the next event is answered."""
    environment = await function.environment()
    kind, meta, body = await environment.answer(event)
    assert (kind, meta) == (wire.ERROR, "id-1\nRuntime.UnmarshalError")
    assert json.loads(body)["errorMessage"].startswith("Unable to unmarshal input: ")
    assert await environment.value([1]) == [1]


@pytest.mark.parametrize("function", ["def handler(event, context):\n    return event"], indirect=True)
async def test_sizes(function: Function) -> None:
    """Events and answers up to the limit come whole, whatever size came before."""
    environment = await function.environment()
    for size in (0, 1, 65000, 65536, 70000, 1 << 20, 6 * 1024 * 1024 - 2, 5, 300000):
        assert await environment.value("x" * size) == "x" * size


@pytest.mark.parametrize("function", ["def handler(event, context):\n    return '\\ud800'"], indirect=True)
async def test_text_that_is_not_unicode(function: Function) -> None:
    """Half a surrogate pair is an error of this one answer; AWS's client ends its process."""
    environment = await function.environment()
    kind, meta, _ = await environment.answer()
    assert (kind, meta) == (wire.ERROR, "id-1\nRuntime.MarshalError")


@pytest.mark.parametrize("function", ["import os\ndef handler(event, context):\n    os.fork()\n    return os.getpid()"],
                         indirect=True)  # fmt: skip
async def test_a_fork_that_comes_back(function: Function) -> None:
    """A child that returns from the handler doesn't answer in its parent's place."""
    environment = await function.environment()
    first, second = await environment.value(), await environment.value()
    assert first == second


async def test_smoke(tmp_path: Path) -> None:
    """The runtime's own smoke test."""
    smoke = RUNTIME / "smoke"
    async with Function(tmp_path / "own", (smoke / "code.py").read_text()) as function:
        answer = await (await function.environment()).value((smoke / "event.json").read_bytes())
    expected = json.loads((smoke / "answer.json").read_text())
    version = function.configure.runtime.command[0].rpartition("python")[2]
    assert answer == {**expected, "python": version or expected["python"]}


async def test_starter_code(tmp_path: Path) -> None:
    """What a new function begins with works."""
    async with Function(tmp_path / "own", (RUNTIME / "starter" / "code.py").read_text()) as function:
        answer = await (await function.environment()).value({"queryStringParameters": {"name": "Ada"}})
    assert json.loads(answer["body"]) == {"message": "Hello, Ada", "requestId": "id-1"}
