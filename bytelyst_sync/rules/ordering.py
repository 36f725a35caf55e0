"""The order of a query's records: by some fields, then by id."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import attrs

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.rules.encode import canonical
from bytelyst_sync.rules.paths import at

__all__ = ["Field", "Ordering", "compile_ordering", "sort_key"]

Json = dict[str, Any]


@attrs.frozen
class Field:
    """A field to order by."""

    path: str
    descending: bool


@attrs.frozen
class Ordering:
    """Fields to order by; records that are equal in all of them are ordered by id as text."""

    fields: tuple[Field, ...]

    def key(self, record: Json, record_id: str) -> tuple[Any, ...]:
        """A value that sorts as the record does."""
        keys = [(each, sort_key(at(record, each.path))) for each in self.fields]
        return (*[_Descending(key) if each.descending else key for each, key in keys], record_id)


def sort_key(value: Any) -> tuple[Any, ...]:
    """Orders values of any kind: null or missing, then false and true, numbers, texts, others."""
    if isinstance(value, str):
        return (3, value)
    if isinstance(value, bool):
        return (1, value)
    if isinstance(value, (int, float, Decimal)):
        return (2, value)
    if isinstance(value, (list, dict)):
        return (4, canonical(value))
    return (0,)


@attrs.frozen
class _Descending:
    """Compares the other way round."""

    key: tuple[Any, ...]

    def __lt__(self, other: _Descending) -> bool:
        return other.key < self.key


def compile_ordering(order_by: object) -> Ordering | None:
    """The order of a query; ``InvalidDataError`` for what is none."""
    if order_by is None:
        return None
    names = [order_by] if isinstance(order_by, str) else order_by
    if not isinstance(names, Sequence) or not all(
        isinstance(each, str) and each.removeprefix("-")[:1] not in ("", "-") and "[]" not in each
        for each in names
    ):
        raise InvalidDataError(
            f"order_by is {order_by!r}; give the name of a field, '-' before it for descending, "
            'or a list of them: "-updated_at"',
            path="order_by",
        )
    return Ordering(tuple(Field(each.removeprefix("-"), each.startswith("-")) for each in names))
