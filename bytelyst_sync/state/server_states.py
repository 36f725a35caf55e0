"""The rows that hold the server's states. Runs inside a storage transaction."""

from __future__ import annotations

from typing import Any

from bytelyst_sync.entity import Entity
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import RECORDS, Record

__all__ = ["keep_beside", "mark_stale", "put_row", "put_state", "replace_state"]

Json = dict[str, Any]
Version = str | int | None
DELETED = "null"
"""Stands in ``beside`` for a record that was deleted."""


def put_row(tx: Transaction, old: Record | None, new: Record) -> Record:
    """Inserts or replaces."""
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
    seen: int | None = None,
) -> None:
    """The server's record is this from now on; what was kept beside it or due to be read is
    settled by it. Nothing is kept of an entity without a local copy.
    """
    if entity.replica:
        replace_state(tx, entity, key, tx.get(RECORDS, entity.name, key), state, version, seen=seen)


def replace_state(
    tx: Transaction,
    entity: Entity,
    key: str,
    old: Record | None,
    state: Json | None,
    version: Version,
    *,
    seen: int | None = None,
) -> None:
    """The same, where the row as it is has been read."""
    seen = seen if seen is not None else (old.seen if old is not None else 0)
    text = None if state is None else dumps(state)
    put_row(tx, old, Record(entity.name, key, text, version, tx.next_number(), seen))


def keep_beside(
    tx: Transaction, entity: Entity, key: str, state: Json | None, version: Version, seen: int
) -> None:
    """Keeps a newer state until the outcome of an operation on the record is known."""
    old = tx.get(RECORDS, entity.name, key)
    new = old or Record(entity.name, key, None, None, 0, seen)
    put_row(
        tx,
        old,
        new._replace(
            beside=DELETED if state is None else dumps(state),
            beside_version=version,
            seen=seen,
            stale=None,
        ),
    )


def mark_stale(tx: Transaction, entity: Entity, key: str) -> None:
    """The server's state must be read again; remembered until it has been.

    Nothing can be read of a record that the server has not named yet.
    """
    if entity.server_ids and is_local(key):
        return
    old = tx.get(RECORDS, entity.name, key)
    new = old or Record(entity.name, key, None, None, 0, 0)
    put_row(tx, old, new._replace(stale=tx.next_number(), beside=None, beside_version=None))
