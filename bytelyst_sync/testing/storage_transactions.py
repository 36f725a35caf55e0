"""The contract of a store, part two: transactions, threads, and the right to deliver."""

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
    """What a store does; see ``testing.storage``."""

    # -- transactions ----------------------------------------------------------------------------

    def test_a_write_returns_what_its_work_returns(self, storage: Storage) -> None:
        """And so does a read."""
        assert storage.write(lambda _: "written") == "written"
        assert storage.read(lambda _: "read") == "read"

    @pytest.mark.parametrize(
        "kind", [RefusedError, KeyboardInterrupt], ids=lambda kind: kind.__name__
    )
    def test_an_exception_undoes_everything(
        self, storage: Storage, kind: type[BaseException]
    ) -> None:
        """Inserts, changes, deletes and numbers, in all tables; it is raised as it is."""
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

    def test_an_exception_in_a_read_is_raised_as_it_is(self, storage: Storage) -> None:
        """And the store goes on."""

        def refused(_: Reader) -> None:
            raise RefusedError

        with pytest.raises(RefusedError):
            storage.read(refused)
        assert storage.read(lambda reader: reader.count(ITEMS)) == 0

    def test_then_is_called_after_the_commit(self, storage: Storage) -> None:
        """With the result, on the same thread, when every lock is free; not after an error."""
        seen: list[Any] = []

        def then(result: str) -> None:
            seen.append((result, threading.get_ident()))
            seen.append(all_rows(storage, ITEMS))
            storage.write(inserting(make_item(2)))

        def work(tx: Transaction) -> str:
            tx.insert(ITEMS, make_item(1))
            assert not seen
            return "done"

        assert storage.write(work, then) == "done"
        assert seen == [("done", threading.get_ident()), [make_item(1)]]
        assert all_rows(storage, ITEMS) == [make_item(1), make_item(2)]

        def refused(_: Transaction) -> str:
            raise RefusedError

        with pytest.raises(RefusedError):
            storage.write(refused, then)
        assert len(seen) == 2

    def test_then_sees_other_threads_get_through(self, storage: Storage) -> None:
        """No lock is held while it runs."""
        got: list[int] = []

        def then(_: object) -> None:
            other = threading.Thread(
                target=lambda: got.append(storage.write(lambda tx: tx.next_number()))
            )
            other.start()
            other.join(_BOUND_S)

        storage.write(lambda _: None, then)
        assert len(got) == 1

    def test_a_reader_sees_whole_transactions_only(self, storage: Storage) -> None:
        """Each commit moves a pair of rows; no view ever has one without the other."""
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

    def test_a_view_stays_as_it_was_when_it_began(self, storage: Storage) -> None:
        """Two looks in one ``read`` agree, whatever is committed meanwhile."""
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

    def test_concurrent_writers_each_get_their_own(self, storage: Storage) -> None:
        """Eight threads; a third of the transactions fail, and undo only themselves."""
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
        told = {}
        for name, mine in outcomes.items():
            assert [result[0] for result in mine] == [name] * 24
            assert [result[1] for result in mine[::3]] == list(range(0, 24, 3))
            told.update({number: name for step, (_, number) in enumerate(mine) if step % 3})
        assert len(told) == 8 * 16
        assert rows == told
        assert len(all_rows(storage, META)) == 8 * 16
        assert storage.read(lambda reader: reader.counts(ITEMS)) == {
            (Lane.READY, name): 16 for name in outcomes
        }

    # -- the store -------------------------------------------------------------------------------

    def test_a_closed_store_opens_again(self, storage: Storage) -> None:
        """With all that was in it; closing twice is closing once."""
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

    def test_changes_gives_a_token_that_stays_while_nothing_happens(self, storage: Storage) -> None:
        """Reading is nothing."""
        storage.write(inserting(make_item(1)))
        token = storage.changes()
        storage.read(lambda reader: list(reader.scan(ITEMS)))
        assert storage.changes() == token

    # -- the right to deliver --------------------------------------------------------------------

    def test_the_right_is_not_held_at_first(self, storage: Storage) -> None:
        """Acquiring and releasing twice is doing it once."""
        right = storage.delivery_right()
        seen = [right.held]
        right.release()
        seen += [right.acquire(), right.acquire(), right.held]
        right.release()
        right.release()
        seen.append(right.held)
        assert seen == [False, True, True, True, False]

    def test_an_exclusive_right_has_one_holder(self, storage: Storage) -> None:
        """The next one gets it when it is released; elsewhere both get it."""
        first, second = storage.delivery_right(), storage.delivery_right()
        assert first.acquire()
        assert second.acquire() is not first.exclusive
        assert second.held is not first.exclusive
        second.release()
        assert first.held
        first.release()
        assert second.acquire()
        second.release()

    def test_the_right_does_not_stop_writers(self, storage: Storage) -> None:
        """Anybody may push while somebody delivers."""
        right = storage.delivery_right()
        assert right.acquire()
        storage.write(inserting(make_item(1)))
        assert all_rows(storage, ITEMS) == [make_item(1)]
        right.release()

    def test_one_thread_may_release_what_another_acquired(self, storage: Storage) -> None:
        """The right belongs to the handle."""
        right = storage.delivery_right()
        thread = threading.Thread(target=right.acquire)
        thread.start()
        thread.join(_BOUND_S)
        right.release()
        other = storage.delivery_right()
        assert other.acquire()
        other.release()
