"""A sorted list of tuples in many small chunks, which is fast also with a million of them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

__all__ = ["TOP", "OrderedKeys"]

Key = tuple[Any, ...]

_CHUNK = 512


class _Top:
    """Greater than everything: ``(a, TOP)`` comes after all tuples that start with ``a``."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return True


TOP = _Top()


class OrderedKeys:
    """Distinct tuples in order. Used by one thread at a time, and not changed while iterated."""

    __slots__ = ("_chunks", "_lasts")

    def __init__(self) -> None:
        self._chunks: list[list[Key]] = []
        self._lasts: list[Key] = []

    def add(self, key: Key) -> None:
        """Adds a key, which must be new."""
        place = bisect_left(self._lasts, key)
        if place == len(self._chunks):
            if not place:
                self._chunks.append([key])
                self._lasts.append(key)
                return
            place -= 1
        chunk = self._chunks[place]
        insort(chunk, key)
        self._lasts[place] = chunk[-1]
        if len(chunk) > _CHUNK:
            # a list that grows at its end consists of full chunks
            cut = _CHUNK if place + 1 == len(self._chunks) else _CHUNK // 2
            self._chunks.insert(place + 1, chunk[cut:])
            self._lasts.insert(place, chunk[cut - 1])
            del chunk[cut:]

    def remove(self, key: Key) -> None:
        """Removes a key; ``KeyError`` if there is none."""
        place, offset = self._find(key)
        if place == len(self._chunks) or self._chunks[place][offset] != key:
            raise KeyError(key)
        chunk = self._chunks[place]
        del chunk[offset]
        if chunk:
            self._lasts[place] = chunk[-1]
        else:
            del self._chunks[place], self._lasts[place]

    def between(self, low: Key, high: Key, *, reverse: bool = False) -> Iterator[Key]:
        """The keys with ``low <= key < high``, upwards or downwards, one at a time."""
        start, stop = self._find(low), self._find(high)
        places = range(start[0], min(stop[0] + 1, len(self._chunks)))
        for place in reversed(places) if reverse else places:
            chunk = self._chunks[place]
            first = start[1] if place == start[0] else 0
            behind = stop[1] if place == stop[0] else len(chunk)
            for offset in range(behind - 1, first - 1, -1) if reverse else range(first, behind):
                yield chunk[offset]

    def _find(self, key: Key) -> tuple[int, int]:
        place = bisect_left(self._lasts, key)
        if place == len(self._chunks):
            return place, 0
        return place, bisect_left(self._chunks[place], key)
