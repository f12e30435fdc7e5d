"""Faults: what goes wrong around a handler, and the documents that tell of it, in the words that AWS's client has."""

import os
import traceback

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Fault(Exception):
    """An error of ours to tell, not of the user's code."""

    def __init__(self, error_type, message, trace=None):
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = trace


def document_of(error, request_id=""):
    """The error document for an exception that was just caught."""
    if isinstance(error, Fault):
        return _document(error.message, error.error_type, error.trace, request_id)
    frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(error.__traceback__)]
    # The first ones are ours and say nothing to the user; those of the import system stay, as on AWS.
    theirs = next((index for index, frame in enumerate(frames) if not frame[0].startswith(_OURS)), len(frames))
    return _document(str(error), type(error).__name__, traceback.format_list(frames[theirs:]), request_id)


def _document(message, error_type, trace, request_id):
    return {
        "errorMessage": message or "",
        "errorType": error_type or "",
        "requestId": request_id or "",
        "stackTrace": trace or [],
    }
