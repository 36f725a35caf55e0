"""The contract of a store, part two: transactions, threads, and the delivery lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync.storage.base import Reader, Storage, Transaction
from bytelyst_sync.storage.schema import (
    ITEMS,
    META,
    Lane,
    Meta,
)
from bytelyst_sync.testing.storage_samples import (
    SAMPLES,
    RefusedError,
    all_rows,
    fill,
    inserting,
    make_item,
)

__all__ = ["TransactionsContract"]

_BOUND_S = 20.0


class TransactionsContract:
    """Tests of a store's methods; see ``testing.storage``."""

    # -- transactions ----------------------------------------------------------------------------

    def test_a_write_returns_the_result_of_its_work(self, storage: Storage) -> None:
        """A read does too."""
        assert storage.write(lambda _: "written") == "written"
        assert storage.read(lambda _: "read") == "read"

    @pytest.mark.parametrize(
        "kind", [RefusedError, KeyboardInterrupt], ids=lambda kind: kind.__name__
    )
    def test_an_exception_undoes_everything(
        self, storage: Storage, kind: type[BaseException]
    ) -> None:
        """Inserts, changes, deletes and numbers in all tables; the exception itself is raised."""
        fill(storage, ITEMS, [make_item(1), make_item(2, due=1.0)])
        raised = kind("no")

        def work(tx: Transaction) -> None:
            tx.insert(META, Meta("a", "1"))
            tx.replace(ITEMS, make_item(1), make_item(1, record="r2", lane=Lane.FAILED))
            tx.replace(ITEMS, make_item(1, record="r2", lane=Lane.FAILED), make_item(9))
            tx.delete(ITEMS, make_item(2, due=1.0))
            tx.insert(ITEMS, make_item(2))
            raise raised

        with pytest.raises(kind) as caught:
            storage.write(work)
        assert caught.value is raised
        assert all_rows(storage, ITEMS) == [make_item(1), make_item(2, due=1.0)]
        assert all_rows(storage, META) == []
        assert storage.read(lambda r: [row.seq for row in r.scan(ITEMS, "due")]) == [2]
        assert storage.read(lambda r: [row.seq for row in r.scan(ITEMS, "lane", (0,))]) == [1, 2]
        storage.write(inserting(make_item(9)))

    def test_an_exception_in_a_read_is_raised(self, storage: Storage) -> None:
        """The store can be used afterwards."""

        def refused(_: Reader) -> None:
            raise RefusedError

        with pytest.raises(RefusedError):
            storage.read(refused)
        assert storage.read(lambda reader: reader.count(ITEMS)) == 0

    def test_then_is_called_after_the_commit(self, storage: Storage) -> None:
        """With the result, in the same thread, while no lock is held; not after an error."""
        calls: list[Any] = []

        def then(result: str) -> None:
            calls.append((result, threading.get_ident()))
            calls.append(all_rows(storage, ITEMS))
            storage.write(inserting(make_item(2)))

        def work(tx: Transaction) -> str:
            tx.insert(ITEMS, make_item(1))
            assert not calls
            return "done"

        assert storage.write(work, then) == "done"
        assert calls == [("done", threading.get_ident()), [make_item(1)]]
        assert all_rows(storage, ITEMS) == [make_item(1), make_item(2)]

        def refused(_: Transaction) -> str:
            raise RefusedError

        with pytest.raises(RefusedError):
            storage.write(refused, then)
        assert len(calls) == 2

    def test_other_threads_can_write_while_then_runs(self, storage: Storage) -> None:
        """No lock is held."""
        results: list[int] = []

        def then(_: object) -> None:
            other = threading.Thread(
                target=lambda: results.append(storage.write(lambda tx: tx.next_number()))
            )
            other.start()
            other.join(_BOUND_S)

        storage.write(lambda _: None, then)
        assert len(results) == 1

    def test_a_reader_sees_whole_transactions_only(self, storage: Storage) -> None:
        """Each commit changes a pair of rows; no view has one change without the other."""
        storage.write(inserting(make_item(1), make_item(2)))
        stop = threading.Event()
        torn: list[Any] = []

        def watch() -> None:
            while not stop.is_set():
                seqs = storage.read(lambda reader: [row.seq for row in reader.scan(ITEMS)])
                number = storage.read(lambda reader: reader.count(ITEMS))
                if len(seqs) != 2 or seqs[1] != seqs[0] + 1 or number != 2:
                    torn.append((seqs, number))

        def move(by: int) -> Callable[[Transaction], None]:
            def work(tx: Transaction) -> None:
                tx.replace(ITEMS, make_item(by), make_item(by + 2))
                tx.replace(ITEMS, make_item(by + 1), make_item(by + 3))

            return work

        watchers = [threading.Thread(target=watch) for _ in range(2)]
        for watcher in watchers:
            watcher.start()
        for step in range(1, 60, 2):
            storage.write(move(step))
        stop.set()
        for watcher in watchers:
            watcher.join(_BOUND_S)
        assert torn == []

    def test_a_view_does_not_change(self, storage: Storage) -> None:
        """Two readings in one ``read`` agree, whatever is committed meanwhile."""
        storage.write(inserting(make_item(1)))
        writer = threading.Thread(target=lambda: storage.write(inserting(make_item(2))))

        def work(reader: Reader) -> tuple[int, int, int]:
            before = reader.count(ITEMS)
            writer.start()
            writer.join(0.05)
            return before, reader.count(ITEMS), len(list(reader.scan(ITEMS)))

        assert storage.read(work) == (1, 1, 1)
        writer.join(_BOUND_S)
        assert storage.read(lambda reader: reader.count(ITEMS)) == 2

    def test_concurrent_writers_get_their_own_results(self, storage: Storage) -> None:
        """Eight threads; a third of the transactions fail, and undo only their own changes."""
        outcomes: dict[str, list[Any]] = {}
        start = threading.Barrier(8)

        def work(name: str, step: int) -> Callable[[Transaction], tuple[str, int]]:
            def run(tx: Transaction) -> tuple[str, int]:
                number = tx.next_number()
                tx.insert(ITEMS, make_item(number, record=name, entity=name))
                tx.insert(META, Meta(f"{name}-{step}", str(number)))
                if step % 3 == 0:
                    raise RefusedError(name, step)
                return name, number

            return run

        def attempt(job: Callable[[Transaction], tuple[str, int]]) -> tuple[Any, ...]:
            try:
                return storage.write(job)
            except RefusedError as error:
                return error.args

        def push(name: str) -> None:
            mine = outcomes[name] = []
            start.wait(_BOUND_S)
            mine.extend(attempt(work(name, step)) for step in range(24))

        threads = [threading.Thread(target=push, args=(f"t{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_BOUND_S)
        rows = {row.seq: row.record for row in all_rows(storage, ITEMS)}
        committed = {}
        for name, mine in outcomes.items():
            assert [result[0] for result in mine] == [name] * 24
            assert [result[1] for result in mine[::3]] == list(range(0, 24, 3))
            committed.update({number: name for step, (_, number) in enumerate(mine) if step % 3})
        assert len(committed) == 8 * 16
        assert rows == committed
        assert len(all_rows(storage, META)) == 8 * 16
        assert storage.read(lambda reader: reader.counts(ITEMS)) == {
            (Lane.READY, name): 16 for name in outcomes
        }

    # -- the store -------------------------------------------------------------------------------

    def test_a_closed_store_opens_again(self, storage: Storage) -> None:
        """With all its rows; a second close does nothing."""
        rows = SAMPLES[ITEMS.name]
        storage.close()
        fill(storage, ITEMS, rows)
        storage.close()
        storage.close()
        assert all_rows(storage, ITEMS) == rows
        assert storage.read(lambda reader: reader.count(ITEMS)) == len(rows)

    def test_a_sound_store_has_no_notice(self, storage: Storage) -> None:
        """Before and after its first use."""
        assert storage.notice is None
        storage.write(inserting(make_item(1)))
        assert storage.notice is None

    def test_changes_is_constant_without_commits(self, storage: Storage) -> None:
        """A read does not change it."""
        storage.write(inserting(make_item(1)))
        token = storage.changes()
        storage.read(lambda reader: list(reader.scan(ITEMS)))
        assert storage.changes() == token

    # -- the delivery lock -----------------------------------------------------------------------

    def test_the_delivery_lock_is_not_held_at_first(self, storage: Storage) -> None:
        """A second acquire or release does nothing."""
        lock = storage.delivery_right()
        calls = [lock.held]
        lock.release()
        calls += [lock.acquire(), lock.acquire(), lock.held]
        lock.release()
        lock.release()
        calls.append(lock.held)
        assert calls == [False, True, True, True, False]

    def test_an_exclusive_delivery_lock_has_one_holder(self, storage: Storage) -> None:
        """The next one gets it after a release; a lock that is not exclusive has both."""
        first, second = storage.delivery_right(), storage.delivery_right()
        assert first.acquire()
        assert second.acquire() is not first.exclusive
        assert second.held is not first.exclusive
        second.release()
        assert first.held
        first.release()
        assert second.acquire()
        second.release()

    def test_the_delivery_lock_does_not_block_writers(self, storage: Storage) -> None:
        """Anybody may write while somebody delivers."""
        lock = storage.delivery_right()
        assert lock.acquire()
        storage.write(inserting(make_item(1)))
        assert all_rows(storage, ITEMS) == [make_item(1)]
        lock.release()

    def test_one_thread_may_release_a_lock_that_another_acquired(self, storage: Storage) -> None:
        """The lock belongs to the object, not to the thread."""
        lock = storage.delivery_right()
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        thread.join(_BOUND_S)
        lock.release()
        other = storage.delivery_right()
        assert other.acquire()
        other.release()
