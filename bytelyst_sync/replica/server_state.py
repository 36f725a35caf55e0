"""Stores the server's states of records. Runs inside a storage transaction."""

from __future__ import annotations

from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.replica.similar_ids import folded_column
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.rules.json_text import dumps
from bytelyst_sync.state.transitions import first
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import RECORDS, UNLISTED, Record

__all__ = [
    "DELETED",
    "defer_state",
    "mark_lost",
    "mark_stale",
    "put_row",
    "put_state",
    "replace_state",
    "reread_unlisted",
]

Json = dict[str, Any]
Version = str | int | None
DELETED = "null"
"""The value of ``deferred_state`` for a deleted record."""


def put_row(tx: Transaction, old: Record | None, new: Record) -> Record:
    """Inserts or replaces a row."""
    if old is None:
        tx.insert(RECORDS, new)
    elif old != new:
        tx.replace(RECORDS, old, new)
    return new


def put_state(
    tx: Transaction,
    entity: Entity,
    key: str,
    state: Json | None,
    version: Version,
    *,
    listed_by: int | None = None,
) -> None:
    """Stores the record's state at the server, and clears its deferred state and refresh mark.

    Does nothing for an entity without a local copy.
    """
    if entity.replica:
        replace_state(
            tx, entity, key, tx.get(RECORDS, entity.name, key), state, version, listed_by=listed_by
        )


def replace_state(
    tx: Transaction,
    entity: Entity,
    key: str,
    old: Record | None,
    state: Json | None,
    version: Version,
    *,
    listed_by: int | None = None,
) -> None:
    """As ``put_state``, if the stored row ``old`` was read already."""
    listed_by = listed_by if listed_by is not None else (old.listed_by if old is not None else 0)
    text = None if state is None else dumps(state)
    new = Record(
        entity.name,
        key,
        text,
        version,
        tx.next_number(),
        listed_by,
        folded=folded_column(key) if old is None else old.folded,
    )
    put_row(tx, old, new)


def defer_state(
    tx: Transaction, entity: Entity, key: str, state: Json | None, version: Version, listed_by: int
) -> None:
    """Keeps a pulled state until the outcome of an operation on the record is known."""
    old = tx.get(RECORDS, entity.name, key)
    new = old or Record(entity.name, key, None, None, 0, listed_by, folded=folded_column(key))
    put_row(
        tx,
        old,
        new._replace(
            deferred_state=DELETED if state is None else dumps(state),
            deferred_version=version,
            listed_by=listed_by,
            needs_refresh=None,
        ),
    )


def mark_lost(
    tx: Transaction, entity: Entity, key: str, state: str | None, *, by_write: bool = False
) -> None:
    """Keeps the last state of a record that is gone from the server without a tombstone, for
    ``reupload``: the server may have lost it. ``by_write``: the answer to a write reported it.
    """
    row = tx.get(RECORDS, entity.name, key)
    if row is not None and row.state is None and state is not None:
        put_row(
            tx, row, row._replace(lost_state=state, lost_seq=tx.next_number() if by_write else None)
        )


def reread_unlisted(tx: Transaction, entity: Entity, key: str) -> None:
    """Marks a record to be read again that stayed only for its queued operations, after they left
    the queue unsent: the latest listing lacked it.
    """
    row = tx.get(RECORDS, entity.name, key)
    if row is not None and row.listed_by == UNLISTED and first(tx, entity.name, key) is None:
        put_row(tx, row, row._replace(listed_by=0))
        mark_stale(tx, entity, key)


def mark_stale(tx: Transaction, entity: Entity, key: str) -> None:
    """Marks the record to be read again from the server.

    A record that has only a local id is not marked: the server does not know it.
    """
    if entity.server_ids and is_local(key):
        return
    old = tx.get(RECORDS, entity.name, key)
    new = old or Record(entity.name, key, None, None, 0, 0, folded=folded_column(key))
    put_row(
        tx,
        old,
        new._replace(needs_refresh=tx.next_number(), deferred_state=None, deferred_version=None),
    )
