"""How many events a function ran at the same time, from what its answers say."""

from collections.abc import Iterable

CODE = """
import os, time
def handler(event, context):
    began = time.time()
    time.sleep(float((event or {}).get("seconds", %(seconds)s)))
    return {"began": began, "ended": time.time(), "version": context.function_version, "code": %(code)r,
            "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]}
"""


def code(seconds: float = 0.2, code: str = "") -> str:
    """A function that takes so long and answers when it began and ended."""
    return CODE % {"seconds": seconds, "code": code}


def most_at_once(answers: Iterable[dict[str, float]]) -> int:
    """The largest number of events that ran at one moment."""
    moments = [(answer["began"], 1) for answer in answers] + [(answer["ended"], -1) for answer in answers]
    running = most = 0
    for _, change in sorted(moments):  # one that ends at the moment in which another begins is not beside it
        running += change
        most = max(most, running)
    return most
