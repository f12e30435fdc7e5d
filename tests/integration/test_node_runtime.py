"""Our Node runtime beside AWS's client, unmodified: one suite of handlers, both behind the same invoker.

`hack/aws-node-client` compiles AWS's client once; a machine that can't is told so.
"""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from invoker_process import REPOSITORY, InvokerProcess
from runtime_driver import Function
from runtimes_here import catalogue, command

from lateen_invoker import wire
from lateen_invoker.control import RuntimeCommand

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="AWS's client is for Linux"),
    # The first of them may have to compile the client.
    pytest.mark.timeout(900),
]

CODE = """
const { setTimeout: sleep } = require("node:timers/promises");

class OwnError extends Error {
  constructor(message) { super(message); this.name = "OwnError"; this.code = "E_OWN"; this.more = { a: [1] }; }
}
const circle = () => { const value = {}; value.self = value; return value; };
const inside = (message) => { throw new OwnError(message); };

const RETURNS = {
  "object": () => ({ a: 1, b: [1, 2.5, null, true], c: { d: "e" } }),
  "null": () => null,
  "nothing": () => undefined,
  "text": () => 'größer \\u2028 \\u{1f600} \\u0000 \\u001f " \\\\ /',
  "half a pair": () => "\\ud800",
  "number": () => 0.1 + 0.2,
  "not numbers": () => [NaN, Infinity, -0],
  "date": () => new Date(0),
  "own form": () => ({ toJSON: () => "own" }),
  "map": () => new Map([[1, 2]]),
  "buffer": () => Buffer.from("ab"),
  "undefined inside": () => ({ a: undefined, b: [undefined], c: () => 1 }),
  "big": () => 10n,
  "circle": circle,
  "error": () => new OwnError("returned"),
  "large": () => "x".repeat(300000),
  "false": () => false,
};
const RAISES = {
  "plain": () => inside("größer"),
  "two lines": () => inside("one\\ntwo"),
  "type": () => null.member,
  "text": () => { throw "a text"; },
  "number": () => { throw 5; },
  "object": () => { throw { message: "m" }; },
  "like an error": () => { throw { name: "N", message: "m", stack: "N: m\\n    at nowhere" }; },
  "no message": () => { throw new Error(); },
  "cause": () => { throw new Error("outer", { cause: new OwnError("cause") }); },
  "aggregate": () => { throw new AggregateError([new Error("one")], "several"); },
  "delete": () => { throw new Error("a\\x7fb"); },
  "json": () => JSON.parse("{"),
};
const ENDS = {
  "exit 3": () => process.exit(3),
  "exit": () => process.exit(),
  "kill": () => process.kill(process.pid, "SIGKILL"),
  "abort": () => process.abort(),
  "uncaught": () => { setTimeout(() => inside("later"), 1); return sleep(500); },
  "uncaught text": () => { setTimeout(() => { throw "later"; }, 1); return sleep(500); },
  "unhandled": () => { Promise.reject(new OwnError("nobody")); return sleep(500); },
  "unhandled text": () => { Promise.reject("nobody"); return sleep(500); },
};
const PRINTS = {
  "levels": () => {
    for (const level of ["log", "info", "warn", "error", "debug", "trace"]) console[level](level, 1, { a: [1] });
  },
  "fatal": () => console.fatal("fatal"),
  "lines": () => console.log("one\\ntwo\\n"),
  "format": () => console.log("%s is %d%%", "a", 5, "more"),
  "nothing": () => console.log(),
  "error": () => {
    const error = new OwnError("shown");
    error.stack = "OwnError: shown\\n    at somewhere";
    console.error(error);
    console.log("with", error);
  },
  "object": () => console.log({ a: { b: { c: { d: 1 } } }, when: new Date(0) }),
  "circle": () => console.log(circle()),
  "big": () => console.log({ a: 1n }),
  "raw": () => { process.stdout.write("raw, "); process.stderr.write("both\\n"); },
};
const ANSWERS = {
  "callback": (context, callback) => callback(null, "called back"),
  "callback later": (context, callback) => { setTimeout(() => callback(null, "later"), 20); },
  "callback error": (context, callback) => callback(new OwnError("called back")),
  "callback text": (context, callback) => callback("a text"),
  "callback twice": (context, callback) => { callback(null, 1); callback(null, 2); callback(new Error("late")); },
  "callback waits": (context, callback) => {
    setTimeout(() => { globalThis.seen = "set"; }, 30);
    callback(null, "waited");
  },
  "callback does not wait": (context, callback) => {
    context.callbackWaitsForEmptyEventLoop = false;
    setTimeout(() => {}, 60000).unref();
    callback(null, "at once");
  },
  "succeed": (context) => context.succeed({ by: "succeed" }),
  "fail": (context) => context.fail(new OwnError("failed")),
  "fail with nothing": (context) => context.fail(),
  "done": (context) => context.done(null, "done"),
  "done with an error": (context) => context.done("broken"),
  "nothing at all": () => {},
  "never": () => { setTimeout(() => {}, 20); },
  "never resolved": () => new Promise(() => {}),
  "seen": () => Promise.resolve(globalThis.seen ?? null),
  "thenable": () => ({ then: (resolve) => resolve("thenable") }),
};

exports.handler = (event, context, callback) => {
  const { what, which } = event;
  if (what === "return") return (async () => RETURNS[which]())();
  if (what === "raise") return (async () => RAISES[which]())();
  if (what === "throw") return RAISES[which]();
  if (what === "end") return ENDS[which]();
  if (what === "print") { PRINTS[which](); return Promise.resolve(null); }
  if (what === "answer") return ANSWERS[which](context, callback);
  if (what === "event") return Promise.resolve(event);
  if (what === "context") {
    const left = context.getRemainingTimeInMillis();
    if (!(left > 0 && left <= 3000)) throw new Error(`${left}`);
    const shown = Object.fromEntries(Object.entries(context).filter(([name]) => name !== "logStreamName"));
    return Promise.resolve([Object.keys(context), shown, typeof context.logStreamName]);
  }
  if (what === "surroundings") {
    return Promise.resolve({
      environ: Object.keys(process.env).sort(), cwd: process.cwd(), trace: process.env._X_AMZN_TRACE_ID.slice(0, 5),
      zone: Intl.DateTimeFormat().resolvedOptions().timeZone, file: __filename, main: require.main === module,
      awslambda: Object.keys(awslambda), umask: process.umask(),
      id: typeof globalThis[Symbol.for("aws.lambda.runtime.requestId")],
    });
  }
  throw new Error(what);
};
"""


def names(table: str) -> list[str]:
    return re.findall(r'^  "([^"]+)": ', CODE.partition(f"const {table} = {{")[2].partition("\n};")[0], re.MULTILINE)


@pytest.fixture(scope="session")
def aws_node_client() -> str:
    """Its folder."""
    made = subprocess.run([REPOSITORY / "hack" / "aws-node-client"], capture_output=True, text=True)
    if made.returncode:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(made.stderr.strip()[-500:])
    return made.stdout.strip()


@pytest.fixture(scope="session", autouse=True)
def has_node() -> None:
    if (why := catalogue()[1]["node20"].disabled) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


def aws_runtime(client: str, handler: str) -> RuntimeCommand:
    ours = command("node20")
    return RuntimeCommand(
        name="node20",
        execution_env=ours.execution_env,
        command=[ours.command[0], f"{client}/bin/index.mjs", handler],
        forks=False,
        channel=False,
        runtime_dir=client,
        readable=[*ours.readable, client],
        environment=ours.environment,
    )


class Pair:
    """The same function twice: with our runtime, and with AWS's client."""

    def __init__(self, folder: Path, client: str, code: Any = CODE, **configure: Any) -> None:
        self.invokers: list[InvokerProcess] = []
        self.init_errors = []
        self._calls = 0
        handler = configure.setdefault("handler", "index.handler")
        for name, runtime in (("ours", command("node20")), ("aws", aws_runtime(client, handler))):
            (folder / name).mkdir()
            invoker = InvokerProcess(folder / name)
            self.invokers.append(invoker)
            files = {"index.js": code} if isinstance(code, str) else code
            self.init_errors.append(invoker.configure(files, runtime, **{"concurrency": 1, **configure}).init_error)

    def both(self, event: Any, headers: dict[str, str] | None = None) -> tuple[Any, Any]:
        """Status, answer and log of each, without what differs from call to call."""
        self._calls += 1
        text = event if isinstance(event, bytes) else json.dumps(event).encode()
        ours, aws = (self._one(invoker, text, headers) for invoker in self.invokers)
        return ours, aws

    def _one(self, invoker: InvokerProcess, event: bytes, headers: dict[str, str] | None) -> Any:
        answer = invoker.invoke(event, headers)
        record = invoker.record(self._calls)
        log = record.log_tail.replace(record.request_id, "ID")
        log = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", log)
        log = re.sub(r"^(REPORT|TIME\tundefined\tINFO\tExecuting|Executing) .*$\n?", "", log, flags=re.MULTILINE)
        body = answer.body.replace(record.request_id.encode(), b"ID").decode()
        return answer.status, own(body), own(log), record.status

    def close(self) -> None:
        for invoker in self.invokers:
            invoker.close()


def own(text: str) -> str:
    """Without the lines of a stack that are not the user's: they name the client."""
    text = re.sub(r',"    at (?!\S+ \(?/var/task)(?!/var/task)[^"]*"', "", text)
    return re.sub(r"\r    at (?!\S+ \(?/var/task)(?!/var/task)[^\r\n]*", "", text)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, aws_node_client: str) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("pair"), aws_node_client)
    assert pair.init_errors == [None, None]
    yield pair
    pair.close()


@pytest.mark.parametrize("which", names("RETURNS"))
def test_what_handlers_return(pair: Pair, which: str) -> None:
    """The answer, byte for byte, or the same error for what JSON can't say."""
    ours, aws = pair.both({"what": "return", "which": which})
    assert ours == aws


@pytest.mark.parametrize("how", ["raise", "throw"])
@pytest.mark.parametrize("which", names("RAISES"))
def test_what_handlers_throw(pair: Pair, which: str, how: str) -> None:
    """The error document with the user's part of the stack, and what the log says of it."""
    ours, aws = pair.both({"what": how, "which": which})
    assert ours == aws
    assert ours[3] == "error"


@pytest.mark.parametrize("which", names("ENDS"))
def test_how_handlers_end_everything(pair: Pair, which: str) -> None:
    """The process ends in the same way, and the next call works."""
    ours, aws = pair.both({"what": "end", "which": which})
    if which == "abort":  # its log shows the client's own frames
        ours, aws = ours[:2], aws[:2]
    assert ours == aws
    ours, aws = pair.both({"what": "return", "which": "object"})
    assert ours == aws
    assert ours[3] == "success"


@pytest.mark.parametrize("which", names("PRINTS"))
def test_what_handlers_print(pair: Pair, which: str) -> None:
    """The console's lines."""
    ours, aws = pair.both({"what": "print", "which": which})
    assert ours == aws


@pytest.mark.parametrize("which", names("ANSWERS"))
def test_ways_to_answer(pair: Pair, which: str) -> None:
    """Callbacks, the context's older ways, promises that are none, and no answer at all."""
    ours, aws = pair.both({"what": "answer", "which": which})
    assert ours == aws


@pytest.mark.parametrize(
    "client",
    [None, {}, {"custom": {"a": 1}, "env": {"b": "c"}, "client": {"app_title": "größer", "installation_id": "i"}}],
)
def test_context(pair: Pair, client: Any) -> None:
    """Each member, in its order."""
    given = None if client is None else {"x-amz-client-context": base64.b64encode(json.dumps(client).encode()).decode()}
    ours, aws = pair.both({"what": "context"}, given)
    assert ours == aws
    assert ours[3] == "success"


def test_surroundings(pair: Pair) -> None:
    """Variables, folder, time zone, globals."""
    ours, aws = pair.both({"what": "surroundings"})
    assert json.loads(ours[1]) == json.loads(aws[1])


def test_events(pair: Pair) -> None:
    """Structure and text come as they were sent."""
    event = '{"what": "event", "a": [1, 2.50, 1e5, -0.0], "ü": "\\ud83d\\ude00é", "d": {"": null}, "__proto__": 1}'
    ours, aws = pair.both(event.encode())
    assert ours == aws


@pytest.mark.parametrize("level", ["", "DEBUG", "WARN", "FATAL", "nonsense"])
def test_json_logs(tmp_path: Path, aws_node_client: str, level: str) -> None:
    """`AWS_LAMBDA_LOG_FORMAT=JSON`, and what a level leaves out."""
    variables = {"AWS_LAMBDA_LOG_FORMAT": "JSON", **({"AWS_LAMBDA_LOG_LEVEL": level} if level else {})}
    pair = Pair(tmp_path, aws_node_client, environment=variables)
    try:
        for which in names("PRINTS"):
            ours, aws = pair.both({"what": "print", "which": which})
            assert ours == aws
        ours, aws = pair.both({"what": "raise", "which": "plain"})
        assert ours == aws
    finally:
        pair.close()


MODULE = "export const handler = async () => import.meta.url;"
COMMON = "exports.handler = async () => __filename;"
TYPE = '{"type": "module"}'


@pytest.mark.parametrize(
    ("files", "handler"),
    [
        ({"index.mjs": MODULE}, "index.handler"),
        ({"index.js": COMMON}, "index.handler"),
        ({"index.cjs": COMMON}, "index.handler"),
        ({"index.js": MODULE, "package.json": TYPE}, "index.handler"),
        ({"index.cjs": COMMON, "package.json": TYPE}, "index.handler"),
        ({"index.js": COMMON, "index.mjs": MODULE}, "index.handler"),
        ({"index.js": COMMON, "package.json": "{broken"}, "index.handler"),
        ({"index": COMMON}, "index.handler"),
        ({"src/deep/app.js": COMMON}, "src/deep/app.handler"),
        ({"src/app.js": MODULE, "src/package.json": TYPE}, "src/app.handler"),
        ({"index.js": "exports.a = { b: { c: async () => 'nested' } };"}, "index.a.b.c"),
        ({"index.mjs": "await new Promise((r) => setTimeout(r, 5)); export const handler = async () => 'awaited';"},
         "index.handler"),
        ({"index.js": "exports.handler = async () => require('own').name;",
          "node_modules/own/index.js": "exports.name = 'own';"}, "index.handler"),
        ({"index.mjs": "import { name } from 'own'; export const handler = async () => name;",
          "node_modules/own/index.mjs": "export const name = 'own';",
          "node_modules/own/package.json": '{"name": "own", "exports": "./index.mjs"}'}, "index.handler"),
        ({"node_modules/app/index.js": COMMON}, "app.handler"),
        ({"other.js": COMMON}, "index.handler"),
        ({"index.js": "exports.other = 1;"}, "index.handler"),
        ({"index.js": "exports.handler = 5;"}, "index.handler"),
        ({"index.js": "require('absent');"}, "index.handler"),
        ({"index.mjs": "import 'absent';"}, "index.handler"),
        ({"index.js": "exports.handler = ("}, "index.handler"),
        ({"index.mjs": "export const handler = ("}, "index.handler"),
        ({"index.js": "console.log('printed'); throw new TypeError('at import');"}, "index.handler"),
        ({"index.js": "process.exit(4);"}, "index.handler"),
        ({"index.js": COMMON}, "index"),
        ({"index.js": COMMON}, "../index.handler"),
        ({"dist/index.js": COMMON}, "./dist/index.handler"),
        ({"index.js": COMMON}, "/opt/nodejs/absent.handler"),
        ({".hidden/index.js": COMMON}, ".hidden/index.handler"),
        ({"größe/módulo.mjs": MODULE.replace("import.meta.url", "'ß'")}, "größe/módulo.handler"),
        ({"index.js": "exports.größe = async () => process.env._HANDLER;"}, "index.größe"),
        ({"$(x).js": COMMON}, "$(x).handler"),
        ({"a\\b.js": COMMON}, "a\\b.handler"),
        ({"a;b.js": COMMON}, "a;b.handler"),
        ({"a/b.js": COMMON}, "a//b.handler"),
        ({"-a.js": COMMON}, "./-a.handler"),
        ({"index.js": COMMON}, "index.$LATEST"),
        ({"index.js": COMMON}, "nothing\\here.handler"),
        ({"index.js": COMMON}, "índex.handler"),
        ({"index.js": COMMON}, ".none/index.handler"),
        ({"index.js": COMMON}, "index..handler"),
        ({"index.js": COMMON}, "."),
        ({"index.js": COMMON}, ".handler"),
        ({"index.js": COMMON}, "./.handler"),
        ({"index.js": COMMON}, "/var/task/.handler"),
        ({"src/app/index.js": COMMON}, "src/app.handler"),
        ({"app/index.js": "exports.handler = async () => 'folder';", "app.js": "exports.handler = async () => 'file';"},
         "app.handler"),
        ({"src/app/main.js": COMMON, "src/app/package.json": '{"main": "main.js"}'}, "./src/app.handler"),
        ({"a.js": COMMON}, "a/.handler"),
        ({"index.js": COMMON}, "%s.handler"),
    ],
)  # fmt: skip
def test_loading(tmp_path: Path, aws_node_client: str, files: dict[str, str], handler: str) -> None:
    """Every kind of module where AWS finds it, and the error of the initialisation where there is none."""
    pair = Pair(tmp_path, aws_node_client, files, handler=handler)
    try:
        ours, aws = pair.init_errors
        assert (ours is None) == (aws is None), (ours, aws)
        if ours is not None and aws is not None:
            shown = [re.sub(r"\n- /.*(index|bootstrap)\.[cm]js", "", each.message) for each in (ours, aws)]
            assert (ours.type, shown[0]) == (aws.type, shown[1])
        else:
            answers = pair.both({})
            assert answers[0] == answers[1]
            assert answers[0][3] == "success"
    finally:
        pair.close()


@pytest.mark.parametrize("handler", ["/opt/.handler", "./.handler", "/var/task/.handler", "app/.handler"])
def test_nothing_beside_the_code_is_loaded(tmp_path: Path, handler: str) -> None:
    """A handler that names the folder of all code, or one that is no package, is not found."""
    invoker = InvokerProcess(tmp_path)
    try:
        ready = invoker.configure({"app/other.js": COMMON}, command("node20"), handler=handler)
        assert ready.init_error.type == "Runtime.ImportModuleError"
    finally:
        invoker.close()


def test_a_rejection_while_loading(tmp_path: Path) -> None:
    """An error of the initialisation; with AWS's client it depends on who is faster."""
    invoker = InvokerProcess(tmp_path)
    code = "Promise.reject(new Error('early')); exports.handler = async () => 1;"
    try:
        ready = invoker.configure({"index.js": code}, command("node20"), handler="index.handler")
        assert (ready.init_error.type, ready.init_error.message) == (
            "Runtime.UnhandledPromiseRejection",
            "Error: early",
        )
    finally:
        invoker.close()


@pytest.mark.parametrize("how", ["returns", "throws", "calls back", "throws later"])
def test_an_answer_from_what_is_about_to_end(tmp_path: Path, how: str) -> None:
    """The call that ends the process right behind its answer has the error, and those that wait lose nothing."""
    code = """
    const LATE = {
      "returns": async () => { Promise.reject(new Error("nobody")); return "answered"; },
      "throws": async () => { Promise.reject(new Error("nobody")); throw new Error("answered"); },
      "calls back": (callback) => { Promise.reject(new Error("nobody")); callback(new Error("answered")); },
      "throws later": async () => { setImmediate(() => { throw new Error("nobody"); }); return "answered"; },
    };
    exports.handler = (event, context, callback) => {
      if (event === null) return Promise.resolve("innocent");
      if (event === "first") return new Promise((resolve) => setTimeout(resolve, 500, "first"));
      return LATE[event](callback);
    };"""
    invoker = InvokerProcess(tmp_path)
    try:
        invoker.configure({"index.js": code}, command("node20"), handler="index.handler", concurrency=1, queue=20)
        with ThreadPoolExecutor(20) as callers:
            first = callers.submit(invoker.invoke, b'"first"')  # the others queue behind it
            many = [json.dumps(how).encode() if number % 4 == 0 else b"null" for number in range(16)]
            answers = list(callers.map(invoker.invoke, many))
            assert first.result().body == b'"first"'
        told = "Error" if how == "throws later" else "Runtime.UnhandledPromiseRejection"
        for event, answer in zip(many, answers, strict=True):
            if event == b"null":
                assert answer.body == b'"innocent"'
            else:
                assert json.loads(answer.body)["errorType"] == told
    finally:
        invoker.close()


def test_memory(tmp_path: Path) -> None:
    """A heap as large as the function's memory allows, not more; then the process is replaced."""
    invoker = InvokerProcess(tmp_path)
    code = """exports.handler = async ({ mib }) => {
      const kept = [];
      for (let i = 0; i < mib; i++) kept.push(Array.from({ length: 131072 }, (_, n) => n + i));
      return [kept.length, Math.round(require("node:v8").getHeapStatistics().heap_size_limit / 1048576)];
    };"""
    try:
        invoker.configure({"index.js": code}, command("node20"), handler="index.handler", timeout_s=30)
        kept, limit = json.loads(invoker.invoke(b'{"mib": 40}').body)
        assert kept == 40
        assert 115 <= limit <= 160  # nine tenths of 128 MiB, and what is new
        broken = json.loads(invoker.invoke(b'{"mib": 400}').body)
        assert broken["errorType"] in ("Runtime.OutOfMemory", "Runtime.ExitError")
        assert json.loads(invoker.invoke(b'{"mib": 1}').body)[0] == 1
    finally:
        invoker.close()


@pytest.mark.parametrize("allowed", [["landlock"], []], ids=["landlock", "nothing"])
async def test_where_there_are_no_namespaces(tmp_path: Path, allowed: list[str]) -> None:
    """Node starts, loads modules of both kinds, resolves names and writes to its own folder under weaker holds too."""
    code = """import fs from "node:fs"; import os from "node:os"; import path from "node:path";
    import { createRequire } from "node:module"; import { lookup } from "node:dns/promises";
    const own = createRequire(import.meta.url)("./own.cjs");
    export const handler = async () => {
      const file = path.join(os.tmpdir(), "kept");
      fs.writeFileSync(file, own.text);
      const { address } = await lookup("localhost", 4);
      return [fs.readFileSync(file, "utf8"), address, os.cpus().length > 0];
    };"""
    files = {"index.mjs": code, "own.cjs": "exports.text = 'own';"}
    made = Function(tmp_path / "f", files, runtime=command("node20"), handler="index.handler", allowed=allowed)
    async with made as function:
        environment = await function.environment()
        assert await environment.value({}) == ["own", "127.0.0.1", True]


@pytest.mark.parametrize("size", [1, 300_000])
async def test_an_event_right_behind_the_word_that_there_are_extensions(tmp_path: Path, size: int) -> None:
    """Both may be there when the first is read; the second, and all after it, are answered."""
    code = "exports.handler = async ({ text }) => text.length;"
    made = Function(tmp_path / "f", {"index.js": code}, runtime=command("node20"), handler="index.handler")
    async with made as function:
        environment = await function.environment()
        assert environment.first == (wire.READY, "extended", b"")
        extended = wire.frame(wire.EXTENDED, b"", b"")
        assert await environment.value({"text": "x" * size}, behind=extended) == size
        assert await environment.value({"text": "x" * size}) == size


def test_what_a_function_starts_does_not_get_the_channel(tmp_path: Path) -> None:
    """Its socket ends with the process; a child has the usual three descriptors."""
    invoker = InvokerProcess(tmp_path)
    code = """const { spawnSync } = require("node:child_process");
    exports.handler = async () => spawnSync("/bin/sh", ["-c", "readlink /proc/self/fd/3 || echo none"]).stdout + "";"""
    try:
        invoker.configure({"index.js": code}, command("node20"), handler="index.handler", timeout_s=30)
        assert json.loads(invoker.invoke(b"{}").body) == "none\n"
    finally:
        invoker.close()


STREAMS = """
const { pipeline } = require("node:stream/promises");
const { Readable } = require("node:stream");

const WAYS = {
  "plain": async (stream) => { stream.write("one,"); stream.write(Buffer.from("two")); stream.end(); },
  "last piece": async (stream) => { stream.write("one,"); stream.end("two"); },
  "only end": async (stream) => { stream.setContentType("text/plain"); stream.end("all"); },
  "pipeline": async (stream) => pipeline(Readable.from(["größer", "kleiner"]), stream),
  "object": async (stream) => { stream.write({ a: 1 }); stream.end(); },
  "type": async (stream) => { stream.setContentType("text/html"); stream.write("<p>"); stream.end(); },
  "too late": async (stream) => { stream.write("x"); stream.setContentType("text/html"); },
  "prelude": async (stream) => {
    const answer = awslambda.HttpResponseStream.from(stream, {
      statusCode: 201, headers: { "x-own": "1", "content-type": "text/plain" }, cookies: ["a=b", "c=d"],
    });
    answer.write("body, "); answer.write("more"); answer.end();
  },
  "returns": async (stream) => { stream.write("x"); stream.end(); return "ignored"; },
  "throws": async () => { throw new TypeError("before anything"); },
  "throws later": async (stream) => { stream.write("begun"); throw new TypeError("in the middle"); },
  "no promise": (stream) => { stream.write("x"); stream.end(); },
  "large": async (stream) => { for (let i = 0; i < 40; i++) stream.write("x".repeat(100000)); stream.end(); },
  "too large": async (stream) => { for (let i = 0; i < 70; i++) stream.write("x".repeat(100000)); stream.end(); },
};
exports.handler = awslambda.streamifyResponse((event, stream, context) => {
  if (typeof context.awsRequestId !== "string") throw new Error("no context");
  return WAYS[event.which ?? event.queryStringParameters.which](stream);
});
"""
WAYS = re.findall(r'^  "([^"]+)": ', STREAMS, re.MULTILINE)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory, aws_node_client: str) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("streams"), aws_node_client, STREAMS)
    assert pair.init_errors == [None, None]
    yield pair
    pair.close()


@pytest.mark.parametrize("which", WAYS)
def test_streamed_answers(streams: Pair, which: str) -> None:
    """A caller that doesn't read a stream gets its pieces in one, and an error in its middle as an error."""
    ours, aws = streams.both({"which": which})
    assert ours == aws


def test_streamed_answers_at_a_url(streams: Pair) -> None:
    """What comes before eight zero bytes is status, headers and cookies."""
    for invoker in streams.invokers:
        answer = invoker.call("/?which=prelude")
        assert (answer.status, answer.body) == (201, b"body, more")
        assert (answer.headers["x-own"], answer.headers["content-type"]) == ("1", "text/plain")
        assert answer.headers.get_all("set-cookie") == ["a=b", "c=d"]
    streams._calls += 1


AT_THE_END = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { "x-own": "1" } }).end("the body");
});
"""


def test_a_body_given_to_end_comes_behind_its_prelude(tmp_path: Path) -> None:
    """All of it in one piece, without a write before; AWS's client forgets the prelude then."""
    invoker = InvokerProcess(tmp_path)
    try:
        ready = invoker.configure({"index.js": AT_THE_END}, command("node20"), handler="index.handler")
        assert ready.init_error is None
        answer = invoker.call()
        assert (answer.status, answer.headers["x-own"], answer.body) == (201, "1", b"the body")
    finally:
        invoker.close()


def test_libraries_of_the_package_are_found_by_the_loader(tmp_path: Path) -> None:
    """At its root and in `lib/`."""
    code = "exports.handler = async () => process.env.LD_LIBRARY_PATH.replaceAll(process.env.LAMBDA_TASK_ROOT, 'root');"
    invoker = InvokerProcess(tmp_path)
    try:
        assert invoker.configure({"index.js": code}, command("node20"), handler="index.handler").init_error is None
        assert json.loads(invoker.invoke(b"{}").body) == "/lib64:/usr/lib64:root:root/lib"
    finally:
        invoker.close()
