"""How far the server's clock is ahead, from bounds that each answer gives."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.rules.clock_offset import ClockOffset, corrected_time

TABLE = {
    # bounds of the answers, the offset taken
    "nothing known": ([], 0.0),
    "the clocks may be equal": ([(-0.5, 0.6)], 0.0),
    "ahead": ([(3.0, 4.0)], 3.0),
    "behind": ([(-4.0, -3.0)], -3.0),
    "bounds are intersected": ([(2.0, 4.0), (3.0, 5.0)], 3.0),
    "a wide one adds nothing": ([(3.0, 3.1), (0.0, 100.0)], 3.0),
    "intersected to a point": ([(2.0, 3.0), (3.0, 4.0)], 3.0),
    "a clock was set: starts anew": ([(3.0, 4.0), (60.0, 61.0)], 60.0),
    "set and narrowed again": ([(3.0, 4.0), (60.0, 61.0), (60.5, 61.5)], 60.5),
}


@pytest.mark.parametrize(("bounds", "seconds"), TABLE.values(), ids=TABLE)
def test_the_offset(bounds: list[tuple[float, float]], seconds: float) -> None:
    offset = ClockOffset()
    for low, high in bounds:
        offset = offset.narrowed(low, high)
    assert offset.seconds == seconds


@settings(deadline=None)
@given(
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20),
)
def test_answers_of_one_clock_narrow_and_never_contradict(
    true: float, widths: list[tuple[float, float]]
) -> None:
    offset = ClockOffset()
    for below, above in widths:
        narrowed = offset.narrowed(true - below, true + above)
        assert offset.low <= narrowed.low <= true <= narrowed.high <= offset.high
        offset = narrowed
    assert abs(offset.seconds) <= abs(true)


@settings(deadline=None)
@given(
    st.floats(-1e6, 1e6),
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1.99)), min_size=1, max_size=20
    ),
)
def test_a_date_header_that_is_late_by_less_than_two_seconds_does_not_shift_it(
    true: float, answers: list[tuple[float, float, float]]
) -> None:
    """Whatever requests take each way, and however old the header is."""
    now = 1_700_000_000.0
    offset = ClockOffset()
    for there, back, late in answers:
        date = math.floor(now + there + true - late)
        offset = offset.observed(date, sent=now, received=now + there + back)
        assert offset.low - 1e-6 <= true <= offset.high + 1e-6
        now += 10.0
    assert abs(offset.seconds) <= abs(true) + 1e-6


def test_it_is_a_value() -> None:
    one = ClockOffset()
    one.narrowed(3.0, 4.0)
    assert one == ClockOffset()


NOW = 1_800_000_000.0
CORRECTED = {
    # the time of the push, when the system was started by its clock and by that of now; the time
    "the clock was not set": (NOW - 60, 5000.0, 5000.0, NOW - 60),
    "it ran a little fast": (NOW - 60, 5000.0, 4999.5, NOW - 60),
    "it was in 1970": (60.0, -940.0, NOW - 1000, NOW),
    "it was in 2099": (NOW + 2e9, NOW + 2e9 - 500, NOW - 560, NOW - 60),
    "another boot": (NOW - 60, None, None, NOW - 60),
    "another boot, a push in the future": (NOW + 60, None, None, None),
    "another boot, a second ahead": (NOW + 1, None, None, NOW + 1),
}


@pytest.mark.parametrize(
    ("time", "booted", "booted_now", "corrected"), CORRECTED.values(), ids=CORRECTED
)
def test_the_time_of_a_push_under_another_clock(
    time: float, booted: float | None, booted_now: float | None, corrected: float | None
) -> None:
    assert corrected_time(time, NOW, booted=booted, booted_now=booted_now) == corrected
