"""How many requests are under way at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.rules.concurrency import Concurrency


def after(ceiling, *, times, took_s=0.1, cpu_s=0.001, busy=False, start=None):
    concurrency = start or Concurrency(ceiling)
    for _ in range(times):
        concurrency.learn(took_s, cpu_s, busy=busy)
    return concurrency


def test_it_starts_with_one():
    assert Concurrency(16).limit == 1


@pytest.mark.parametrize("ceiling", [1, 4, 16])
def test_on_a_slow_server_it_rises_to_the_ceiling(ceiling):
    assert after(ceiling, times=200).limit == ceiling


def test_it_rises_by_one_a_request():
    concurrency = Concurrency(16)
    before = concurrency.limit
    for _ in range(50):
        concurrency.learn(0.1, 0.001, busy=False)
        assert concurrency.limit <= before + 1
        before = concurrency.limit


def test_where_all_is_computing_it_stays_at_one():
    assert after(16, times=200, took_s=0.002, cpu_s=0.002).limit == 1


def test_it_falls_where_waiting_no_longer_pays():
    concurrency = after(16, times=200)
    assert after(16, times=200, took_s=0.002, cpu_s=0.002, start=concurrency).limit == 1


def test_it_falls_by_half_when_the_server_is_busy():
    concurrency = after(16, times=200)
    halves = []
    for _ in range(5):
        concurrency.learn(0.1, 0.001, busy=True)
        halves.append(concurrency.limit)
    assert halves == [8, 4, 2, 1, 1]


def test_after_busy_it_rises_again_but_slowly():
    concurrency = after(16, times=200)
    concurrency.learn(0.1, 0.001, busy=True)
    assert after(16, times=10, start=concurrency).limit == 8
    assert after(16, times=1_000, start=concurrency).limit == 16


LEARNT = st.tuples(st.floats(0, 100), st.floats(0, 100), st.booleans())


@settings(deadline=None)
@given(st.integers(1, 256), st.lists(LEARNT, max_size=100))
def test_it_is_always_from_one_to_the_ceiling(ceiling, answers):
    concurrency = Concurrency(ceiling)
    for took_s, cpu_s, busy in answers:
        concurrency.learn(took_s, cpu_s, busy=busy)
        assert 1 <= concurrency.limit <= ceiling
