"""engine.aio: the same calls, awaitable; a transaction follows its task."""

import asyncio
import contextlib
import inspect
import itertools
import threading
from asyncio.locks import Event
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import (
    OfflineError,
    RecordView,
    Request,
    SyncConfig,
    SyncEngine,
    UnknownEntityError,
)
from bytelyst_sync.aio import AsyncEngine
from bytelyst_sync.testing import SyncServer
from tests.typed import NewEngine, present

TIMEOUT_S = 10


@pytest.fixture
def engine(server: SyncServer, tmp_path: Path) -> Iterator[SyncEngine]:
    config = SyncConfig(
        base_url=server.url,
        entities={"notes": "/notes"},
        storage=tmp_path / "app.db",
        probe=None,
        auto_flush=False,
    )
    with contextlib.closing(SyncEngine(config)) as engine:
        yield engine


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, TIMEOUT_S))


def test_the_calls_are_those_of_the_engine() -> None:
    def calls(kind: type[AsyncEngine | SyncEngine]) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    elsewhere = {"aio", "stats", "on_change", "on_failure", "on_status_change"}
    assert calls(AsyncEngine) == calls(SyncEngine) - elsewhere
    for name in calls(AsyncEngine):
        here, there = getattr(AsyncEngine, name), getattr(SyncEngine, name)
        if not isinstance(there, property):
            parameters = inspect.signature(here).parameters
            assert list(parameters) == list(inspect.signature(there).parameters), name


def test_a_session(engine: SyncEngine, server: SyncServer) -> None:
    async def main() -> None:
        async with engine.aio as aio:
            item = await aio.push("notes", {"id": "1", "title": "a"})
            await aio.create("notes", {"id": "2"})
            await aio.update("notes", "1", {"done": True})
            await aio.save("notes", {"id": "3"})
            await aio.push_many("notes", [{"id": "4"}, {"id": "5"}])
            await aio.delete("notes", "5")
            assert await aio.queue_length == 4
            assert [each.record_id for each in await aio.queue()] == ["1", "2", "3", "4"]
            assert (await aio.flush(timeout=5)).success
            assert await aio.wait(item, timeout=5) == "delivered"
            assert (await aio.pull(timeout=5)).success
            assert (await aio.full_sync(timeout=5)).success
            assert (present(await aio.get("notes", "1")))["done"] is True
            assert await aio.count("notes") == 4
            assert (await aio.status).queue_length == 0
            assert await aio.is_online
            assert (
                await aio.failed() == await aio.conflicts() == await aio.settled_conflicts() == []  # type: ignore[comparison-overlap]  # both are empty
            )
            assert await aio.close()

    run(main())
    assert set(server.records("notes")) == {"1", "2", "3", "4"}


def test_rows_come_one_by_one_or_all_at_once(engine: SyncEngine) -> None:
    engine.push_many("notes", [{"id": f"{n:04}"} for n in range(250)])

    async def main() -> None:
        rows = engine.aio.records("notes", order_by="-id", limit=230)
        one_by_one = [row["id"] async for row in rows]
        assert one_by_one == [row["id"] for row in await rows]
        assert len(one_by_one) == 230
        async for view in engine.aio.record_views("notes"):
            assert isinstance(view, RecordView)
            break

    run(main())


def test_an_error_is_raised_in_the_task(engine: SyncEngine) -> None:
    with pytest.raises(UnknownEntityError):
        run(engine.aio.push("orders", {}))


class Silent:
    """A server that answers nobody until it is told to."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def send(self, request: Request) -> None:
        self.told.wait(TIMEOUT_S)
        raise OfflineError("nobody there")


def test_the_loop_goes_on_meanwhile(new_engine: NewEngine) -> None:
    silent = Silent()
    engine = new_engine(transport=silent)

    async def main() -> None:
        await engine.aio.push("notes", {"id": "1"})
        flushing = asyncio.create_task(engine.aio.flush())
        for n in range(20):
            await engine.aio.push("notes", {"id": f"more-{n}"})
        assert not flushing.done()
        flushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flushing

    run(main())
    assert engine.queue_length == 21
    silent.told.set()


def test_a_transaction_commits_what_its_task_pushed(engine: SyncEngine) -> None:
    async def main() -> None:
        async with engine.aio.transaction():
            await engine.aio.push("notes", {"id": "1"})
            engine.push("notes", {"id": "2"})
            assert await asyncio.to_thread(seen_elsewhere, engine) == []
        assert await asyncio.to_thread(seen_elsewhere, engine) == ["1", "2"]

    run(main())


def seen_elsewhere(engine: SyncEngine) -> list[str]:
    return [item.record_id for item in engine.queue()]


def test_a_transaction_that_raises_queues_nothing(engine: SyncEngine) -> None:
    async def fail() -> None:
        async with engine.aio.transaction():
            await engine.aio.push("notes", {"id": "1"})
            raise KeyError("no")

    async def main() -> None:
        with pytest.raises(KeyError, match="no"):
            await fail()
        assert await engine.aio.queue_length == 0
        await engine.aio.push("notes", {"id": "2"})
        assert await engine.aio.queue_length == 1

    run(main())


def test_other_tasks_do_not_join_a_transaction(engine: SyncEngine) -> None:
    async def other(opened: Event, done: Event) -> None:
        await opened.wait()
        await engine.aio.push("notes", {"id": "other"})
        done.set()

    async def main() -> None:
        opened, done = asyncio.Event(), asyncio.Event()
        beside = asyncio.create_task(other(opened, done))
        with contextlib.suppress(KeyError):
            async with engine.aio.transaction():
                await engine.aio.push("notes", {"id": "own"})
                opened.set()
                await done.wait()
                # a task that was begun inside is another one as well
                await asyncio.create_task(engine.aio.push("notes", {"id": "child"}))
                raise KeyError("no")
        await beside

    run(main())
    assert sorted(seen_elsewhere(engine)) == ["child", "other"]


def test_tasks_with_a_transaction_each(engine: SyncEngine) -> None:
    async def one(name: str) -> None:
        async with engine.aio.transaction():
            for n in range(5):
                await engine.aio.push("notes", {"id": f"{name}-{n}"})
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(one(name) for name in "abcd"))

    run(main())
    order = [item.record_id[0] for item in engine.queue()]
    assert len(order) == 20
    changes = sum(before != after for before, after in itertools.pairwise(order))
    assert changes == 3, "the commits are mixed"


def test_a_cancelled_wait_ends_its_thread(engine: SyncEngine) -> None:
    engine.pause()
    item = engine.push("notes", {"id": "1"})

    def waiting() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "bytelyst-sync-aio"]

    async def main() -> None:
        task = asyncio.create_task(engine.aio.wait(item))
        while not waiting():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    for thread in waiting():
        thread.join(5)
    assert not waiting()


def test_a_wait_has_its_timeout_and_does_not_wait_in_a_transaction(engine: SyncEngine) -> None:
    engine.pause()

    async def main() -> None:
        item = await engine.aio.push("notes", {"id": "1"})
        assert await engine.aio.wait(item, timeout=0.05) == "pending"
        async with engine.aio.transaction():
            inside = await engine.aio.push("notes", {"id": "2"})
            assert await engine.aio.wait(inside) == "pending"

    run(main())
