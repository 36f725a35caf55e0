"""The order of cursors, and which are plausible."""

from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytelyst_sync.rules.cursors import (
    LargestCursor,
    is_far_future,
    is_of_another_kind,
    rank,
    went_back,
)
from bytelyst_sync.rules.times import UTC, earlier_by, zone_named
from tests.typed import present

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, 2),
        ("9", "10"),
        ("12345678901234567890", "12345678901234567891"),
        (1.5, "1.75"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"),
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:01Z"),
        ("Mon, 30 Nov 2026 10:00:00 GMT", "Tue, 01 Dec 2026 09:00:00 GMT"),
        ("2026-11-30T10:00:00Z", "Tue, 01 Dec 2026 09:00:00 GMT"),
        ("a", "b"),
    ],
)
def test_what_comes_first(before: str | float, after: int | str) -> None:
    assert rank(before) < rank(after)


def test_a_time_without_a_zone_is_in_the_named_one() -> None:
    text, berlin = "2026-07-01T12:00:00", zone_named("Europe/Berlin")
    assert rank(text, berlin) == rank("2026-07-01T10:00:00Z")
    assert rank(text, zone_named("-03:30")) == rank("2026-07-01T15:30:00Z")


@pytest.mark.parametrize(
    ("old", "new", "back"),
    [
        ("10", "9", True),
        ('"10"', '"9"', True),
        ("9", "10", False),
        ("10", "10", False),
        (None, "1", False),
        ("10", None, False),
        ("b", "a", False),
        ("10", "a", False),
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", True),
        ("2026-01-02T00:00:00Z", "2026-01-01T23:59:30Z", False),
    ],
)
def test_going_back(old: str | None, new: str | None, back: bool) -> None:
    assert went_back(old, new) is back


@pytest.mark.parametrize(
    ("value", "epoch", "far"),
    [
        ("2999-01-01T00:00:00Z", False, True),
        ("2027-01-16T00:00:00Z", False, False),
        ("2027-01-16T08:00:00Z", False, False),
        ("2027-01-16T08:00:01Z", False, True),
        ("9999999999", True, True),
        ("9999999999", False, False),
        (9_999_999_999_999, True, True),
        ("1800000001", True, False),
        ("z", True, False),
    ],
)
def test_far_in_the_future(value: str | int, epoch: bool, far: bool) -> None:
    assert is_far_future(value, NOW, epoch=epoch) is far
    assert not is_far_future(value, None, epoch=epoch)


def largest(
    *values: int | str | None, earlier: str | None = None, now: float = NOW
) -> tuple[str | None, int]:
    found = LargestCursor(earlier, now)
    for value in values:
        found.look(value)
    return found.result()


@pytest.mark.parametrize(
    ("values", "earlier", "result"),
    [
        ([1, 3, 2], None, ("3", 0)),
        ([], None, (None, 0)),
        ([], "5", ("5", 0)),
        ([1, 2], "5", ("5", 0)),
        ([1, 7, "x", None, True, ""], "5", ("7", 1)),
        (["x", "y", 1], None, ("y", 1)),
        (["2999-01-01T00:00:00Z"], None, (None, 1)),
        (["2999-01-01T00:00:00Z"], "2026-01-01T00:00:00Z", ("2026-01-01T00:00:00Z", 1)),
    ],
)
def test_the_largest_plausible(
    values: list[int | str | None], earlier: str | None, result: tuple[str | None, int]
) -> None:
    assert largest(*values, earlier=earlier) == result


@given(st.lists(st.integers(0, 10**20), min_size=1), st.none() | st.integers(0, 10**20))
def test_no_cursor_goes_back_and_none_is_skipped(values: list[int], earlier: int | None) -> None:
    text = None if earlier is None else str(earlier)
    cursor, implausible = largest(*values, earlier=text)
    assert implausible == 0
    assert int(present(cursor)) == max([*values, earlier or 0])


@given(
    st.datetimes(min_value=datetime(1971, 1, 1)),  # noqa: DTZ001 - the zone is drawn apart
    st.integers(0, 10**6),
    st.sampled_from(["Z", "+02:00", "", "-0330"]),
    st.sampled_from(["T", " "]),
)
def test_an_earlier_time_is_earlier_by_so_much(
    moment: datetime, seconds: int, zone: str, separator: str
) -> None:
    text = moment.isoformat(separator) + zone
    earlier = earlier_by(text, seconds)
    assert rank(text)[1] - rank(earlier)[1] == seconds
    assert rank(text)[2] == rank(earlier)[2]
    assert earlier.endswith(zone)


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ("2027-01-15T07:00:00Z", "5", True),
        ("5", "2027-01-15T07:00:00Z", True),
        ("2027-01-15T07:00:00Z", "abc", True),
        ("2027-01-15T07:00:00Z", "Fri, 15 Jan 2027 08:00:00 GMT", False),
        ("123456", "12ab56", False),
        ("12ab56", "123456", False),
        (None, "5", False),
        ("5", None, False),
    ],
)
def test_a_time_and_another_cursor_are_of_two_kinds(
    old: str | None, new: str | None, differs: bool
) -> None:
    assert is_of_another_kind(old, new) is differs


BERLIN = ZoneInfo("Europe/Berlin")
ORDERS = [
    (["1", "2", "2", "10"], UTC, True),
    (["1", "3", "2"], UTC, False),
    ([1714979289, 1714979289.5, 1714979290], UTC, True),
    (["2024-05-06T07:08:09Z", "2024-05-06T09:08:09+02:00", "2024-05-06T07:08:09.5Z"], UTC, True),
    (["2024-05-06T07:08:09Z", "2024-05-06T07:08:08Z"], UTC, False),
    (["2024-05-06T07:08:09Z", None, "", "2024-05-06T07:08:09Z"], UTC, True),
    # names have the order of the database
    (["b", "a"], UTC, True),
    # an hour that comes twice when summer time ends
    (["2024-10-27 02:59:59", "2024-10-27 02:00:00", "2024-10-27 02:30:00"], BERLIN, True),
    (["2024-10-27 02:59:59", "2024-10-27 02:30:00", "2024-10-27 02:00:00"], BERLIN, False),
    (["2024-10-27 04:59:59", "2024-10-27 02:30:00"], BERLIN, False),
]


@pytest.mark.parametrize(("values", "zone", "ordered"), ORDERS)
def test_whether_values_grow(values: list[Any], zone: tzinfo, ordered: bool) -> None:
    found = LargestCursor(None, None, zone)
    for value in values:
        found.look(value)
    assert found.is_ordered is ordered
