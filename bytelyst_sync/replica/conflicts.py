"""Finds conflicts, and settles them by the entity's strategy, a callback or a person.

A conflict covers all operations of the record that are queued at that time. Runs inside a storage
transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bytelyst_sync.config.entity import Entities, Entity
from bytelyst_sync.model import Conflict, ItemState, Origin, SyncOperation
from bytelyst_sync.replica.conflict_log import add_open, add_settled, settle
from bytelyst_sync.replica.conflict_outcome import (
    apply_decision,
    create_instead,
    drop_items,
    take_equal,
    take_unchanged,
)
from bytelyst_sync.replica.conflict_sides import remote_time, sides_of
from bytelyst_sync.replica.server_state import mark_stale, put_state
from bytelyst_sync.replica.view import canonical_key, track_change
from bytelyst_sync.rules.conflict import (
    Sides,
    are_equal,
    by_callback,
    by_person,
    decide,
    rebase_answer,
)
from bytelyst_sync.rules.json_text import dumps, loads
from bytelyst_sync.rules.merge import same
from bytelyst_sync.rules.unique_key import is_other_record
from bytelyst_sync.state.commit_effects import PendingDecision
from bytelyst_sync.state.transitions import items_of
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import (
    ASKED,
    CONFLICTS,
    ITEMS,
    OPEN,
    RECORDS,
    ConflictRow,
    Item,
    Lane,
)

__all__ = ["Resolver"]

Json = dict[str, Any]
Version = str | int | None
CREATE = SyncOperation.CREATE.value
_MAX_ATTEMPTS = 5
"""If the result of a resolution conflicts again, it is resolved at most this often, then parked."""


class Resolver:
    """Settles conflicts. ``offset`` returns how many seconds the server's clock is ahead of this
    machine's. ``lease_s``: how long a callback's process is waited for without a sign of life, in
    a store where several processes deliver.
    """

    def __init__(
        self, entities: Entities, offset: Callable[[], float], lease_s: float | None = None
    ) -> None:
        self._entities = entities
        self._offset = offset
        self._lease_s = lease_s

    def resolve_queued(
        self,
        work: UnitOfWork,
        entity: Entity,
        items: list[Item],
        remote: Json | None,
        version: Version,
    ) -> None:
        """Compares the record's queued operations with ``remote``, the record at the server.

        Rebases the operations, drops them, resolves a conflict, or parks it. None of ``items`` may
        be frozen. If both sides are equal, there is no conflict. ``remote`` may have another id
        than the record, if a unique value is taken.
        """
        first = items[0]
        if remote is None and first.was_create:
            create_instead(work, entity, first)
            return
        items = self._drop_done(work, entity, items, remote)
        head = items[0]
        sides = self._sides(work, entity, items, remote)
        unchanged = same(sides.base, remote, sides.ignore)
        exhausted = head.resolve_attempts >= _MAX_ATTEMPTS
        if unchanged and (head.operation == CREATE) is (remote is None) and not exhausted:
            take_unchanged(work, entity, head, remote, version, renew=head is first)
            return
        if are_equal(sides):
            take_equal(work, entity, items, sides, version)
            return
        work.effects.conflicts += 1
        waited = max(0.0, work.now - head.time)
        work.effects.note("conflict", entity.name, head.operation, seconds=waited)
        decision = None if exhausted else decide(entity.strategy, sides)
        if decision is None:
            self._park(work, entity, items, sides, version, ask=sides.asks and not exhausted)
            return
        add_settled(work, items, sides, version, decision.side)
        apply_decision(work, entity, items, sides, decision, version)

    def _sides(
        self, work: UnitOfWork, entity: Entity, items: list[Item], remote: Json | None
    ) -> Sides:
        return sides_of(work, entity, items, remote, self._offset())

    def _drop_done(
        self, work: UnitOfWork, entity: Entity, items: list[Item], remote: Json | None
    ) -> list[Item]:
        """Removes the first operations whose effect the server's record has already; keeps the last
        one. Returns the remaining operations, which are then based on that effect.
        """
        while len(items) > 1:
            sides = self._sides(work, entity, items[:1], remote)
            if not are_equal(sides):
                break
            put_state(work.tx, entity, items[0].record, sides.local, None)
            drop_items(work, items[:1], ItemState.DELIVERED)
            items = [work.tx.get(ITEMS, item.seq) or item for item in items[1:]]
        return items

    # --- conflicts that a callback or a person decides

    def _park(
        self,
        work: UnitOfWork,
        entity: Entity,
        items: list[Item],
        sides: Sides,
        version: Version,
        *,
        ask: bool,
    ) -> None:
        row = add_open(work, items, sides, version, ASKED if ask else OPEN)
        lane = Lane.ASKING if ask else Lane.PARKED
        lease = None if self._lease_s is None else work.now + self._lease_s
        for item in items:
            parked = item._replace(
                lane=lane,
                conflict=row.number,
                due=None,
                delay=None,
                blocker=None,
                frozen=0,
                lease=lease,
            )
            work.tx.replace(ITEMS, item, parked)
        if ask:
            work.effects.pending_decisions.append(PendingDecision(row.number, entity.name))

    def update_open(
        self,
        work: UnitOfWork,
        entity: Entity,
        number: int,
        remote: Json | None,
        version: Version,
    ) -> None:
        """Updates an open conflict: the server's record changed again. If both sides are equal now,
        the conflict is settled.
        """
        row = work.tx.get(CONFLICTS, number)
        if row is None:
            return
        items = _in_conflict(work.tx, row.entity, row.record, number)
        sides = self._sides(work, entity, items, remote)
        if are_equal(sides):
            settle(work, row, "remote")
            take_equal(work, entity, items, sides, version)
            return
        text = None if remote is None else dumps(remote)
        time = remote_time(entity, remote)
        work.tx.replace(
            CONFLICTS, row, row._replace(remote=text, version=version, remote_time=time)
        )

    def park_asked(self, tx: Transaction, number: int) -> None:
        """Parks a conflict whose callback did not decide it."""
        row = tx.get(CONFLICTS, number)
        if row is None or row.stage != ASKED:
            return
        tx.replace(CONFLICTS, row, row._replace(stage=OPEN))
        for item in _in_conflict(tx, row.entity, row.record, number):
            tx.replace(ITEMS, item, item._replace(lane=Lane.PARKED))

    def park_all_asked(self, tx: Transaction, *, keep: frozenset[int] = frozenset()) -> None:
        """Parks the conflicts that wait for a callback of a process that died, except ``keep``."""
        if tx.count(CONFLICTS, ASKED) <= len(keep):
            return
        for row in list(tx.scan(CONFLICTS, "open")):
            if row.number not in keep:
                self.park_asked(tx, row.number)

    def prolong(self, work: UnitOfWork, asked_here: frozenset[int], lease_s: float) -> None:
        """The process that runs these callbacks is alive."""
        for number in asked_here:
            row = work.tx.get(CONFLICTS, number)
            if row is not None and row.stage == ASKED:
                items = _in_conflict(work.tx, row.entity, row.record, number)
                work.tx.update_many(ITEMS, items, lease=work.now + lease_s)

    def resolve(
        self,
        work: UnitOfWork,
        number: int,
        answer: Json | str,
        *,
        known: Conflict | None = None,
        by_strategy: bool = False,
    ) -> Item | None:
        """Settles an open conflict with an answer; returns the item to be sent, if one is needed.

        ``known`` is the conflict on which the answer is based: changes that the server made since
        are merged into the answer. ``by_strategy``: a callback answered, so with ``merge`` only the
        fields that both sides changed are taken from it. A person decides the whole record.
        """
        row = work.tx.get(CONFLICTS, number)
        if row is None or row.open is None:
            return None
        entity = self._entities[row.entity]
        items = _in_conflict(work.tx, row.entity, row.record, number)
        settle(work, row, answer if isinstance(answer, str) else "merged")
        if not items:
            return None
        remote, version = _newest_remote(work.tx, entity, row)
        sides = self._sides(work, entity, items, remote)
        if isinstance(answer, dict) and known is not None:
            answer = rebase_answer(sides, answer, known.remote)
        if by_strategy:
            decision = by_callback(entity.strategy, sides, answer)
        else:
            decision = by_person(sides, answer)
        origin: Origin = "remote" if decision.side == "remote" else "local"
        held = work.tx.get(RECORDS, row.entity, row.record)
        with track_change(work, entity, row.record, origin):
            apply_decision(work, entity, items, sides, decision, version)
        if held is not None and held.needs_refresh is not None:
            # the conflict may not show the newest record of the server
            mark_stale(work.tx, entity, canonical_key(work.tx, entity, row.record))
        place = items[0].seq
        return work.tx.get(ITEMS, work.effects.moved.get(place, place))


def _newest_remote(
    tx: Transaction, entity: Entity, row: ConflictRow
) -> tuple[Json | None, Version]:
    """The server's record in a conflict, and its version.

    If it has another id than the conflict's record, a newer state may be stored under that id.
    """
    remote = None if row.remote is None else loads(row.remote)
    if remote is not None and is_other_record(remote, entity.id_field, row.record):
        known = tx.get(RECORDS, entity.name, str(remote[entity.id_field]))
        if known is not None and known.changed_seq > 0:
            return (None if known.state is None else loads(known.state)), known.version
    return remote, row.version


def _in_conflict(tx: Transaction, entity: str, record: str, number: int) -> list[Item]:
    return [item for item in items_of(tx, entity, record) if item.conflict == number]
