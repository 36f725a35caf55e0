"""SIGKILL in mid-flush, again and again: what was acknowledged arrives once, and in order.

The long form runs as many kills as the environment variable BYTELYST_SYNC_KILLS says, and logs its
figures.
"""

import json
import logging
import os
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import SQLiteStorage
from bytelyst_sync.storage.schema import ITEMS, Lane
from bytelyst_sync.testing import Reply, SyncServer
from tests.processes.conftest import Client, Program
from tests.typed import present

logger = logging.getLogger("tests.kill")
BOUND_S = 20.0
LONG = int(os.environ.get("BYTELYST_SYNC_KILLS", "0"))
SHORT = [(seed, 5, workers) for seed, workers in enumerate([1, 3, 1, 3])]


class Trial:
    """A queue, the server's state in a file, and what was acknowledged so far."""

    def __init__(
        self, seed: int, workers: int, tmp_path: Path, start_program: Callable[..., Program]
    ) -> None:
        self.chance = random.Random(seed)
        self.workers = workers
        self.queue = tmp_path / "queue.db"
        self.state = tmp_path / "server.jsonl"
        self.start_program = start_program
        self.acknowledged: set[Any] = set()
        self.started = 0
        self.under_way = 0
        self.drains: list[Any] = []
        self.serve()

    def serve(self) -> None:
        module = "bytelyst_sync.testing.server"
        options = ["--state", self.state, "--latency-ms", 3]
        self.server = self.start_program("-m", module, *options)
        self.url = self.server.line().removeprefix("listening on ")

    def push(self, first: int | str) -> Program:
        return self.start_program("pusher.py", self.url, self.queue, first, self.workers)

    def kill_one(self) -> None:
        """Lets a client push and deliver for a while, and kills it."""
        client = self.push(self.started)
        self.started += 100_000
        lines = [client.line() for _ in range(self.chance.randrange(1, 60))]
        rest = client.kill().splitlines(keepends=True)
        lines += [line[:-1] for line in rest if line.endswith("\n")]
        self.acknowledged |= {int(line) for line in lines}
        storage = SQLiteStorage(self.queue)
        self.under_way += storage.read(lambda tx: tx.count(ITEMS, Lane.SENDING)) > 0
        storage.close()

    def drain(self) -> None:
        """What a kill left needs no waiting: one flush, begun at once, delivers it all."""
        client = self.push("drain")
        success, remaining, duration, failed = json.loads(client.line())
        assert client.finish() == (0, "", "")
        assert (success, remaining, failed) == (True, 0, 0)
        self.drains.append(duration)
        assert duration < 5.0

    def effects(self) -> defaultdict[tuple[str, str], list[int]]:
        """Everything that the server applied: {record: field names, in the order of arrival}."""
        found: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for effect in SyncServer(state=self.state).journal:
            # an edit of several fields brings them together; their order is that of the pushes
            assert effect is not None
            fields = [int(name[1:]) for name in present(effect.data) if name[0] == "f"]
            found[effect.collection, effect.id] += fields
        return found

    def check(self) -> int:
        arrived = self.effects()
        fields = [field for record in arrived.values() for field in record]
        assert len(fields) == len(set(fields)), "something was applied twice"
        assert self.acknowledged <= set(fields), "something acknowledged was lost"
        for record in arrived.values():
            assert record == sorted(record), "something overtook another"
        return len(fields)


@pytest.mark.timeout(60 + LONG * 5)
@pytest.mark.parametrize(("seed", "kills", "workers"), SHORT + [(99, LONG, 2)] * (LONG > 0))
def test_what_was_acknowledged_arrives_once(
    seed: int, kills: int, workers: int, tmp_path: Path, start_program: Callable[..., Program]
) -> None:
    trial = Trial(seed, workers, tmp_path, start_program)
    for number in range(kills):
        trial.kill_one()
        if number % 5 == 4:
            trial.drain()
    trial.drain()
    applied = trial.check()
    assert trial.under_way, "no kill came while something was being sent"
    logger.info(
        "%d kills, %d with something under way; %d pushes acknowledged, %d applied once, 0 twice, "
        "0 lost; the longest of %d flushes after a kill took %.2f s",
        kills,
        trial.under_way,
        len(trial.acknowledged),
        applied,
        len(trial.drains),
        max(trial.drains),
    )


def test_the_only_item_killed_in_mid_request_is_sent_by_the_next_start(
    path: Path, server: SyncServer, make_client: Callable[..., Client]
) -> None:
    settings = {"base_url": server.url, "storage": str(path), "entities": {"notes": "/notes"}}
    client = make_client(**settings, auto_flush=False)
    item = client("push", "notes", {"id": "a"})
    server.reject = lambda _: client.process.kill() or Reply(500)  # type: ignore[func-returns-value]  # for its effect
    client.begin("flush")
    client.process.wait(BOUND_S)
    server.reject = None
    result = make_client(**settings)("flush", timeout=10)
    assert (result["success"], result["pushed"], result["remaining"]) == (True, 1, 0)
    assert result["duration"] < 3.0
    assert [effect.key for effect in server.journal] == [item["id"]]


def test_the_server_too_may_be_killed(
    tmp_path: Path, start_program: Callable[..., Program]
) -> None:
    trial = Trial(7, 1, tmp_path, start_program)
    for _ in range(3):
        trial.kill_one()
        trial.server.kill()
        trial.serve()
    trial.drain()
    trial.check()
