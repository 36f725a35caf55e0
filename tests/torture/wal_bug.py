"""SQLite's WAL-reset bug: before 3.51.3, two that write and checkpoint at once corrupt the file.

The package never lets them: under the write guard all processes and threads take turns. That is
shown by the system calls themselves, and by what many writers leave behind.
"""

import re
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import attrs

from bytelyst_sync import EntityConfig, SQLiteStorage, SyncEngine, create_sync_engine
from bytelyst_sync.storage.delivery_lock import is_affected
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing import SyncServer
from tests.torture import write_lock_program
from tests.torture.harness import Trial, check, scenario

BOUND_S = 120.0
TURN = re.compile(r"^(\d+) +(?:(\w+)\((\d+)<([^>]*)>, ?(.*)|<\.\.\. (\w+) resumed>(.*))$")
WAL_LIMIT = 40 << 20
"""What is kept of a WAL (8 MiB), and what is written between a few looks at it; far less than what
grows where nobody looks."""


@attrs.define
class Turns:
    """Who holds the guard, as the log of system calls tells, and what is written without it."""

    holder: str | None = None
    waiting: set[str] = attrs.field(factory=set)
    holders: set[str] = attrs.field(factory=set)
    handovers: int = 0
    waits: int = 0
    to_wal: int = 0
    to_database: int = 0
    outside: list[str] = attrs.field(factory=list)

    def take(self, line: str) -> None:
        """The next line of ``strace -f -y``: a call that ended, or one half of it."""
        found = TURN.match(line)
        if found is None:
            return
        thread, call, _, path, rest, resumed, end = found.groups()
        if resumed == "flock" and thread in self.waiting:
            self.waiting.discard(thread)
            self._locked(thread, end)
        elif call == "flock" and path.endswith(".db.lock"):
            if rest.startswith("LOCK_UN"):
                # from the moment that it asks; a close unlocks what is not held, to be sure
                self.holder = None if self.holder == thread else self.holder
            elif "unfinished" in rest:
                self.waiting.add(thread)
            else:
                self._locked(thread, rest)
        elif call in ("pwrite64", "ftruncate") and path.endswith((".db", ".db-wal")):
            self.to_wal += path.endswith("-wal")
            self.to_database += path.endswith(".db")
            if self.holder != thread:
                self.outside.append(line)

    def _locked(self, thread: str, result: str) -> None:
        if result.rstrip().endswith("= 0"):
            self.handovers += self.holder is None and thread not in self.holders
            self.holder = thread
            self.holders.add(thread)
        else:
            self.waits += 1


def turns_of(folder: Path, pushes: int, how: str) -> Turns:
    """Runs three processes of two threads each under ``strace``, and reads what they did."""
    folder.mkdir()
    log = folder / "calls"
    arguments = (write_lock_program.__file__, folder / "queue.db", 3, 2, pushes, how)
    done = subprocess.run(
        [
            *("strace", "-f", "-qq", "-y", "--seccomp-bpf", "-o", str(log)),
            *("-e", "trace=flock,pwrite64,ftruncate", sys.executable, *map(str, arguments)),
        ],
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    turns = Turns()
    for line in log.read_text(errors="replace").splitlines():
        turns.take(line)
    if how == "guarded":
        check(done.returncode == 0, f"all of them push what they have: {done.stderr[-2000:]}")
        check_whole(folder / "queue.db", 3 * 2 * pushes)
    return turns


def check_whole(path: Path, rows: int) -> None:
    """Nothing is lost, and nothing is damaged."""
    storage = SQLiteStorage(path)
    found = storage.read(lambda tx: (sum(1 for _ in tx.scan(ITEMS)), tx.count(ITEMS)))
    notice = storage.notice
    storage.close()
    check(notice is None, f"nothing is damaged: {notice}")
    check(found == (rows, rows), f"nothing is lost: {found} of {rows}")
    with closing(sqlite3.connect(path)) as connection:
        integrity = connection.execute("PRAGMA integrity_check").fetchall()
    check(integrity == [("ok",)], f"nothing is damaged: {integrity}")


@scenario(
    "WAL",
    "every write to the database and its WAL is made under the guard, by its holder",
    tools=("strace",),
)
def guard_is_taken(trial: Trial) -> dict[str, object]:
    """As the system calls tell; the same without the guard must be found out."""
    turns = turns_of(trial.folder / "guarded", trial.rounds(12, 150), "guarded")
    check(not turns.outside, f"nobody writes without the guard: {turns.outside[:2]}")
    check(turns.to_database and turns.to_wal, "there were writes and checkpoints")
    control = turns_of(trial.folder / "unguarded", 6, "unguarded")
    check(control.outside, "writes without the guard would have been seen")
    return {
        "SQLite": sqlite3.sqlite_version,
        "affected": is_affected(sqlite3.sqlite_version_info),
        "writes to the WAL": turns.to_wal,
        "of checkpoints": turns.to_database,
        "outside of the guard": len(turns.outside),
        "threads that held it": len(turns.holders),
        "tries while another held it": turns.waits,
    }


@scenario("WAL", "many that write and checkpoint at once lose nothing and damage nothing")
def writers_and_checkpoints_at_once(trial: Trial) -> dict[str, object]:
    """Four processes of two threads, a checkpoint every few commits, closing and opening."""
    rounds, pushes = trial.rounds(1, 6), trial.rounds(60, 200)
    began = time.monotonic()
    for number in range(rounds):
        path = trial.folder / f"queue{number}.db"
        arguments = (write_lock_program.__file__, path, 4, 2, pushes, "guarded")
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
        check(done.returncode == 0, f"all of them push what they have: {done.stderr[-2000:]}")
        check_whole(path, 4 * 2 * pushes)
    spent = time.monotonic() - began
    pushed = rounds * 4 * 2 * pushes
    return {"rounds": rounds, "pushes": pushed, "lost": 0, "pushes per s": pushed / spent}


@scenario(
    "WAL", "the WAL stays bounded while iterators are kept, readers overlap, and one lasts long"
)
def wal_stays_bounded(trial: Trial) -> dict[str, object]:
    """Iterators half used and threads that read all the time; then a foreign transaction."""
    path = trial.folder / "queue.db"
    wal = trial.folder / "queue.db-wal"
    largest = {}
    entities = {"events": EntityConfig("/events", dedup="none")}
    with (
        SyncServer() as server,
        create_sync_engine(
            base_url=server.url,
            entities=entities,
            storage=path,
            durability="normal",
            auto_flush=False,
        ) as engine,
    ):
        engine.push_many("events", [{"id": f"first{n}"} for n in range(500)])
        kept = [engine.queue(), engine.records("events")]
        for each in kept:
            next(each)
        ended = threading.Event()
        readers = [
            threading.Thread(target=read_on, args=(engine, ended), daemon=True) for _ in range(3)
        ]
        for reader in readers:
            reader.start()
        pushes = trial.rounds(1600, 8000)
        largest["with iterators and readers"] = push_and_watch(engine, wal, "a", pushes)
        ended.set()
        for reader in readers:
            reader.join(10)
        check(sum(1 for _ in kept[0]) >= 499, "a kept iterator goes on")
        with closing(sqlite3.connect(path)) as foreign:
            foreign.execute("BEGIN")
            foreign.execute("SELECT count(*) FROM items").fetchone()
            grown = push_and_watch(engine, wal, "b", trial.rounds(600, 3000))
        push_and_watch(engine, wal, "c", 300)
        largest["after a foreign reader"] = wal.stat().st_size
    for when, size in largest.items():
        check(size <= WAL_LIMIT, f"the WAL stays bounded {when}: {size} bytes")
    return {
        "pushes": pushes,
        "largest WAL MB, with iterators and readers": largest["with iterators and readers"] / 1e6,
        "during a foreign transaction": grown / 1e6,
        "after it": largest["after a foreign reader"] / 1e6,
    }


def read_on(engine: SyncEngine, ended: threading.Event) -> None:
    """Reads again and again, a little each time."""
    while not ended.is_set():
        found = engine.queue_length, next(engine.records("events")), next(engine.queue())
        check(all(found), "readers find something")


def push_and_watch(engine: SyncEngine, wal: Path, name: str, pushes: int) -> int:
    """The largest that the WAL became, in bytes."""
    largest = 0
    for number in range(pushes):
        engine.push("events", {"id": f"{name}{number}", "text": "x" * 4000})
        largest = max(largest, wal.stat().st_size)
    return largest
