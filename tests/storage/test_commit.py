"""Writers that meet share one commit; each gets its own outcome."""

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection, Cursor
from typing import Any

import pytest

from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.commit import Group, GroupCommit, Job
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, make_item
from tests.typed import present


def wait_until(holds: Callable[..., object]) -> None:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        threading.Event().wait(0.001)


def queued(commit: GroupCommit) -> int:
    """How many jobs wait for a group."""
    return sum(job.group is None for job in list(commit._waiting))


class Runner:
    """Runs groups; the first of them waits until it is let go."""

    def __init__(self, fails: BaseException | None = None, size: int = 256) -> None:
        self.groups: list[Any] = []
        self.inside = threading.Event()
        self.go = threading.Event()
        self.fails = fails
        self.commit = GroupCommit(self.run, size)

    def run(self, jobs: Group) -> None:
        self.groups.append(len(jobs))
        if len(self.groups) == 1:
            self.inside.set()
            self.go.wait(10)
            if self.fails:
                raise self.fails
        for job in jobs:
            job.result = job.work(None)

    def wait_for(self, number: int) -> None:
        wait_until(lambda: queued(self.commit) >= number)


def start(works: dict[int, Callable[..., object]], submit: Callable[..., object]) -> Any:
    outcomes = {}

    def one(name: int, work: Callable[..., object]) -> None:
        try:
            outcomes[name] = submit(work)
        except (ValueError, KeyboardInterrupt) as error:
            outcomes[name] = error

    threads = [threading.Thread(target=one, args=pair) for pair in works.items()]
    for thread in threads:
        thread.start()
    return threads, outcomes


def test_waiting_jobs_are_one_group() -> None:
    runner = Runner()
    first, reported = start({0: lambda _: "first"}, runner.commit.submit)
    runner.inside.wait(10)
    rest, outcomes = start({n: lambda _, n=n: n * 10 for n in range(1, 6)}, runner.commit.submit)
    runner.wait_for(5)
    runner.go.set()
    for thread in (*first, *rest):
        thread.join(10)
    assert reported == {0: "first"}
    assert outcomes == {n: n * 10 for n in range(1, 6)}
    assert runner.groups == [1, 5]


def test_a_group_has_a_maximum_size() -> None:
    runner = Runner(size=3)
    first, _ = start({0: lambda _: 0}, runner.commit.submit)
    runner.inside.wait(10)
    rest, outcomes = start({n: lambda _, n=n: n for n in range(1, 9)}, runner.commit.submit)
    runner.wait_for(8)
    runner.go.set()
    for thread in (*first, *rest):
        thread.join(10)
    assert outcomes == {n: n for n in range(1, 9)}
    assert sum(runner.groups) == 9
    assert max(runner.groups) == 3


class Rounds:
    """Groups that each take a moment; what is told is how large they were, and how long it took."""

    def __init__(self) -> None:
        self.groups: list[Any] = []
        self.commit = GroupCommit(self.run)

    def run(self, jobs: Group) -> None:
        self.groups.append(len(jobs))
        time.sleep(0.001)
        for job in jobs:
            job.result = job.work(None)


def test_writers_that_shared_a_commit_share_the_next() -> None:
    rounds = Rounds()

    def push() -> None:
        for _ in range(50):
            rounds.commit.submit(lambda _: None)

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(rounds.groups) == 200
    # without waiting for each other, every second group is that of one who was too early
    assert len([size for size in rounds.groups if size == 1]) < 25


def test_a_single_writer_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(jobs: Group) -> None:
        jobs[0].result = None

    waits: list[Any] = []
    monkeypatch.setattr(GroupCommit, "_wait_for_others", waits.append)
    commit = GroupCommit(run)
    for _ in range(100):
        commit._last_group = commit._last_group[0], 3600.0
        commit.submit(lambda _: None)
    assert waits == []


def test_a_job_creates_no_reference_cycle() -> None:
    rounds = Rounds()
    rounds.commit.submit(lambda _: None)
    gc.collect()
    gc.disable()
    try:
        threads, _ = start({n: lambda _, n=n: n for n in range(4)}, rounds.commit.submit)
        for thread in threads:
            thread.join(10)
        assert [each for each in gc.get_objects() if type(each) is Job] == []
    finally:
        gc.enable()


def test_a_leader_waits_no_longer_than_the_last_group_ran() -> None:
    rounds = Rounds()
    rounds.commit._last_group = 100, 3600.0
    began = time.monotonic()
    assert rounds.commit.submit(lambda _: "done") == "done"
    assert time.monotonic() - began < 5  # two milliseconds, and what a busy machine adds
    rounds.commit._last_group = 100, 0.0
    assert rounds.commit.submit(lambda _: "done") == "done"
    assert rounds.groups == [1, 1]


def test_a_leader_interrupted_while_it_waits_for_others_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = Rounds()
    rounds.commit._last_group = (
        2,
        0.1,
    )  # so many shared the last commit: there is something to wait for
    gather = rounds.commit._wait_for_others
    waits, go = threading.Event(), threading.Event()

    def interrupted() -> None:
        monkeypatch.setattr(rounds.commit, "_wait_for_others", gather)
        waits.set()
        go.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds.commit, "_wait_for_others", interrupted)
    first, reported = start({0: lambda _: "first"}, rounds.commit.submit)
    waits.wait(10)
    rest, outcomes = start({1: lambda _: "second"}, rounds.commit.submit)
    wait_until(lambda: queued(rounds.commit) == 2)
    go.set()
    for thread in (*first, *rest):
        thread.join(10)
    assert isinstance(reported[0], KeyboardInterrupt)
    assert outcomes == {1: "second"}
    assert rounds.groups == [1]
    assert rounds.commit._leader is None
    assert rounds.commit.submit(lambda _: "third") == "third"


@pytest.mark.parametrize("arrived", [False, True], ids=["waits", "was released"])
def test_a_signal_handler_cannot_write_while_its_thread_waits_for_others(arrived: bool) -> None:
    rounds = Rounds()
    rounds.commit._last_group = 2, 3600.0
    acquire = threading.Lock

    class Signalled:
        """A lock whose wait a signal handler interrupts, and writes."""

        def __init__(self) -> None:
            self.lock = acquire()

        def acquire(self, timeout: float = -1) -> bool:
            if timeout >= 0:
                if arrived:  # the last of the others has released the lock
                    rounds.commit._others_arrived = None
                with pytest.raises(RuntimeError, match="signal handler"):
                    rounds.commit.submit(lambda _: "inner")
            return self.lock.acquire(timeout=timeout)

        def release(self) -> None:
            self.lock.release()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "Lock", Signalled)
        assert rounds.commit.submit(lambda _: "outer") == "outer"
    assert rounds.commit.submit(lambda _: "later") == "later"
    assert rounds.groups == [1, 1]


def test_an_interrupted_leader_is_replaced() -> None:
    runner = Runner(fails=KeyboardInterrupt())
    first, reported = start({0: lambda _: "first"}, runner.commit.submit)
    runner.inside.wait(10)
    rest, outcomes = start({n: lambda _, n=n: n for n in range(1, 4)}, runner.commit.submit)
    runner.wait_for(3)
    runner.go.set()
    for thread in (*first, *rest):
        thread.join(10)
    assert isinstance(reported[0], KeyboardInterrupt)
    assert outcomes == {1: 1, 2: 2, 3: 3}
    assert runner.commit.submit(lambda _: "later") == "later"


def test_a_group_whose_leader_is_interrupted_runs_again() -> None:
    runner = Runner()
    kinds = iter([KeyboardInterrupt()])

    def run(jobs: Group) -> None:
        if len(jobs) > 1:
            for error in kinds:
                raise error
        runner.run(jobs)

    runner.commit._run = run
    first, _ = start({0: lambda _: "first"}, runner.commit.submit)
    runner.inside.wait(10)
    rest, outcomes = start({n: lambda _, n=n: n for n in range(1, 5)}, runner.commit.submit)
    runner.wait_for(4)
    runner.go.set()
    for thread in (*first, *rest):
        thread.join(10)
    interrupted = [n for n, outcome in outcomes.items() if isinstance(outcome, BaseException)]
    assert len(interrupted) == 1
    assert {n: n for n in outcomes if n not in interrupted}.items() <= outcomes.items()


def test_an_interrupted_follower_withdraws_its_job() -> None:
    runner = Runner()
    first, _ = start({0: lambda _: "first"}, runner.commit.submit)
    runner.inside.wait(10)
    ran: list[Any] = []

    class Impatient:
        def acquire(self, timeout: float = 0) -> None:
            raise KeyboardInterrupt

    plain = runner.commit._wait_until_finished

    def wait(job: Job[Any]) -> None:
        job.wake = Impatient()  # type: ignore[assignment]  # replaced by the test
        plain(job)

    runner.commit._wait_until_finished = wait  # type: ignore[method-assign]  # replaced by the test
    with pytest.raises(KeyboardInterrupt):
        runner.commit.submit(ran.append)
    runner.commit._wait_until_finished = plain  # type: ignore[method-assign]  # replaced by the test
    runner.go.set()
    first[0].join(10)
    assert runner.commit.submit(lambda _: "later") == "later"
    assert ran == []


def test_a_leader_that_is_interrupted_after_its_wait_for_others_can_write_again() -> None:
    runner = Runner()
    runner.go.set()
    commit = runner.commit
    plain: Any = commit._lock
    interrupted: list[Any] = []

    class Interrupting:
        """The lock, whose first user after the wait is interrupted before he has it."""

        def __enter__(self) -> bool:
            if commit._waiting_thread and not interrupted:
                interrupted.append(threading.get_ident())
                raise KeyboardInterrupt
            return bool(plain.__enter__())

        def __exit__(self, *error: object) -> None:
            plain.__exit__(*error)

    commit._lock, commit._last_group = Interrupting(), (2, 0.001)  # type: ignore[assignment]  # replaced by the test
    with pytest.raises(KeyboardInterrupt):
        commit.submit(lambda _: "first")
    assert interrupted == [threading.get_ident()]
    assert commit.submit(lambda _: "later") == "later"


def test_one_job_of_a_group_can_fail(tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path / "queue.db")
    inside, go = threading.Event(), threading.Event()

    def lead(tx: Transaction) -> None:
        inside.set()
        go.wait(10)

    def push(n: int) -> Callable[[Transaction], tuple[int, int]]:
        def work(tx: Transaction) -> tuple[int, int]:
            number = tx.next_number()
            tx.insert(ITEMS, make_item(number, record=str(n)))
            before = tx.count(ITEMS)
            rows = tx.scan(ITEMS)
            next(rows)
            if n % 2:
                tx.delete(ITEMS, make_item(number, record=str(n)))
                tx.insert(ITEMS, make_item(900 + n))
                raise ValueError(n)
            return number, before

        return work

    leader, _ = start({0: lead}, storage.write)
    inside.wait(10)
    rest, outcomes = start({n: push(n) for n in range(1, 9)}, storage.write)
    wait_until(lambda: queued(storage._group) == 8)
    go.set()
    for thread in (*leader, *rest):
        thread.join(10)
    odd = {n: str(outcome) for n, outcome in outcomes.items() if n % 2}
    assert odd == {n: str(n) for n in (1, 3, 5, 7)}
    assert sorted(outcome for n, outcome in outcomes.items() if not n % 2) == [
        (n, n) for n in range(1, 5)
    ]
    assert [row.seq for row in all_rows(storage, ITEMS)] == [1, 2, 3, 4]
    assert storage.read(lambda reader: reader.count(ITEMS)) == 4
    assert storage.read(lambda reader: reader.last_number()) == 4
    storage.close()


class Interrupting:
    """A connection of which one statement is interrupted, before or after it is done."""

    def __init__(self, connection: Connection, statement: str, done: bool) -> None:
        self.connection = connection
        self.statement = statement
        self.done = done
        self.armed: bool | None = False

    def execute(self, text: str, *values: Any) -> Cursor:
        hit = self.armed and text == self.statement
        if hit:
            self.armed = None  # once
            if not self.done:
                raise KeyboardInterrupt
        cursor = self.connection.execute(text, *values)
        if hit:
            raise KeyboardInterrupt
        return cursor

    def __getattr__(self, name: str) -> bool | Callable[..., object]:
        found: bool | Callable[..., object] = getattr(self.connection, name)
        return found


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("statement", ["COMMIT", "RELEASE job", "BEGIN IMMEDIATE"])
def test_an_interrupted_commit_happens_once(tmp_path: Path, statement: str, done: bool) -> None:
    storage = SQLiteStorage(tmp_path / "queue.db")
    storage.write(lambda tx: None)
    writer = Interrupting(present(present(storage._file.database).writer), statement, done)
    present(storage._file.database).writer = writer  # type: ignore[assignment]  # replaced by the test
    inside, go = threading.Event(), threading.Event()

    def lead(tx: Transaction) -> None:
        inside.set()
        go.wait(10)

    def push(tx: Transaction) -> int:
        number = tx.next_number()
        tx.insert(ITEMS, make_item(number))
        if writer.armed is False:
            writer.armed = True
        return number

    leader, _ = start({0: lead}, storage.write)
    inside.wait(10)

    def refuse(tx: Transaction) -> None:
        raise ValueError

    rest, outcomes = start(dict.fromkeys(range(1, 6), push), storage.write)
    wait_until(lambda: queued(storage._group) == 5)
    if statement == "RELEASE job":  # there are savepoints only if one of them fails
        failing, _ = start({6: refuse}, storage.write)
        wait_until(lambda: queued(storage._group) == 6)
        rest += failing
    if statement == "BEGIN IMMEDIATE":
        writer.armed = True
    go.set()
    for thread in (*leader, *rest):
        thread.join(10)
    reported = [outcome for outcome in outcomes.values() if isinstance(outcome, int)]
    assert len(reported) == 4
    rows = [row.seq for row in all_rows(storage, ITEMS)]
    committed = statement == "COMMIT" and done
    assert rows == list(range(1, 6 if committed else 5))
    assert set(reported) <= set(rows)
    assert storage.read(lambda reader: reader.count(ITEMS)) == len(rows)
    storage.close()
