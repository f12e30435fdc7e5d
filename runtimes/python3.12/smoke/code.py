"""Adds up what it is given, and says which interpreter did it."""

import os
import sys


def handler(event, context):
    return {
        "sum": sum(event["numbers"]),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "env": os.environ["AWS_EXECUTION_ENV"],
        "memory": context.memory_limit_in_mb,
        "text": "größer",
    }
