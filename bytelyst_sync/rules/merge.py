"""Equality of JSON values by meaning, and the three-way merge by field."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import attrs

from bytelyst_sync.rules.paths import MISSING
from bytelyst_sync.rules.times import same_instant

__all__ = ["Merged", "kept_edits", "same", "same_value", "three_way"]

Json = dict[str, Any]
Names = frozenset[str]
_NONE: Names = frozenset()


@attrs.frozen
class Merged:
    """The merged record, and the fields that both sides changed to different values."""

    record: Json
    fields: tuple[str, ...]


def same_value(one: Any, other: Any, *, decimal: bool = False) -> bool:
    """Whether two JSON values mean the same: numbers by their value, instants in any notation,
    objects whatever the order of their names. ``True`` is not ``1``.

    ``decimal``: a string may stand for a number, because a ``Decimal`` is sent as one.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            same_value(one[name], other[name], decimal=decimal) for name in one
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            same_value(*pair, decimal=decimal) for pair in zip(one, other, strict=True)
        )
    if one == other:
        return True
    if isinstance(one, str) and isinstance(other, str) and same_instant(one, other):
        return True
    return decimal and _same_number(one, other)


def _same_number(one: Any, other: Any) -> bool:
    try:
        first, second = (Decimal(str(getattr(each, "text", each))) for each in (one, other))
    except (InvalidOperation, ValueError):
        return False
    return first == second


def same(one: Json | None, other: Json | None, ignore: Names, decimals: Names = _NONE) -> bool:
    """Whether two states mean the same, but for the fields in ``ignore``."""
    if one is None or other is None:
        return one is other
    return all(
        same_value(one.get(name, MISSING), other.get(name, MISSING), decimal=name in decimals)
        for name in (one.keys() | other.keys()) - ignore
    )


def three_way(
    base: Json,
    local: Json,
    remote: Json,
    *,
    local_is_later: bool,
    ignore: Names,
    nested: bool = False,
    decimals: Names = _NONE,
) -> Merged:
    """Both sides' changes since the base; a field that both changed goes to the later writer.

    The fields in ``ignore`` are the remote side's. With ``nested`` the fields are the leaves of
    nested objects, named by their paths; else an object is one value.
    """
    record: Json = {}
    both: list[str] = []
    for name in [*remote, *(name for name in local if name not in remote)]:
        was, here, there = (side.get(name, MISSING) for side in (base, local, remote))
        decimal = name in decimals
        unchanged_here = same_value(here, was, decimal=decimal)
        if name in ignore or unchanged_here or same_value(here, there, decimal=decimal):
            chosen = there
        elif same_value(there, was, decimal=decimal):
            chosen = here
        elif nested and isinstance(here, dict) and isinstance(there, dict):
            inner = three_way(
                was if isinstance(was, dict) else {},
                here,
                there,
                local_is_later=local_is_later,
                ignore=_NONE,
                nested=True,
                decimals=frozenset((*here, *there)) if decimal else _NONE,
            )
            chosen = inner.record
            both += [f"{name}.{field}" for field in inner.fields]
        else:
            both.append(name)
            chosen = here if local_is_later else there
        if chosen is not MISSING:
            record[name] = chosen
    return Merged(record, tuple(both))


def kept_edits(edits: Json, base: Json, remote: Json, *, nested: bool) -> Json:
    """The edits without those of fields that the remote side changed since the base."""
    remaining: Json = {}
    for name, value in edits.items():
        was, there = base.get(name, MISSING), remote.get(name, MISSING)
        if same_value(was, there):
            remaining[name] = value
        elif nested and all(isinstance(each, dict) for each in (value, was, there)):
            inner = kept_edits(value, was, there, nested=True)
            if inner:
                remaining[name] = inner
    return remaining
