"""The handler: importing the module that has it."""

import importlib
import os
import sys

from lateen_runtime.faults import Fault

TAKEN = frozenset(sys.modules)
"""What an interpreter with a runtime client has loaded anyway: a user's module of one of these names loses, as it does
on AWS. Of any other name it wins, also over a module that the fork server has imported before."""


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


def let_user_modules_win(task_root):
    try:
        names = {name.partition(".")[0] for name in os.listdir(task_root)}
    except OSError:
        return
    for name in names & sys.modules.keys() - TAKEN:
        for loaded in [m for m in sys.modules if m == name or m.startswith(name + ".")]:
            del sys.modules[loaded]
