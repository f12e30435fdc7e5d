"""Says what a function of an image sees."""

import os


def handler(event, context):
    return seen("handler", event, context)


def other(event, context):
    return seen("other", event, context)


def seen(name, event, context):
    return {
        "handler": name,
        "event": event,
        "version": context.function_version,
        "folder": os.getcwd(),
        "user": os.getuid(),
        "variables": dict(os.environ),
        "writes": [folder for folder in ("/", "/tmp", "/var/task", "/lateen", "/run/lateen") if writes(folder)],
    }


def writes(folder):
    try:
        with open(f"{folder}/written", "w"):
            return True
    except OSError:
        return False
