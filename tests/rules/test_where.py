"""Filters: what each operator matches, how values compare, and what is refused."""

import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, SyncConfig
from bytelyst_sync.config.entity import Entity, compile_entities
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import Json
from bytelyst_sync.rules.where import compile_where

UUID = uuid.UUID(int=7)
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


class Color(Enum):
    RED = "red"


@pytest.fixture(scope="module")
def tasks() -> Entity:
    references = {"project": "projects", "tags": "projects", "lines[].product": "projects"}
    config = SyncConfig(
        base_url="http://nowhere.invalid",
        storage=":memory:",
        entities={
            "tasks": EntityConfig("/tasks", references=references),
            "projects": EntityConfig("/projects", id_source="server"),
        },
    )
    return compile_entities(config)["tasks"]


MATCHES = {
    "equal": ({"n": 1}, {"n": 1}),
    "equal, spelled out": ({"n__eq": 1}, {"n": 1}),
    "equal numbers of two types": ({"n": 1}, {"n": 1.0}),
    "null": ({"n": None}, {"n": None}),
    "a list": ({"n": (1, 2)}, {"n": [1, 2]}),
    "an object": ({"n": {"a": 1}}, {"n": {"a": 1}}),
    "not equal": ({"n__ne": 1}, {"n": 2}),
    "not equal, of another type": ({"n__ne": 1}, {"n": True}),
    "not equal, missing": ({"n__ne": 1}, {}),
    "greater": ({"n__gt": 1}, {"n": 1.5}),
    "at least": ({"n__gte": 1}, {"n": 1}),
    "less": ({"n__lt": "b"}, {"n": "a"}),
    "at most": ({"n__lte": 1}, {"n": 1}),
    "one of": ({"n__in": [1, 2]}, {"n": 2}),
    "one of a generator's": ({"n__in": (n for n in (1, 2))}, {"n": 2}),
    "one of a set": ({"n__in": {"a"}}, {"n": "a"}),
    "part of a text": ({"n__contains": "b"}, {"n": "abc"}),
    "an element": ({"n__contains": 1}, {"n": [3, 1]}),
    "null or missing: missing": ({"n__isnull": True}, {}),
    "null or missing: null": ({"n__isnull": True}, {"n": None}),
    "there": ({"n__isnull": False}, {"n": 0}),
    "nested": ({"a.b": 1}, {"a": {"b": 1}}),
    "an element by its number": ({"a.1": "y"}, {"a": ["x", "y"]}),
    "any of a list": ({"a[].b": 2}, {"a": [{"b": 1}, {"b": 2}]}),
    "none of a list": ({"a[].b__ne": 3}, {"a": [{"b": 1}, {"b": 2}]}),
    "a field with two underscores": ({"my__n__eq": 1}, {"my__n": 1}),
    "a field that begins with underscores": ({"__v": 1}, {"__v": 1}),
    "the same with an operator": ({"__v__gt": 1}, {"__v": 2}),
    "an enum": ({"n": Color.RED}, {"n": "red"}),
    "a uuid": ({"n": UUID}, {"n": str(UUID)}),
    "a time of day": ({"n": time(8, 30)}, {"n": "08:30:00"}),
    "an instant in another notation": ({"n": NOON}, {"n": "2024-05-01T14:00:00+02:00"}),
    "before an instant": ({"n__lt": NOON}, {"n": "2024-05-01T13:59:59+02:00"}),
    "after an instant within a second": ({"n__gt": NOON}, {"n": "2024-05-01T12:00:00.5Z"}),
    "an instant without a zone": ({"n": datetime(2024, 5, 1, 12)}, {"n": "2024-05-01T12:00:00Z"}),  # noqa: DTZ001
    "an instant in milliseconds": ({"n__lte": NOON}, {"n": NOON.timestamp() * 1000}),
    "a date": ({"n": date(2024, 5, 1)}, {"n": "2024-05-01"}),
    "after a date": ({"n__gte": date(2024, 5, 1)}, {"n": "2024-05-01T00:00:01Z"}),
    "one of some instants": ({"n__in": [NOON]}, {"n": "2024-05-01T12:00:00Z"}),
    "a decimal as text": ({"n": Decimal("19.90")}, {"n": "19.9"}),
    "a decimal as number": ({"n__lt": Decimal("19.91")}, {"n": 19.9}),
    "an id of the other type": ({"id": "7"}, {"id": 7}),
    "a reference of the other type": ({"project": 7}, {"project": "7"}),
    "one of some ids": ({"id__in": ["7", 8]}, {"id": 8}),
    "ids by their numbers": ({"id__gt": "9"}, {"id": 10}),
    "an id in a list of references": ({"tags__contains": 7}, {"tags": ["7"]}),
    "a list of references": ({"tags": [7, 8]}, {"tags": ["7", "8"]}),
    "a nested reference": ({"lines[].product": 7}, {"lines": [{"product": "7"}]}),
    "no reference": ({"project": None}, {"project": None}),
    "a function": (lambda record: record["n"] > 1, {"n": 2}),
}
MISSES = {
    "not equal": ({"n": 1}, {"n": 2}),
    "true is not 1": ({"n": 1}, {"n": True}),
    "a text is no number": ({"n": 1}, {"n": "1"}),
    "missing is not null": ({"n": None}, {}),
    "null has no order": ({"n__lt": 1}, {"n": None}),
    "missing has no order": ({"n__lt": 1}, {}),
    "greater, equal": ({"n__gt": 1}, {"n": 1}),
    "no element": ({"n__contains": 1}, {"n": [True]}),
    "nothing contains": ({"n__contains": 1}, {}),
    "one of none": ({"n__in": []}, {"n": 1}),
    "not null": ({"n__isnull": True}, {"n": False}),
    "one of two conditions": ({"n": 1, "m": 1}, {"n": 1, "m": 2}),
    "an instant, a text that is no time": ({"n": NOON}, {"n": "noon"}),
    "a later instant": ({"n__lte": NOON}, {"n": "2024-05-01T12:00:00.000001Z"}),
    "a truth as an id": ({"id": 1}, {"id": True}),
    "any of an empty list": ({"a[].b": 2}, {"a": []}),
}


def matches(tasks: Entity, where: dict[str, Any], record: Json) -> bool:
    compiled = compile_where(tasks, where)
    if compiled.predicate is not None:
        return bool(compiled.predicate(record))
    return all(each.matches(record) for each in compiled.conditions)


@pytest.mark.parametrize(("where", "record"), MATCHES.values(), ids=MATCHES)
def test_matches(tasks: Entity, where: dict[str, Any], record: Json) -> None:
    assert matches(tasks, where, record)


@pytest.mark.parametrize(("where", "record"), MISSES.values(), ids=MISSES)
def test_does_not_match(tasks: Entity, where: dict[str, Any], record: Json) -> None:
    assert not matches(tasks, where, record)


REFUSED = {
    "a text": ("done=1", "where is a str"),
    "a list": ([("n", 1)], "where is a list"),
    "a key that is no text": ({1: 1}, "has the key 1"),
    "an empty key": ({"": 1}, "has the key ''"),
    "an operator alone": ({"__gt": 1}, "names no field"),
    "an unknown operator": ({"n__like": "a%"}, "names no operator"),
    "another library's path": ({"project__name": "x"}, "a nested one: 'project.name'"),
    "a text to choose from": ({"n__in": "abc"}, "n__in is a str; give a list"),
    "a value to choose from": ({"n__in": 1}, "n__in is a int; give a list"),
    "isnull of no truth": ({"n__isnull": 1}, "give True or False"),
    "the order of null": ({"n__gt": None}, "n__gt is null, which has no order"),
    "the order of a list": ({"n__gt": [1]}, "n__gt is a list of 1"),
    "a value that JSON lacks": ({"n": object()}, "the value at \\$.n is a builtins.object"),
    "not a number": ({"n__gt": float("nan")}, "is nan, which JSON does not have"),
    "a decimal that is not a number": ({"n": Decimal("nan")}, "NaN"),
    "an id that is none": ({"id": 1.5}, "id is a number; it is compared with ids of tasks"),
    "a reference that is none": ({"project": {"id": 7}}, "an object with keys `id`"),
}


@pytest.mark.parametrize(("where", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_filter_is_refused_at_once(
    tasks: Entity, where: str | list[tuple[str, int]] | dict[int | str, object], message: str
) -> None:
    with pytest.raises(InvalidDataError, match=message):
        compile_where(tasks, where)


INCOMPARABLE = {
    "a number and a text": ({"n__gt": 1}, {"n": "2"}),
    "a number and a truth": ({"n__gt": 0}, {"n": True}),
    "a text and an object": ({"n__lt": "a"}, {"n": {}}),
    "an instant and a text": ({"n__lt": NOON}, {"n": "soon"}),
    "a decimal and a text": ({"n__lt": Decimal(1)}, {"n": "much"}),
    "part of a number": ({"n__contains": "1"}, {"n": 11}),
    "a number in a text": ({"n__contains": 1}, {"n": "1"}),
}


@pytest.mark.parametrize(("where", "record"), INCOMPARABLE.values(), ids=INCOMPARABLE)
def test_values_that_cannot_be_compared_are_an_error(
    tasks: Entity, where: dict[str, Any], record: Json
) -> None:
    with pytest.raises(InvalidDataError, match="where: n__"):
        matches(tasks, where, record)


def test_an_error_shows_the_field_and_no_value_of_a_record(tasks: Entity) -> None:
    with pytest.raises(InvalidDataError) as caught:
        matches(tasks, {"n__gt": 1}, {"n": "s3cret"})
    assert caught.value.path == "n"
    assert "s3cret" not in str(caught.value)


def test_ids_are_replaced_by_the_current_ones(tasks: Entity) -> None:
    where = {"project": "local-1", "tags__in": ["local-1", "8"], "n": "local-1"}
    compiled = compile_where(tasks, where)
    asked = []

    def resolve(entity: str, local: str) -> str:
        asked.append((entity, local))
        return {"local-1": "7"}.get(local, local)

    values = [each.value for each in compiled.resolved(resolve)]
    assert values == ["7", ["7", "8"], "local-1"]
    assert asked == [("projects", "local-1")] * 2 + [("projects", "8")]


def test_an_aware_time_of_another_zone_is_the_same_instant(tasks: Entity) -> None:
    there = NOON.astimezone(timezone(timedelta(hours=9)))
    assert matches(tasks, {"n": there}, {"n": "2024-05-01T12:00:00Z"})


EXACT = {
    "equal": ({"n": 1}, [1]),
    "one of": ({"n__in": [1, "a"]}, [1, "a"]),
    "none": ({"n__isnull": True}, [None]),
    "not none": ({"n__isnull": False}, None),
    "an order": ({"n__gt": 1}, None),
    "an instant has many notations": ({"n": NOON}, None),
    "so has a decimal": ({"n__in": [Decimal("19.90")]}, None),
}


@pytest.mark.parametrize(("where", "values"), EXACT.values(), ids=EXACT)
def test_the_values_that_an_index_is_asked_for(
    tasks: Entity, where: dict[str, Any], values: list[int | str | None] | None
) -> None:
    (condition,) = compile_where(tasks, where).conditions
    assert condition.exact_values() == values


RANGES = {
    "an order": ({"n__gt": 1}, True),
    "equal": ({"n": 1}, False),
    "an order of times": ({"n__gt": NOON}, False),
    "an order of ids": ({"project__gt": "7"}, False),
}


@pytest.mark.parametrize(("where", "is_range"), RANGES.values(), ids=RANGES)
def test_whether_the_order_of_an_index_can_be_used(
    tasks: Entity, where: dict[str, Any], is_range: bool
) -> None:
    (condition,) = compile_where(tasks, where).conditions
    assert condition.is_range() is is_range


@pytest.mark.parametrize(
    ("where", "record"),
    [({"n__gt": Decimal("1.5")}, {"n": True}), ({"project__gt": "7"}, {"project": {"id": "8"}})],
    ids=["a flag and a decimal", "an object and an id"],
)
def test_what_has_no_order_with_the_value_is_refused(
    tasks: Entity, where: dict[str, Decimal | str], record: Json
) -> None:
    with pytest.raises(InvalidDataError, match="use a function for where"):
        compile_where(tasks, where).conditions[0].matches(record)


@pytest.mark.parametrize(
    ("where", "empty"),
    [(None, True), ({}, True), ({"done": True}, False), (lambda record: True, False)],
    ids=["none", "no condition", "a condition", "a function"],
)
def test_what_matches_every_record(tasks: Entity, where: object, empty: bool) -> None:
    assert compile_where(tasks, where).is_empty is empty
