"""The SQL of the table. No text of a caller is ever part of it: values are bound, and only operators vary."""
# ruff: noqa: S608

from typing import Any

from lateen.adapters.stored_items import end_of_prefix

# The same in each statement: what has expired is not there, whether it was swept yet or not.
_LIVE = "(expires_at IS NULL OR expires_at > :now)"
GET = f"SELECT revision, expires_at, data FROM items WHERE pk = :pk AND sk = :sk AND {_LIVE}"
REVISION = f"SELECT revision FROM items WHERE pk = :pk AND sk = :sk AND {_LIVE}"
INSERT = """
    INSERT INTO items (pk, sk, revision, expires_at, data) VALUES (:pk, :sk, 1, :expires_at, :data)
    ON CONFLICT (pk, sk) DO UPDATE SET revision = 1, expires_at = excluded.expires_at, data = excluded.data
    WHERE items.expires_at <= :now"""
UPDATE = f"""
    UPDATE items SET revision = revision + 1, expires_at = :expires_at, data = :data
    WHERE pk = :pk AND sk = :sk AND revision = :expected AND {_LIVE}"""
WRITE = """
    INSERT INTO items (pk, sk, revision, expires_at, data) VALUES (?, ?, 1, ?, ?)
    ON CONFLICT (pk, sk)
    DO UPDATE SET revision = items.revision + 1, expires_at = excluded.expires_at, data = excluded.data"""
DELETE = "DELETE FROM items WHERE pk = :pk AND sk = :sk"
DELETE_EXPECTED = f"DELETE FROM items WHERE pk = :pk AND sk = :sk AND revision = :expected AND {_LIVE}"
SWEEP = """
    DELETE FROM items WHERE rowid IN
    (SELECT rowid FROM items WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit)"""


def select_range(
    begins: str, lower: str | None, upper: str | None, after: str | None, *, descending: bool
) -> tuple[str, dict[str, Any]]:
    """The statement of `Table.query` and the bounds to bind; `pk`, `now` and `rows` are the caller's.

    It has one bound at each end, the tightest. With two, SQLite would seek by either and walk from there to the other:
    each further page of a long list would cost more than the one before.
    """
    lows = [(begins, False)]
    highs = [(end, True)] if (end := end_of_prefix(begins)) is not None else []
    if lower is not None:
        lows.append((lower, False))
    if upper is not None:
        highs.append((upper, False))
    if after is not None:
        (highs if descending else lows).append((after, True))
    low, excludes_low = max(lows)
    statement = f"SELECT sk, revision, expires_at, data FROM items WHERE pk = :pk AND {_LIVE}"
    statement += " AND sk > :low" if excludes_low else " AND sk >= :low"
    bounds = {"low": low}
    if highs:
        bounds["high"], includes_high = min((text, not excluded) for text, excluded in highs)
        statement += " AND sk <= :high" if includes_high else " AND sk < :high"
    statement += " ORDER BY sk DESC LIMIT :rows" if descending else " ORDER BY sk LIMIT :rows"
    return statement, bounds
