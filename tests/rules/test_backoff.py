"""How long to wait, and the values of ``Retry-After``."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.rules.backoff import (
    MAX_RETRY_AFTER_S,
    backoff,
    parse_date,
    parse_retry_after,
)

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date in RFC 9110's examples
ALMOST_ONE = math.nextafter(1.0, 0.0)


@pytest.mark.parametrize(
    ("retries", "longest"),
    [(0, 1.0), (1, 2.0), (2, 4.0), (5, 32.0), (8, 256.0), (9, 300.0), (10_000, 300.0)],
)
def test_the_longest_wait_doubles_up_to_the_ceiling(retries: int, longest: float) -> None:
    wait = backoff(retries, base=1.0, ceiling=300.0, random=lambda: ALMOST_ONE)
    assert wait == pytest.approx(longest)


def test_the_jitter_is_full() -> None:
    assert backoff(4, base=1.0, ceiling=300.0, random=lambda: 0.0) == 0.0
    assert backoff(4, base=1.0, ceiling=300.0, random=lambda: 0.25) == 4.0


@pytest.mark.parametrize(
    ("jitter", "floor", "wait"),
    [(0.0, 7.0, 7.0), (0.5, 1.0, 8.0), (0.5, 400.0, 400.0), (0.5, None, 8.0), (0.5, 0.0, 8.0)],
)
def test_retry_after_is_a_floor_even_above_the_ceiling(
    jitter: float, floor: float | None, wait: float
) -> None:
    assert backoff(4, base=1.0, ceiling=300.0, random=lambda: jitter, floor=floor) == wait


@settings(deadline=None)
@given(
    st.integers(0, 10**9),
    st.floats(1e-3, 1e3),
    st.floats(1e-3, 1e6),
    st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_never_negative_nor_above_the_ceiling(
    retries: int, base: float, ceiling: float, jitter: float
) -> None:
    assert 0.0 <= backoff(retries, base=base, ceiling=ceiling, random=lambda: jitter) <= ceiling


SAID = {
    "seconds": ("120", 120.0),
    "seconds with blanks": (" 120 ", 120.0),
    "a part of a second": ("1.5", 1.5),
    "none": ("0", 0.0),
    "a date": ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
    "a date of RFC 850": ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
    "a date without a zone": ("Sun, 06 Nov 1994 08:50:37 -0000", 60.0),
    "a date in another zone": ("Sun, 06 Nov 1994 09:50:37 +0100", 60.0),
    "a date that is past": ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
    "more than a day": ("86401", MAX_RETRY_AFTER_S),
    "more than a float can say": ("9" * 400, MAX_RETRY_AFTER_S),
    "a far date": ("Sun, 06 Nov 2044 08:50:37 GMT", MAX_RETRY_AFTER_S),
    "nothing": (None, None),
    "an empty header": ("", None),
    "words": ("soon", None),
    "a negative number": ("-5", None),
    "no number": ("nan", None),
    "no end": ("inf", None),
    "an exponent": ("1e3", None),
    "other digits": ("١٢", None),
    "two points": ("1.2.3", None),
    "half a date": ("Sun, 06 Nov", None),
    "a date that is none": ("Sun, 99 Nov 1994 08:50:37 GMT", None),
}


@pytest.mark.parametrize(("header", "seconds"), SAID.values(), ids=SAID)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


def test_a_day_is_the_most() -> None:
    assert MAX_RETRY_AFTER_S == 24 * 60 * 60


@settings(deadline=None)
@given(st.text() | st.from_regex(r"[\d.,: +\-A-Za-z]*", fullmatch=True))
def test_garbage_in_a_header_is_ignored(text: str) -> None:
    found = parse_retry_after(text, NOW)
    assert found is None or 0.0 <= found <= MAX_RETRY_AFTER_S
    date = parse_date(text)
    assert date is None or math.isfinite(date)


@pytest.mark.parametrize(
    ("header", "time"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", NOW),
        ("Sun, 06 Nov 1994 08:49:37 -0000", NOW),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_the_date_header(header: str | None, time: float | None) -> None:
    assert parse_date(header) == time
