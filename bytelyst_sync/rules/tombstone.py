"""Detects tombstones: records that are marked as deleted.

A dialect's ``tombstone`` is a path, such as ``"deleted"`` or ``"meta.deleted_at"``: the record is
deleted if the value there is set (anything but null, false, 0 and ""). Or it is a path with a
value, such as ``"status=trash"``: the record is deleted if it has that value there.
"""

from __future__ import annotations

from typing import Any

from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.rules.times import instant

__all__ = ["UNVERSIONED", "is_doubtful_mark", "is_tombstone"]

UNVERSIONED = "(no version)"
"""Stands for the version of a tombstone that has none; it is never sent."""

_UNSET = (None, False, 0, "")
_TRUE = frozenset({"true", "t", "yes", "y", "1", "deleted", "removed", "archived", "trashed"})


def is_tombstone(record: Any, mark: str | None) -> bool:
    """Whether this record is marked as deleted; ``mark`` is ``Dialect.tombstone``.

    ``record`` may also be the fields of an update that marks a record as deleted.
    """
    if mark is None:
        return False
    path, equals, value = mark.partition("=")
    marked = at(record, path)
    if marked is MISSING:
        return False
    if equals:
        return _text(marked) == value
    return marked not in _UNSET


def is_doubtful_mark(value: Any) -> bool:
    """Whether a mark that is set may be one that living records have too: a text that is neither a
    time nor a word for true, such as ``"open"`` or ``"false"``.
    """
    if not isinstance(value, str) or value in _UNSET:
        return False
    return value.lower() not in _TRUE and instant(value) is None


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else None
