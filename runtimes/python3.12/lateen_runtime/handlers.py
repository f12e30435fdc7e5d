"""The handler: importing the module that has it."""

import importlib
import os
import sys
from importlib.machinery import PathFinder

from lateen_runtime.faults import Fault


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


def names_in(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def let_user_modules_win(folder, entries, taken):
    """Forget modules that the fork server has imported and the folder has too, except those that are `taken`."""
    names = {name.partition(".")[0] for name in entries}
    for name in names & sys.modules.keys() - taken:
        spec = PathFinder.find_spec(name, [folder])
        if spec is None or spec.loader is None:
            continue  # `secrets.json`, or a folder without `__init__.py`, which loses to any module
        for loaded in [m for m in sys.modules if m == name or m.startswith(name + ".")]:
            del sys.modules[loaded]
