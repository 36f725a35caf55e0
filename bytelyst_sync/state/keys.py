"""Idempotency keys given by callers: finds the item of a key, up to 30 days after it was settled.

Everything here runs inside a storage transaction.
"""

from __future__ import annotations

from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import KEYS, KeyRow

__all__ = ["find_key", "settle_key"]

_KEPT_S = 30 * 86_400.0
_PRUNED_AT_ONCE = 20


def find_key(work: UnitOfWork, key: str) -> KeyRow | None:
    """The row of a key; ``None`` if the key is unused. Deletes some keys that are too old."""
    oldest = (work.now - _KEPT_S,)
    old = list(work.tx.scan(KEYS, "settled", upto=oldest, limit=_PRUNED_AT_ONCE))
    work.tx.delete(KEYS, *old)
    row = work.tx.get(KEYS, key)
    if row is not None and row.settled_time is not None and row.settled_time <= oldest[0]:
        work.tx.delete(KEYS, row)
        return None
    return row


def settle_key(work: UnitOfWork, key: str, *, free: bool) -> None:
    """The key's item left the queue: keeps the key for 30 days, or deletes it if ``free``."""
    row = work.tx.get(KEYS, key)
    if row is None:
        return
    if free:
        work.tx.delete(KEYS, row)
    else:
        work.tx.replace(KEYS, row, row._replace(settled_time=work.now))
