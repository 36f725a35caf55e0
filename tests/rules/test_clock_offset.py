"""How far the server's clock is ahead, from bounds that each answer gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.rules.clock_offset import ClockOffset

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
def test_the_offset(bounds, seconds):
    offset = ClockOffset()
    for low, high in bounds:
        offset = offset.narrowed(low, high)
    assert offset.seconds == seconds


@settings(deadline=None)
@given(
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20),
)
def test_answers_of_one_clock_narrow_and_never_contradict(true, widths):
    offset = ClockOffset()
    for below, above in widths:
        narrowed = offset.narrowed(true - below, true + above)
        assert offset.low <= narrowed.low <= true <= narrowed.high <= offset.high
        offset = narrowed
    assert abs(offset.seconds) <= abs(true)


def test_it_is_a_value():
    one = ClockOffset()
    one.narrowed(3.0, 4.0)
    assert one == ClockOffset()
