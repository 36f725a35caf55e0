"""Calls ``on_conflict`` callbacks on their own thread, so that a dialog that stays open for an hour
delays only its record.

The answer settles the conflict as ``engine.resolve`` does. If the callback returns ``None`` or an
invalid answer, or raises, the conflict is parked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from bytelyst_sync.config.entity import Entities, Entity
from bytelyst_sync.errors import InvalidDataError, SyncError
from bytelyst_sync.events.notifier import Notifier, call_user
from bytelyst_sync.model import Conflict
from bytelyst_sync.replica.conflicts import Resolver
from bytelyst_sync.rules.encode import encode
from bytelyst_sync.rules.ids import record_key
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.commit_effects import PendingDecision, as_conflict
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.schema import CONFLICTS

__all__ = ["CallbackRunner", "checked_answer", "conflict_number"]

logger = SafeLogger("bytelyst_sync.conflicts")
Json = dict[str, Any]


def conflict_number(conflict: object) -> int:
    """The number of a ``Conflict``, or of its id; ``InvalidDataError`` for anything else."""
    value = conflict.id if isinstance(conflict, Conflict) else conflict
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    raise InvalidDataError(
        f"{value!r} is no conflict; give one that conflicts() returned, or its id",
        path="conflict",
    )


def checked_answer(entity: Entity, conflict: Conflict, answer: Any) -> Json | str:
    """``"local"``, ``"remote"`` or a record; ``InvalidDataError`` for anything else."""
    record = conflict.record_id
    if isinstance(answer, str):
        if answer in ("local", "remote"):
            return answer
        raise InvalidDataError(
            f'a conflict is settled by "local", "remote" or a dict, not by {answer!r}',
            path="answer",
            entity=entity.name,
            record_id=record,
        )
    try:
        plain = encode(answer, entity.name, entity.json_default)
    except InvalidDataError as error:
        if error.path != "$":
            raise
        raise InvalidDataError(
            f'{error}; or settle the conflict by "local" or "remote"',
            path="$",
            entity=entity.name,
            record_id=record,
        ) from error
    field = entity.id_field
    answer_key = record_key(plain.setdefault(field, record), entity.name, field)
    # where a unique key is taken, the server's record goes by another id
    if answer_key not in (record, str((conflict.remote or {}).get(field))):
        raise InvalidDataError(
            f"{entity.name}: the record that settles the conflict of {record} has another id "
            f"at $.{field}",
            path=f"$.{field}",
            entity=entity.name,
            record_id=record,
        )
    return plain


class CallbackRunner:
    """Calls the callbacks, one conflict at a time, in order."""

    def __init__(
        self,
        state: StateStore,
        entities: Entities,
        resolver: Resolver,
        wake: Callable[[], None],
    ) -> None:
        self._state = state
        self._entities = entities
        self._resolver = resolver
        self._wake = wake
        self._lock = threading.Lock()
        """Guards ``_pending``."""
        self._pending: frozenset[int] = frozenset()
        self._notifier = Notifier("bytelyst-sync-ask")

    @property
    def pending(self) -> frozenset[int]:
        """The numbers of the conflicts that wait for a callback of this engine."""
        return self._pending

    def submit(self, decision: PendingDecision) -> None:
        """Queues the call of the callback for this conflict."""
        with self._lock:
            self._pending |= {decision.number}
        self._notifier.post(lambda: self._run(decision))

    def close(self, timeout: float) -> bool:
        """Drops queued calls and waits for the running one. The next start parks the conflicts."""
        self._notifier.drop()
        return self._notifier.close(timeout)

    def _run(self, decision: PendingDecision) -> None:
        try:
            self._settle(decision)
        finally:
            # if the conflict could not be settled, the next recovery parks it
            with self._lock:
                self._pending -= {decision.number}
            self._wake()

    def _settle(self, decision: PendingDecision) -> None:
        entity = self._entities[decision.entity]
        row = self._state.read(lambda tx: tx.get(CONFLICTS, decision.number))
        if row is None or row.open is None:
            return
        conflict = as_conflict(row)
        answer = self._call(conflict, entity)

        def settle(work: UnitOfWork) -> None:
            if answer is None:
                self._resolver.park_asked(work.tx, decision.number)
            else:
                self._resolver.resolve(
                    work, decision.number, answer, known=conflict, by_strategy=True
                )

        try:
            self._state.write(settle)
        except SyncError as error:
            logger.warning(
                "the conflict of %s/%s could not be settled (%s) and is parked; see"
                " engine.conflicts()",
                entity.name,
                conflict.record_id,
                type(error).__name__,
            )

    def _call(self, conflict: Conflict, entity: Entity) -> Json | str | None:
        if entity.on_conflict is None:
            return None
        try:
            answer = call_user(entity.on_conflict, conflict)
            if answer is None:
                return None
            return checked_answer(entity, conflict, answer)
        except BaseException as error:  # noqa: BLE001 - whatever it raises, the conflict is parked
            # its message may quote the record, so only its kind is logged
            logger.warning(
                "on_conflict raised %s for %s/%s: the conflict is parked; see engine.conflicts()",
                type(error).__name__,
                entity.name,
                conflict.record_id,
            )
            return None
