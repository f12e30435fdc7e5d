"""Adds up what it is given, and says which interpreter did it; the SDK is the runtime's."""

import os
import sys

import boto3

storage = boto3.client("s3", region_name="eu-west-1")


def handler(event, context):
    return {
        "sum": sum(event["numbers"]),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "env": os.environ["AWS_EXECUTION_ENV"],
        "memory": context.memory_limit_in_mb,
        "text": "größer",
        "storage": storage.meta.endpoint_url,
    }
