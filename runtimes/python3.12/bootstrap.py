"""The Python runtime: calls a handler with events, as AWS Lambda's own Python client does, only faster.

It runs in two ways. `bootstrap.py FORKSERVER` is a fork server: it imports the standard library, holds no user code,
and is asked for environments, each of which is a fork of it; FORKSERVER is the module that makes and watches them.
`bootstrap.py` alone is one environment, for those whose variables change how an interpreter starts.

Events come over an inherited socket, in frames: a little-endian u32 length of the rest, a u8 kind, a u16 length of the
meta text, the meta text, the body. Standard library only; CPython 3.11 to 3.13.
"""

import gc
import importlib
import io
import json
import json.encoder
import logging
import marshal
import os
import socket
import struct
import sys
import time
import traceback
from decimal import Decimal

INVOKE, READY, RESPONSE, ERROR, INIT_ERROR = 1, 2, 3, 4, 5
_HEADER = struct.Struct("<IBH")
_PREFIX = 3
_BUFFER = 64 * 1024
_GATHER = 64 * 1024
"""Answers from this size on are not copied behind their header."""

# What an interpreter has loaded anyway. A user's module of one of these names loses, as it does on AWS; of any other
# name it wins, also over a module that the fork server has imported already.
_TAKEN = frozenset(sys.modules)

WARM = (
    "_strptime", "argparse", "ast", "asyncio", "base64", "bisect", "calendar", "collections.abc",
    "concurrent.futures.thread", "configparser", "contextlib", "contextvars", "copy", "csv", "dataclasses",
    "datetime", "email.message", "email.mime.multipart", "email.mime.text", "email.parser", "email.utils",
    "enum", "fnmatch", "fractions", "functools", "gettext", "glob", "gzip", "hashlib", "heapq", "hmac", "html",
    "html.parser", "http.client", "http.cookies", "importlib.metadata", "importlib.resources", "inspect", "io",
    "ipaddress", "itertools", "locale", "logging.config", "logging.handlers", "math", "mimetypes",
    "multiprocessing", "operator", "pathlib", "pickle", "pkgutil", "platform", "pprint", "queue", "random",
    "re", "secrets", "select", "selectors", "shutil", "signal", "ssl", "statistics", "string", "subprocess",
    "tempfile", "textwrap", "threading", "types", "typing", "unicodedata", "urllib.parse", "urllib.request",
    "uuid", "warnings", "weakref", "xml.etree.ElementTree", "zipfile", "zlib", "zoneinfo",
)  # fmt: skip


# Faults: what goes wrong around a handler, in the words that AWS's client has for it.


class Fault(Exception):
    """An error of ours to tell, not of the user's code."""

    def __init__(self, error_type, message, trace=None):
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = trace


def error_document(message, error_type, trace, request_id=""):
    return {
        "errorMessage": message or "",
        "errorType": error_type or "",
        "requestId": request_id or "",
        "stackTrace": trace or [],
    }


def document_of(error, request_id=""):
    """The document for what is being handled."""
    if isinstance(error, Fault):
        return error_document(error.message, error.error_type, error.trace, request_id)
    frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(error.__traceback__)]
    for index, frame in enumerate(frames):
        if frame[0] != __file__:
            frames = frames[index:]
            break
    return error_document(str(error), type(error).__name__, traceback.format_list(frames), request_id)


# JSON, as simplejson writes it, which is what AWS's client uses: named tuples are objects, bytes are text, decimals
# are numbers. The standard library's encoder does the plain cases; whatever it can't do takes the slow way.


def _refuse(value):
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_NOT_ASCII = False
"""Whether non-ASCII text is written as it is, which AWS does from Python 3.12 on."""


def _plain_encoder():
    escape = json.encoder.encode_basestring if _NOT_ASCII else json.encoder.encode_basestring_ascii
    make = json.encoder.c_make_encoder
    if make is None:
        return json.JSONEncoder(ensure_ascii=not _NOT_ASCII, default=_refuse).encode
    # No look-out for circles: `marshal` has been there before and refuses them.
    encoder = make(None, _refuse, escape, None, ": ", ", ", False, False, True)
    return lambda value: "".join(encoder(value, 0))


def to_json(value):
    """Text. Raises whatever the value's own methods raise, TypeError and ValueError included."""
    try:
        # Fails on everything but plain builtin types, and costs next to nothing.
        marshal.dumps(value, 2)
        return _encode_plain(value)
    except (ValueError, TypeError):
        return _written(value, set())


def _written(value, above):
    """The slow way. `above` are the ids of what the value is inside of."""
    if isinstance(value, str):
        return _escape(value)
    if isinstance(value, bytes):
        return _escape(str(value, "utf-8"))
    if value is None or value is True or value is False or isinstance(value, (int, float)):
        return _written_word(value)
    if isinstance(value, Decimal) and not hasattr(value, "_asdict"):
        return "NaN" if value.is_nan() else str(value)
    if id(value) in above:
        raise ValueError("Circular reference detected")
    above.add(id(value))
    fields = _as_dict(value)
    if isinstance(value, dict) or fields is not None:
        items = (value if fields is None else fields).items()
        text = "{" + ", ".join(f"{_escape(_key(key))}: {_written(item, above)}" for key, item in items) + "}"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(_written(item, above) for item in value) + "]"
    else:
        _refuse(value)
    above.discard(id(value))
    return text


def _written_word(value):
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return float.__repr__(value)


def _key(key):
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return str(key, "utf-8")
    if key is None or isinstance(key, (int, float)):
        return _written_word(key)
    raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")


def _as_dict(value):
    method = getattr(value, "_asdict", None)
    if not callable(method):
        return None
    try:
        fields = method()
    except TypeError:
        return None
    if not isinstance(fields, dict):
        raise TypeError(f"_asdict() must return a dict, not {type(fields).__name__}")
    return fields


_encode_plain = _plain_encoder()
_escape = json.encoder.encode_basestring_ascii
_scan_once = json.JSONDecoder().scan_once


def _use_execution_env():
    """Non-ASCII text is written as it is for AWS's Python 3.12 and later, escaped before."""
    global _NOT_ASCII, _encode_plain, _escape
    major, _, minor = os.environ.get("AWS_EXECUTION_ENV", "").removeprefix("AWS_Lambda_python").partition(".")
    _NOT_ASCII = major == "3" and minor.isdigit() and int(minor) >= 12
    _encode_plain = _plain_encoder()
    _escape = json.encoder.encode_basestring if _NOT_ASCII else json.encoder.encode_basestring_ascii


def from_json(body):
    """The value of UTF-8 text. Raises: `Fault`."""
    try:
        text = str(body, "utf-8")
        try:
            value, end = _scan_once(text, 0)
            if end == len(text):
                return value
        except StopIteration:
            pass
        return json.loads(text.removeprefix("\ufeff"))
    except Exception as exc:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {exc}") from None


# What the handler is given beside the event.


def _repr_of(self, names):
    return f"{type(self).__name__}([{','.join(f'{name}={getattr(self, name)}' for name in names)}])"


class CognitoIdentity:
    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, given):
        self.cognito_identity_id = given.get("cognitoIdentityId")
        self.cognito_identity_pool_id = given.get("cognitoIdentityPoolId")

    def __repr__(self):
        return _repr_of(self, self.__slots__)


class _FromDict:
    __slots__ = ()

    def __init__(self, given):
        for name in self.__slots__:
            setattr(self, name, given.get(name))

    def __repr__(self):
        return _repr_of(self, self.__slots__)


class Client(_FromDict):
    # The order is that of its text form.
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")  # noqa: RUF023


class ClientContext(_FromDict):
    __slots__ = ("custom", "env", "client")  # noqa: RUF023

    def __init__(self, given):
        super().__init__(given)
        if self.client is not None:
            self.client = Client(self.client)


_W3C = ("traceparent", "tracestate", "baggage")
_NOBODY = {}
_SHOWN = (
    "aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb", "function_version",
    "invoked_function_arn", "client_context", "identity", "tenant_id",
)  # fmt: skip


class LambdaContext:
    """Source: AWS Lambda Developer Guide, "Using the Lambda context object to retrieve Python function information"."""

    def __init__(self, request_id, deadline_ms, arn, client_context="", identity=""):
        self.aws_request_id = request_id
        self.log_group_name = _FUNCTION["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = _FUNCTION["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.function_name = _FUNCTION["AWS_LAMBDA_FUNCTION_NAME"]
        self.memory_limit_in_mb = _FUNCTION["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.function_version = _FUNCTION["AWS_LAMBDA_FUNCTION_VERSION"]
        self.invoked_function_arn = arn
        self.tenant_id = None
        self._w3c_fields = {}
        self.client_context = None
        if client_context:
            self._read_client_context(_header(client_context, "Client Context"))
        self.identity = CognitoIdentity(_header(identity, "Cognito Identity") if identity else _NOBODY)
        self._epoch_deadline_time_in_ms = deadline_ms

    def _read_client_context(self, given):
        if given is None:
            return
        w3c = given.pop("w3c", None) if isinstance(given, dict) else None
        if isinstance(w3c, dict):
            self._w3c_fields = {name: w3c[name] for name in _W3C if isinstance(w3c.get(name), str)}
        self.client_context = ClientContext(given)

    def get_remaining_time_in_millis(self):
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def w3c(self):
        """The W3C trace context of this invocation."""
        return dict(self._w3c_fields)

    def log(self, msg):
        sys.stdout.write(str(msg))

    def __repr__(self):
        return _repr_of(self, _SHOWN)


def _header(text, name):
    try:
        return json.loads(text)
    except Exception as exc:
        raise Fault("Runtime.LambdaContextUnmarshalError", f"Unable to parse {name} JSON: {exc}") from None


_FUNCTION = {
    "AWS_LAMBDA_LOG_GROUP_NAME": None, "AWS_LAMBDA_LOG_STREAM_NAME": None, "AWS_LAMBDA_FUNCTION_NAME": None,
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": None, "AWS_LAMBDA_FUNCTION_VERSION": None,
}  # fmt: skip


# Output and logging.

_request_id = ""


class _Output(io.TextIOWrapper):
    """Nothing stays in a buffer: what was printed is seen even if the process is killed a moment later."""

    def write(self, text):
        written = super().write(text)
        self.flush()
        return written


def _open_output():
    sys.stdout = _Output(io.FileIO(1, "w", closefd=False), encoding="utf-8", write_through=True)
    sys.stderr = _Output(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )


class LambdaLoggerHandler(logging.Handler):
    def emit(self, record):
        sys.stdout.write(self.format(record))


class LambdaLoggerFilter(logging.Filter):
    def filter(self, record):
        record.aws_request_id = _request_id
        record.tenant_id = None
        return True


_LOG_TIME = "%Y-%m-%dT%H:%M:%SZ"
_NO_EXTRA = frozenset(vars(logging.makeLogRecord({}))) | {"aws_request_id", "tenant_id", "message", "asctime"}
_log_encoder = json.JSONEncoder(ensure_ascii=False, default=str)


class JsonFormatter(logging.Formatter):
    def format(self, record):
        record.levelno = min(50, max(0, record.levelno)) // 10 * 10
        record.levelname = logging.getLevelName(record.levelno)
        line = {
            "timestamp": self.formatTime(record, _LOG_TIME),
            "level": record.levelname,
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            error_type, error, trace = record.exc_info
            line["stackTrace"] = traceback.format_tb(trace)
            line["errorType"] = error_type.__name__ if error_type is not None else None
            line["errorMessage"] = str(error)
        line["requestId"] = getattr(record, "aws_request_id", None)
        if record.exc_info:
            line["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        for name, value in vars(record).items():
            if name not in _NO_EXTRA and name not in line:
                line[name] = value
        return _log_encoder.encode({name: value for name, value in line.items() if value is not None}) + "\n"


def _logs_json():
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


def _set_up_logging():
    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler()
    if _logs_json():
        handler.setFormatter(JsonFormatter())
    else:
        line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        handler.setFormatter(logging.Formatter(line, "%Y-%m-%dT%H:%M:%S"))
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = "DEBUG" if level == "TRACE" else level
    if level in logging.getLevelNamesMapping():
        logging.getLogger().setLevel(level)
    handler.addFilter(LambdaLoggerFilter())
    logging.getLogger().addHandler(handler)


def log_error(document):
    """The error as one event of the log: AWS keeps its lines together by carriage returns and no-break spaces."""
    if _logs_json():
        stamp = time.strftime(_LOG_TIME, time.gmtime())
        sys.stdout.write(to_json({"timestamp": stamp, "level": "ERROR", **document}) + "\n")
        return
    head = "[ERROR]"
    if document["errorType"]:
        head += f" {document['errorType']}"
    if document["errorMessage"]:
        head += f"{':' if document['errorType'] else ''} {document['errorMessage']}"
    lines = [head, "Traceback (most recent call last):"]
    for entry in document["stackTrace"]:
        for line in entry.splitlines() or [""]:
            text = line.lstrip(" ")
            lines.append("\u00a0" * (len(line) - len(text)) + text)
    sys.stdout.write("\r".join(lines) + "\n")


# The handler.


def find_handler(name):
    """Import what `module.function` names. Raises: `Fault`, or what the import raised."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as exc:
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': {exc}") from None
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as exc:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {exc}") from None
    except SyntaxError as exc:
        trace = [f'  File "{exc.filename}" Line {exc.lineno}\n    {exc.text}']
        raise Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {exc}", trace) from None
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise Fault("Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_name}'") from None


def _let_user_modules_win(task_root):
    try:
        names = {name.partition(".")[0] for name in os.listdir(task_root)}
    except OSError:
        return
    for name in names & sys.modules.keys() - _TAKEN:
        for loaded in [m for m in sys.modules if m == name or m.startswith(name + ".")]:
            del sys.modules[loaded]


# The channel.


class Channel:
    """The inherited socket. `next` also says that the last answer was given."""

    def __init__(self, fd):
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self._buffer = bytearray(_BUFFER)
        self._pid = os.getpid()

    def ready(self):
        self._send(READY, b"", b"")

    def next(self):
        """The meta fields and the event's bytes, which are good until the next call; None when nobody asks any more."""
        buffer = self._buffer
        receive = self._socket.recv_into
        have = receive(buffer)
        while have < 7:
            if not have:
                return None
            more = receive(memoryview(buffer)[have:])
            have = have + more if more else 0
        size, _kind, meta_size = _HEADER.unpack_from(buffer)
        size += 4
        if have < size:
            if size > _BUFFER:
                buffer = bytearray(size)
                buffer[:have] = memoryview(self._buffer)[:have]
            rest = memoryview(buffer)
            while have < size:
                more = receive(rest[have:size])
                if not more:
                    return None
                have += more
        view = memoryview(buffer)
        start = 7 + meta_size
        return str(view[7:start], "utf-8").split("\n"), view[start:size]

    def respond(self, request_id, body):
        self._send(RESPONSE, request_id.encode(), body)

    def fail(self, request_id, document):
        meta = f"{request_id}\n{document['errorType']}".encode("utf-8", "replace")
        self._send(ERROR, meta[:60000], to_json(document).encode("utf-8", "backslashreplace"))

    def fail_init(self, document):
        meta = document["errorType"].encode("utf-8", "replace")
        self._send(INIT_ERROR, meta[:60000], to_json(document).encode("utf-8", "backslashreplace"))

    def _send(self, kind, meta, body):
        if os.getpid() != self._pid:
            os._exit(0)  # a child that user code forked and that came back from the handler
        head = _HEADER.pack(_PREFIX + len(meta) + len(body), kind, len(meta)) + meta
        if len(body) < _GATHER:
            self._socket.sendall(head + body)
            return
        sent = self._socket.sendmsg((head, body))
        if sent < len(head):
            self._socket.sendall(head[sent:])
            sent = len(head)
        self._socket.sendall(memoryview(body)[sent - len(head) :])


def serve(channel, handler):
    """Events to the handler, answers back, until the channel ends."""
    global _request_id
    environ = os.environ
    while (given := channel.next()) is not None:
        (_request_id, deadline_ms, arn, trace_id, client_context, identity), body = given
        request_id = _request_id
        if trace_id:
            environ["_X_AMZN_TRACE_ID"] = trace_id
        else:
            environ.pop("_X_AMZN_TRACE_ID", None)
        try:
            context = LambdaContext(request_id, int(deadline_ms), arn, client_context, identity)
            event = from_json(body)
            answer = handler(event, context)
            if not isinstance(answer, bytes):
                try:
                    answer = to_json(answer).encode()
                except Exception as exc:
                    raise Fault("Runtime.MarshalError", f"Unable to marshal response: {exc}") from None
        except Exception as exc:
            document = document_of(exc, request_id)
            log_error(document)
            channel.fail(request_id, document)
            exc = None
        else:
            channel.respond(request_id, answer)
        # Nothing of one call stays for the next one, least of all its memory.
        given = body = event = answer = context = None


def environment(channel):
    """One environment, from the interpreter with its variables to the end. Exits by SystemExit after an init error."""
    _open_output()
    time.tzset()
    _use_execution_env()
    for name in _FUNCTION:
        _FUNCTION[name] = os.environ.get(name)
    task_root = os.environ["LAMBDA_TASK_ROOT"]
    os.chdir(task_root)
    sys.path.insert(0, task_root)
    name = os.environ["_HANDLER"]
    sys.argv = [__file__, name]
    _let_user_modules_win(task_root)
    _set_up_logging()
    try:
        handler = find_handler(name)
    except Exception as exc:
        document = document_of(exc)
        log_error(document)
        channel.fail_init(document)
        sys.exit(1)
    # What initialisation made stays; the collector need not look at it again.
    gc.freeze()
    channel.ready()
    serve(channel, handler)


def warm():
    """Import what handlers use, once, before there is any user code."""
    import site

    site.setquit()
    site.setcopyright()
    site.sethelper()
    for name in WARM:
        importlib.import_module(name)


def _module_from(path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("_lateen_forkserver", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _host_packages():
    """The folders of packages that belong to the interpreter, of which a function sees nothing."""
    import site

    return {os.path.realpath(folder) for folder in site.getsitepackages()}


def main():
    if len(sys.argv) > 1:
        channel_fd = _module_from(sys.argv[1]).serve(warm)
    else:
        hidden = _host_packages()
        sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder) not in hidden]
        channel_fd = int(os.environ.pop("_LATEEN_CHANNEL_FD"))
    environment(Channel(channel_fd))


if __name__ == "__main__":
    main()
