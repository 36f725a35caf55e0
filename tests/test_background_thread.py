"""The thread that the worker, the pulls in the background and the device agent run in."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bytelyst_sync.background_thread import BackgroundThread
from tests.typed import Eventually

BOUND_S = 20.0


class Rounds(BackgroundThread):
    """Counts its rounds, and does what ``work`` says in each: its result is the wait."""

    def __init__(self, work: Callable[..., object] = lambda: None) -> None:
        super().__init__("rounds")
        self.work = work
        self.rounds = 0
        self.threads: list[Any] = []
        self.ended = threading.Event()

    def _run(self) -> None:
        self.threads.append(threading.current_thread())
        try:
            while not self.closing:
                self._clear()
                self.rounds += 1
                if self.work() == "end":
                    if self._end_unless_woken():
                        return
                else:
                    self._wait(BOUND_S)
        finally:
            self.ended.set()


@pytest.fixture
def new_rounds() -> Iterator[Callable[..., Rounds]]:
    made = []

    def make(work: Callable[..., str | None] = lambda: None) -> Rounds:
        made.append(Rounds(work))
        return made[-1]

    yield make
    for each in made:
        assert each.close(BOUND_S, lambda: None)


def test_it_runs_rounds_until_it_is_closed(
    new_rounds: Callable[..., Rounds], eventually: Eventually
) -> None:
    rounds = new_rounds()
    assert not rounds.running
    rounds.start()
    rounds.start()
    assert rounds.running
    for number in (1, 2, 3):
        assert eventually(lambda number=number: rounds.rounds >= number, BOUND_S)
        rounds.wake()
    assert rounds.close(BOUND_S, lambda: pytest.fail("it ended in time"))
    assert not rounds.running
    assert [each.is_alive() for each in rounds.threads] == [False]
    rounds.start()
    assert len(rounds.threads) == 1


def test_a_wake_up_during_a_round_starts_another(
    new_rounds: Callable[..., Rounds], eventually: Eventually
) -> None:
    in_round, go_on = threading.Event(), threading.Event()

    def work() -> None:
        in_round.set()
        go_on.wait(BOUND_S)

    rounds = new_rounds(work)
    rounds.start()
    assert in_round.wait(BOUND_S)
    rounds.wake()
    go_on.set()
    assert eventually(lambda: rounds.rounds == 2, BOUND_S)


def test_closing_calls_back_later_where_the_thread_does_not_end_in_time(
    new_rounds: Callable[..., Rounds],
) -> None:
    in_round, go_on, after = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        in_round.set()
        go_on.wait(BOUND_S)

    rounds = new_rounds(work)
    rounds.start()
    assert in_round.wait(BOUND_S)
    assert not rounds.close(0.0, after.set)
    assert not after.is_set()
    go_on.set()
    assert after.wait(BOUND_S)
    assert not rounds.running


def test_a_thread_that_ended_leaves_its_successor_alone(
    new_rounds: Callable[..., Rounds], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one may have begun before the first has returned."""
    rounds = new_rounds(lambda: "end")
    leave, first_may_leave, left = rounds._leave, threading.Event(), threading.Event()

    def late() -> None:
        if threading.current_thread() is rounds.threads[0]:
            first_may_leave.wait(BOUND_S)
        leave()
        left.set()

    monkeypatch.setattr(rounds, "_leave", late)
    rounds.start()
    assert rounds.ended.wait(BOUND_S)
    rounds.work = lambda: None
    rounds.start()
    second = rounds._thread
    assert second is not rounds.threads[0]
    first_may_leave.set()
    assert left.wait(BOUND_S)
    assert rounds.running
    assert rounds._thread is second


def test_it_goes_on_where_it_was_woken_before_its_end(
    new_rounds: Callable[..., Rounds], eventually: Eventually
) -> None:
    def work() -> str | None:
        if rounds.rounds == 1:
            rounds.wake()
            return "end"
        return None

    rounds = new_rounds(work)
    rounds.start()
    assert eventually(lambda: rounds.rounds == 2, BOUND_S)
    assert rounds.running
    assert len(rounds.threads) == 1


def test_a_forked_child_has_no_thread_of_its_own_yet(
    new_rounds: Callable[..., Rounds], eventually: Eventually
) -> None:
    rounds = new_rounds()
    rounds.start()
    assert eventually(lambda: rounds.rounds == 1, BOUND_S)
    child = Rounds()
    child.__dict__.update(rounds.__dict__)
    child.after_fork()
    assert not child.running
    assert child.close(0.0)
    assert rounds.running


# --- an interrupt in ``start``, when the thread has begun


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The next start of a thread raises ``KeyboardInterrupt`` after it has begun, and the thread
    waits until the event is set.
    """
    real, go_on = threading.Thread.start, threading.Event()

    def start(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", real)
        run = thread.run
        thread.run = lambda: (go_on.wait(BOUND_S), run())  # type: ignore[assignment,method-assign]  # replaced by the test
        real(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)
    yield go_on
    go_on.set()


def named_rounds() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "rounds"]


def test_a_thread_whose_start_was_interrupted_registers_itself(
    new_rounds: Callable[..., Rounds], interrupted: threading.Event, eventually: Eventually
) -> None:
    rounds = new_rounds()
    with pytest.raises(KeyboardInterrupt):
        rounds.start()
    assert not rounds.running
    interrupted.set()
    assert eventually(lambda: rounds.running, BOUND_S)
    rounds.start()
    assert len(named_rounds()) == 1


def test_of_two_starts_the_interrupted_one_ends(
    new_rounds: Callable[..., Rounds], interrupted: threading.Event, eventually: Eventually
) -> None:
    rounds = new_rounds()
    with pytest.raises(KeyboardInterrupt):
        rounds.start()
    rounds.start()
    second = rounds._thread
    assert len(named_rounds()) == 2
    interrupted.set()
    assert eventually(lambda: named_rounds() == [second], BOUND_S)
    assert rounds.threads == [second]


def test_nothing_runs_after_a_close_that_follows_an_interrupted_start(
    new_rounds: Callable[..., Rounds], interrupted: threading.Event, eventually: Eventually
) -> None:
    rounds = new_rounds()
    with pytest.raises(KeyboardInterrupt):
        rounds.start()
    assert rounds.close(BOUND_S, lambda: pytest.fail("nothing ran"))
    interrupted.set()
    assert eventually(lambda: named_rounds() == [], BOUND_S)
    assert rounds.rounds == 0


def test_the_system_may_have_no_more_threads(
    new_rounds: Callable[..., Rounds], monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    rounds = new_rounds()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            rounds.start()
    assert not rounds.running
    rounds.start()
    assert eventually(lambda: rounds.rounds == 1, BOUND_S)
