"""What the worker does beside delivering: pulls that are wished for or due, and records to be read
again because what is known of them may be old.

Owned by the worker's thread, but for ``wish``: ``_lock`` guards the wishes that other threads
leave here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial

from bytelyst_sync.clock import Clock
from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.flows.puller import Puller
from bytelyst_sync.flows.sender import Sender
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.state.arrivals import Arrivals
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.server_states import mark_stale
from bytelyst_sync.storage.base import Reader, Storage, Transaction
from bytelyst_sync.storage.schema import RECORDS
from bytelyst_sync.transport.mapping import Mapper

__all__ = ["Chores"]

_STALE_AT_ONCE = 20
_STALE_RETRY_S = 5.0
_PATIENCE_S = 3600.0
_HOPELESS = (Meaning.OFFLINE, Meaning.PORTAL, Meaning.BUSY, Meaning.CREDENTIALS)


class Chores:
    """Regular work. ``interval`` is seconds between pulls of everything, ``None``: never."""

    def __init__(
        self,
        *,
        storage: Storage,
        entities: Entities,
        mappers: Mapping[str, Mapper],
        sender: Sender,
        arrivals: Arrivals,
        puller: Puller,
        publish: Callable[[Effects], None],
        new_effects: Callable[[], Effects],
        clock: Clock,
        interval: float | None,
        pulled: Callable[[], None],
    ) -> None:
        self._storage = storage
        self._entities = entities
        self._mappers = mappers
        self._sender = sender
        self._arrivals = arrivals
        self._puller = puller
        self._publish = publish
        self._new_effects = new_effects
        self._clock = clock
        self._interval = interval
        self._pulled = pulled
        self._lock = threading.Lock()
        self._wishes: dict[str, bool] = {}
        self.trouble = False
        """Whether the latest pull in the background failed, for another reason than the network."""
        now = clock.monotonic()
        self._next_pull = now + (interval or 0.0)
        self._next_reading = 0.0
        self._next_reconcile = {
            name: now + each.config.reconcile_interval
            for name, each in entities.items()
            if each.config.reconcile_interval is not None
        }

    def wish(self, names: list[str], *, full: bool = False) -> None:
        """Leaves a pull to the worker. From any thread."""
        with self._lock:
            self._add(names, full=full)

    def _add(self, names: list[str], *, full: bool) -> None:
        # a method of its own: a loop that is interrupted in a ``with`` may leave a lock locked
        for name in names:
            self._wishes[name] = self._wishes.get(name, False) or full

    def do(self, allowed: bool) -> float | None:
        """Does what is due: wished and regular pulls, records to be read again.

        Returns seconds until the next is; ``None``: never by itself.
        """
        if allowed:
            for names, full in self._due():
                patience = self._clock.monotonic() + _PATIENCE_S
                done = self._puller.pull(names, patience, full=full, background=True)
                self.wish(done.left)
                self.trouble = done.errors > 0 and not done.offline
                if done.errors == 0 and not done.left:
                    self._pulled()
            self._read_stale()
        now = self._clock.monotonic()
        waits = [each - now for each in self._next_reconcile.values()]
        if self._interval is not None:
            waits.append(self._next_pull - now)
        if not waits:
            return None
        return max(0.0, min(waits)) if allowed else None

    def _due(self) -> list[tuple[list[str], bool]]:
        now = self._clock.monotonic()
        with self._lock:
            wishes, self._wishes = self._wishes, {}
        if self._interval is not None and now >= self._next_pull:
            self._next_pull = now + self._interval
            wishes = {name: wishes.get(name, False) for name in self._entities}
        for name, at in self._next_reconcile.items():
            if now >= at:
                interval = self._entities[name].config.reconcile_interval
                self._next_reconcile[name] = now + (interval or 0.0)
                wishes[name] = True
        every = [name for name, full in wishes.items() if full]
        rest = [name for name, full in wishes.items() if not full]
        return [(names, full) for names, full in ((every, True), (rest, False)) if names]

    def _read_stale(self) -> None:
        if self._clock.monotonic() < self._next_reading:
            return
        for entity in self._entities.values():
            if not entity.replica:
                continue
            for key, began in self._storage.read(partial(_stale, entity=entity)):
                if not self._read_again(entity, key, began):
                    self._next_reading = self._clock.monotonic() + _STALE_RETRY_S
                    return

    def _read_again(self, entity: Entity, key: str, began: int) -> bool:
        """Reads one record; false if it is no use to go on with others now."""
        answer = self._sender.read(self._mappers[entity.name], key)
        if answer.meaning in _HOPELESS:
            return False
        known = answer.meaning in (Meaning.DELIVERED, Meaning.GONE)

        def work(tx: Transaction) -> Effects:
            effects = self._new_effects()
            if not known:
                mark_stale(tx, entity, key)  # behind the others
                return effects
            effects.pulled += self._arrivals.arrive(
                tx,
                entity,
                key,
                answer.record,
                answer.version,
                began=began,
                effects=effects,
                now=self._clock.wall(),
            )
            return effects

        self._publish(self._storage.write(work))
        if not known:
            self._next_reading = self._clock.monotonic() + _STALE_RETRY_S
        return True


def _stale(tx: Reader, entity: Entity) -> list[tuple[str, int]]:
    number = tx.last_number()
    rows = tx.scan(RECORDS, "stale", (entity.name,), limit=_STALE_AT_ONCE)
    return [(row.record, number) for row in rows]
