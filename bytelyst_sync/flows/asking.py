"""Conflicts that a callback decides (``manual``): asked on a thread of their own, so that a
dialog that stays open for an hour delays nothing but its record.

The answer goes through the same door as a person's ``resolve``. ``None``, no answer that can be
understood, or an exception leaves the conflict parked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from bytelyst_sync.clock import Clock
from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.errors import InvalidDataError, SyncError
from bytelyst_sync.flows.notifier import Notifier, call_user
from bytelyst_sync.model import Conflict
from bytelyst_sync.rules.encode import encode
from bytelyst_sync.rules.ids import record_key
from bytelyst_sync.state.effects import Effects, Question, as_conflict
from bytelyst_sync.state.resolver import Resolver
from bytelyst_sync.storage.base import Storage, Transaction
from bytelyst_sync.storage.schema import CONFLICTS

__all__ = ["Asker", "checked_answer", "conflict_number"]

logger = logging.getLogger("bytelyst_sync.conflicts")
Json = dict[str, Any]


def conflict_number(conflict: object) -> int:
    """The number of a ``Conflict``, or of its id; ``InvalidDataError`` for anything else."""
    given = conflict.id if isinstance(conflict, Conflict) else conflict
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 19:
        return int(given)
    raise InvalidDataError(
        f"{given!r} is no conflict; give one that conflicts() returned, or its id",
        path="conflict",
    )


def checked_answer(entity: Entity, record: str, answer: Any) -> Json | str:
    """``"local"``, ``"remote"`` or a record; ``InvalidDataError`` for anything else."""
    if isinstance(answer, str):
        if answer in ("local", "remote"):
            return answer
        raise InvalidDataError(
            f'a conflict is settled by "local", "remote" or a dict, not by {answer!r}',
            path="answer",
            entity=entity.name,
            record_id=record,
        )
    plain = encode(answer, entity.name)
    field = entity.id_field
    if record_key(plain.setdefault(field, record), entity.name, field) != record:
        raise InvalidDataError(
            f"{entity.name}: the record that settles the conflict of {record} has another id "
            f"at $.{field}",
            path=f"$.{field}",
            entity=entity.name,
            record_id=record,
        )
    return plain


class Asker:
    """Asks the callbacks, one question at a time, in order."""

    def __init__(
        self,
        storage: Storage,
        entities: Entities,
        resolver: Resolver,
        publish: Callable[[Effects], None],
        new_effects: Callable[[], Effects],
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._storage = storage
        self._entities = entities
        self._resolver = resolver
        self._publish = publish
        self._new_effects = new_effects
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        """Guards ``_pending``."""
        self._pending: frozenset[int] = frozenset()
        self._notifier = Notifier("bytelyst-sync-ask")

    @property
    def pending(self) -> frozenset[int]:
        """The numbers of the conflicts that are being asked here."""
        return self._pending

    def ask(self, question: Question) -> None:
        """Has the question asked soon."""
        with self._lock:
            self._pending |= {question.number}
        self._notifier.post(lambda: self._ask(question))

    def close(self, timeout: float) -> bool:
        """Asks no more; waits for the question that is being asked. The next start parks them."""
        self._notifier.drop()
        return self._notifier.close(timeout)

    def _ask(self, question: Question) -> None:
        try:
            self._settle(question)
        finally:
            # one that could not be settled is nobody's from now on, and is parked
            with self._lock:
                self._pending -= {question.number}
            self._wake()

    def _settle(self, question: Question) -> None:
        entity = self._entities[question.entity]
        row = self._storage.read(lambda tx: tx.get(CONFLICTS, question.number))
        if row is None or row.open is None:
            return
        seen = as_conflict(row)
        answer = self._answer(seen, entity)

        def settle(tx: Transaction) -> Effects:
            effects = self._new_effects()
            if answer is None:
                self._resolver.park_asked(tx, question.number)
            else:
                now = self._clock.wall()
                self._resolver.resolve(tx, question.number, answer, effects, now, seen=seen)
            return effects

        try:
            self._publish(self._storage.write(settle))
        except SyncError as error:
            logger.warning("a conflict of %s stays open: %s", entity.name, type(error).__name__)

    def _answer(self, conflict: Conflict, entity: Entity) -> Json | str | None:
        if entity.on_conflict is None:
            return None
        try:
            answer = call_user(entity.on_conflict, conflict)
            if answer is None:
                return None
            return checked_answer(entity, conflict.record_id, answer)
        except Exception as error:  # noqa: BLE001 - whatever it raises, the conflict is parked
            # its message may quote the record, so only its kind is logged
            kind = type(error).__name__
            logger.warning("on_conflict of %s raised %s; the conflict is parked", entity.name, kind)
            return None
