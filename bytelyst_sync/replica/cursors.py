"""Stores how far each entity has been pulled.

A page is committed only if the stored progress has not changed since the page was requested. Runs
inside a storage transaction.
"""

from __future__ import annotations

import hashlib
import json

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import CURSOR_PREFIX, META, Meta

__all__ = [
    "EXPIRED",
    "FIRST",
    "QUERY",
    "RECONCILE",
    "RESTORED",
    "PullProgress",
    "load",
    "query_digest",
    "store",
]

FIRST, QUERY, EXPIRED, RESTORED, RECONCILE = "first", "query", "expired", "restored", "reconcile"
"""Why everything is listed: there is no cursor, the query changed, the server rejects the cursor,
the server was restored from a backup, or ``reconcile`` was called.
"""


@attrs.frozen
class PullProgress:
    """The progress of an entity's pull."""

    cursor: str | None = None
    listing: int | None = None
    """The store's number at which the current listing began; ``None``: no listing runs."""
    reason: str | None = None
    """The reason for that listing."""
    query: str | None = None
    """The digest of the cursor's query; ``None``: an earlier release stored the cursor."""
    held_back: tuple[int, int, int] | None = None
    """Set if the latest listing lacked too many records to be applied: its number, how many it
    lacked, and how many are held.
    """
    listed: int = 0
    """The number of the latest listing that was applied."""
    checkpoints: tuple[tuple[float, int], ...] = ()
    """Times of successful pulls (epoch seconds) and the store's last number at each."""

    def begins(self, number: int, reason: str, query: str) -> PullProgress:
        """The progress when a listing of everything begins."""
        return attrs.evolve(self, cursor=None, listing=number, reason=reason, query=query)


def query_digest(query: str) -> str:
    """A short text that is equal for equal queries."""
    return hashlib.blake2b(query.encode("utf-8"), digest_size=16).hexdigest()


def load(tx: Reader, entity: Entity) -> PullProgress:
    """Loads the progress of an entity."""
    row = tx.get(META, CURSOR_PREFIX + entity.name)
    if row is None:
        return PullProgress()
    value = json.loads(row.value)
    return PullProgress(
        value["cursor"],
        value["full"],
        value.get("reason"),
        value.get("query"),
        tuple(value["held_back"]) if value.get("held_back") else None,
        value.get("listed", 0),
        tuple((time, number) for time, number in value.get("checkpoints", ())),
    )


def store(tx: Transaction, entity: Entity, progress: PullProgress) -> None:
    """Stores the progress of an entity."""
    value = attrs.asdict(progress)
    # "full" is the name in the format of the first release
    value["full"] = value.pop("listing")
    new = Meta(CURSOR_PREFIX + entity.name, json.dumps(value))
    old = tx.get(META, new.name)
    if old is None:
        tx.insert(META, new)
    else:
        tx.replace(META, old, new)
