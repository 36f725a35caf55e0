"""``engine.aio``: the engine's calls, awaitable, for asyncio programs.

Each call runs in a separate thread, in a copy of its task's context, and counts as a call of that
task: its pushes join the transaction that the task has open. A cancelled task stops waiting, but a
call that has begun continues in its thread, and its pushes stay queued.

A store in Django's database chooses the thread (``run_async``): it is the one in which Django
runs the synchronous code of the task, with its connections.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

from bytelyst_sync.errors import SyncError
from bytelyst_sync.model import (
    Conflict,
    ItemState,
    Json,
    OperationName,
    RecordData,
    RecordView,
    SyncItem,
    SyncOperation,
    SyncResult,
    SyncStatusInfo,
)
from bytelyst_sync.queue.transactions import acting_for, current_owner
from bytelyst_sync.storage.base import SharedStorage

if TYPE_CHECKING:
    from typing_extensions import Self

    from bytelyst_sync.engine import ItemIds, SyncEngine, WhereArgument

__all__ = ["AsyncEngine", "AsyncRows"]

T = TypeVar("T")
P = ParamSpec("P")
Expires = timedelta | float | datetime
_CreateOrUpdate = Literal["create", "update", SyncOperation.CREATE, SyncOperation.UPDATE]
_CHUNK = 100
_WAIT_SLICE_S = 1.0


class InThread(Protocol):
    """Runs a call of a task in a thread."""

    async def __call__(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Its result, or its exception."""
        ...


async def _in_thread(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Runs a call in a daemon thread, as a call of this task."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    owner, context = current_owner(), copy_context()

    def settle(finish: Callable[[Any], None], value: object) -> None:
        if not future.done():  # it was cancelled meanwhile
            finish(value)

    def work() -> T:
        with acting_for(owner):
            return call(*args, **options)

    def run() -> None:
        try:
            outcome: tuple[Callable[[Any], None], object] = future.set_result, context.run(work)
        except BaseException as error:  # noqa: BLE001 - it is raised in the task
            outcome = future.set_exception, error
        with suppress(RuntimeError):  # the loop was closed: nobody waits
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="bytelyst-sync-aio", daemon=True).start()
    return await future


class AsyncRows(Generic[T]):
    """Rows of the store: ``async for row in rows``, or all at once: ``await rows``."""

    def __init__(self, make: Callable[[], Iterator[T]], in_thread: InThread) -> None:
        self._make = make
        self._in_thread = in_thread

    async def __aiter__(self) -> AsyncIterator[T]:
        rows = await self._in_thread(self._make)
        while chunk := await self._in_thread(lambda: list(islice(rows, _CHUNK))):
            for row in chunk:
                yield row

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self._in_thread(lambda: list(self._make())).__await__()


class AsyncEngine:
    """The calls of a ``SyncEngine``, awaitable; each does the same as the call with its name there.

    Properties are awaited too: ``await engine.aio.status``. Subscribe to callbacks on the engine
    itself; they are called on its threads.
    """

    def __init__(self, engine: SyncEngine) -> None:
        self._engine = engine
        self._in_thread: InThread = getattr(engine.config.storage, "run_async", _in_thread)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # --- start and close

    async def start(self) -> None:
        """Starts the worker."""
        await self._in_thread(self._engine.start)

    async def close(self, timeout: float = 5.0) -> bool:
        """Stops the worker within ``timeout`` seconds and leaves the rest queued."""
        return await self._in_thread(self._engine.close, timeout)

    async def sign_out(self, wipe: bool = True, force: bool = False) -> None:
        """Ends the account's session and closes the engine."""
        await self._in_thread(self._engine.sign_out, wipe=wipe, force=force)

    async def pause(self) -> None:
        """Stops sending. Pushes are still queued."""
        await self._in_thread(self._engine.pause)

    async def resume(self) -> None:
        """Continues sending."""
        await self._in_thread(self._engine.resume)

    # --- changes

    @overload
    async def push(
        self,
        entity: str,
        data: RecordData,
        operation: _CreateOrUpdate = "create",
        key: str | None = None,
        expires: Expires | None = None,
    ) -> SyncItem: ...
    @overload
    async def push(
        self,
        entity: str,
        data: RecordData,
        operation: OperationName,
        key: str | None = None,
        expires: Expires | None = None,
    ) -> SyncItem | None: ...
    async def push(
        self,
        entity: str,
        data: RecordData,
        operation: OperationName = "create",
        key: str | None = None,
        expires: Expires | None = None,
    ) -> SyncItem | None:
        """Queues a change; it is durable when this returns."""
        return await self._in_thread(self._engine.push, entity, data, operation, key, expires)

    async def create(self, entity: str, data: RecordData, key: str | None = None) -> SyncItem:
        """Queues the create of a record that is not in the local view."""
        return await self._in_thread(self._engine.create, entity, data, key)

    async def update(self, entity: str, record_id: str | int, fields: RecordData) -> SyncItem:
        """Queues a change of these fields of a record."""
        return await self._in_thread(self._engine.update, entity, record_id, fields)

    async def save(self, entity: str, data: RecordData) -> SyncItem:
        """Queues an update of the record if the local view holds it, else its create."""
        return await self._in_thread(self._engine.save, entity, data)

    async def push_many(
        self, entity: str, rows: Iterable[RecordData], operation: OperationName = "create"
    ) -> list[SyncItem]:
        """Queues many changes in one commit, all or nothing."""
        return await self._in_thread(self._engine.push_many, entity, rows, operation)

    async def delete(self, entity: str, record_id: str | int) -> SyncItem | None:
        """Queues a delete."""
        return await self._in_thread(self._engine.delete, entity, record_id)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Everything that this task pushes inside commits together at the end, or not at all.

        ``SyncError`` on a store in a database that the application uses too: a transaction there
        belongs to one thread, and the calls of a task run in several.
        """
        if isinstance(self._engine.config.storage, SharedStorage):
            raise SyncError(
                "aio.transaction() cannot be used with a store in Django's database: push within"
                " transaction.atomic() in one function, and call that by sync_to_async()"
            )
        block = self._engine.transaction()
        block.__enter__()  # in the task's own context, which its calls copy; it does no I/O
        try:
            yield
        except BaseException as error:
            if not await self._in_thread(block.__exit__, type(error), error, error.__traceback__):
                raise
        else:
            await self._in_thread(block.__exit__, None, None, None)

    # --- delivery

    async def flush(self, timeout: float | None = None) -> SyncResult:
        """Waits until what was queued at the call is delivered, failed, parked or held up."""
        return await self._in_thread(self._engine.flush, timeout)

    async def pull(self, entity: str | None = None, timeout: float | None = None) -> SyncResult:
        """Fetches what others changed, of one entity or of all."""
        return await self._in_thread(self._engine.pull, entity, timeout)

    async def full_sync(self, timeout: float | None = None) -> SyncResult:
        """Flush, then pull, then flush what conflict resolution queued."""
        return await self._in_thread(self._engine.full_sync, timeout)

    async def reconcile(self, entity: str, accept: bool = False) -> SyncResult:
        """Lists all of an entity and removes what is gone at the server."""
        return await self._in_thread(self._engine.reconcile, entity, accept)

    async def reupload(self, entity: str, ids: Iterable[str | int] | None = None) -> int:
        """Queues creates of records that the server lost; returns how many."""
        return await self._in_thread(self._engine.reupload, entity, ids)

    async def wait(self, item: SyncItem, timeout: float | None = None) -> ItemState:
        """Waits until this item is acknowledged by the server, failed, parked or cancelled."""
        now = asyncio.get_running_loop().time
        deadline = math.inf if timeout is None else now() + timeout
        while True:
            # in slices, so that the thread of a cancelled task ends soon
            end = min(deadline, now() + _WAIT_SLICE_S)
            state = await self._in_thread(self._engine.wait, item, max(0.0, end - now()))
            waits = state in (ItemState.PENDING, ItemState.SENDING)
            # inside a transaction it returns before its time
            if not waits or end == deadline or now() < end:
                return state

    # --- queued and failed items

    async def cancel(self, item: SyncItem) -> bool:
        """Takes a queued item back if it is not frozen."""
        return await self._in_thread(self._engine.cancel, item)

    async def reprocess_failed(
        self, ids: ItemIds | None = None, data: RecordData | None = None
    ) -> int:
        """Queues failed items again with a fresh retry budget; returns how many."""
        return await self._in_thread(self._engine.reprocess_failed, ids, data)

    async def discard_failed(self, ids: ItemIds | None = None) -> int:
        """Drops failed items; returns how many."""
        return await self._in_thread(self._engine.discard_failed, ids)

    async def clear_queue(self) -> int:
        """Drops the queued items; returns how many."""
        return await self._in_thread(self._engine.clear_queue)

    async def resolve(
        self, conflict: Conflict | str, data: RecordData | Literal["local", "remote"]
    ) -> SyncItem | None:
        """Settles a parked conflict."""
        return await self._in_thread(self._engine.resolve, conflict, data)

    # --- reading

    async def get(self, entity: str, record_id: str | int) -> Json | None:
        """One record of the local view."""
        return await self._in_thread(self._engine.get, entity, record_id)

    def records(
        self,
        entity: str,
        where: WhereArgument = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> AsyncRows[Json]:
        """The records of the local view."""
        return AsyncRows(
            lambda: self._engine.records(entity, where, order_by, limit), self._in_thread
        )

    def record_views(
        self,
        entity: str,
        where: WhereArgument = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> AsyncRows[RecordView]:
        """The records of the local view with their states."""
        return AsyncRows(
            lambda: self._engine.record_views(entity, where, order_by, limit), self._in_thread
        )

    async def count(self, entity: str, where: WhereArgument = None) -> int:
        """How many records match."""
        return await self._in_thread(self._engine.count, entity, where)

    def queue(self) -> AsyncRows[SyncItem]:
        """The queued items, oldest first."""
        return AsyncRows(self._engine.queue, self._in_thread)

    def failed(self) -> AsyncRows[SyncItem]:
        """The failed items, oldest first."""
        return AsyncRows(self._engine.failed, self._in_thread)

    def conflicts(self, resolved: bool = False) -> AsyncRows[Conflict]:
        """The open conflicts, oldest first; with ``resolved=True`` the settled ones."""
        return AsyncRows(lambda: self._engine.conflicts(resolved), self._in_thread)

    def settled_conflicts(self) -> AsyncRows[Conflict]:
        """The settled conflicts, oldest first."""
        return AsyncRows(self._engine.settled_conflicts, self._in_thread)

    @property
    async def status(self) -> SyncStatusInfo:
        """The current status."""
        return await self._in_thread(lambda: self._engine.status)

    @property
    async def queue_length(self) -> int:
        """Queued and not yet delivered, exact."""
        return await self._in_thread(lambda: self._engine.queue_length)

    @property
    async def is_online(self) -> bool:
        """Whether the last use of the network succeeded."""
        return self._engine.is_online
