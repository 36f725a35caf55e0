"""Finds and replaces references to other records: the fields of ``EntityConfig.references``.

A field is a name or a path, with ``[]`` for every element of a list: ``"project_id"``,
``"author.id"``, ``"lines[].product"``. A field that holds a list of ids names each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from bytelyst_sync.rules.paths import mapped_at, values_at

__all__ = ["Reference", "find_references", "replace_references"]

Json = dict[str, Any]


class Reference(NamedTuple):
    """A field that names a record; ``record`` is the id as text."""

    field: str
    entity: str
    record: str


def find_references(references: Mapping[str, str], data: Json) -> list[Reference]:
    """The records that this data names, each field and record once."""
    named = [
        Reference(field, entity, str(value))
        for field, entity in references.items()
        for at_field in values_at(data, field)
        for value in (at_field if isinstance(at_field, list) else [at_field])
        if _is_id(value)
    ]
    return list(dict.fromkeys(named))


def replace_references(
    references: Mapping[str, str], data: Json, replace: Callable[[str, Any], Any]
) -> Json:
    """The data with each id replaced by ``replace(entity, id)``; the same object if nothing
    changes.
    """

    def replaced(entity: str, value: Any) -> Any:
        if isinstance(value, list):
            items = [replaced(entity, each) for each in value]
            return value if all(map(_same, items, value)) else items
        return replace(entity, value) if _is_id(value) else value

    for field, entity in references.items():
        data = mapped_at(data, field, partial(replaced, entity))
    return data


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    return one is other
