"""What a person decides about queued and failed items: to take them back, or to give them another
chance (SPEC §2, §3). Everything here runs inside a storage transaction that the caller opened.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bytelyst_sync.entity import Entities
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import ItemState, SyncOperation
from bytelyst_sync.rules.encode import dumps, encode
from bytelyst_sync.rules.ids import record_key
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.item_ids import place_of
from bytelyst_sync.state.lanes import (
    PENDING,
    change,
    is_frozen,
    items_of,
    links_to,
    may_meet,
    references,
    remove,
    renewed,
    resettle,
)
from bytelyst_sync.state.replica import watching
from bytelyst_sync.state.server_states import mark_stale
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["Triage", "repaired_by"]

Json = dict[str, Any]
CREATE = SyncOperation.CREATE
_CLEARED_AT_ONCE = 1000


class Triage:
    """The rules for a person's decisions. Holds no state of its own."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities

    def failed_items(self, tx: Reader) -> Iterator[Item]:
        """The failed items, oldest first."""
        entities = sorted(e for lane, e in tx.counts(ITEMS) if lane == Lane.FAILED)
        scans = (tx.scan(ITEMS, "lane", (Lane.FAILED, entity)) for entity in entities)
        return heapq.merge(*scans, key=lambda item: item.seq)

    # --- taking back

    def cancel(self, tx: Transaction, seq: int, effects: Effects) -> bool:
        """Takes one item back if it is not frozen; a create with its record's later items."""
        item = tx.get(ITEMS, seq)
        if item is None or not may_meet(item):
            return False
        return self._drop(tx, item, effects, only_if_free=True) > 0

    def discard_failed(self, tx: Transaction, ids: Iterable[str] | None, effects: Effects) -> int:
        """Drops failed items, creates with their record's later ones; returns how many."""
        found = self._failed_by_id(tx, ids)
        dropped = 0
        for item in found:
            current = tx.get(ITEMS, item.seq)
            if current is not None:
                dropped += self._drop(tx, current, effects)
        return dropped

    def clear(self, tx: Transaction, effects: Effects) -> int:
        """Drops everything pending; what is being sent, failed or in conflict stays."""
        dropped = 0
        upto = tx.last_number()
        while True:
            # newest first, so that nothing is released only to be dropped
            page = list(
                tx.scan(ITEMS, None, (), after=(upto + 1,), limit=_CLEARED_AT_ONCE, reverse=True)
            )
            for item in page:
                if item.lane in PENDING:
                    dropped += self._drop(tx, item, effects)
            if len(page) < _CLEARED_AT_ONCE:
                return dropped
            upto = page[-1].seq - 1

    def _drop(
        self, tx: Transaction, item: Item, effects: Effects, *, only_if_free: bool = False
    ) -> int:
        going = [item]
        if item.operation == CREATE.value:
            later = items_of(tx, item.entity, item.record)
            going += [each for each in later if each.seq > item.seq]
            own = {each.seq for each in going}
            if only_if_free and any(
                link.seq not in own for link in links_to(tx, item.entity, item.record)
            ):
                return 0
        going = [each for each in going if each.lane != Lane.SENDING]
        entity = self._entities.get(item.entity)
        if entity is None:
            self._take_out(tx, going, effects)
            return len(going)
        with watching(tx, entity, item.record, "local", effects):
            self._take_out(tx, going, effects)
        if entity.replica and any(each.frozen for each in going):
            # the server may have processed it: only the server knows what it holds now
            mark_stale(tx, entity, item.record)
        return len(going)

    def _take_out(self, tx: Transaction, going: list[Item], effects: Effects) -> None:
        # newest first, so that nothing is released only to be dropped
        for each in reversed(going):
            current = tx.get(ITEMS, each.seq)
            if current is not None:
                remove(tx, current, self._entities, effects)
                effects.outcomes[each.seq] = ItemState.CANCELLED

    # --- a second chance

    def reprocess(
        self,
        tx: Transaction,
        ids: list[str] | None,
        effects: Effects,
        *,
        now: float,
        repair: Callable[[Item], Json] | None = None,
    ) -> int:
        """Failed items go back with a fresh budget: under the old key if the outcome is unknown,
        else under a new one, with the data that ``repair`` returns.
        """
        count = 0
        for item in self._failed_by_id(tx, ids):
            fresh = renewed(item, now if repair else item.time)
            links = None
            if is_frozen(item):
                if repair is not None:
                    raise InvalidDataError(
                        f"{item.entity} {item.record}: data is refused, because an earlier "
                        "attempt may have been processed; reprocess it as it is, or discard it",
                        entity=item.entity,
                        record_id=item.record,
                    )
                fresh = fresh._replace(id=item.id)
            elif repair is not None:
                data = repair(item)
                if item.entity in self._entities:
                    links, data = references(tx, self._entities[item.entity], data, item.seq)
                fresh = fresh._replace(data=dumps(data), digest=None)
            entity = self._entities.get(item.entity)
            if entity is None:
                change(tx, item, fresh, links)
            else:
                with watching(tx, entity, item.record, "local", effects):
                    changed = change(tx, item, fresh, links)
                    resettle(tx, changed, self._entities, effects)
            count += 1
        return count

    def _failed_by_id(self, tx: Reader, ids: Iterable[str] | None) -> list[Item]:
        if ids is None:
            return list(self.failed_items(tx))
        found = []
        for item_id in dict.fromkeys(ids):
            item = tx.get(ITEMS, place_of(item_id))
            if item is not None and item.id == item_id and item.lane == Lane.FAILED:
                found.append(item)
        return found


def repaired_by(entities: Entities, data: Any) -> Callable[[Item], Json]:
    """A repair: this data instead of the item's, for the same record."""

    def repair(item: Item) -> Json:
        entity = entities.named(item.entity)
        plain = encode(data, entity.name)
        given = plain.setdefault(entity.id_field, item.record)
        if record_key(given, entity.name, entity.id_field) != item.record:
            raise InvalidDataError(
                f"{entity.name}: the repair of {item.record} carries another id",
                path=f"$.{entity.id_field}",
                entity=entity.name,
                record_id=item.record,
            )
        return plain

    return repair
