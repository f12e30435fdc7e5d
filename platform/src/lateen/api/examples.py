"""Examples of the OpenAPI document, by component. A test converts each to its type."""

from typing import Any

_WHEN = "2026-01-31T23:59:59.123Z"
_HASH = "0123456789abcdef0123456789abcdef"
_URL = f"http://127.0.0.1:8000/{_HASH}"

_WORKSPACE: dict[str, Any] = {
    "id": "default",
    "name": "default",
    "description": "",
    "account_id": "123456789012",
    "quota": {"pods": 50, "cpu": "20", "memory": None},
    "revision": 1,
    "created_at": _WHEN,
    "updated_at": _WHEN,
}
_FUNCTION: dict[str, Any] = {
    "id": "k3v7q2m5x4a6b7c8d",
    "workspace": "default",
    "name": "hello",
    "description": "Says hello",
    "runtime": "python3.12",
    "handler": "code.handler",
    "environment": {"GREETING": "hello"},
    "timeout": 3,
    "memory": 128,
    "concurrency": 10,
    "replicas": 1,
    "auth": "none",
    "hash": _HASH,
    "url": _URL,
    "state": "Active",
    "state_reason": None,
    "revision": 1,
    "code_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "code_size": 214,
    "created_at": _WHEN,
    "updated_at": _WHEN,
}
_KEY: dict[str, Any] = {
    "id": "abcdefghijklmnopq",
    "workspace": "default",
    "description": "continuous integration",
    "aws_access_key_id": "LTNABCDEFGHIJKLMNOPQ",
    "created_at": _WHEN,
}
_CONSOLE: dict[str, Any] = {
    "hash": _HASH,
    "name": "hello",
    "runtime": "python",
    "version": "3.12",
    "url": _URL,
    "auth": "none",
    "state": "Active",
    "state_reason": None,
    "reg_date": _WHEN,
    "update_date": _WHEN,
}
_SOURCE = "def handler(event, context):\n    return 'hello'\n"

EXAMPLES: dict[str, Any] = {
    "CreateWorkspace": {"name": "team-a", "description": "What team A runs", "quota": {"pods": 50, "cpu": "20"}},
    "UpdateWorkspace": {"description": "What team A runs"},
    "WorkspaceView": _WORKSPACE,
    "CreateFunction": {
        "name": "hello",
        "runtime": "python3.12",
        "code": "ZGVmIGhhbmRsZXIoZXZlbnQsIGNvbnRleHQpOgogICAgcmV0dXJuICdoZWxsbycK",
        "environment": {"GREETING": "hello"},
        "timeout": 3,
        "memory": 128,
    },
    "UpdateFunction": {"timeout": 10, "description": "Says hello, slowly"},
    "FunctionView": _FUNCTION,
    "CreateKey": {"workspace": "default", "description": "continuous integration"},
    "KeyView": _KEY,
    "NewKeyView": {
        **_KEY,
        "secret": "ltn_abcdefghijklmnopq_… (48 hex digits)",
        "aws_secret_access_key": "… (40 characters)",
    },
    "ConsoleCreate": {"name": "hello", "file": _SOURCE, "runtime": "python", "version": "3.12"},
    "ConsoleUpdate": {"hash": _HASH, "file": _SOURCE},
    "ConsoleFunction": _CONSOLE,
    "ConsoleSource": {**_CONSOLE, "file": _SOURCE},
    "ConsoleStarter": {"runtime": "python", "version": "3.12", "name": "code.py", "file": _SOURCE},
    "ConsoleRuntime": {
        "runtime": "python",
        "version": "3.12",
        "disabled": False,
        "disabled_reason": None,
        "deprecated": None,
        "reg_date": _WHEN,
        "update_date": _WHEN,
    },
    "LogView": {
        "request_id": "3f0c8f0e-2f5a-4c53-9d3b-0f6f0b6f6a55",
        "function_id": "k3v7q2m5x4a6b7c8d",
        "version": "$LATEST",
        "timestamp": _WHEN,
        "status": "error",
        "duration_ms": 3.21,
        "queued_ms": 14.1,
        "cold": True,
        "cold_reason": "first",
        "init_duration_ms": 12.4,
        "memory_mib": 128,
        "memory_peak_mib": 21,
        "log_truncated": False,
        "log_tail": "START RequestId: 3f0c8f0e-2f5a-4c53-9d3b-0f6f0b6f6a55 Version: $LATEST\n",
        "error": {"type": "KeyError", "message": "'name'", "trace": ['File "code.py", line 2, in handler']},
    },
    "Problem": {
        "type": "urn:lateen:problem:invalid-input",
        "title": "Invalid input",
        "status": 400,
        "detail": "timeout: expected `int` <= 900",
        "errors": [{"field": "timeout", "reason": "expected `int` <= 900"}],
        "request_id": "3f0c8f0e-2f5a-4c53-9d3b-0f6f0b6f6a55",
    },
    "Ready": {"status": "ready", "stores": {"table": "ok", "objects": "ok"}},
}
