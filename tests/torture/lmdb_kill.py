"""SIGKILL at random instants, in processes that grow an LMDB store together."""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bytelyst_sync import LmdbStorage
from bytelyst_sync.storage.lmdb.verification import find_damage
from bytelyst_sync.testing import SyncServer
from tests.torture import lmdb_work as work
from tests.torture.fork_server import ForkServer, read_lines
from tests.torture.harness import Trial, check, scenario
from tests.torture.kill import NUMBERS, PATIENT
from tests.torture.ledger import applied_once

PROCESSES = 4
BOUND_S = 60.0


class Growth:
    """One store, one server, and processes to be killed; keeps what they were acknowledged."""

    def __init__(self, trial: Trial, fork_server: ForkServer, url: str, target_bytes: int) -> None:
        self.path = trial.folder / "queue.mdb"
        self.acknowledged: set[int] = set()
        self.photos: set[str] = set()
        self.kills = self.children = 0
        self._folder, self._chance, self._fork_server = trial.folder, trial.random, fork_server
        self._settings = {"base_url": url, "storage": str(self.path), "workers": 2}
        self._target_bytes = target_bytes
        self._begun = 0
        self._now = threading.Event()

    def begin(self, slot: int) -> tuple[int, Path]:
        """Starts a process; its numbers are higher than those of all before it."""
        self._begun += 1
        reported = self._folder / f"told-{self._begun}"
        settings = {**self._settings, "durability": self._chance.choice(("full", "normal"))}
        arguments = (self._begun * NUMBERS, f"s{slot}", self._target_bytes)
        return self._fork_server.start(work.grow, settings, str(reported), *arguments), reported

    def wait_for_size(self, size: int) -> None:
        """Waits until the file is so large, and a random time more."""
        deadline = time.monotonic() + BOUND_S
        while self.size() < size:
            check(time.monotonic() < deadline, f"the file grows to {size} bytes: {self.size()}")
            self._now.wait(0.005)
        self._now.wait(0.1 * self._chance.random() ** 2)

    def size(self) -> int:
        """The bytes of the file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def end(self, pid: int, reported: Path) -> None:
        """Kills a process and reads what it told."""
        self.kills += self._fork_server.kill(pid) == -signal.SIGKILL
        for line in read_lines(reported):
            if isinstance(line, int):
                self.acknowledged.add(line)
            elif "photo" in line:
                self.photos.add(f"p{line['photo']}")
            else:
                check(line["child"] != work.FAILED, f"a child of a busy process pushes: {line}")
                self.children += line["child"] == 0

    def ask(self, function: Callable[..., object]) -> list[Any]:
        """Lets a process do its work to the end; returns what it told."""
        self._begun += 1
        reported = self._folder / f"told-{self._begun}"
        settings = {**self._settings, "durability": "full", "timeout": PATIENT}
        status = self._fork_server.reap(self._fork_server.start(function, settings, str(reported)))
        check(status == 0, f"a process that nobody killed ends well, not with {status}")
        return read_lines(reported)

    def check_photos(self) -> None:
        """All acknowledged photos are queued, whole, once; the file is sound."""
        *found, counted = self.ask(work.audit)
        names = [name for name, _ in found]
        check(all(whole for _, whole in found), "every photo is whole")
        lost = self.photos - set(names)
        check(
            not lost, f"no acknowledged push is lost: {len(lost)} are, such as {sorted(lost)[:3]}"
        )
        check(len(names) == len(set(names)), "no push is queued twice")
        check(counted == {"queued": len(names)}, f"the count is exact: {counted}, {len(names)}")
        with closing(LmdbStorage(self.path)) as storage:
            storage.read(lambda _: None)
            check(storage.notice is None, f"nothing had to be repaired: {storage.notice}")
        damage = find_damage(self.path)
        check(damage is None, f"the file is sound after kills: {damage}")


@scenario(
    "kill", "processes that grow an LMDB store, and fork, are killed one by one", limit_s=900.0
)
def kill_growing_lmdb(trial: Trial) -> dict[str, object]:
    """From a map of 1 MiB. After each kill but the last ones, another process takes its place."""
    kills = trial.rounds(16, 200)
    target_bytes = (24 if trial.short else 1024) << 20
    with ForkServer() as fork_server, SyncServer() as server:
        growth = Growth(trial, fork_server, server.url, target_bytes)
        running = [growth.begin(slot) for slot in range(PROCESSES)]
        for number in range(1, kills - PROCESSES + 1):
            growth.wait_for_size(target_bytes * number // (kills - PROCESSES))
            slot = trial.random.randrange(PROCESSES)
            growth.end(*running[slot])
            running[slot] = growth.begin(slot)
        for each in running:
            growth.end(*each)
        [[queued, failed, conflicts, message]] = growth.ask(work.drain)
        check(queued == failed == conflicts == 0, f"nothing is left after the kills: {message}")
        growth.check_photos()
        applied = applied_once(server.journal, growth.acknowledged)
        check(growth.kills == kills, f"every kill hits a running process: {growth.kills}")
        check(growth.children, "processes fork while their threads push")
        check(growth.size() >= target_bytes, f"the file has grown: {growth.size()}")
        return {
            "kills": growth.kills,
            "forks": growth.children,
            "MiB at the end": growth.size() >> 20,
            "acknowledged": len(growth.acknowledged) + len(growth.photos),
            "delivered": applied,
            "lost": 0,
            "twice": 0,
        }
