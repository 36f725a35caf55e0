"""``transaction()``: pushes gathered in one thread, committed together.

Nothing is written, and no lock is held, until the end; the rules are tried on the way, so that
what a push would return or raise it returns or raises there. If the queue changes meanwhile, what
counts is the rules' word at the commit: an error there is raised at the end, and nothing lands.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.model import SyncItem, SyncOperation
from bytelyst_sync.rules.coalesce import Outcome, coalesce
from bytelyst_sync.state.changes import Change, deleted
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.item_ids import new_item_id
from bytelyst_sync.state.lanes import last, may_meet
from bytelyst_sync.state.outbox import Outbox
from bytelyst_sync.state.replica import canonical_key
from bytelyst_sync.storage.base import Storage, Transaction
from bytelyst_sync.storage.schema import Item

__all__ = ["Buffer"]

Json = dict[str, Any]
Tail = tuple[SyncOperation, Json] | None


class Buffer:
    """The pushes of one transaction. Owned by one thread."""

    def __init__(self, outbox: Outbox, storage: Storage) -> None:
        self._outbox = outbox
        self._storage = storage
        self._tails: dict[tuple[str, str], Tail] = {}
        self._handles: list[SyncItem | None] = []
        self._made: list[SyncItem | None] = []
        self.changes: list[Change] = []

    def add(self, change: Change) -> SyncItem | None:
        """Takes a push in; returns or raises what it would."""
        place = (change.entity.name, change.key)
        if place not in self._tails:
            self._tails[place] = self._storage.read(lambda tx: self._tail(tx, change))
        handle = self._preview(change, place)
        self.changes.append(change)
        self._handles.append(handle)
        return handle

    def _tail(self, tx: Any, change: Change) -> Tail:
        key = canonical_key(tx, change.entity, change.key)
        item: Item | None = last(tx, change.entity.name, key)
        if item is None or not may_meet(item) or change.entity.config.dedup == "none":
            return None
        return SyncOperation(item.operation), json.loads(item.data)

    def _preview(self, change: Change, place: tuple[str, str]) -> SyncItem | None:
        operation, data = change.operation, change.data
        tail = self._tails[place]
        if tail is not None and change.entity.config.dedup != "none":
            meeting = coalesce(*tail, operation, data, change.entity.patch_rule)
            if meeting.outcome is Outcome.DELETED:
                raise deleted(change)
            if meeting.outcome is Outcome.NOTHING:
                self._tails[place] = None
                return None
            if meeting.operation is not None and meeting.data is not None:
                operation, data = meeting.operation, meeting.data
        self._tails[place] = (operation, data)
        return SyncItem(
            id=new_item_id(0),
            entity=change.entity.name,
            record_id=change.key,
            operation=operation,
            data=json.loads(json.dumps(data)),
            timestamp=as_datetime(change.now),
        )

    def commit(self, tx: Transaction, effects: Effects) -> None:
        """Pushes all."""
        self._made = self._outbox.push_many(tx, self.changes, effects)

    def committed(self) -> None:
        """The handles given out on the way learn their ids and places: they are the items now."""
        for handle, made in zip(self._handles, self._made, strict=True):
            if handle is not None and made is not None:
                for field in attrs.fields(SyncItem):
                    object.__setattr__(handle, field.name, getattr(made, field.name))
