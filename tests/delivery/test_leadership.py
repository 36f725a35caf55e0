"""One deliverer at a time: when a silent one is replaced, and that it then sends nothing."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.delivery.leadership import Leadership
from bytelyst_sync.storage import SQLiteStorage
from bytelyst_sync.testing import ManualClock, SyncServer
from tests.typed import present

TAKEOVER_S = 60.0


class Process:
    """What one process has of the election, with a clock of its own."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self.clock = ManualClock()
        storage = SQLiteStorage(path)
        stack.callback(storage.close)
        self.right = Leadership(storage, self.clock, TAKEOVER_S)
        stack.callback(self.right.close)

    def after(self, seconds: float) -> bool:
        """Whether it takes the right, so many seconds later."""
        self.clock.advance(seconds)
        return self.right.acquire()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Process]]:
    with contextlib.ExitStack() as stack:
        yield [Process(tmp_path / "app.db", stack) for _ in range(2)]


def test_a_silent_deliverer_is_replaced_after_the_time_and_in_six_looks(
    processes: list[Process],
) -> None:
    first, second = processes
    assert first.right.acquire()
    assert not second.after(0)
    assert "process" in present(second.right.deliverer)
    assert not second.after(30)
    assert second.right.stale, "half of the time has passed"
    looks = [second.after(30), *(second.after(5) for _ in range(4))]
    assert looks == [False, False, False, False, True]
    assert second.right.deliverer is None


def test_a_gap_between_two_looks_is_this_process_own_sleep(processes: list[Process]) -> None:
    first, second = processes
    assert first.right.acquire()
    assert not second.after(0)
    assert not any(second.after(10 * TAKEOVER_S) for _ in range(10))


def test_a_heartbeat_begins_the_time_anew(processes: list[Process]) -> None:
    first, second = processes
    assert first.right.acquire()
    assert not second.after(0)
    assert not any(second.after(10) for _ in range(5))
    first.clock.advance(TAKEOVER_S / 2)
    assert first.right.may_send(), "it looks whether it still delivers, and touches"
    assert not any(second.after(10) for _ in range(6))


def test_a_replaced_deliverer_sends_nothing(processes: list[Process]) -> None:
    first, second = processes
    assert first.right.acquire()
    assert not second.after(0)
    assert any(second.after(10) for _ in range(8))
    first.clock.advance(TAKEOVER_S / 2)
    assert not first.right.may_send()
    assert second.right.may_send()


def test_a_flush_is_no_failure_if_its_engine_lost_sight_of_its_right_for_a_moment(
    make: Callable[..., SyncEngine], server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False])
    may_send = Leadership.may_send
    monkeypatch.setattr(Leadership, "may_send", lambda self: next(answers, may_send(self)))
    engine = make(entities={"notes": "/notes"}, auto_flush=False, max_retries=0)
    item = engine.push("notes", {"id": "1"})
    result = engine.flush(timeout=10.0)
    assert (result.success, result.errors, result.pushed) == (True, 0, 1), result
    assert engine.wait(item, timeout=0) == "delivered"
    assert engine.status.last_error is None
    assert [each.method for each in server.requests if each.method == "POST"] == ["POST"]


def test_a_flush_beside_two_other_deliverers_of_a_file_is_no_failure(
    make: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    """Whoever has the right when it is called, and whoever takes it meanwhile."""
    shared = {"entities": {"notes": "/notes"}, "storage": str(tmp_path / "app.db")}
    for _ in range(2):
        make(**shared, auto_flush=True).start()
    engine = make(**shared, auto_flush=False)
    for number in range(15):
        for part in range(5):
            engine.push("notes", {"id": f"{number}-{part}"})
        result = engine.flush(timeout=30.0)
        assert (result.success, result.errors, result.problems) == (True, 0, ()), result
