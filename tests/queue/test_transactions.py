"""transaction(): whose calls it takes in, and that its items are final."""

import asyncio
import contextvars
import copy
import threading
from asyncio.locks import Event
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, InvalidDataError, ItemState, SyncEngine, SyncError, SyncItem
from bytelyst_sync.queue.transactions import acting_for, current_owner
from bytelyst_sync.testing import SyncServer
from tests.typed import NewEngine

ENTITIES = {
    "notes": "/notes",
    "texts": EntityConfig("/texts", dedup="content", id_source="server"),
    "pages": EntityConfig("/pages", references={"text": "texts"}),
}


@pytest.fixture
def engine(new_engine: NewEngine) -> SyncEngine:
    return new_engine(entities=ENTITIES)


def queued(engine: SyncEngine) -> list[str]:
    return [item.record_id for item in engine.queue()]


# --- whose calls


def test_a_push_after_it_was_left_in_another_thread_is_queued(engine: SyncEngine) -> None:
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        block = engine.transaction()
        one.submit(block.__enter__).result()
        one.submit(engine.push, "notes", {"id": "inside"}).result()
        two.submit(engine.push, "notes", {"id": "elsewhere"}).result()
        left = two.submit(block.__exit__, None, None, None).exception()
        assert isinstance(left, SyncError)
        assert "left by another task or thread" in str(left)
        one.submit(engine.push, "notes", {"id": "later"}).result()
    assert queued(engine) == ["elsewhere", "later"]


def test_a_thread_with_a_copy_of_the_context_does_not_join(engine: SyncEngine) -> None:
    with engine.transaction():
        engine.push("notes", {"id": "mine"})
        context = contextvars.copy_context()
        other = threading.Thread(target=context.run, args=(engine.push, "notes", {"id": "theirs"}))
        other.start()
        other.join(10)
        assert queued(engine) == ["theirs"]
    assert queued(engine) == ["theirs", "mine"]


def test_across_await_other_tasks_do_not_join(engine: SyncEngine) -> None:
    async def other(entered: Event, done: Event) -> SyncItem:
        await entered.wait()
        item = engine.push("notes", {"id": "other"})
        assert queued(engine) == ["other"]
        done.set()
        return item

    async def child() -> None:
        engine.push("notes", {"id": "child"})

    async def main() -> SyncItem:
        entered, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(other(entered, done))
        with engine.transaction():
            engine.push("notes", {"id": "before"})
            entered.set()
            await done.wait()
            await asyncio.create_task(child())
            assert queued(engine) == ["other", "child"]
            engine.push("notes", {"id": "after"})
        return await task

    item = asyncio.run(main())
    assert queued(engine) == ["other", "child", "before", "after"]
    assert item.id in {each.id for each in engine.queue()}


def test_a_thread_that_acts_for_the_owner_joins(engine: SyncEngine) -> None:
    with engine.transaction():
        owner, context = current_owner(), contextvars.copy_context()

        def push() -> None:
            with acting_for(owner):
                engine.push("notes", {"id": "a"})

        thread = threading.Thread(target=context.run, args=(push,))
        thread.start()
        thread.join(10)
        assert queued(engine) == []
    assert queued(engine) == ["a"]


def test_another_engines_pushes_do_not_join(engine: SyncEngine, new_engine: NewEngine) -> None:
    second = new_engine(entities=ENTITIES)
    with engine.transaction():
        second.push("notes", {"id": "a"})
        assert queued(second) == ["a"]


def test_one_that_is_never_left_ends_with_its_block(engine: SyncEngine) -> None:
    def open_it() -> None:
        block = engine.transaction()
        block.__enter__()
        engine.push("notes", {"id": "lost"})

    open_it()  # the block is collected here
    engine.push("notes", {"id": "kept"})
    assert queued(engine) == ["kept"]


# --- its items


def test_items_do_not_change_after_they_were_returned(engine: SyncEngine) -> None:
    with engine.transaction():
        items = [engine.push("notes", {"id": each}) for each in "ab"]
        engine.push("notes", {"id": "a", "title": "x"}, "update")
        known, copies = set(items), copy.deepcopy(items)
        values = [(item.seq, hash(item), repr(item)) for item in items]
    assert all(item in known for item in items)
    assert items == copies
    assert [(item.seq, hash(item), repr(item)) for item in items] == values
    assert engine.wait(items[0], timeout=0) is ItemState.PENDING
    assert engine.cancel(items[0])
    assert engine.wait(items[0]) is ItemState.CANCELLED
    assert [item.id for item in engine.queue()] == [items[1].id]


def test_equal_creates_inside_are_one_and_a_child_refers_to_it(engine: SyncEngine) -> None:
    with engine.transaction():
        first = engine.push("texts", {"body": "same"})
        second = engine.push("texts", {"body": "same"})
        engine.push("pages", {"id": "p", "text": second.record_id})
    assert (first.id, first.record_id) == (second.id, second.record_id)
    text, page = engine.queue()
    assert text.id == first.id
    assert page.data["text"] == text.record_id


def test_a_create_equal_to_one_that_was_delivered_before_the_end_is_the_same_record(
    new_engine: NewEngine, sync_server: SyncServer
) -> None:
    engine = new_engine(
        sync_server.url, entities={"texts": EntityConfig("/texts", dedup="content")}
    )
    queued = engine.push("texts", {"body": "same"})
    with engine.transaction():
        inside = engine.push("texts", {"body": "same"})
        other = threading.Thread(target=engine.flush, args=(10,))
        other.start()
        other.join(15)
        assert engine.queue_length == 0
    assert inside.record_id == queued.record_id
    assert engine.flush(timeout=10).success
    assert list(sync_server.records("texts")) == [queued.record_id]


def test_a_call_that_raises_leaves_nothing_behind(engine: SyncEngine) -> None:
    with engine.transaction():
        engine.delete("notes", "b")
        with pytest.raises(SyncError):
            engine.push_many("notes", [{"id": "a"}, {"id": "b"}], "update")
        engine.push("notes", {"id": "a", "title": "x"})
    assert [(item.record_id, item.operation) for item in engine.queue()] == [
        ("b", "delete"),
        ("a", "create"),
    ]


def test_a_transaction_that_fails_cancels_its_items(engine: SyncEngine) -> None:
    def fail() -> None:
        with engine.transaction():
            items.append(engine.push("notes", {"id": "a"}))
            raise LookupError

    items: list[Any] = []
    with pytest.raises(LookupError):
        fail()
    assert engine.wait(items[0], timeout=5) is ItemState.CANCELLED


# --- cancel and wait inside


def test_cancel_inside(engine: SyncEngine) -> None:
    before = engine.push("notes", {"id": "before"})
    with engine.transaction():
        inside = engine.push("notes", {"id": "inside"})
        assert engine.cancel(inside)
        assert engine.cancel(before)
        assert not engine.cancel(before)
        assert queued(engine) == ["before"]
        engine.push("notes", {"id": "kept"})
    assert queued(engine) == ["kept"]
    assert engine.wait(inside) is ItemState.CANCELLED
    assert engine.wait(before) is ItemState.CANCELLED


def test_an_exception_takes_a_cancel_back(engine: SyncEngine) -> None:
    before = engine.push("notes", {"id": "before"})

    def fail() -> None:
        with engine.transaction():
            assert engine.cancel(before)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert queued(engine) == ["before"]


def test_what_was_sent_before_the_end_cannot_be_cancelled(
    new_engine: NewEngine, sync_server: SyncServer
) -> None:
    engine = new_engine(sync_server.url, entities={"notes": "/notes"})
    before = engine.push("notes", {"id": "before"})

    def cancel_too_late() -> None:
        with engine.transaction():
            engine.push("notes", {"id": "other"})
            assert engine.cancel(before)
            other = threading.Thread(target=engine.flush, args=(10,))
            other.start()
            other.join(15)

    with pytest.raises(SyncError, match="sent before its end"):
        cancel_too_late()
    assert queued(engine) == []


def test_waiting_inside_does_not_wait_for_itself(engine: SyncEngine) -> None:
    with engine.transaction():
        item = engine.push("notes", {"id": "a"})
        assert engine.wait(item) is ItemState.PENDING


def test_a_handle_is_found_by_a_later_engine(new_engine: NewEngine, tmp_path: Path) -> None:
    engine = new_engine(entities=ENTITIES, storage=tmp_path / "app.db")
    with engine.transaction():
        item = engine.push("notes", {"id": "a"})
    engine.close()
    later = new_engine(entities=ENTITIES, storage=tmp_path / "app.db")
    assert later.wait(item, timeout=0) is ItemState.PENDING


def test_bad_data_inside_is_refused_at_once(engine: SyncEngine) -> None:
    with engine.transaction():
        with pytest.raises(InvalidDataError):
            engine.push("notes", {"id": "a", "n": float("nan")})
        engine.push("notes", {"id": "b"})
    assert queued(engine) == ["b"]
