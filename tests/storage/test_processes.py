"""Several processes on one file: writing at once, killed, forked."""

import json
import os
import random
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage import current_file
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ITEMS, META, Meta
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item
from tests.typed import present

forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def integrity(path: Path) -> list[tuple[str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()


WRITER = """
import json, sys, threading
from bytelyst_sync.storage.schema import ITEMS, META, Meta
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import make_item

path, name, threads, commits = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
storage = SQLiteStorage(path, durability="normal")
given = []

def push(tx):
    number = tx.next_number()
    tx.insert(ITEMS, make_item(number, record=name, data="x" * (number % 3000)))
    return number

def many():
    for step in range(commits):
        given.append(storage.write(push))
        if step % 50 == 0:
            storage.read(lambda reader: sum(1 for _ in reader.scan(ITEMS, limit=100)))

pool = [threading.Thread(target=many) for _ in range(threads)]
for thread in pool: thread.start()
for thread in pool: thread.join()
storage.close()
print(json.dumps(given))
"""


def test_two_processes_with_threads_lose_nothing(
    path: Path, start_python: Callable[..., Popen[str]]
) -> None:
    writers = [start_python(WRITER, path, name, 2, 750) for name in ("one", "two")]
    given = {}
    for name, writer in zip(("one", "two"), writers, strict=True):
        printed, _ = writer.communicate(timeout=50)
        assert writer.returncode == 0
        given.update(dict.fromkeys(json.loads(printed), name))
    assert len(given) == 3000
    storage = SQLiteStorage(path)
    assert {row.seq: row.record for row in all_rows(storage, ITEMS)} == given
    assert storage.read(lambda reader: reader.count(ITEMS)) == 3000
    assert storage.notice is None
    storage.close()
    assert integrity(path) == [("ok",)]


KILLED = """
import sys
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import make_item

storage = SQLiteStorage(sys.argv[1])
storage._file.open_current().writer.execute("PRAGMA wal_autocheckpoint=20")

def push(tx):
    number = tx.next_number()
    tx.insert(ITEMS, make_item(number, data="x" * 2000))
    if number > 40:
        tx.delete(ITEMS, tx.get(ITEMS, number - 40))
    return number

while True:
    print(storage.write(push), flush=True)
"""


def test_a_kill_loses_nothing_that_was_acknowledged(
    path: Path, start_python: Callable[..., Popen[str]]
) -> None:
    chance = random.Random(1)
    for _ in range(12):
        writer = present(present(present(start_python(KILLED, path))))
        acknowledged = [
            int(present(writer.stdout).readline()) for _ in range(chance.randrange(5, 60))
        ]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in present(writer.stdout) if line[-1] == "\n"]
        storage = SQLiteStorage(path)
        rows = [row.seq for row in all_rows(storage, ITEMS)]
        assert rows[-1] in (acknowledged[-1], acknowledged[-1] + 1)
        assert rows == list(range(max(1, rows[-1] - 39), rows[-1] + 1))
        assert storage.read(lambda reader: reader.count(ITEMS)) == len(rows)
        assert storage.read(lambda reader: reader.last_number()) == rows[-1]
        assert storage.notice is None
        storage.close()
        assert integrity(path) == [("ok",)]


HOLDER = """
import sys
from bytelyst_sync.storage.sqlite.store import SQLiteStorage

storage = SQLiteStorage(sys.argv[1])
right = storage.delivery_right()
print(right.acquire(), flush=True)
sys.stdin.read()
"""


def test_the_delivery_lock_is_freed_when_its_holder_is_killed(
    path: Path, start_python: Callable[..., Popen[str]]
) -> None:
    right = SQLiteStorage(path).delivery_right()
    holder = start_python(HOLDER, path)
    assert present(holder.stdout).readline() == "True\n"
    assert not right.acquire()
    holder.kill()
    holder.wait(10)
    assert right.acquire()
    right.release()


def test_changes_of_another_process_are_noticed(
    path: Path, start_python: Callable[..., Popen[str]]
) -> None:
    storage = SQLiteStorage(path)
    storage.write(lambda tx: tx.insert(META, Meta("a", "1")))
    token = storage.changes()
    assert start_python(WRITER, path, "other", 1, 1).wait(20) == 0
    assert storage.changes() != token
    assert storage.read(lambda reader: reader.count(ITEMS)) == 1
    storage.close()


def test_an_unclosed_store_leaves_a_sound_file_at_exit(
    path: Path, run_python: Callable[..., list[int | list[int]]]
) -> None:
    text = WRITER.replace("storage.close()", "")
    assert run_python(text, path, "one", 1, 20) == list(range(1, 21))
    assert not path.with_name("queue.db-wal").exists()
    assert integrity(path) == [("ok",)]


# -- fork -----------------------------------------------------------------------------------------


def in_child(work: Callable[..., object]) -> list[int] | str:
    """Runs work in a forked child; gives what it returns, or raises what it raised."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.write(write_end, json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        reported = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0
    found: list[int] | str = json.loads(reported)
    return found


@forks
@pytest.mark.parametrize("reported", [True, False], ids=["told", "by-itself"])
def test_a_child_opens_its_own(path: Path, reported: bool) -> None:
    storage = SQLiteStorage(path, busy_timeout_s=5.0)
    storage.write(inserting(make_item(1)))
    all_rows(storage, ITEMS)
    token = storage.changes()

    def child() -> Any:
        if reported:
            storage.after_fork()
        storage.write(inserting(make_item(2)))
        seqs = [row.seq for row in all_rows(storage, ITEMS)]
        storage.changes()
        storage.close()
        return seqs

    assert in_child(child) == [1, 2]
    assert storage.changes() != token, "the child's write is noticed"
    storage.write(inserting(make_item(3)))
    assert [row.seq for row in all_rows(storage, ITEMS)] == [1, 2, 3]
    storage.close()
    assert integrity(path) == [("ok",)]


@forks
def test_a_child_never_takes_its_parents_delivery_lock(path: Path) -> None:
    storage = SQLiteStorage(path)
    right = storage.delivery_right()
    assert right.acquire()

    def child() -> Any:
        seen = [right.held]
        right.release()
        seen.append(right.acquire())
        storage.after_fork()
        right.release()
        other = storage.delivery_right()
        return [*seen, other.acquire()]

    assert in_child(child) == [False, False, False]
    assert right.held
    rival = storage.delivery_right()
    assert not rival.acquire()
    right.release()
    assert rival.acquire()
    rival.release()


@forks
def test_a_child_does_not_keep_a_lock_that_its_parent_releases(path: Path) -> None:
    storage = SQLiteStorage(path)
    right = storage.delivery_right()
    assert right.acquire()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        storage.after_fork()
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    right.release()
    assert right.acquire()
    right.release()
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    for end in (*ready, *done):
        os.close(end)


@forks
def test_forks_amid_busy_threads(path: Path) -> None:
    storage = SQLiteStorage(path, durability="normal")
    stop = threading.Event()
    pushed = []

    def push() -> None:
        while not stop.is_set():
            pushed.append(storage.write(_push))
            all_rows(storage, META)

    threads = [threading.Thread(target=push) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            child: list[Any] = [in_child(lambda: [storage.write(_push), storage.write(_push)])]
            pushed += child[0]
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert [row.seq for row in all_rows(storage, ITEMS)] == sorted(pushed)
    storage.close()
    assert integrity(path) == [("ok",)]


@forks
@pytest.mark.parametrize("kind", ["read", "write", "elsewhere"])
def test_a_child_forked_in_a_transaction_is_refused(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_file, "_FORK_WAIT_S", 0.05)
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    started, done = threading.Event(), threading.Event()

    def child() -> str:
        with pytest.raises(StorageError, match="was in use when this process was forked"):
            storage.write(inserting(make_item(2)))
        storage.close()
        return "refused"

    def hold(reader: Reader) -> None:
        started.set()
        done.wait(10)

    if kind == "elsewhere":
        holder = threading.Thread(target=storage.read, args=(hold,))
        holder.start()
        started.wait(10)
        assert in_child(child) == "refused"
        done.set()
        holder.join(10)
    else:
        assert getattr(storage, kind)(lambda view: in_child(child)) == "refused"
    storage.write(inserting(make_item(3)))
    assert [row.seq for row in all_rows(storage, ITEMS)] == [1, 3]
    storage.close()


@forks
def test_a_childs_locks_are_its_own(path: Path) -> None:
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        storage.write(inserting(make_item(2)))
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        storage.write(inserting(make_item(4)))
        os._exit(0)
    os.read(ready[0], 1)
    storage.write(inserting(make_item(3)))
    storage.close()
    assert path.with_name("queue.db-wal").exists()
    os.write(done[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert [row.seq for row in all_rows(storage, ITEMS)] == [1, 2, 3, 4]
    storage.close()
    for end in (*ready, *done):
        os.close(end)


def _push(tx: Transaction) -> int:
    number = tx.next_number()
    tx.insert(ITEMS, make_item(number))
    return number


FORKED_EXIT = """
import os, sys
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import inserting, make_item

storage = SQLiteStorage(sys.argv[1])
storage.write(inserting(make_item(1)))
child = os.fork()
if not child:
    storage.write(inserting(make_item(2)))
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
storage.write(inserting(make_item(3)))
print(storage.read(lambda reader: [row.seq for row in reader.scan(ITEMS)]))
"""


def test_a_child_that_exits_like_any_program_harms_nothing(
    path: Path, run_python: Callable[..., list[int | list[int]]]
) -> None:
    assert run_python(FORKED_EXIT, path) == [1, 2, 3]
    assert integrity(path) == [("ok",)]
