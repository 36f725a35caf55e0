"""When a record says that it changed, in every spelling that servers use."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.model import Json
from bytelyst_sync.rules.times import following, record_time

FIELDS = ("updatedAt", "updated_at")
AT = 1_709_209_805.0  # 2024-02-29 12:30:05 UTC

SPELLINGS = {
    "Z": ("2024-02-29T12:30:05Z", AT),
    "a small z": ("2024-02-29T12:30:05z", AT),
    "an offset": ("2024-02-29T14:30:05+02:00", AT),
    "a negative offset": ("2024-02-29T07:00:05-05:30", AT),
    "an offset without a colon": ("2024-02-29T14:30:05+0200", AT),
    "an offset of hours alone": ("2024-02-29T14:30:05+02", AT),
    "without an offset, in UTC": ("2024-02-29T12:30:05", AT),
    "a blank for the T": ("2024-02-29 12:30:05Z", AT),
    "blanks around": (" 2024-02-29T12:30:05Z ", AT),
    "one digit of a second": ("2024-02-29T12:30:05.5Z", AT + 0.5),
    "three digits": ("2024-02-29T12:30:05.250Z", AT + 0.25),
    "six digits": ("2024-02-29T12:30:05.250000+00:00", AT + 0.25),
    "seven digits, as .NET says": ("2024-02-29T12:30:05.2500000Z", AT + 0.25),
    "nine digits, as Go says": ("2024-02-29T12:30:05.250000000Z", AT + 0.25),
    "a comma before the fraction": ("2024-02-29T12:30:05,250Z", AT + 0.25),
    "without seconds": ("2024-02-29T12:30Z", AT - 5),
    "the basic format": ("20240229T123005Z", AT),
    "a date alone": ("2024-02-29", AT - 45_005),
    "epoch seconds": (1_709_209_805, AT),
    "epoch seconds with a fraction": (1_709_209_805.25, AT + 0.25),
    "epoch milliseconds": (1_709_209_805_250, AT + 0.25),
    "the epoch": (0, 0.0),
    "before the epoch": ("1969-12-31T23:59:59Z", -1.0),
}


@pytest.mark.parametrize(("message", "time"), SPELLINGS.values(), ids=SPELLINGS)
def test_a_time(message: str | float, time: float) -> None:
    assert record_time({"updatedAt": message}, FIELDS) == time


NO_TIMES = {
    "nothing": {},
    "null": {"updatedAt": None},
    "true": {"updatedAt": True},
    "words": {"updatedAt": "yesterday"},
    "empty": {"updatedAt": ""},
    "a list": {"updatedAt": [2024, 2, 29]},
    "an object": {"updatedAt": {"$date": 0}},
    "a day that is none": {"updatedAt": "2024-02-30T12:00:00Z"},
    "another field": {"changed": 1_709_209_805},
    "NaN": {"updatedAt": float("nan")},
    "no end": {"updatedAt": float("inf")},
    "beyond every calendar": {"updatedAt": 1e30},
    "a number beyond every float": {"updatedAt": 10**400},
    "a year that UTC does not have": {"updatedAt": "9999-12-31T23:59:59-12:00"},
    "a year before the first": {"updatedAt": "0001-01-01T00:00:00+12:00"},
    "a deleted record": None,
}


@pytest.mark.parametrize("record", NO_TIMES.values(), ids=NO_TIMES)
def test_no_time(record: Json | None) -> None:
    assert record_time(record, FIELDS) is None


def test_the_first_field_that_holds_a_time() -> None:
    assert record_time({"updated_at": 7, "updatedAt": 9}, FIELDS) == 9
    assert record_time({"updated_at": 7, "updatedAt": None}, FIELDS) == 7
    assert record_time({"updated_at": 7, "updatedAt": "?"}, FIELDS) == 7
    assert record_time({"updated_at": 7}, ()) is None


JSON = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes().map(lambda at: at.isoformat())
    | st.from_regex(r"\d{4}-?[01]\d-?[0-3]\d[T ]?\d\d:?\d\d(:?\d\d)?([.,]\d*)?(Z|[+-]\d\d:?\d*)?")
)


@settings(deadline=None)
@given(JSON)
def test_whatever_a_server_says_is_no_time_or_one_of_the_calendar(
    message: str | float | None,
) -> None:
    found = record_time({"updatedAt": message}, FIELDS)
    if found is not None:
        as_datetime(found)


FOLLOWING = {
    "a number": ("1709209805", "1709209806"),
    "a carry": ("999", "1000"),
    "a fraction": ("12.99", "13.00"),
    "seconds": ("2024-12-31T23:59:59Z", "2025-01-01T00:00:00Z"),
    "milliseconds": ("2024-02-29T12:30:05.009Z", "2024-02-29T12:30:05.010Z"),
    "all nines": ("2024-02-29T12:30:59.999+02:00", "2024-02-29T12:31:00.000+02:00"),
    "a comma": ("2024-02-29T12:30:05,5Z", "2024-02-29T12:30:05,6Z"),
    "RFC 1123": ("Thu, 29 Feb 2024 12:30:05 GMT", "Thu, 29 Feb 2024 12:30:06 GMT"),
    "the end of the calendar": ("9999-12-31T23:59:59.9Z", None),
    "a fraction of many digits": ("2024-02-29T12:30:05." + "5" * 9000 + "Z", None),
    "a date": ("2024-02-29", None),
    "no time": ("W/abc", None),
}


@pytest.mark.parametrize(("text", "after"), FOLLOWING.values(), ids=FOLLOWING)
def test_the_value_that_follows(text: str, after: str | None) -> None:
    assert following(text) == after
