"""Stores the local ids that callers chose themselves, for entities whose ids the server assigns.

Such an id cannot be recognised by its form. As with generated local ids, a body that contains one
is not sent. Runs inside a storage transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.rules.local_ids import texts_in
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import META, Meta

__all__ = ["find_own_ids", "has_own_ids", "note_own_id"]

_PREFIX = "own id/"
_END = "own id0"
"""The first text after all texts with the prefix."""
_ID_LIKE = re.compile(r"[^\s]{2,100}")


def note_own_id(tx: Transaction, entity: Entity, record: str) -> None:
    """Stores an id that the caller chose for a new record. Numbers are not stored: the same number
    may have any other meaning in other data.
    """
    if not entity.server_ids or is_local(record) or record.lstrip("-").isdecimal():
        return
    name = _PREFIX + entity.name + "/" + record
    if tx.get(META, name) is None:
        tx.insert(META, Meta(name, "1"))


def has_own_ids(tx: Reader) -> bool:
    """Whether there are any such ids."""
    return next(tx.scan(META, after=(_PREFIX,), upto=(_END,), limit=1), None) is not None


def find_own_ids(
    tx: Reader, owners: list[str], data: dict[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """The values in the data that are such ids: the path, the id and its entity."""
    texts = [(path, text) for path, text in texts_in(data) if _ID_LIKE.fullmatch(text)]
    names = {
        _PREFIX + owner + "/" + text: (path, text, owner)
        for path, text in texts
        for owner in owners
    }
    for name in tx.present(META, None, (), list(names)):
        yield names[name]
