"""Writers that meet share one commit; each gets its own outcome."""

import gc
import threading
import time

import pytest

from bytelyst_sync.storage.commit import GroupCommit, Job
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, make_item


def wait_until(holds):
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        threading.Event().wait(0.001)


def queued(commit):
    """How many jobs wait for a group."""
    return sum(job.group is None for job in list(commit._waiting))


class Runner:
    """Runs groups; the first of them waits until it is let go."""

    def __init__(self, fails=None, size=256):
        self.groups = []
        self.inside = threading.Event()
        self.go = threading.Event()
        self.fails = fails
        self.commit = GroupCommit(self.run, size)

    def run(self, jobs):
        self.groups.append(len(jobs))
        if len(self.groups) == 1:
            self.inside.set()
            self.go.wait(10)
            if self.fails:
                raise self.fails
        for job in jobs:
            job.result = job.work(None)

    def wait_for(self, number):
        wait_until(lambda: queued(self.commit) >= number)


def start(works, submit):
    outcomes = {}

    def one(name, work):
        try:
            outcomes[name] = submit(work)
        except (ValueError, KeyboardInterrupt) as error:
            outcomes[name] = error

    threads = [threading.Thread(target=one, args=pair) for pair in works.items()]
    for thread in threads:
        thread.start()
    return threads, outcomes


def test_those_who_wait_are_one_group():
    runner = Runner()
    first, told = start({0: lambda _: "first"}, runner.commit.submit)
    runner.inside.wait(10)
    rest, outcomes = start({n: lambda _, n=n: n * 10 for n in range(1, 6)}, runner.commit.submit)
    runner.wait_for(5)
    runner.go.set()
    for thread in (*first, *rest):
        thread.join(10)
    assert told == {0: "first"}
    assert outcomes == {n: n * 10 for n in range(1, 6)}
    assert runner.groups == [1, 5]


def test_a_group_has_a_largest_size():
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

    def __init__(self):
        self.groups = []
        self.commit = GroupCommit(self.run)

    def run(self, jobs):
        self.groups.append(len(jobs))
        time.sleep(0.001)
        for job in jobs:
            job.result = job.work(None)


def test_those_who_shared_a_commit_share_the_next():
    rounds = Rounds()

    def push():
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


def test_who_is_alone_waits_for_nobody():
    def run(jobs):
        jobs[0].result = None

    commit = GroupCommit(run)
    began = time.monotonic()
    for _ in range(1000):
        commit._before = commit._before[0], 3600.0
        commit.submit(lambda _: None)
    assert time.monotonic() - began < 1  # a wait is two milliseconds


def test_a_job_leaves_nothing_to_the_garbage_collector():
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


def test_nobody_is_waited_for_longer_than_the_last_group_ran():
    rounds = Rounds()
    rounds.commit._before = 100, 3600.0
    began = time.monotonic()
    assert rounds.commit.submit(lambda _: "done") == "done"
    assert time.monotonic() - began < 5  # two milliseconds, and what a busy machine adds
    rounds.commit._before = 100, 0.0
    assert rounds.commit.submit(lambda _: "done") == "done"
    assert rounds.groups == [1, 1]


def test_a_leader_that_is_interrupted_while_it_gathers_leads_no_more(monkeypatch):
    rounds = Rounds()
    rounds.commit._before = 2, 0.1  # so many shared the last commit: there is something to wait for
    gather = rounds.commit._gather
    waits, go = threading.Event(), threading.Event()

    def interrupted():
        monkeypatch.setattr(rounds.commit, "_gather", gather)
        waits.set()
        go.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds.commit, "_gather", interrupted)
    first, told = start({0: lambda _: "first"}, rounds.commit.submit)
    waits.wait(10)
    rest, outcomes = start({1: lambda _: "second"}, rounds.commit.submit)
    wait_until(lambda: queued(rounds.commit) == 2)
    go.set()
    for thread in (*first, *rest):
        thread.join(10)
    assert isinstance(told[0], KeyboardInterrupt)
    assert outcomes == {1: "second"}
    assert rounds.groups == [1]
    assert rounds.commit._leader is None
    assert rounds.commit.submit(lambda _: "third") == "third"


def test_a_signal_handler_cannot_write_while_its_thread_gathers():
    rounds = Rounds()
    rounds.commit._before = 2, 3600.0
    acquire = threading.Lock

    class Signalled:
        """A lock whose wait a signal handler interrupts, and writes."""

        def __init__(self):
            self.lock = acquire()

        def acquire(self, timeout=-1):
            if timeout >= 0:
                with pytest.raises(RuntimeError, match="signal handler"):
                    rounds.commit.submit(lambda _: "inner")
            return self.lock.acquire(timeout=timeout)

        def release(self):
            self.lock.release()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "Lock", Signalled)
        assert rounds.commit.submit(lambda _: "outer") == "outer"
    assert rounds.commit.submit(lambda _: "later") == "later"
    assert rounds.groups == [1, 1]


def test_a_leader_that_is_interrupted_hands_on():
    runner = Runner(fails=KeyboardInterrupt())
    first, told = start({0: lambda _: "first"}, runner.commit.submit)
    runner.inside.wait(10)
    rest, outcomes = start({n: lambda _, n=n: n for n in range(1, 4)}, runner.commit.submit)
    runner.wait_for(3)
    runner.go.set()
    for thread in (*first, *rest):
        thread.join(10)
    assert isinstance(told[0], KeyboardInterrupt)
    assert outcomes == {1: 1, 2: 2, 3: 3}
    assert runner.commit.submit(lambda _: "later") == "later"


def test_a_group_whose_leader_is_interrupted_runs_again():
    runner = Runner()
    kinds = iter([KeyboardInterrupt()])

    def run(jobs):
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


def test_a_follower_that_is_interrupted_takes_its_job_back():
    runner = Runner()
    first, _ = start({0: lambda _: "first"}, runner.commit.submit)
    runner.inside.wait(10)
    ran = []

    class Impatient:
        def acquire(self, timeout=0):
            raise KeyboardInterrupt

    plain = runner.commit._queue

    def queue(job):
        plain(job)
        job.wake = Impatient()

    runner.commit._queue = queue
    with pytest.raises(KeyboardInterrupt):
        runner.commit.submit(ran.append)
    runner.commit._queue = plain
    runner.go.set()
    first[0].join(10)
    assert runner.commit.submit(lambda _: "later") == "later"
    assert ran == []


def test_each_of_a_group_can_fail_alone(tmp_path):
    storage = SQLiteStorage(tmp_path / "queue.db")
    inside, go = threading.Event(), threading.Event()

    def lead(tx):
        inside.set()
        go.wait(10)

    def push(n):
        def work(tx):
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

    def __init__(self, connection, statement, done):
        self.connection = connection
        self.statement = statement
        self.done = done
        self.armed = False

    def execute(self, text, *values):
        hit = self.armed and text == self.statement
        if hit:
            self.armed = None  # once
            if not self.done:
                raise KeyboardInterrupt
        cursor = self.connection.execute(text, *values)
        if hit:
            raise KeyboardInterrupt
        return cursor

    def __getattr__(self, name):
        return getattr(self.connection, name)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("statement", ["COMMIT", "RELEASE job", "BEGIN IMMEDIATE"])
def test_an_interrupted_commit_is_made_once(tmp_path, statement, done):
    storage = SQLiteStorage(tmp_path / "queue.db")
    storage.write(lambda tx: None)
    writer = Interrupting(storage._database.writer, statement, done)
    storage._database.writer = writer
    inside, go = threading.Event(), threading.Event()

    def lead(tx):
        inside.set()
        go.wait(10)

    def push(tx):
        number = tx.next_number()
        tx.insert(ITEMS, make_item(number))
        if writer.armed is False:
            writer.armed = True
        return number

    leader, _ = start({0: lead}, storage.write)
    inside.wait(10)

    def refuse(tx):
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
    told = [outcome for outcome in outcomes.values() if isinstance(outcome, int)]
    assert len(told) == 4
    rows = [row.seq for row in all_rows(storage, ITEMS)]
    committed = statement == "COMMIT" and done
    assert rows == list(range(1, 6 if committed else 5))
    assert set(told) <= set(rows)
    assert storage.read(lambda reader: reader.count(ITEMS)) == len(rows)
    storage.close()
