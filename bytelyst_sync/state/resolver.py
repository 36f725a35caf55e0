"""Conflicts inside a storage transaction: decided, noted, and what was decided put in the queue.

A conflict covers the record's queued operations up to then. Its outcome takes their place: either
nothing, or one new item with a new key that is based on the server's version.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.model import Conflict, ConflictStrategy, ItemState, SyncOperation
from bytelyst_sync.rules.conflict import Decision, Sides, decide, real_conflicts
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.merge import same, three_way
from bytelyst_sync.rules.patch import compose, diff
from bytelyst_sync.rules.times import record_time
from bytelyst_sync.state.effects import Effects, Question
from bytelyst_sync.state.item_ids import new_item_id
from bytelyst_sync.state.lanes import (
    change,
    items_of,
    references,
    refers_ahead,
    remove,
    wait_for_create,
)
from bytelyst_sync.state.replica import fold, server_state, watching
from bytelyst_sync.state.server_states import put_state
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import (
    ASKED,
    CONFLICTS,
    ITEMS,
    OPEN,
    SETTLED,
    ConflictRow,
    Item,
    Lane,
)

__all__ = ["Resolver"]

Json = dict[str, Any]
_MAX_ROUNDS = 5
_KEPT_S = 30 * 86_400.0
_KEPT_NUMBER = 1000


class Resolver:
    """Decides conflicts by each entity's strategy. ``offset`` returns the seconds that the
    server's clock is ahead of this machine's.
    """

    def __init__(self, entities: Entities, offset: Callable[[], float]) -> None:
        self._entities = entities
        self._offset = offset

    def meet(
        self,
        tx: Transaction,
        entity: Entity,
        items: list[Item],
        remote: Json | None,
        version: str | int | None,
        effects: Effects,
        now: float,
    ) -> None:
        """The server's record turned out to be ``remote`` while these operations are queued.

        None of them is frozen any more. Equal states are no conflict: the version is adopted.
        """
        head = items[0]
        sides = self._sides(tx, entity, items, remote)
        if self._equal(sides, entity):
            put_state(tx, entity, head.record, remote, version)
            self._drop(tx, items, effects, ItemState.DELIVERED)
            return
        effects.conflicts += 1
        waited = max(0.0, now - head.time)
        effects.note("conflict", entity.name, head.operation, seconds=waited)
        by_hand = entity.strategy is ConflictStrategy.MANUAL
        if by_hand or head.rounds >= _MAX_ROUNDS:
            ask = by_hand and entity.on_conflict is not None and head.rounds < _MAX_ROUNDS
            self._park(tx, entity, items, sides, version, effects, ask=ask)
            return
        decision = decide(entity.strategy, sides)
        row = self._row(tx, entity, items, sides, version)
        tx.insert(CONFLICTS, _settled(tx, row, decision.side, now))
        self._prune(tx, now)
        self._apply(tx, entity, items, decision, remote, version, effects)

    def _sides(
        self, tx: Transaction, entity: Entity, items: list[Item], remote: Json | None
    ) -> Sides:
        base = server_state(tx, entity, items[0].record)
        edits: Json | None = {}
        for item in items:
            if item.operation == SyncOperation.DELETE.value:
                edits = {}
            else:
                data = json.loads(item.data)
                edits = compose(edits or {}, data, entity.patch_rule) or {**(edits or {}), **data}
        updates_only = all(item.operation == SyncOperation.UPDATE.value for item in items)
        local = fold(entity, base, items)
        rebased = fold(entity, remote, items) if updates_only and remote is not None else local
        return Sides(
            base=base,
            local=local,
            remote=remote,
            edits=edits or {},
            rebased=rebased,
            local_time=max(item.time for item in items) + self._offset(),
            remote_time=record_time(remote, entity.dialect.updated_at),
            ignore=entity.bookkeeping,
        )

    def _equal(self, sides: Sides, entity: Entity) -> bool:
        if sides.base is None and sides.local is not None and sides.remote is not None:
            # all that is known of the local record are the fields that were set
            return same(sides.rebased, sides.remote, entity.bookkeeping) or same(
                {**sides.remote, **sides.local}, sides.remote, entity.bookkeeping
            )
        return same(sides.local, sides.remote, entity.bookkeeping)

    # --- what was decided

    def _apply(
        self,
        tx: Transaction,
        entity: Entity,
        items: list[Item],
        decision: Decision,
        remote: Json | None,
        version: str | int | None,
        effects: Effects,
    ) -> None:
        """Takes the server's state, and puts what is still to be sent into the old place."""
        head = items[0]
        put_state(tx, entity, head.record, remote, version)
        outcome = None if decision.side == "remote" else self._operation(entity, decision, remote)
        if outcome is None:
            lost = decision.side == "remote"
            self._drop(tx, items, effects, ItemState.CONFLICT if lost else ItemState.DELIVERED)
            self._rebase_next(tx, entity, head.record, version)
            return
        operation, data = outcome
        data.setdefault(entity.id_field, json.loads(head.data).get(entity.id_field, head.record))
        # the old place, unless what it refers to is created later: then the first that is not
        place = next(
            (each for each in items if not refers_ahead(tx, entity, data, each.seq)), items[-1]
        )
        links, data = references(tx, entity, data, place.seq)
        for other in reversed(items):
            current = tx.get(ITEMS, other.seq)
            if other is not place and current is not None:
                remove(tx, current, self._entities, effects)
                effects.moved[other.seq] = place.seq
        current = tx.get(ITEMS, place.seq) or place
        change(
            tx,
            current,
            current._replace(
                id=new_item_id(place.seq),
                operation=operation.value,
                data=dumps(data),
                time=max(item.time for item in items),
                # one that needs a decision still does, whatever became of its base
                lane=Lane.FAILED if head.lane == Lane.FAILED else Lane.READY,
                due=None,
                delay=None,
                retries=head.retries if head.lane == Lane.FAILED else 0,
                error=head.error if head.lane == Lane.FAILED else None,
                frozen=0,
                version=None if operation is SyncOperation.CREATE else version,
                digest=None,
                stalls=0,
                rounds=head.rounds + 1,
                conflict=None,
            ),
            links,
        )
        if operation is SyncOperation.CREATE:
            wait_for_create(tx, entity.name, head.record)

    def _operation(
        self, entity: Entity, decision: Decision, remote: Json | None
    ) -> tuple[SyncOperation, Json] | None:
        """The one operation that makes the server's record the decided one, if any is needed."""
        target = decision.record
        if target is None:
            return None if remote is None else (SyncOperation.DELETE, {})
        own = {name: each for name, each in target.items() if name not in entity.bookkeeping}
        if remote is None:
            return SyncOperation.CREATE, own
        there = {name: each for name, each in remote.items() if name not in entity.bookkeeping}
        edit = diff(there, own, entity.patch_rule)
        if edit is None:
            edit = own
        return (SyncOperation.UPDATE, edit) if edit else None

    def _drop(
        self, tx: Transaction, items: list[Item], effects: Effects, outcome: ItemState
    ) -> None:
        for item in reversed(items):
            current = tx.get(ITEMS, item.seq)
            if current is not None:
                remove(tx, current, self._entities, effects)
            effects.outcomes[item.seq] = outcome

    def _rebase_next(
        self, tx: Transaction, entity: Entity, key: str, version: str | int | None
    ) -> None:
        """What was pushed behind a conflict is based on its outcome."""
        for item in items_of(tx, entity.name, key)[:1]:
            if item.operation != SyncOperation.CREATE.value and not item.frozen:
                tx.replace(ITEMS, item, item._replace(version=version))

    # --- conflicts that somebody decides

    def _park(
        self,
        tx: Transaction,
        entity: Entity,
        items: list[Item],
        sides: Sides,
        version: str | int | None,
        effects: Effects,
        *,
        ask: bool,
    ) -> None:
        row = self._row(tx, entity, items, sides, version)
        tx.insert(CONFLICTS, row._replace(stage=ASKED if ask else OPEN))
        lane = Lane.ASKING if ask else Lane.PARKED
        for item in items:
            parked = item._replace(
                lane=lane, conflict=row.number, due=None, delay=None, blocker=None, frozen=0
            )
            tx.replace(ITEMS, item, parked)
        if ask:
            effects.questions.append(Question(row.number, entity.name))

    def newer_remote(
        self,
        tx: Transaction,
        entity: Entity,
        number: int,
        remote: Json | None,
        version: str | int | None,
        effects: Effects,
        now: float,
    ) -> None:
        """The server's record moved on while its conflict is open; where both sides are equal by
        that, it is a conflict no more.
        """
        row = tx.get(CONFLICTS, number)
        if row is None:
            return
        items = [i for i in items_of(tx, row.entity, row.record) if i.conflict == number]
        if self._equal(self._sides(tx, entity, items, remote), entity):
            tx.replace(CONFLICTS, row, _settled(tx, row, "remote", now))
            put_state(tx, entity, row.record, remote, version)
            self._drop(tx, items, effects, ItemState.DELIVERED)
            self._rebase_next(tx, entity, row.record, version)
            return
        text = None if remote is None else dumps(remote)
        time = record_time(remote, entity.dialect.updated_at)
        tx.replace(CONFLICTS, row, row._replace(remote=text, version=version, remote_time=time))

    def park_asked(
        self, tx: Transaction, number: int | None = None, *, but: frozenset[int] = frozenset()
    ) -> None:
        """Parks a conflict whose callback decided nothing; ``None``: all that were being asked,
        because who asked is gone, ``but`` these.
        """
        if number is None and tx.count(CONFLICTS, ASKED) <= len(but):
            return
        rows = (
            [row for row in tx.scan(CONFLICTS, "open") if row.number not in but]
            if number is None
            else [row for row in (tx.get(CONFLICTS, number),) if row is not None]
        )
        for row in rows:
            if row.stage == ASKED:
                tx.replace(CONFLICTS, row, row._replace(stage=OPEN))
                for item in items_of(tx, row.entity, row.record):
                    if item.conflict == row.number:
                        tx.replace(ITEMS, item, item._replace(lane=Lane.PARKED))

    def resolve(
        self,
        tx: Transaction,
        number: int,
        answer: Json | str,
        effects: Effects,
        now: float,
        *,
        seen: Conflict | None = None,
    ) -> Item | None:
        """Settles an open conflict; returns the item that will be sent, if one is needed.

        ``seen`` is the conflict as it was when it was decided: what the server changed since is
        merged into the answer, not overwritten by it.
        """
        row = tx.get(CONFLICTS, number)
        if row is None or row.open is None:
            return None
        entity = self._entities[row.entity]
        items = [i for i in items_of(tx, row.entity, row.record) if i.conflict == number]
        remote = None if row.remote is None else json.loads(row.remote)
        tx.replace(CONFLICTS, row, _settled(tx, row, _side(answer), now))
        self._prune(tx, now)
        if not items:
            return None
        if isinstance(answer, dict) and seen is not None:
            answer = _brought_forward(entity, answer, seen.remote, remote)
        decision = self._answered(tx, entity, items, remote, answer)
        origin = "remote" if decision.side == "remote" else "local"
        with watching(tx, entity, row.record, origin, effects):
            self._apply(tx, entity, items, decision, remote, row.version, effects)
        place = items[0].seq
        return tx.get(ITEMS, effects.moved.get(place, place))

    def _answered(
        self,
        tx: Transaction,
        entity: Entity,
        items: list[Item],
        remote: Json | None,
        answer: Json | str,
    ) -> Decision:
        if isinstance(answer, str):
            if answer == "remote":
                return Decision("remote", remote)
            sides = self._sides(tx, entity, items, remote)
            return decide(ConflictStrategy.CLIENT_WINS, sides)
        return Decision("merged", dict(answer))

    # --- the record of it

    def _row(
        self,
        tx: Transaction,
        entity: Entity,
        items: list[Item],
        sides: Sides,
        version: str | int | None,
    ) -> ConflictRow:
        number = tx.next_number()

        def text(value: Json | None) -> str | None:
            return None if value is None else dumps(value)

        return ConflictRow(
            number=number,
            entity=entity.name,
            record=items[0].record,
            operation=items[-1].operation,
            local=text(sides.local),
            remote=text(sides.remote),
            base=text(sides.base),
            version=version,
            local_time=max(item.time for item in items),
            remote_time=sides.remote_time,
            fields=json.dumps(real_conflicts(sides)),
            open=number,
            stage=OPEN,
        )

    def _prune(self, tx: Transaction, now: float) -> None:
        """Settled conflicts are kept for 30 days, and the last 1,000 however old."""
        if tx.count(CONFLICTS, SETTLED) <= _KEPT_NUMBER:
            return
        for row in list(tx.scan(CONFLICTS, "closed", limit=10)):
            old = row.closed_time is not None and row.closed_time < now - _KEPT_S
            if old and tx.count(CONFLICTS, SETTLED) > _KEPT_NUMBER:
                tx.delete(CONFLICTS, row)


def _brought_forward(entity: Entity, answer: Json, seen: Json | None, remote: Json | None) -> Json:
    """The answer to what was seen, as an answer to what the server holds by now."""
    if seen is None or remote is None or seen == remote:
        return answer
    merged = three_way(seen, answer, remote, local_is_later=True, ignore=entity.bookkeeping)
    return merged.record


def _side(answer: Json | str) -> str:
    return answer if isinstance(answer, str) else "merged"


def _settled(tx: Transaction, row: ConflictRow, side: str, now: float) -> ConflictRow:
    return row._replace(
        open=None, stage=SETTLED, resolution=side, closed=tx.next_number(), closed_time=now
    )
