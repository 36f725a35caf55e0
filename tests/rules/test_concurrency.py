"""How many requests are under way at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.rules.concurrency import Concurrency


def after(
    ceiling: int,
    *,
    times: int,
    took_s: float = 0.1,
    cpu_s: float = 0.001,
    now: float = 0.0,
    start: Concurrency | None = None,
) -> Concurrency:
    concurrency = start or Concurrency(ceiling)
    for _ in range(times):
        concurrency.answered(took_s, cpu_s, now)
    return concurrency


def test_it_starts_with_one() -> None:
    assert Concurrency(16).limit == 1


@pytest.mark.parametrize("ceiling", [1, 4, 16])
def test_on_a_slow_server_it_rises_to_the_ceiling(ceiling: int) -> None:
    assert after(ceiling, times=20).limit == ceiling


def test_it_rises_by_one_a_request() -> None:
    concurrency = Concurrency(16)
    before = concurrency.limit
    for _ in range(50):
        concurrency.answered(0.1, 0.001, 0.0)
        assert concurrency.limit <= before + 1
        before = concurrency.limit


@pytest.mark.parametrize(
    ("took_s", "cpu_s", "limit"),
    [
        (0.0002, 0.00015, 1),  # loopback: nearly all is computing
        (0.0004, 0.00015, 1),  # another process has the other core
        (0.0004, 0.00002, 1),  # two threads that wait for each other
        (0.002, 0.002, 1),
        (0.001, 0.00015, 4),
        (0.005, 0.00015, 16),
        (0.02, 0.0003, 16),
        (0.02, 0.005, 2),  # a large body, a small machine
    ],
)
def test_as_many_as_waiting_pays_for(took_s: float, cpu_s: float, limit: int) -> None:
    assert after(16, times=200, took_s=took_s, cpu_s=cpu_s).limit == limit


def test_it_falls_where_waiting_no_longer_pays() -> None:
    concurrency = after(16, times=200)
    assert after(16, times=200, took_s=0.002, cpu_s=0.002, start=concurrency).limit == 1


def test_requests_that_others_held_up_are_no_waiting_to_be_used() -> None:
    concurrency = after(16, times=50, took_s=0.0002, cpu_s=0.00015)
    for number in range(1_000):
        concurrency.answered(0.01 if number % 10 == 0 else 0.0002, 0.00015, 0.0)
        assert concurrency.limit == 1


# --- a server that is busy


def test_a_refusal_leaves_one_less_than_were_under_way() -> None:
    concurrency = after(16, times=50)
    concurrency.refused(5, 0.0)
    assert concurrency.limit == 4


def test_each_refusal_of_a_burst_takes_one_away_until_all_are_borne() -> None:
    concurrency = after(16, times=50)
    for under_way in range(16, 4, -1):
        concurrency.refused(under_way, 0.0)
    assert concurrency.limit == 4


def test_a_late_refusal_of_a_larger_burst_says_nothing_new() -> None:
    concurrency = after(16, times=50)
    concurrency.refused(5, 0.0)
    concurrency.refused(12, 0.0)
    assert concurrency.limit == 4


def test_one_request_at_a_time_remains() -> None:
    concurrency = after(16, times=50)
    for _ in range(3):
        concurrency.refused(1, 0.0)
    assert concurrency.limit == 1


def trials(bearable: int, seconds: int) -> list[int]:
    """The times at which one more was tried at a server that never bears more."""
    concurrency, tried = after(16, times=50), []
    concurrency.refused(bearable + 1, 0.0)
    for now in range(1, seconds):
        concurrency.answered(0.1, 0.001, float(now))
        if concurrency.limit > bearable:
            tried.append(now)
            concurrency.refused(bearable + 1, float(now))
    return tried


def test_one_more_is_tried_ever_more_rarely() -> None:
    assert trials(4, 4000) == [10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030, 3630]


def test_a_server_that_recovers_gets_one_more_each_time() -> None:
    concurrency = after(16, times=50)
    concurrency.refused(5, 0.0)
    limits = [after(16, times=1, now=now, start=concurrency).limit for now in range(0, 130, 10)]
    assert limits == [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]


ANSWERED = st.tuples(st.floats(0, 100), st.floats(0, 100), st.none())
REFUSED = st.tuples(st.none(), st.none(), st.integers(1, 300))


@settings(deadline=None)
@given(st.integers(1, 256), st.lists(st.one_of(ANSWERED, REFUSED), max_size=100))
def test_it_is_always_from_one_to_the_ceiling(
    ceiling: int, answers: list[tuple[float, float, None] | tuple[None, None, int]]
) -> None:
    concurrency = Concurrency(ceiling)
    for now, answer in enumerate(answers):
        if answer[2] is None:
            concurrency.answered(answer[0], answer[1], float(now))
        else:
            concurrency.refused(answer[2], float(now))
        assert 1 <= concurrency.limit <= ceiling


def test_the_typical_time_is_measured_by_the_first_answer() -> None:
    concurrency = Concurrency(16)
    assert not concurrency.is_measured
    concurrency.answered(0.1, 0.001, 0.0)
    assert concurrency.is_measured
