"""Three-way merge by field (SPEC §5): nested objects and lists are values."""

from __future__ import annotations

from typing import Any

import attrs

from bytelyst_sync.rules.paths import MISSING

__all__ = ["Merged", "same", "three_way"]

Json = dict[str, Any]


@attrs.frozen
class Merged:
    """The merged record, and the fields that both sides changed to different values."""

    record: Json
    fields: tuple[str, ...]


def same_value(one: Any, other: Any) -> bool:
    """Equality of JSON values, where ``True`` is not ``1``."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)


def same(one: Json | None, other: Json | None, ignore: frozenset[str]) -> bool:
    """Whether two states are equal but for the fields that the server sets."""
    if one is None or other is None:
        return one is other
    names = (one.keys() | other.keys()) - ignore
    return all(same_value(one.get(n, MISSING), other.get(n, MISSING)) for n in names)


def three_way(
    base: Json, local: Json, remote: Json, *, local_is_later: bool, ignore: frozenset[str]
) -> Merged:
    """Both sides' changes since the base; a field that both changed goes to the later writer."""
    record: Json = {}
    both: list[str] = []
    names = [*remote, *(name for name in local if name not in remote)]
    for name in names:
        was, here, there = (side.get(name, MISSING) for side in (base, local, remote))
        if name in ignore or same_value(here, was) or same_value(here, there):
            chosen = there
        elif same_value(there, was):
            chosen = here
        else:
            both.append(name)
            chosen = here if local_is_later else there
        if chosen is not MISSING:
            record[name] = chosen
    return Merged(record, tuple(both))
