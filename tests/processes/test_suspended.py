"""A process that delivers and is frozen (SIGSTOP, a paused container) is replaced, and notices."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from bytelyst_sync import SQLiteStorage
from bytelyst_sync.errors import StorageError
from bytelyst_sync.testing import Reply, Seen, SyncServer
from tests.processes.conftest import Client, Program

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no SIGSTOP")

TAKEOVER_S = 1.2
BOUND_S = 15.0


@pytest.fixture
def make(
    make_client: Callable[..., Client], server: SyncServer, path: Path
) -> Callable[..., Client]:
    """An engine in a process of its own, on the one file, that takes over soon."""

    def make(**settings: Any) -> Client:
        return make_client(
            entities={"notes": "/notes"},
            base_url=server.url,
            storage=str(path),
            takeover_after=TAKEOVER_S,
            retry_delay=0.05,
            **settings,
        )

    return make


def is_within_a_write(path: Path) -> bool:
    """Whether some process holds the store's write lock."""
    storage = SQLiteStorage(path, busy_timeout_s=0.1)
    try:
        storage.write(lambda _tx: None)
    except StorageError:
        return True
    finally:
        storage.close()
    return False


def stop(process: Popen[str], path: Path) -> None:
    """Stops a process outside of its write transactions: within one it cannot be replaced."""
    while True:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        if not is_within_a_write(path):
            return
        process.send_signal(signal.SIGCONT)


@pytest.fixture
def freeze_at(server: SyncServer, path: Path) -> Callable[..., list[Any]]:
    """Freezes a process within its first POST; gives when that happened, and the request."""

    def freeze(process: Popen[str], answer: Reply | None = None) -> list[Any]:
        frozen: list[Any] = []

        def once(seen: Seen) -> Reply | None:
            if seen.method == "POST" and not frozen:
                stop(process, path)
                frozen.append((time.monotonic(), seen))
                return answer
            return None

        server.reject = once
        return frozen

    return freeze


def ids(server: SyncServer) -> list[str]:
    return [effect.id for effect in server.journal]


@pytest.mark.parametrize("answer", [None, Reply(500)], ids=["processed", "not processed"])
def test_a_frozen_deliverer_is_replaced_and_drops_its_answers(
    make: Callable[..., Client],
    server: SyncServer,
    freeze_at: Callable[..., list[Any]],
    answer: Reply | None,
) -> None:
    first, second = make(), make()
    frozen = freeze_at(first.process, answer)
    rows = [{"id": f"a{n}"} for n in range(5)]
    first.begin("push_many", "notes", rows)
    assert server.wait_for(lambda: frozen, 10)
    second("push", "notes", {"id": "a0", "text": "later"}, "update")
    second("push", "notes", {"id": "b"})
    assert server.wait_for(lambda: {"b", "a4"} <= set(ids(server)), BOUND_S)
    assert time.monotonic() - frozen[0][0] > TAKEOVER_S
    assert second("flush", timeout=10)["success"]
    first.process.send_signal(signal.SIGCONT)
    first.end()
    first("push", "notes", {"id": "c"})
    assert server.wait_for(lambda: "c" in ids(server), BOUND_S)
    for client in (first, second):
        assert client("flush", timeout=10)["remaining"] == 0
        assert client("failed") == []
    kinds = Counter((effect.id, effect.kind) for effect in server.journal)
    assert set(kinds.values()) == {1}, "nothing is done twice"
    assert [e.kind for e in server.journal if e.id == "a0"] == ["create", "update"]
    keys = [r.headers["idempotency-key"] for r in server.requests if r.path == "/notes"]
    assert keys.count(frozen[0][1].headers["idempotency-key"]) == 2, "under its key"


def test_the_status_names_it_while_it_hangs(
    make: Callable[..., Client], server: SyncServer, freeze_at: Callable[..., list[Any]]
) -> None:
    first, second = make(), make()
    frozen = freeze_at(first.process)
    first.begin("push", "notes", {"id": "a"})
    assert server.wait_for(lambda: frozen, 10)
    second("push", "notes", {"id": "b"})
    reported: list[Any] = []
    deadline = time.monotonic() + BOUND_S
    while not reported and time.monotonic() < deadline:
        status = second("status")
        if status["reason"] == "deliverer":
            reported.append(status["deliverer"])
    assert f"process {first.process.pid} on " in reported[0]
    assert server.wait_for(lambda: "b" in ids(server), BOUND_S)
    assert second("flush", timeout=10)["success"]
    status = second("status")
    assert (status["deliverer"], status["reason"]) == (None, None)


def test_who_took_over_is_not_replaced_when_the_former_dies(
    make: Callable[..., Client], server: SyncServer, freeze_at: Callable[..., list[Any]]
) -> None:
    """The system's lock is free then, and a third process must not take it for the right."""
    first, second, third = make(), make(), make()
    frozen = freeze_at(first.process)
    first.begin("push", "notes", {"id": "a"})
    assert server.wait_for(lambda: frozen, 10)
    for number in range(30):
        second("push", "notes", {"id": f"b{number}"})
    assert server.wait_for(lambda: "b29" in ids(server), BOUND_S)
    first.process.kill()
    first.process.wait()
    third("push", "notes", {"id": "c"})
    assert server.wait_for(lambda: "c" in ids(server), BOUND_S)
    assert set(Counter(ids(server)).values()) == {1}


def test_a_living_deliverer_is_not_replaced(
    make: Callable[..., Client], server: SyncServer
) -> None:
    """Though a request takes longer than the others wait for a sign of life."""
    first, second = make(), make()
    server.latency_s = 2.5 * TAKEOVER_S
    first.begin("push", "notes", {"id": "a"})
    assert server.wait_for(lambda: server.in_flight, 10)
    second("push", "notes", {"id": "b"})
    assert second("flush", timeout=0.2)["remaining"]
    assert server.wait_for(lambda: ids(server), BOUND_S)
    server.latency_s = 0.0
    assert server.wait_for(lambda: {"a", "b"} <= set(ids(server)), BOUND_S)
    assert len([r for r in server.requests if r.method == "POST"]) == 2
    first.end()


HOLD = """
import sys
from bytelyst_sync import SQLiteStorage
from bytelyst_sync.storage.schema import META, Meta
def work(tx):
    tx.insert(META, Meta("half", "1"))
    sys.stdout.write("inside\\n")
    sys.stdin.readline()
SQLiteStorage(sys.argv[1]).write(work)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="who holds a lock: Linux says it")
def test_one_that_is_frozen_within_a_write_is_named(
    run_script: Callable[..., Program], path: Path
) -> None:
    holder = run_script(HOLD, path)
    assert holder.line() == "inside"
    holder.process.send_signal(signal.SIGSTOP)
    storage = SQLiteStorage(path, busy_timeout_s=0.3)
    with pytest.raises(StorageError, match=rf"process {holder.process.pid} on .*stopped.*CONT"):
        storage.write(lambda tx: tx.next_number())
    holder.process.send_signal(signal.SIGCONT)
    holder.kill()
    storage.write(lambda tx: tx.next_number())
    storage.close()
