"""The environment variables that a runtime sees, as AWS documents them.

Source: AWS Lambda Developer Guide, "Working with Lambda environment variables", defined runtime variables. Those that
would carry credentials are absent: a function holds none of the platform's.
"""

import os
import secrets
import time
from collections.abc import Mapping

from lateen_invoker.control import Configure
from lateen_invoker.spawner import Spawner

DEFAULTS = {"LANG": "en_US.UTF-8", "TZ": ":UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}
"""What every environment has, unless something sets it otherwise."""

RUNTIME_ONLY = frozenset(
    {
        "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "_HANDLER",
    }
)  # fmt: skip
"""What the environment's extensions don't have, as AWS says."""


def variables_for(
    configure: Configure, spawner: Spawner, directory: str, api: str, *, started: int, is_provisioned: bool = False
) -> dict[str, str]:
    """All variables of one environment. The user's come first, so that they can't change ours.

    Args:
        directory: the environment's own folder.
        api: `host:port` of its Runtime API.
        started: how many environments there were, which tells log streams apart.
        is_provisioned: it is one of those that are kept started.
    """
    name = configure.function_name
    runtime = configure.runtime
    task_root = spawner.task_root
    ours = {
        "AWS_DEFAULT_REGION": configure.region,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configure.memory_mib),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": configure.version,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency" if is_provisioned else "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[{configure.version}]{secrets.token_hex(16)}",
        "AWS_LAMBDA_RUNTIME_API": api,
        "AWS_REGION": configure.region,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "LAMBDA_TASK_ROOT": task_root,
    }
    if configure.handler:
        ours["_HANDLER"] = configure.handler
    if runtime.execution_env is not None:
        ours["AWS_EXECUTION_ENV"] = runtime.execution_env
    # Where an image's count too, only its container knows whether that sets them.
    defaults = {} if runtime.inherits else DEFAULTS
    added = {
        key: value.replace("{task_root}", task_root).replace("{layers}", spawner.layers_root)
        for key, value in runtime.environment.items()
    }
    added |= _search_paths(runtime.layers, spawner)
    return {**defaults, **added, **configure.environment, **ours, **spawner.variables(directory)}


def _search_paths(given: Mapping[str, str], spawner: Spawner) -> dict[str, str]:
    """See `RuntimeCommand.layers`. A variable that is not set spares what it would cost: one that the loader reads, for
    example, a start without the fork server."""
    found: dict[str, str] = {}
    for name, value in given.items():
        folders = value.split(":")
        there = {each for each in folders if _is_there(each, spawner)}
        if there:
            kept = ":".join(each for each in folders if each in there or not each.startswith("{layers}"))
            found[name] = kept.replace("{task_root}", spawner.task_root).replace("{layers}", spawner.layers_root)
    return found


def _is_there(folder: str, spawner: Spawner) -> bool:
    if folder.startswith("{layers}"):
        return bool(spawner.layers_dir) and os.path.isdir(folder.replace("{layers}", spawner.layers_dir))
    if not folder.startswith("{task_root}"):
        return False
    try:
        names = os.listdir(folder.replace("{task_root}", spawner.code_dir))
    except OSError:
        return False
    # Extension modules lie beside the code too: those are found without the loader.
    return any(name.startswith("lib") and ".so" in name for name in names)
