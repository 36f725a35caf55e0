"""Two engines in two processes on one file."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import SQLiteStorage
from bytelyst_sync.model import Json
from bytelyst_sync.storage.delivery_lock import FileDeliveryLock
from bytelyst_sync.testing import Drop, Reply, Seen, SyncServer
from tests.processes.conftest import Client
from tests.typed import present

A_SECOND = 1.0
SLACK_S = 1.0
"""For a machine that has other things to do."""


@pytest.fixture
def make(
    make_client: Callable[..., Client], server: SyncServer, path: Path
) -> Callable[..., Client]:
    """An engine in a process of its own, on the one file."""

    def make(*names: str, **settings: Any) -> Client:
        entities = {name: f"/{name}" for name in names or ["notes"]}
        place = {"base_url": server.url, "storage": str(path)}
        return make_client(entities=entities, **place, **settings)

    return make


@pytest.fixture
def right(path: Path) -> Iterator[FileDeliveryLock]:
    """This process's hand on the right to deliver."""
    storage = SQLiteStorage(path)
    right = storage.delivery_right()
    yield right
    right.release()
    storage.close()


def ids(server: SyncServer, collection: str = "notes") -> list[str]:
    return [effect.id for effect in server.journal if effect.collection == collection]


def arrives(server: SyncServer, *expected: str, within: float = A_SECOND) -> bool:
    """Whether these notes are at the server in time."""
    return server.wait_for(lambda: set(expected) <= set(ids(server)), within + SLACK_S)


def rows(name: str, count: int) -> list[Json]:
    return [{"id": f"{name}{n:03}"} for n in range(count)]


def test_one_delivers_at_a_time_and_each_effect_comes_once(
    make: Callable[..., Client], server: SyncServer
) -> None:
    crowds = []

    def crowd(seen: Seen) -> None:
        crowds.append(len([each for each in server.in_flight if each.method != "HEAD"]))

    server.reject = crowd
    server.latency_s = 0.002
    first, second = make(), make()
    for client, name in ((first, "a"), (second, "b")):
        client.begin("push_many", "notes", rows(name, 60))
    for client in (first, second):
        client.end()
        client.begin("flush", timeout=15)
    assert [client.end()["success"] for client in (first, second)] == [True, True]
    assert max(crowds) == 1
    expected = [row["id"] for name in "ab" for row in rows(name, 60)]
    assert sorted(ids(server)) == expected


def test_both_push_to_the_same_records_and_order_holds(
    make: Callable[..., Client], server: SyncServer
) -> None:
    clients: list[Any] = [make(), make()]
    clients[0]("push", "notes", {"id": "x", "n": -1})
    assert clients[0]("flush", timeout=10)["success"]
    for n in range(40):
        clients[n % 2]("push", "notes", {"id": "x", f"f{n}": n}, "update")
    assert [client("flush", timeout=10)["remaining"] for client in clients] == [0, 0]
    arrived = [name for effect in server.journal for name in present(effect.data) if name[0] == "f"]
    assert arrived == [f"f{n}" for n in range(40)]
    assert server.records("notes")["x"]["f39"] == 39


def test_the_other_takes_over_when_the_deliverer_is_killed(
    make: Callable[..., Client], server: SyncServer, path: Path
) -> None:
    first, second = make(), make()
    second("start")
    killed: list[Any] = []

    def kill_once(seen: Seen) -> Reply | None:
        if seen.method == "POST" and not killed:
            killed.append(time.monotonic())
            first.process.kill()
            first.process.wait()
            return Reply(500)
        return None

    server.reject = kill_once
    first.begin("push_many", "notes", rows("a", 20))
    assert server.wait_for(lambda: killed, 10)
    expected = [row["id"] for row in rows("a", 20)]
    assert arrives(server, *expected)
    assert time.monotonic() - killed[0] < A_SECOND + SLACK_S
    assert Counter(ids(server)) == Counter(expected)


def test_even_if_all_that_is_queued_was_under_way(
    make: Callable[..., Client], server: SyncServer
) -> None:
    first, second = make(), make()
    second("start")
    killed: list[Any] = []

    def kill_once(seen: Seen) -> Reply | None:
        if seen.method == "POST" and not killed:
            killed.append(seen.headers["idempotency-key"])
            first.process.kill()
            first.process.wait()
            return Reply(500)
        return None

    server.reject = kill_once
    first.begin("push", "notes", {"id": "a"})
    assert server.wait_for(lambda: killed, 10)
    assert arrives(server, "a")
    assert [effect.key for effect in server.journal] == killed


def test_a_push_elsewhere_wakes_the_deliverer(
    make: Callable[..., Client], server: SyncServer
) -> None:
    deliverer, pusher = make(), make(auto_flush=False)
    deliverer("push", "notes", {"id": "a"})
    assert arrives(server, "a", within=5.0)
    for name in "bcd":
        pusher("push", "notes", {"id": name})
        assert arrives(server, name)


def test_a_push_elsewhere_wakes_one_that_is_in_the_midst_of_it(
    make: Callable[..., Client], server: SyncServer
) -> None:
    server.latency_s = 0.05
    deliverer, pusher = make(), make(auto_flush=False)
    deliverer.begin("push_many", "notes", rows("a", 10))
    assert server.wait_for(lambda: server.journal, 10)
    pusher("push", "notes", {"id": "b"})
    assert arrives(server, "b", within=A_SECOND + 0.5)


@pytest.mark.parametrize("how", ["paused", "by hand"])
def test_one_that_sends_nothing_holds_no_right(
    make: Callable[..., Client], server: SyncServer, right: FileDeliveryLock, how: str
) -> None:
    lazy = make(auto_flush=how == "paused")
    if how == "paused":
        lazy("pause")
    lazy("start")
    lazy("push", "notes", {"id": "a"})
    assert right.acquire()
    right.release()
    other = make()
    other("start")
    assert arrives(server, "a")
    assert other("flush", timeout=10)["success"]
    assert lazy("queue_length") == 0


def test_pausing_in_the_midst_hands_over(make: Callable[..., Client], server: SyncServer) -> None:
    server.latency_s = 0.03
    first, second = make(), make(auto_flush=False)
    first("push_many", "notes", rows("a", 30))
    assert server.wait_for(lambda: server.journal, 10)
    first("pause")
    assert second("flush", timeout=10)["success"]
    assert Counter(ids(server)) == Counter(row["id"] for row in rows("a", 30))


def test_a_flush_by_hand_gives_the_right_back(
    make: Callable[..., Client], server: SyncServer, right: FileDeliveryLock
) -> None:
    client = make(auto_flush=False)
    client("push", "notes", {"id": "a"})
    assert client("flush", timeout=10)["success"]
    deadline = time.monotonic() + A_SECOND + SLACK_S
    while not right.acquire():
        assert time.monotonic() < deadline
    assert ids(server) == ["a"]


def test_an_offline_engine_leaves_the_queue_to_one_with_a_network(
    make: Callable[..., Client], make_client: Callable[..., Client], path: Path, server: SyncServer
) -> None:
    nowhere = {"base_url": "http://127.0.0.1:9", "storage": str(path)}
    offline = make_client(entities={"notes": "/notes"}, **nowhere)
    offline("push", "notes", {"id": "a"})
    assert offline("flush", timeout=10)["offline"]
    assert make()("flush", timeout=10)["success"]
    assert ids(server) == ["a"]


def test_each_leaves_to_the_other_what_it_does_not_know(
    make: Callable[..., Client], server: SyncServer
) -> None:
    notes, tasks = make("notes"), make("tasks")
    notes("push_many", "notes", rows("n", 10))
    tasks("push_many", "tasks", rows("t", 10))
    notes.begin("flush", timeout=15)
    assert tasks("flush", timeout=15)["errors"] == 0
    assert notes.end()["errors"] == 0

    def all_there() -> bool:
        return len(ids(server)) == 10 and len(ids(server, "tasks")) == 10

    assert server.wait_for(all_there, A_SECOND + SLACK_S)
    assert sorted(ids(server)) == [row["id"] for row in rows("n", 10)]
    assert sorted(ids(server, "tasks")) == [row["id"] for row in rows("t", 10)]


def test_unknown_entities_are_left_alone_and_reported(
    make: Callable[..., Client], server: SyncServer, right: FileDeliveryLock
) -> None:
    make("tasks", auto_flush=False)("push", "tasks", {"id": "t"})
    notes = make("notes")
    notes("push", "notes", {"id": "n"})
    result = notes("flush", timeout=10)
    assert (result["errors"], result["remaining"]) == (0, 1)
    assert "tasks" in notes("status")["last_error"]
    assert (ids(server), ids(server, "tasks")) == (["n"], [])


def test_a_busy_engine_does_not_starve_one_with_other_entities(
    make: Callable[..., Client], server: SyncServer
) -> None:
    server.latency_s = 0.02
    notes = make("notes")
    notes("push_many", "notes", rows("n", 500))
    assert server.wait_for(lambda: server.journal, 10)
    make("tasks")("push", "tasks", {"id": "t"})
    assert server.wait_for(lambda: ids(server, "tasks"), 9)
    assert len(ids(server)) < 500


def test_a_lost_answer_is_sent_again_by_the_other_under_its_key(
    make: Callable[..., Client], server: SyncServer
) -> None:
    server.script(Drop(), match="POST")
    first = make(auto_flush=False, retry_delay=0.01)
    item = first("push", "notes", {"id": "a"})
    first("flush", timeout=10)
    assert first("close")
    second = make(retry_delay=0.01)
    second("start")
    assert arrives(server, "a")
    assert [effect.key for effect in server.journal] == [item["id"]]


def test_what_one_pulls_the_other_sees(make: Callable[..., Client], server: SyncServer) -> None:
    first, second = make(), make()
    server.put("notes", {"id": "theirs", "title": "x"})
    assert first("pull")["pulled"] == 1
    assert second("get", "notes", "theirs")["title"] == "x"
    assert second("pull")["pulled"] == 0


def test_a_flush_sees_what_the_other_delivered(
    make: Callable[..., Client], server: SyncServer
) -> None:
    first, second = make(auto_flush=False), make()
    first("push", "notes", {"id": "a"})
    second("start")
    assert arrives(server, "a")
    assert second("flush", timeout=10)["success"]
    assert first("queue_length") == 0
    assert first("flush", timeout=10)["success"]
