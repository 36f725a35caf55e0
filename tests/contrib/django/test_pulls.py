"""Pulls in the background are made by one process at a time, which has a lease."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bytelyst_sync import Request, Response, SyncEngine
from bytelyst_sync.contrib.django.locks import PullLease
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.pull import scheduler
from tests.conftest import Wire
from tests.contrib.django.conftest import Engines
from tests.typed import Eventually

BOUND_S = 30.0
SHORT: dict[str, Any] = {"lease_s": 2.0, "request_deadline": 0.5}


@pytest.fixture
def new_lease(database: str) -> Iterator[Callable[..., PullLease]]:
    storages = []

    def make(lease_s: float = 60.0) -> PullLease:
        storages.append(DjangoStorage(using=database, lease_s=lease_s))
        return storages[-1].pull_right()

    yield make
    for each in storages:
        each.close()


def until(lease: PullLease) -> float:
    database: Any = lease._database
    ((found,),) = database.query("SELECT until FROM bytelyst_sync_leases")
    return float(found)


def test_one_object_has_the_lease_until_it_gives_it_back(
    new_lease: Callable[..., PullLease],
) -> None:
    first, second = new_lease(), new_lease()
    assert first.take(0.0)
    assert not second.take(0.0)
    assert first.take(0.0)
    second.release()
    assert not second.take(0.0)
    first.release()
    assert second.take(0.0)
    assert not first.take(0.0)


def test_a_lease_that_has_ended_is_taken(
    new_lease: Callable[..., PullLease], eventually: Eventually
) -> None:
    first, second = new_lease(0.5), new_lease()
    assert first.take(0.0)
    assert eventually(lambda: second.take(0.0), BOUND_S)
    assert not first.take(0.0)
    first.release()
    assert not first.take(0.0)


def test_a_lease_lasts_for_its_length_and_the_span_and_is_never_cut_short(
    new_lease: Callable[..., PullLease],
) -> None:
    lease = new_lease(60.0)
    database: Any = lease._database
    now = database.now()
    assert lease.take(600.0)
    assert until(lease) == pytest.approx(now + 660.0, abs=20.0)
    before = until(lease)
    assert lease.take(0.0)
    assert until(lease) == before


def test_a_lease_is_kept_while_a_long_pull_runs(new_lease: Callable[..., PullLease]) -> None:
    lease = new_lease(1.5)
    assert lease.take(0.0)
    first = until(lease)
    assert lease.keep()
    assert until(lease) == first  # it was taken just now
    time.sleep(0.6)
    assert lease.keep()
    assert until(lease) > first


def test_a_lease_that_was_lost_is_not_kept(
    new_lease: Callable[..., PullLease], eventually: Eventually
) -> None:
    lease, other = new_lease(0.3), new_lease()
    assert lease.keep()  # who has not the lease may pull what a program asks for
    assert lease.take(0.0)
    assert eventually(lambda: other.take(0.0), BOUND_S)
    assert not lease.keep()


# --- engines


class Counting:
    """A transport that counts readings."""

    def __init__(self, wire: Wire) -> None:
        self.wire, self.reads = wire, 0

    def send(self, request: Request) -> Response:
        self.reads += request.method == "GET"
        return self.wire.send(request)


@pytest.fixture
def workers(
    server_database: str, engines: Engines, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[SyncEngine], list[Counting]]]:
    """Two workers that pull all the time; the first has begun."""
    monkeypatch.setattr(scheduler, "_ASK_AGAIN_S", 0.1)

    def start(**settings: Any) -> tuple[list[SyncEngine], list[Counting]]:
        wires = [Counting(wire), Counting(wire)]
        made = []
        for each in wires:
            engine = engines(server_database, each, deliver=True, pull_interval=0.05, **settings)
            engine.start()
            made.append(engine)
            deadline = time.monotonic() + BOUND_S
            while not wires[0].reads and time.monotonic() < deadline:
                time.sleep(0.01)
        return made, wires

    return start


def test_one_of_two_workers_pulls(
    workers: Callable[..., tuple[list[SyncEngine], list[Counting]]], eventually: Eventually
) -> None:
    _, (one, two) = workers()
    assert eventually(lambda: one.reads > 20, BOUND_S)
    assert two.reads == 0


def test_a_worker_that_ends_hands_over_at_once(
    workers: Callable[..., tuple[list[SyncEngine], list[Counting]]], eventually: Eventually
) -> None:
    made, (_, two) = workers(lease_s=36_000.0)
    assert made[0].close(BOUND_S)
    assert eventually(lambda: two.reads > 5, BOUND_S)


def test_a_worker_that_was_killed_is_replaced_when_its_lease_ends(
    workers: Callable[..., tuple[list[SyncEngine], list[Counting]]],
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, (one, two) = workers(**SHORT)
    monkeypatch.setattr(PullLease, "release", lambda self: None)
    assert made[0].close(BOUND_S)
    last = one.reads
    assert eventually(lambda: two.reads > 5, BOUND_S)
    assert one.reads == last


def test_a_program_may_pull_while_another_process_has_the_right(
    server_database: str,
    engines: Engines,
    wire: Wire,
    workers: Callable[..., tuple[list[SyncEngine], list[Counting]]],
    eventually: Eventually,
) -> None:
    _, (one, two) = workers()
    web = engines(server_database, wire)
    wire.store.change("notes", "create", {"id": "1"})
    assert web.pull(timeout=BOUND_S).success
    assert web.get("notes", "1") is not None
    assert eventually(lambda: one.reads > 5, BOUND_S)
    assert two.reads == 0
