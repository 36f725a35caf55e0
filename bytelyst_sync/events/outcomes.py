"""The final states of items that left the queue, for the threads that wait for them.

Who owns what: ``_lock`` guards all fields; the two maps keep only the newest entries. The thread
that committed adds the effects. Each waiting thread sleeps on its own lock and holds no other, so
that a signal handler that interrupts it may use the engine.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

from bytelyst_sync.model import ItemState
from bytelyst_sync.state.commit_effects import CommitEffects

__all__ = ["Outcomes"]

_KEPT = 100_000
V = TypeVar("V")


class Outcomes:
    """The outcomes that one engine has seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[threading.Lock] = []
        """The lock that each waiting thread sleeps on; ``add`` releases it."""
        self._states: OrderedDict[int, ItemState] = OrderedDict()
        self._moved: OrderedDict[int, int] = OrderedDict()
        self._expected: set[int] = set()
        """Handles of open transactions."""
        self._generation = 0

    def add(self, effects: CommitEffects) -> None:
        """Stores the outcomes of a commit and wakes the waiting threads."""
        with self._lock:
            _keep(self._states, effects.outcomes)
            _keep(self._moved, effects.moved)
            if self._expected:
                self._expected -= effects.moved.keys() | effects.outcomes.keys()
            self._generation += 1
            waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.release()

    def expect(self, handles: Iterable[int]) -> None:
        """Adds the handles of an open transaction, whose ``seq`` are added by its commit."""
        with self._lock:
            self._expected.update(handles)

    def expects(self, handle: int) -> bool:
        """Whether the item is one of an open transaction."""
        with self._lock:
            return handle in self._expected

    def follow(self, seq: int) -> int:
        """The current ``seq`` of an item."""
        with self._lock:
            return self._followed(seq)

    def _followed(self, seq: int) -> int:
        while seq in self._moved:
            seq = self._moved[seq]
        return seq

    def get(self, seq: int) -> ItemState | None:
        """The final state of an item, if this engine has seen it."""
        with self._lock:
            return self._states.get(seq)

    @property
    def generation(self) -> int:
        """Changes with each ``add``."""
        with self._lock:
            return self._generation

    def wait(self, generation: int, timeout: float) -> None:
        """Waits for an ``add`` after this generation."""
        added = threading.Lock()
        added.acquire()
        with self._lock:
            if self._generation != generation:
                return
            self._waiting.append(added)
        if not sleep(added, timeout):
            with self._lock:
                if added in self._waiting:
                    self._waiting.remove(added)


def sleep(added: threading.Lock, timeout: float) -> bool:
    """Waits for this lock; true if it was released in time."""
    return added.acquire(timeout=max(0.0, timeout))


def _keep(recent: OrderedDict[int, V], new: dict[int, V]) -> None:
    for key, value in new.items():
        recent[key] = value
        recent.move_to_end(key)
    while len(recent) > _KEPT:
        recent.popitem(last=False)
