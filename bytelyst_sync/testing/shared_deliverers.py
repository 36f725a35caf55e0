"""The contract of many deliverers, part two: engines, wake-ups, the clock and the puller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.model import SyncResult
from bytelyst_sync.storage.base import SharedStorage, Storage
from bytelyst_sync.storage.schema import META, Meta
from bytelyst_sync.testing.shared_samples import (
    BOUND_S,
    HeldServer,
    engine_on,
    eventually,
    is_shared,
    shared_part,
)

__all__ = ["DeliverersContract"]

_HOUR_S = 3600.0
_SHORT_S = 0.5
_SLOWEST_POLL_S = 1.0
"""How often workers look that get no notifications."""

NewEngine = Callable[..., SyncEngine]


class DeliverersContract:
    """Tests of two engines on one store; see ``testing.shared``."""

    @pytest.fixture
    def new_engine(self) -> Iterator[NewEngine]:
        """``new_engine(storage, server, delivers=False)``; closed at the end."""
        with ExitStack() as stack:

            def make(storage: Storage, server: HeldServer, *, delivers: bool = False) -> SyncEngine:
                engine = engine_on(storage, server, delivers=delivers)
                stack.callback(engine.close)
                return engine

            yield make

    def test_the_store_says_what_it_can(self, storage: Storage, another: Storage) -> None:
        """A lock that is not exclusive and the methods of ``SharedStorage`` go together."""
        for each in (storage, another):
            assert isinstance(each, SharedStorage) == is_shared(each) == is_shared(storage)

    # -- deliverers ------------------------------------------------------------------------------

    def test_two_deliverers_send_at_once_or_the_second_names_the_first(
        self, storage: Storage, another: Storage, new_engine: NewEngine
    ) -> None:
        """A store with one deliverer delivers the rest as soon as that is free."""
        held, quick = HeldServer(held=True), HeldServer()
        first = new_engine(storage, held, delivers=True)
        first.push("notes", {"id": "1"})
        assert held.arrived.wait(BOUND_S)
        second = new_engine(another, quick)
        item = second.push("notes", {"id": "2"})
        result = second.flush(timeout=_SHORT_S)
        if is_shared(storage):
            assert eventually(lambda: second.flush(timeout=_SHORT_S).remaining == 1)
            assert second.wait(item, timeout=0) == "delivered"
            assert len(quick.bodies) == 1
        else:
            assert (result.success, result.remaining, result.errors) == (False, 2, 0)
            assert second.wait(item, timeout=0) == "pending"
            assert quick.bodies == []
            assert eventually(lambda: (second.flush(_SHORT_S), second.status.deliverer)[1])
            assert str(second.status.deliverer).startswith("process ")
        held.let_go()
        assert second.flush(timeout=BOUND_S).success
        assert len(held.bodies) + len(quick.bodies) == 2

    def test_a_records_next_change_waits_whoever_sends_the_first(
        self, storage: Storage, another: Storage, new_engine: NewEngine
    ) -> None:
        """Across objects, as across machines."""
        held, quick = HeldServer(held=True), HeldServer()
        first = new_engine(storage, held, delivers=True)
        first.push("notes", {"id": "1", "n": 0})
        assert held.arrived.wait(BOUND_S)
        second = new_engine(another, quick)
        item = second.push("notes", {"id": "1", "n": 1}, "update")
        assert not second.flush(timeout=_SHORT_S).success
        assert (quick.bodies, second.wait(item, timeout=0)) == ([], "pending")
        held.let_go()
        assert second.flush(timeout=BOUND_S).success
        sent = [*held.bodies, *quick.bodies]
        assert [('"n":0' in each, '"n":1' in each) for each in sent] == [
            (True, False),
            (False, True),
        ]

    def test_a_flush_waits_for_what_another_process_sends(
        self, storage: Storage, another: Storage, new_engine: NewEngine
    ) -> None:
        """It sends nothing twice, and succeeds when the other one has its answer."""
        held, quick = HeldServer(held=True), HeldServer()
        new_engine(storage, held, delivers=True).push("notes", {"id": "1"})
        assert held.arrived.wait(BOUND_S)
        second = new_engine(another, quick)
        found: list[SyncResult] = []
        flush = threading.Thread(target=lambda: found.append(second.flush(timeout=BOUND_S)))
        flush.start()
        flush.join(_SHORT_S)
        assert not found
        held.let_go()
        flush.join(BOUND_S)
        assert [(each.success, each.remaining) for each in found] == [(True, 0)]
        assert (len(held.bodies), quick.bodies) == (1, [])

    def test_a_flush_delivers_itself_where_nobody_else_does(
        self, storage: Storage, another: Storage, new_engine: NewEngine
    ) -> None:
        """What one process pushed, another one that is asked delivers."""
        server = HeldServer()
        item = new_engine(storage, server).push("notes", {"id": "1"})
        second = new_engine(another, server)
        result = second.flush(timeout=BOUND_S)
        assert (result.success, result.pushed, len(server.bodies)) == (True, 1, 1)
        if is_shared(storage):
            assert second.wait(item, timeout=0) == "delivered"

    # -- what one process learns of others -------------------------------------------------------

    def test_a_commit_of_another_process_is_noticed(
        self, storage: Storage, another: Storage
    ) -> None:
        """By the token, if there is another object."""
        storage.write(lambda tx: tx.insert(META, Meta("a", "1")))
        before = storage.changes()
        another.write(lambda tx: tx.insert(META, Meta("b", "2")))
        if another is not storage:
            assert storage.changes() != before

    def test_a_wake_up_arrives_or_the_store_is_looked_at_every_second(
        self, storage: Storage, another: Storage
    ) -> None:
        """Where a database has notifications, they are proven to arrive, or it says why not."""
        if not is_shared(storage):
            assert not hasattr(storage, "listen")
            return
        shared, other = shared_part(storage), shared_part(another)
        woken = threading.Event()
        listener = shared.listen(woken.set)
        if listener is None:
            assert shared.poll_s <= _SLOWEST_POLL_S
            assert shared.listen_problem is None
            return
        with closing(listener):
            assert eventually(lambda: shared.poll_s > _SLOWEST_POLL_S or shared.listen_problem)
            if shared.listen_problem is not None:
                assert shared.poll_s <= _SLOWEST_POLL_S
                return
            assert woken.wait(BOUND_S), "once when it listens, for what was pushed before"
            woken.clear()
            other.notify()
            assert woken.wait(BOUND_S)

    def test_the_clock_is_the_databases(
        self, storage: Storage, another: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One clock for all processes, whatever their own say."""
        if not is_shared(storage):
            assert not hasattr(storage, "now")
            return
        shared, other = shared_part(storage), shared_part(another)
        before = shared.now()
        wrong = time.time() + _HOUR_S
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: wrong)
            there, here = other.now(), shared.now()
        assert before <= there <= here < before + _HOUR_S / 2

    def test_a_deliverer_is_seen_by_all(self, storage: Storage, another: Storage) -> None:
        """Never at first, then since its last sign of life."""
        if not is_shared(storage):
            assert not hasattr(storage, "deliverer_seen_s")
            return
        shared, other = shared_part(storage), shared_part(another)
        assert other.deliverer_seen_s() is None
        began = other.now()
        shared.note_deliverer()
        for each in (shared, other):
            seen_s = each.deliverer_seen_s()
            assert seen_s is not None
            assert 0.0 <= seen_s <= other.now() - began

    def test_one_process_has_the_right_to_pull(self, storage: Storage, another: Storage) -> None:
        """Until it gives it back."""
        if not is_shared(storage):
            assert not hasattr(storage, "pull_right")
            return
        first, second = shared_part(storage).pull_right(), shared_part(another).pull_right()
        assert first.take(0.0)
        assert [second.take(0.0), first.take(0.0), first.keep()] == [False, True, True]
        second.release()
        assert not second.take(0.0)
        first.release()
        assert second.take(0.0)
        assert not first.take(0.0)
        second.release()
