"""The contract of many deliverers, part three: pushes in a transaction of the application."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import StorageError, SyncError
from bytelyst_sync.storage.base import Storage
from bytelyst_sync.storage.schema import META, Meta
from bytelyst_sync.storage.shared_schema import INBOX
from bytelyst_sync.testing.shared_samples import (
    BOUND_S,
    HeldServer,
    in_thread,
    inbox_row,
    is_shared,
    rolled_back,
    shared_part,
)
from bytelyst_sync.testing.storage_samples import RefusedError

__all__ = ["JoinsContract"]

NewEngine = Callable[..., SyncEngine]


def _handles(storage: Storage) -> list[int]:
    return [row.handle for row in storage.read(lambda tx: list(tx.scan(INBOX)))]


class JoinsContract:
    """Tests of ``append`` and ``atomic``; see ``testing.shared``.

    A store without them refuses to join: it runs no transaction within another one, and says so.
    """

    def test_a_change_of_the_queue_joins_no_transaction(self, storage: Storage) -> None:
        """Its lock would be held until that ends; the error names the way out."""
        with pytest.raises(RuntimeError, match="within a transaction of the same store"):
            storage.write(lambda _: storage.write(lambda tx: tx.next_number()))
        if is_shared(storage):
            shared = shared_part(storage)
            with shared.atomic():
                with pytest.raises(StorageError, match="Only pushes join a transaction"):
                    storage.write(lambda tx: tx.insert(META, Meta("a", "1")))
                shared.append([inbox_row(1)])
            assert _handles(storage) == [1]
        else:
            assert not hasattr(storage, "append")
        assert storage.read(lambda tx: list(tx.scan(META))) == []
        storage.write(lambda tx: tx.insert(META, Meta("a", "1")))

    def test_a_push_is_seen_here_at_once_and_elsewhere_after_the_commit(
        self, storage: Storage, another: Storage, new_engine: NewEngine
    ) -> None:
        """Nothing is sent before that, either."""
        server = HeldServer()
        here, there = new_engine(storage, server), new_engine(another, server)
        assert there.flush(timeout=BOUND_S).success
        with here.transaction():
            here.push("notes", {"id": "1"})
            if is_shared(storage):
                assert (here.queue_length, here.get("notes", "1")) == (1, {"id": "1"})
            assert in_thread(lambda: (there.queue_length, there.get("notes", "1"))) == (0, None)
        assert in_thread(lambda: (there.queue_length, there.get("notes", "1"))) == (1, {"id": "1"})
        assert there.flush(timeout=BOUND_S).success
        assert len(server.bodies) == 1

    def test_a_rollback_takes_all_of_it_back(self, storage: Storage, new_engine: NewEngine) -> None:
        """Also what an inner transaction had committed."""
        server = HeldServer()
        engine = new_engine(storage, server)
        with rolled_back(engine.transaction()):
            engine.push("notes", {"id": "1"})
            with engine.transaction():
                engine.push("notes", {"id": "2"})
        assert engine.queue_length == 0
        engine.push("notes", {"id": "3"})
        assert engine.flush(timeout=BOUND_S).success
        assert server.bodies == ['{"id":"3"}']

    def test_a_rollback_to_a_savepoint_takes_back_what_came_after_it(
        self, storage: Storage, new_engine: NewEngine
    ) -> None:
        """A store that does not join has no savepoints: there an inner transaction is a part of
        the outer one.
        """
        server = HeldServer()
        engine = new_engine(storage, server)
        with engine.transaction():
            engine.push("notes", {"id": "1"})
            with rolled_back(engine.transaction()):
                engine.push("notes", {"id": "2"})
            engine.push("notes", {"id": "3"})
        assert engine.flush(timeout=BOUND_S).success
        kept = "13" if is_shared(storage) else "123"
        assert server.bodies == [f'{{"id":"{each}"}}' for each in kept]

    def test_what_waits_for_the_commit_runs_at_the_outermost_one_or_never(
        self, storage: Storage
    ) -> None:
        """And joined work is never run again: each row is there once."""
        if not is_shared(storage):
            assert not hasattr(storage, "atomic")
            return
        shared, calls = shared_part(storage), list[str]()
        with shared.atomic():
            with shared.atomic():
                shared.append([inbox_row(1)], lambda: calls.append("inner"))
            with rolled_back(shared.atomic()):
                shared.append([inbox_row(2)], lambda: calls.append("rolled back"))
            shared.append([inbox_row(3), inbox_row(4)], lambda: calls.append("outer"))
            assert calls == []
            assert _handles(storage) == [1, 3, 4]
        assert calls == ["inner", "outer"]
        with rolled_back(shared.atomic()), shared.atomic():
            shared.append([inbox_row(5)], lambda: calls.append("lost"))
        assert calls == ["inner", "outer"]
        assert _handles(storage) == [1, 3, 4]
        shared.append([inbox_row(6)], lambda: calls.append("alone"))
        assert calls == ["inner", "outer", "alone"]
        assert _handles(storage) == [1, 3, 4, 6]

    def test_an_error_of_what_waits_for_the_commit_takes_nothing_back(
        self, storage: Storage
    ) -> None:
        """The others run, and the rows are there."""
        if not is_shared(storage):
            with pytest.raises(RefusedError):
                storage.write(lambda tx: tx.insert(META, Meta("a", "1")), _refuse)
            assert len(storage.read(lambda tx: list(tx.scan(META)))) == 1
            return
        shared, calls = shared_part(storage), list[str]()
        with shared.atomic():
            shared.append([inbox_row(1)], lambda: _refuse(None))
            shared.append([inbox_row(2)], lambda: calls.append("second"))
        assert calls == ["second"]
        assert _handles(storage) == [1, 2]

    def test_what_waits_is_counted_up_to_a_number(self, storage: Storage) -> None:
        """With what this thread has not committed, and without what others have not."""
        if not is_shared(storage):
            assert not hasattr(storage, "waiting")
            return
        shared = shared_part(storage)
        assert shared.waiting(5) == 0
        shared.append([inbox_row(1), inbox_row(2)])
        with shared.atomic():
            shared.append([inbox_row(3)])
            assert [shared.waiting(most) for most in (1, 2, 3, 4)] == [1, 2, 3, 3]
            assert in_thread(lambda: shared.waiting(5)) == 2
        assert in_thread(lambda: shared.waiting(5)) == 3

    def test_it_knows_whether_it_would_join(self, storage: Storage) -> None:
        """A transaction of this thread, not of others."""
        if not is_shared(storage):
            assert not hasattr(storage, "joined")
            return
        shared = shared_part(storage)
        assert not shared.joined
        with shared.atomic():
            assert shared.joined
            assert not in_thread(lambda: shared.joined)
            with shared.atomic():
                assert shared.joined
            assert shared.joined
        assert not shared.joined

    def test_calls_that_wait_or_lock_are_refused_within_a_transaction(
        self, storage: Storage, new_engine: NewEngine
    ) -> None:
        """With the reason; the transaction goes on. A store that does not join has no such
        transaction to wait in.
        """
        engine = new_engine(storage, HeldServer())
        if not is_shared(storage):
            assert engine.flush(timeout=BOUND_S).success
            return
        with engine.transaction():
            item = engine.push("notes", {"id": "1"})
            for call in (engine.flush, lambda: engine.cancel(item), lambda: engine.wait(item)):
                with pytest.raises(SyncError, match=r"inside transaction.atomic\(\)"):
                    call()
        assert engine.queue_length == 1


def _refuse(_: object) -> None:
    raise RefusedError
