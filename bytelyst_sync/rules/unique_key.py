"""Detects that a server refused a create because another record has the same unique value."""

from __future__ import annotations

from typing import Any

from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.rules.paths import MISSING

__all__ = ["is_other_record", "shares_a_value"]

Json = dict[str, Any]


def is_other_record(record: Json | None, id_field: str, key: str) -> bool:
    """Whether this record has another id than ``key``."""
    given = None if record is None else record.get(id_field)
    return isinstance(given, (str, int)) and str(given) != key


def shares_a_value(sent: Json, record: Json, ignore: frozenset[str]) -> bool:
    """Whether the two share a value that may have to be unique. An error document, or an unrelated
    record, shares none.
    """
    return any(
        _is_distinctive(value) and _alike(value, record.get(name, MISSING))
        for name, value in sent.items()
        if name not in ignore
    )


def _is_distinctive(value: Any) -> bool:
    return value is not None and not isinstance(value, bool) and value not in ("", [], {})


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.strip().casefold() == other.strip().casefold()
    return same_value(one, other, decimal=True)
