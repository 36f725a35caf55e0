"""One unit of work: a storage transaction, its effects, and the time.

The rules of queue and replica get one ``UnitOfWork``. It is opened, committed and published in one
place: ``StateStore``.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Protocol, TypeVar

import attrs

from bytelyst_sync.clock import Clock, booted_at
from bytelyst_sync.config.entity import Entities
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.indexes import Indexes
from bytelyst_sync.state.overlay import Overlay
from bytelyst_sync.storage.base import Reader, Storage, Transaction

__all__ = ["StateStore", "UnitOfWork"]

T = TypeVar("T")


@attrs.define(eq=False)
class UnitOfWork:
    """The argument of a rule. Owned by one thread, for the length of one transaction.

    ``now`` is the wall clock in seconds since the epoch, the same for the whole unit.
    """

    tx: Transaction
    effects: CommitEffects
    now: float
    entities: Entities
    _clock: Clock | None = None

    @property
    def booted(self) -> float | None:
        """``clock.booted_at`` at ``now``; ``None`` if unknown."""
        return None if self._clock is None else booted_at(self._clock, self.now)


class Watched(Protocol):
    """Has the subscribers of changes of the local view."""

    @property
    def callbacks(self) -> Sized:
        """The subscribers' callbacks."""
        ...


class AppliesRules(Protocol):
    """Runs each rule in a store that many machines share: see ``queue/inbox.py``."""

    def apply(self, rule: Callable[[UnitOfWork], T], work: UnitOfWork, tx: Transaction) -> T:
        """Runs a rule; ``tx`` is the store's own transaction."""
        ...


class StateStore:
    """Opens units of work on a store, and publishes their effects after the commit.

    ``watched.callbacks`` are the subscribers of changes of the local view. ``publish`` is called
    with the effects of each commit, outside of all locks. ``indexes`` are updated in every unit.
    ``inbox``, if there is one, runs the rules.
    All methods may be called from any thread.
    """

    # seven arguments: ``runtime.py`` alone creates it, and passes most of them by name
    def __init__(
        self,
        storage: Storage,
        entities: Entities,
        clock: Clock,
        *,
        watched: Watched,
        publish: Callable[[CommitEffects], None],
        indexes: Indexes,
        inbox: AppliesRules | None = None,
    ) -> None:
        self._storage = storage
        self._entities = entities
        self._clock = clock
        self._watched = watched
        self._publish = publish
        self.indexes = indexes
        self._inbox = inbox

    def write(self, rule: Callable[[UnitOfWork], T]) -> T:
        """Runs a rule in one durable transaction, publishes its effects, returns its result.

        The rule may run more than once. If it raises, the transaction is rolled back. Raises what
        the rule raises, and ``StorageError``.
        """
        result: T

        def run(tx: Transaction) -> CommitEffects:
            nonlocal result
            now, monotonic = self._clock.wall(), self._clock.monotonic()
            effects = CommitEffects(watch=bool(self._watched.callbacks), began=monotonic)
            indexed = self.indexes.maintained(tx, now, monotonic)
            work = UnitOfWork(indexed, effects, now, self._entities, self._clock)
            inbox = self._inbox
            result = rule(work) if inbox is None else inbox.apply(rule, work, tx)
            return effects

        self._storage.write(run, self._publish)
        return result

    def preview(
        self, rule: Callable[[UnitOfWork], T], overlay: Overlay, effects: CommitEffects
    ) -> T:
        """Runs a rule on an overlay of the store, which keeps its changes; nothing is written."""

        def run(tx: Reader) -> T:
            over = overlay.over(tx)
            now = self._clock.wall()
            return rule(UnitOfWork(over, effects, now, self._entities, self._clock))

        return self._storage.read(run)

    def read(self, query: Callable[[Reader], T]) -> T:
        """Runs a query on one consistent view of the store."""
        return self._storage.read(query)
