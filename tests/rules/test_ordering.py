"""The order of a query's records."""

from collections.abc import Iterable
from typing import Any

import pytest

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import Json
from bytelyst_sync.rules.ordering import compile_ordering
from tests.typed import present

VALUES: list[Any] = [None, False, True, -1, 0.5, 10, "", "B", "a", [1], {"a": 1}]


def ordered(records: Iterable[Json], order_by: str | list[str]) -> list[Json]:
    ordering = present(compile_ordering(order_by))
    return sorted(records, key=lambda record: ordering.key(record, str(record["id"])))


def test_values_of_all_kinds_have_an_order() -> None:
    records = [{"id": str(n), "v": value} for n, value in enumerate(VALUES)]
    assert ordered(reversed(records), "v") == records
    assert ordered(records, "-v") == list(reversed(records))


def test_missing_counts_as_null_and_ties_are_ordered_by_id() -> None:
    records: list[Json] = [
        {"id": "1", "v": None},
        {"id": "2"},
        {"id": "3", "v": 1},
        {"id": "4", "v": 1},
    ]
    assert [each["id"] for each in ordered(reversed(records), "v")] == ["1", "2", "3", "4"]
    assert [each["id"] for each in ordered(reversed(records), "-v")] == ["3", "4", "1", "2"]


def test_several_fields() -> None:
    records = [{"id": str(n), "a": n % 2, "b": {"c": n}} for n in range(5)]
    assert [each["id"] for each in ordered(records, ["a", "-b.c"])] == ["4", "2", "0", "3", "1"]


@pytest.mark.parametrize("order_by", ["", "-", "--a", 1, ["a", ""], [1], {"a"}, "a[].b"])
def test_what_is_no_order_is_refused(order_by: str | int | list[str | int] | set[str]) -> None:
    with pytest.raises(InvalidDataError, match="order_by"):
        compile_ordering(order_by)
