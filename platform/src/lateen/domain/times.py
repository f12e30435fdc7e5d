"""Timestamps as the platform writes them: ISO 8601, UTC, milliseconds, of fixed width: text order is time order."""

from datetime import UTC, datetime


def iso_ms(now_s: float) -> str:
    """`2026-01-31T23:59:59.123Z` from Unix time in seconds."""
    return _text(datetime.fromtimestamp(now_s, UTC))


def unix_s(text: str) -> float:
    """Unix time in seconds from a text in our form."""
    return datetime.fromisoformat(text).timestamp()


def normalised(text: str) -> str:
    """The moment that an ISO 8601 text with an offset names, in our form.

    Raises: `ValueError` if it is none, has no offset, or lies outside of the years 1 to 9999.
    """
    if len(text) > 64 or not text.isascii():
        raise ValueError("not an ISO 8601 time")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("without an offset from UTC")
    try:
        return _text(moment.astimezone(UTC))
    except OverflowError as exc:
        raise ValueError("outside of the calendar") from exc


def _text(moment: datetime) -> str:
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
