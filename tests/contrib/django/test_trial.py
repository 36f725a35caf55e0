"""A trial: many transactions push about many records, workers are killed, frozen and replaced, and
answers get lost. Afterwards the books of both sides agree.
"""

import random
import signal
import threading
from collections import Counter

import pytest
from django.db import connections, transaction

from bytelyst_sync import SyncEngine
from bytelyst_sync.testing import Drop, DropAnswer, SyncServer
from bytelyst_sync.testing.faults import Fault
from tests.contrib.django.conftest import Engines, StartWorker
from tests.typed import present

BOUND_S = 30.0
RECORDS = 12
THREADS = 2
WORKERS = 4
ROUNDS = 8


class Pusher(threading.Thread):
    """Transactions that push about several records, in random order; some are rolled back."""

    def __init__(self, engine: SyncEngine, alias: str, number: int) -> None:
        super().__init__()
        self.engine, self.alias, self.number = engine, alias, number
        self.random = random.Random(number)
        self.committed: list[tuple[str, str]] = []
        self.rolled_back: list[tuple[str, str]] = []
        self.errors: list[Exception] = []

    def run(self) -> None:
        try:
            for step in range(ROUNDS):
                self.step(step)
        except Exception as error:  # noqa: BLE001 - shown by the test
            self.errors.append(error)
        finally:
            connections[self.alias].close()

    def step(self, step: int) -> None:
        records = self.random.sample(range(RECORDS), 4)
        fails = self.random.random() < 0.3
        made = [(f"{self.number}-{record}", f"{self.number}.{step}.{record}") for record in records]
        with transaction.atomic(using=self.alias):
            for record, mark in made:
                self.engine.push("notes", {"id": record, "mark": mark, "step": step})
            transaction.set_rollback(fails, using=self.alias)
        if fails:
            self.rolled_back += made
        else:
            self.committed += made


@pytest.mark.timeout(150)  # it starts seven programs
@pytest.mark.parametrize("shared_database", ["postgresql"], indirect=True)
def test_nothing_is_lost_and_nothing_is_sent_twice(
    shared_database: str, engines: Engines, start_worker: StartWorker
) -> None:
    seed = random.randrange(1000)
    chance = random.Random(seed)
    with SyncServer() as server:
        for _ in range(4):
            faults: list[Fault | None] = [Drop(), DropAnswer(), DropAnswer(), None, None]
            server.script(*chance.sample(faults, 3), match="POST")
        web = engines(shared_database, None, base_url=server.url)
        pushers = [Pusher(web, shared_database, 100 * seed + n) for n in range(THREADS)]
        workers = [start_worker(server.url) for _ in range(WORKERS)]
        for pusher in pushers:
            pusher.start()
        for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
            server.wait_for(lambda: len(server.requests) % 5 == 3, 1.0)
            workers[0].send_signal(number)
            workers = [*workers[1:], start_worker(server.url)]
        for pusher in pushers:
            pusher.join(BOUND_S)
        assert [pusher.errors for pusher in pushers] == [[]] * THREADS
        result = web.flush(timeout=BOUND_S)
        assert result.success, (seed, result)
        last: dict[str, str] = {}
        for pusher in pushers:
            last |= dict(pusher.committed)
        there = {record: row["mark"] for record, row in server.records("notes").items()}
        assert there == last, seed
        sent = Counter(effect.key for effect in server.journal)
        assert set(sent.values()) == {1}
        marks = [present(effect.data)["mark"] for effect in server.journal]
        undone = {mark for pusher in pushers for _, mark in pusher.rolled_back}
        assert undone.isdisjoint(marks)
        for record in last:
            steps = [
                present(effect.data)["step"] for effect in server.journal if effect.id == record
            ]
            assert steps == sorted(steps)
