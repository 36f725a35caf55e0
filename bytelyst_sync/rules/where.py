"""Filters of the local view: ``{"done": False, "n__gte": 2}``, compiled once and tested per record.

| operator | matches where the field |
|---|---|
| none, ``eq`` | equals the value |
| ``ne`` | does not equal the value |
| ``gt``, ``gte``, ``lt``, ``lte`` | is greater, at least, less, at most |
| ``in`` | equals one of the values |
| ``contains`` | is a text with this part, or a list with this element |
| ``isnull`` | is (``True``) or is not (``False``) null or missing |

``ne`` matches where the field is missing too; the others but ``isnull`` do not. Null is neither
greater nor less than anything. Values are encoded as they are pushed; a ``datetime`` or ``date``
is compared as an instant, a ``Decimal`` by its numeric value. Ids and references are compared as
ids: 7 is "7". A path that goes through a list (``"lines[].product"``) matches if one of its values
does. A comparison of values that have no order, such as a text and a number, raises
``InvalidDataError``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.rules.encode import encode
from bytelyst_sync.rules.json_text import JsonNumber
from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.rules.paths import describe, values_at
from bytelyst_sync.rules.times import record_time

__all__ = ["OPERATORS", "Condition", "Where", "compile_where"]

Json = dict[str, Any]
Resolve = Callable[[str, str], str]
"""Takes an entity and an id; returns the record's current id."""

_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_MAY_FAIL = (*_ORDERED, "contains")
OPERATORS = ("eq", "ne", *_ORDERED, "in", "contains", "isnull")


@attrs.frozen
class Instant:
    """A point in time, compared with texts and numbers that stand for a time."""

    seconds: float


@attrs.frozen
class Condition:
    """One field, an operator and a value. ``ids_of`` names the entity whose ids the field holds."""

    path: str
    operator: str
    value: Any
    ids_of: str | None

    def matches(self, record: Json) -> bool:
        """Whether the record matches; ``InvalidDataError`` if the two cannot be compared."""
        values = values_at(record, self.path)
        if self.operator == "isnull":
            return all(each is None for each in values) is self.value
        if self.operator == "ne":
            return not any(self._equals(each, self.value) for each in values)
        return any(self._test(each) for each in values)

    def resolved(self, resolve: Resolve) -> Condition:
        """The condition with local ids replaced by the records' current ids."""
        entity = self.ids_of
        if entity is None:
            return self

        def current(value: Any) -> Any:
            if isinstance(value, list):
                return [current(each) for each in value]
            return resolve(entity, value) if isinstance(value, str) else value

        return attrs.evolve(self, value=current(self.value))

    def exact_values(self) -> list[Any] | None:
        """The values of which a matching record has one; ``None`` if there is no such list, or if
        other notations of a value match too, as of an instant.
        """
        values = {"eq": [self.value], "in": self.value, "isnull": [None]}.get(self.operator)
        if self.operator == "isnull" and not self.value:
            return None
        if values is None or any(isinstance(each, (Instant, Decimal)) for each in values):
            return None
        return list(values)

    def is_range(self) -> bool:
        """Whether it compares by order, and the order of index keys can be used for it."""
        inexact = isinstance(self.value, (Instant, Decimal)) or self.ids_of is not None
        return self.operator in _ORDERED and not inexact

    def _test(self, actual: Any) -> bool:
        if self.operator == "eq":
            return self._equals(actual, self.value)
        if self.operator == "in":
            return any(self._equals(actual, each) for each in self.value)
        if actual is None:
            return False
        if self.operator == "contains":
            return self._contains(actual)
        return _ORDERED[self.operator](*self._comparable(actual))

    def _equals(self, actual: Any, value: Any) -> bool:
        if self.ids_of is not None:
            return bool(_as_id(actual) == value)
        if isinstance(value, Instant):
            return _seconds(actual) == value.seconds
        if isinstance(value, Decimal):
            return _decimal(actual) == value
        return same_value(actual, value)

    def _contains(self, actual: Any) -> bool:
        if isinstance(actual, list):
            return any(self._equals(each, self.value) for each in actual)
        if isinstance(actual, str) and isinstance(self.value, str):
            return self.value in actual
        raise self._mismatch(actual)

    def _comparable(self, actual: Any) -> tuple[Any, Any]:
        """The two values in a form that has an order."""
        value = self.value
        if self.ids_of is not None:
            mine = _as_id(actual)
            if isinstance(mine, str):
                numeric = mine.isdecimal() and value.isdecimal()
                return (int(mine), int(value)) if numeric else (mine, value)
        elif isinstance(value, Instant):
            seconds = _seconds(actual)
            if seconds is not None:
                return seconds, value.seconds
        elif isinstance(value, Decimal):
            number = _decimal(actual)
            if number is not None:
                return number, value
        elif _kind(actual) == _kind(value):
            return actual, value
        raise self._mismatch(actual)

    def _mismatch(self, actual: Any) -> InvalidDataError:
        kinds = {Instant: "a time", Decimal: "a number"}
        wanted = kinds.get(type(self.value)) or describe(self.value)
        return InvalidDataError(
            f"where: {self.path}__{self.operator} compares with {wanted}, but a record has "
            f"{describe(actual)} there; use a function for where to decide such records",
            path=self.path,
        )


@attrs.frozen
class Where:
    """A compiled filter: conditions that all must match, and the caller's own function."""

    conditions: tuple[Condition, ...] = ()
    predicate: Callable[[Json], Any] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every record matches."""
        return not self.conditions and self.predicate is None

    def resolved(self, resolve: Resolve) -> tuple[Condition, ...]:
        """The conditions with local ids replaced by the records' current ids."""
        return tuple(each.resolved(resolve) for each in self.conditions)


def compile_where(entity: Entity, where: object) -> Where:
    """The filter of a query; ``InvalidDataError`` for what is none."""
    if where is None:
        return Where()
    if isinstance(where, Mapping):
        conditions = [_condition(entity, key, value) for key, value in where.items()]
        # conditions that can raise come last, so that records excluded by the others do not raise
        return Where(tuple(sorted(conditions, key=lambda each: each.operator in _MAY_FAIL)))
    if callable(where):
        return Where(predicate=where)
    raise InvalidDataError(
        f"where is a {type(where).__name__}; give a dict such as {{'done': False}}, a function "
        "of a record, or None",
        path="where",
        entity=entity.name,
    )


def _condition(entity: Entity, key: object, value: Any) -> Condition:
    if not isinstance(key, str) or not key:
        raise _bad(entity, f"where has the key {key!r}; give the name of a field", "where")
    path, between, name = key.rpartition("__")
    if not path and name in OPERATORS and between:
        raise _bad(entity, f"where: {key!r} names no field before '__'", key)
    if not path or not between:
        path, name = key, "eq"
    elif name not in OPERATORS:
        raise _bad(
            entity,
            f"where: {key!r} names no operator after '__'; allowed: {', '.join(OPERATORS)} (a "
            f"field of that name: {key + '__eq'!r}; a nested one: {key.replace('__', '.')!r})",
            key,
        )
    ids_of = entity.ids_at(path)
    return Condition(path, name, _prepared(entity, path, name, value, ids_of), ids_of)


def _prepared(entity: Entity, path: str, name: str, value: Any, ids_of: str | None) -> Any:
    """The value that a condition compares with."""
    label = path if name == "eq" else f"{path}__{name}"
    if name == "isnull":
        if not isinstance(value, bool):
            raise _bad(entity, f"where: {label} is {value!r}; give True or False", label)
        return value
    if name == "in":
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise _bad(
                entity, f"where: {label} is a {type(value).__name__}; give a list of values", label
            )
        return [_plain(entity, label, each, ids_of) for each in value]
    plain = _plain(entity, label, value, ids_of)
    if name in _ORDERED and isinstance(plain, (type(None), list, dict)):
        raise _bad(
            entity, f"where: {label} is {describe(plain)}, which has no order; give a value", label
        )
    return plain


def _plain(entity: Entity, label: str, value: Any, ids_of: str | None) -> Any:
    if isinstance(value, (datetime, date)) and value == value:  # noqa: PLR0124 - pandas' NaT is not
        return Instant(_instant(value))
    if isinstance(value, Decimal) and value.is_finite():
        return value
    plain = encode({label: value}, entity.name, entity.json_default)[label]
    if ids_of is None:
        return plain
    key = _as_id(plain)
    if key is None and plain is not None:
        raise _bad(
            entity,
            f"where: {label} is {describe(plain)}; it is compared with ids of {ids_of}, which are "
            "strings or whole numbers",
            label,
        )
    return key


def _instant(value: date) -> float:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    # a time without a zone is read as UTC, as those in records are
    return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()


def _as_id(value: Any) -> Any:
    """An id as a text, a list of ids as a list of texts; ``None`` for what is no id."""
    if isinstance(value, list):
        return [_as_id(each) for each in value]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value)


def _seconds(value: Any) -> float | None:
    return record_time({"value": value}, ("value",))


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        return None
    try:
        return Decimal(value.text if isinstance(value, JsonNumber) else str(value))
    except InvalidOperation:
        return None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float, Decimal)):
        return "number"
    return "text" if isinstance(value, str) else type(value).__name__


def _bad(entity: Entity, message: str, path: str) -> InvalidDataError:
    return InvalidDataError(f"{entity.name}: {message}", path=path, entity=entity.name)
