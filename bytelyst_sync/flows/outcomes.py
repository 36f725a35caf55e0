"""What became of items that left the queue, for those who wait for them.

Who owns what: ``_lock`` guards the two maps, which keep the newest entries only. Effects are added
after their commit by whoever made it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TypeVar

from bytelyst_sync.model import ItemState
from bytelyst_sync.state.effects import Effects

__all__ = ["Outcomes"]

_KEPT = 100_000
V = TypeVar("V")


class Outcomes:
    """The memory of one engine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._added = threading.Condition(self._lock)  # never entered itself, see ``Worker``
        self._states: OrderedDict[int, ItemState] = OrderedDict()
        self._moved: OrderedDict[int, int] = OrderedDict()
        self._generation = 0

    def add(self, effects: Effects) -> None:
        """Remembers and wakes those who wait."""
        with self._lock:
            _keep(self._states, effects.outcomes)
            _keep(self._moved, effects.moved)
            self._generation += 1
            self._added.notify_all()

    def follow(self, place: int) -> int:
        """The place where an item is by now."""
        with self._lock:
            return self._followed(place)

    def _followed(self, place: int) -> int:
        while place in self._moved:
            place = self._moved[place]
        return place

    def get(self, place: int) -> ItemState | None:
        """What became of it, if this engine saw it."""
        with self._lock:
            return self._states.get(place)

    @property
    def generation(self) -> int:
        """Changes whenever something was added."""
        with self._lock:
            return self._generation

    def wait(self, generation: int, timeout: float) -> None:
        """Waits until something is added after that generation."""
        with self._lock:
            self._added.wait_for(lambda: self._generation != generation, timeout)


def _keep(kept: OrderedDict[int, V], new: dict[int, V]) -> None:
    for key, value in new.items():
        kept[key] = value
        kept.move_to_end(key)
    while len(kept) > _KEPT:
        kept.popitem(last=False)
