"""The ids of items, which are also Idempotency-Keys: random, and ending in the item's place, so
that it is found by its id without an index.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ["new_item_id", "new_item_ids", "place_of"]

_RANDOM_BYTES = 16


def new_item_id(seq: int) -> str:
    """A new id for the item at this place."""
    return f"{os.urandom(_RANDOM_BYTES).hex()}-{seq}"


def new_item_ids(places: Iterable[int]) -> list[str]:
    """New ids for the items at these places."""
    seqs = list(places)
    digits = os.urandom(_RANDOM_BYTES * len(seqs)).hex()
    width = 2 * _RANDOM_BYTES
    return [f"{digits[n * width : (n + 1) * width]}-{seq}" for n, seq in enumerate(seqs)]


def place_of(item_id: str) -> int:
    """The place that an item id ends in; 0, which no item has, if it is no such id."""
    tail = item_id.rpartition("-")[2]
    return int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 19 else 0
