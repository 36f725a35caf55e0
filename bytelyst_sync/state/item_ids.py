"""The ids of items, which are also their idempotency keys: random digits, then the item's ``seq``,
so that an item is found by its id without an index.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ["new_item_id", "new_item_ids", "seq_of"]

_RANDOM_BYTES = 16


def new_item_id(seq: int) -> str:
    """A new id for the item with this ``seq``."""
    return f"{os.urandom(_RANDOM_BYTES).hex()}-{seq}"


def new_item_ids(seqs: Iterable[int]) -> list[str]:
    """New ids for the items with these ``seq``."""
    numbers = list(seqs)
    digits = os.urandom(_RANDOM_BYTES * len(numbers)).hex()
    width = 2 * _RANDOM_BYTES
    return [f"{digits[n * width : (n + 1) * width]}-{seq}" for n, seq in enumerate(numbers)]


def seq_of(item_id: str) -> int:
    """The ``seq`` in an item id; 0, which no item has, if the id has another form."""
    tail = item_id.rpartition("-")[2]
    return int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 19 else 0
