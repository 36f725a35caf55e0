"""The public calls of an engine, thin: arguments are checked here, the work is done below.

It is as long as the public interface: a docstring and a line or two for each call.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from bytelyst_sync import blocking_calls
from bytelyst_sync.clock import booted_at
from bytelyst_sync.config.entity import at_least_once, overtaken_by_late_requests
from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.engine_core import EngineCore
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.events.conflict_callbacks import checked_answer, conflict_number
from bytelyst_sync.events.telemetry import SyncStats
from bytelyst_sync.interrupts import interrupted_function, refuse_interrupts
from bytelyst_sync.model import (
    Conflict,
    ItemState,
    Json,
    OperationName,
    RecordChange,
    RecordData,
    RecordView,
    SyncItem,
    SyncOperation,
    SyncResult,
    SyncStatusInfo,
)
from bytelyst_sync.process_hooks import register
from bytelyst_sync.pull.reupload import reupload
from bytelyst_sync.queue.control import repaired_by
from bytelyst_sync.queue.push_request import (
    Expires,
    PushRequest,
    as_operation,
    checked_expiry,
    checked_key,
)
from bytelyst_sync.queue.transactions import open_transaction
from bytelyst_sync.replica.queries import Query, compile_query, conflict_rows, queued_items
from bytelyst_sync.replica.view import look_up
from bytelyst_sync.rules.encode import encode
from bytelyst_sync.rules.ids import record_key
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.commit_effects import as_conflict, as_sync_item
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import SharedStorage
from bytelyst_sync.storage.schema import CONFLICTS

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from bytelyst_sync.aio import AsyncEngine
    from bytelyst_sync.config.keywords import EngineSettings

__all__ = ["SyncEngine", "core_of", "create_sync_engine"]

logger = SafeLogger("bytelyst_sync")
Unsubscribe = Callable[[], None]
ItemIds = str | SyncItem | Iterable[str | SyncItem]
_CreateOrUpdate = Literal["create", "update", SyncOperation.CREATE, SyncOperation.UPDATE]
WhereArgument = Mapping[str, Any] | Callable[[Json], Any] | None


@refuse_interrupts
class SyncEngine:
    """Keeps a program working when the network does not.

    Every method may be called from any thread, also from callbacks. Use it as a context manager,
    or call ``close``. A call after ``close`` raises ``EngineClosedError``. An engine that is
    dropped without ``close`` warns (``ResourceWarning``) and stops.
    """

    def __init__(self, config: SyncConfig) -> None:
        if not isinstance(config, SyncConfig):
            raise TypeError(
                f"SyncEngine takes a SyncConfig, not a {type(config).__name__}; "
                "create_sync_engine(...) takes the settings as keywords"
            )
        self.config = config
        self._core = EngineCore(config)
        self._callbacks = self._core.board.entrust_subscribers()
        register(self._core)
        for name in at_least_once(self._core.entities):
            logger.warning(
                "%s: the server gives the ids and knows no idempotency keys: a create whose "
                "answer is lost is made twice (delivery is at least once)",
                name,
            )
        if isinstance(config.storage, SharedStorage):
            self._warn_of_late_requests()

    def _warn_of_late_requests(self) -> None:
        for name in overtaken_by_late_requests(self._core.entities):
            logger.warning(
                "%s: the server knows neither idempotency keys nor versions: a request that a "
                "frozen worker sends after another one took its item over may undo later changes",
                name,
            )

    def __repr__(self) -> str:
        names = ", ".join(self._core.entities)
        return f"<SyncEngine {self.config.base_url} [{names}] {self._core.board.status}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        core: EngineCore | None = getattr(self, "_core", None)
        if core is None or core.closed or not core.started or sys.is_finalizing():
            return
        core.drop()
        warnings.warn(
            f"{self!r} was dropped without close(): it flushes once and stops",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )

    # --- start and close

    def start(self) -> None:
        """Starts the worker, which the first push, flush or pull would do as well. Idempotent."""
        self._core.running().wake()

    def close(self, timeout: float = 5.0) -> bool:
        """Stops the worker within ``timeout`` seconds and leaves the rest queued. Idempotent.

        False if a request under way did not end in time; the store is then closed when it does.
        In a callback, or in a signal handler that interrupted the package, it does not wait.
        """
        if interrupted_function(sys._getframe(1), requests=True) is not None:  # noqa: SLF001
            self._core.close_elsewhere()
            return False
        return self._core.close(timeout)

    def sign_out(self, wipe: bool = True, force: bool = False) -> None:
        """Ends the account's session and closes the engine.

        Waits up to 5 s for requests under way. Raises ``UnsentChangesError`` if changes were not
        accepted by the server, unless ``force``; the engine then goes on. ``wipe`` deletes the
        local view, the queue, cursors, conflicts, keys and copies that were set aside, also from
        free pages and logs; the next account may use the store. Without it the store stays this
        account's. From another engine on the store, later calls raise ``AccountMismatchError``.
        """
        with self._core.blocking("sign_out()"):
            self._core.sign_out(wipe=wipe, force=force)

    def pause(self) -> None:
        """Stops sending. Pushes are still queued."""
        runtime = self._core.running()
        self._core.board.paused = True
        runtime.worker.pause(True)

    def resume(self) -> None:
        """Continues sending, also after refused credentials."""
        runtime = self._core.running()
        self._core.board.paused = False
        runtime.auth_hold.lift()
        runtime.worker.pause(False)
        runtime.wake()

    # --- changes

    @overload
    def push(
        self,
        entity: str,
        data: RecordData,
        operation: _CreateOrUpdate = "create",
        key: str | None = None,
        expires: Expires | None = None,
    ) -> SyncItem: ...
    @overload
    def push(
        self,
        entity: str,
        data: RecordData,
        operation: OperationName,
        key: str | None = None,
        expires: Expires | None = None,
    ) -> SyncItem | None: ...
    def push(
        self,
        entity: str,
        data: RecordData,
        operation: OperationName = "create",
        key: str | None = None,
        expires: Expires | None = None,
    ) -> SyncItem | None:
        """Queues a change; it is durable when this returns. Never touches the network.

        Returns the queued item, or ``None`` where a delete cancelled a queued create. A create of a
        record that the server is known to hold is queued as an update of these fields.

        ``key`` is the caller's own idempotency key: a second push with the same key and data queues
        nothing and returns the item of the first one. ``expires`` (a ``timedelta``, seconds, or an
        aware ``datetime``) is the time after which the change is not sent, but fails.

        Raises ``UnknownEntityError``, ``InvalidDataError`` (with the path), ``RecordDeletedError``,
        ``QueueFullError``, ``StorageError``; nothing is queued then.
        """
        request = self._request(entity, data, operation)
        if key is not None or expires is not None:
            request = request._replace(
                key=None if key is None else checked_key(key),
                expires=None if expires is None else checked_expiry(expires, request.now),
            )
        return self._core.push([request])[0]

    def create(self, entity: str, data: RecordData, key: str | None = None) -> SyncItem:
        """Queues the create of a record that is not in the local view.

        Raises ``RecordExistsError`` if it is, and what ``push`` raises.
        """
        request = self._request(entity, data, SyncOperation.CREATE)
        named = None if key is None else checked_key(key)
        return self._item(request._replace(call="create", key=named))

    def update(self, entity: str, record_id: str | int, fields: RecordData) -> SyncItem:
        """Queues a change of these fields of a record. Raises what ``push`` raises."""
        known = self._core.entity(entity)
        data = encode(fields, entity, known.json_default)
        return self.push(entity, {**data, known.id_field: record_id}, "update")

    def save(self, entity: str, data: RecordData) -> SyncItem:
        """Queues an update of the record if the local view holds it, else its create.

        Raises what ``push`` raises.
        """
        request = self._request(entity, data, SyncOperation.CREATE)
        return self._item(request._replace(call="save"))

    def push_many(
        self, entity: str, rows: Iterable[RecordData], operation: OperationName = "create"
    ) -> list[SyncItem]:
        """Queues the same operation for many rows in one commit: all of them, or none.

        A delete that cancelled a queued create has no item in the list.
        """
        verb = as_operation(operation)
        known, clock = self._core.entity(entity), self._core.clock
        now = clock.wall()
        booted = booted_at(clock, now)
        requests = [PushRequest.of(known, verb, data, now, booted) for data in rows]
        return [item for item in self._core.push(requests) if item is not None]

    def delete(self, entity: str, record_id: str | int) -> SyncItem | None:
        """Queues a delete."""
        field = self._core.entity(entity).id_field
        return self.push(entity, {field: record_id}, "delete")

    def transaction(self) -> AbstractContextManager[None]:
        """Everything that is pushed or cancelled inside commits together at the end of the block,
        or not at all on an exception; across entities. Inner transactions join the outer one.

        It belongs to the asyncio task, or else the thread, that opened it: pushes of others are
        committed on their own. Left by another one, it raises ``SyncError`` and queues nothing.
        """
        return self._core.transaction()

    def _request(self, entity: str, data: RecordData, operation: OperationName) -> PushRequest:
        core = self._core
        known = core.entities.get(entity) if isinstance(entity, str) else None
        known = known or core.entity(entity)
        now = core.clock.wall()
        booted = booted_at(core.clock, now) if known.compares_times else None
        return PushRequest.of(known, operation, data, now, booted)

    def _item(self, request: PushRequest) -> SyncItem:
        # only a delete has no item
        return cast("SyncItem", self._core.push([request])[0])

    # --- delivery

    def flush(self, timeout: float | None = None) -> SyncResult:
        """Blocks until what was queued at the call is delivered, failed, parked or waiting.

        It does not wait out a backoff, an offline network, refused credentials or a pause;
        offline, it probes once at once. ``timeout`` is in seconds. From a callback it starts the
        work and returns what is known. Raises ``StorageError`` if the store is broken.
        """
        with self._core.blocking("flush()") as runtime:
            return blocking_calls.flush(runtime, timeout)

    def pull(self, entity: str | None = None, timeout: float | None = None) -> SyncResult:
        """Fetches what others changed, of one entity or of all, and applies it page by page.

        ``timeout`` is in seconds. From a callback it starts the work and returns.
        """
        names = list(self._core.entities) if entity is None else [self._core.entity(entity).name]
        with self._core.blocking("pull()") as runtime:
            return blocking_calls.pull(runtime, names, timeout)

    def full_sync(self, timeout: float | None = None) -> SyncResult:
        """Flush, then pull, then flush what conflict resolution queued."""
        with self._core.blocking("full_sync()") as runtime:
            return blocking_calls.full_sync(runtime, list(self._core.entities), timeout)

    def reconcile(self, entity: str, accept: bool = False) -> SyncResult:
        """Lists all of an entity and removes what is gone at the server.

        A record that the listing lacks is read before it is removed, ``batch_size`` of them at
        once and the others later. ``accept=True`` removes all of them, also where so many are
        lacking that the status says ``vanished`` (``max_vanish``).
        """
        names = [self._core.entity(entity).name]
        with self._core.blocking("reconcile()") as runtime:
            return blocking_calls.pull(runtime, names, None, full=True, accept=accept)

    def reupload(self, entity: str, ids: Iterable[str | int] | None = None) -> int:
        """Queues creates of records that are stored here, but that the server has lost because it
        was wiped or restored from a backup; returns how many. ``ids`` names the records.
        """
        known = self._core.entity(entity)
        keys = None if ids is None else {str(each) for each in ids}
        return self._core.write(
            lambda work, run: reupload(work, known, run.outbox, keys), "reupload()"
        )

    def wait(self, item: SyncItem, timeout: float | None = None) -> ItemState:
        """Blocks until this item is acknowledged by the server, failed, parked or cancelled.

        Returns its state, or the state it is in at the timeout (seconds). From a callback it
        returns at once; so it does inside a transaction.
        """
        idle = open_transaction(self._core) is not None
        with self._core.blocking("wait()") as runtime:
            return blocking_calls.wait(runtime, checked_item(item), timeout, idle=idle)

    # --- queued and failed items

    def cancel(self, item: SyncItem) -> bool:
        """Takes a queued item back if it is not frozen; a create takes its record's later items
        with it, and is refused while other queued records refer to it.
        """
        seq = checked_item(item).seq
        return self._core.write(
            lambda work, run: run.control.cancel(
                work, work.effects.follow(run.current_seq(work.tx, seq))
            ),
            "cancel()",
        )

    def reprocess_failed(self, ids: ItemIds | None = None, data: RecordData | None = None) -> int:
        """Queues failed items again with a fresh retry budget; returns how many.

        ``data`` replaces the data of one rejected item; it needs exactly one id.
        """
        chosen = _ids(ids)
        if data is not None and (chosen is None or len(chosen) != 1):
            raise ValueError("data repairs one failed item: give exactly one id with it")
        repair = None if data is None else repaired_by(self._core.entities, data)
        return self._core.write(
            lambda work, run: run.control.reprocess(work, chosen, repair=repair),
            "reprocess_failed()",
        )

    def discard_failed(self, ids: ItemIds | None = None) -> int:
        """Drops failed items, a create with its record's later ones; returns how many."""
        chosen = _ids(ids)
        return self._core.write(
            lambda work, run: run.control.discard_failed(work, chosen), "discard_failed()"
        )

    def clear_queue(self) -> int:
        """Drops the queued items, except those that are being sent; returns how many."""
        return self._core.write(lambda work, run: run.control.clear(work), "clear_queue()")

    def resolve(
        self, conflict: Conflict | str, data: RecordData | Literal["local", "remote"]
    ) -> SyncItem | None:
        """Settles a parked conflict: ``"local"``, ``"remote"``, or a merged record.

        Returns the item that will be sent, if one is needed.
        """
        number = conflict_number(conflict)
        with self._core.blocking("resolve()") as runtime:
            row = runtime.storage.read(lambda tx: tx.get(CONFLICTS, number))
        if row is None:
            raise InvalidDataError(f"there is no conflict {number}", path="conflict")
        answer = checked_answer(self._core.entity(row.entity), as_conflict(row), data)
        seen = conflict if isinstance(conflict, Conflict) else None

        def settle(work: UnitOfWork, run: Runtime) -> SyncItem | None:
            item = run.resolver.resolve(work, number, answer, known=seen)
            return None if item is None else as_sync_item(item)

        return self._core.write(settle, "resolve()")

    # --- reading

    def get(self, entity: str, record_id: str | int) -> Json | None:
        """One record as it is here: the server's last known state with queued changes on top.

        ``None`` if there is none. Raises ``InvalidDataError`` for a local id that was forgotten,
        long after its record was deleted.
        """
        known = self._core.entity(entity)
        key = record_key(record_id, known.name, known.id_field)
        now = self._core.clock.wall()
        return self._core.running().storage.read(lambda tx: look_up(tx, known, key, now))

    def records(
        self,
        entity: str,
        where: WhereArgument = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Json]:
        """The records of the local view, in the order of their ids unless ``order_by`` says else.

        ``where`` is a dict of fields to values, with operators as in ``{"n__gte": 2}`` (``ne``,
        ``gt``, ``gte``, ``lt``, ``lte``, ``in``, ``contains``, ``isnull``), or a function of a
        record. ``order_by`` is a field or a list of fields, with ``-`` for descending. Streams in
        constant memory; ordered by a field without an index, it holds ``limit`` records (all, if
        there is no limit). Raises ``InvalidDataError`` for a query that is wrong, and while
        iterating where a record has a value that cannot be compared.
        """
        return self._query(entity, where, order_by, limit).records()

    def record_views(
        self,
        entity: str,
        where: WhereArgument = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[RecordView]:
        """As ``records``, each with its state: ``synced``, ``pending``, ``sending``, ``failed`` or
        ``conflict``.
        """
        return self._query(entity, where, order_by, limit).views()

    def count(self, entity: str, where: WhereArgument = None) -> int:
        """How many records ``records`` would return."""
        return self._query(entity, where).count()

    def _query(
        self, entity: str, where: object, order_by: object = None, limit: object = None
    ) -> Query:
        core = self._core
        known = core.entity(entity)
        return compile_query(core.running().state, core.entities, known, where, order_by, limit)

    def queue(self) -> Iterator[SyncItem]:
        """The queued items, oldest first."""
        runtime = self._core.running()
        runtime.fold_inbox()
        return queued_items(runtime.storage)

    def failed(self) -> Iterator[SyncItem]:
        """The failed items, oldest first."""
        runtime = self._core.running()
        rows = runtime.storage.read(runtime.control.failed_items)
        return (as_sync_item(row) for row in rows)

    def conflicts(self, resolved: bool = False) -> Iterator[Conflict]:
        """The open conflicts, oldest first; with ``resolved=True`` the settled ones."""
        rows = self._core.running().storage.read(lambda tx: conflict_rows(tx, settled=resolved))
        return (as_conflict(row) for row in rows)

    def settled_conflicts(self) -> Iterator[Conflict]:
        """The settled conflicts, oldest first, with both sides: the one that lost can be
        recovered.
        """
        return self.conflicts(resolved=True)

    @property
    def status(self) -> SyncStatusInfo:
        """The current status."""
        return self._core.board.info()

    @property
    def queue_length(self) -> int:
        """Queued and not yet delivered, exact; neither failed nor in conflict."""
        runtime = self._core.running()
        return runtime.storage.read(runtime.outbox.length)

    @property
    def is_online(self) -> bool:
        """Whether the last use of the network succeeded."""
        return self._core.board.online

    @property
    def aio(self) -> AsyncEngine:
        """The same calls, awaitable, for asyncio programs."""
        from bytelyst_sync.aio import AsyncEngine  # noqa: PLC0415 - asyncio is slow to import

        return AsyncEngine(self)

    def stats(self) -> SyncStats:
        """Numbers of this engine's work since it was created, and of its queue now."""
        info = self._core.board.info()
        return self._core.recorder.stats(info.queue_length, info.failed, info.conflicts)

    # --- callbacks

    def on_status_change(self, callback: Callable[[SyncStatusInfo], object]) -> Unsubscribe:
        """Calls back with every change of the status, once and in order; returns the function
        that unsubscribes.
        """
        self._core.check_open()
        return self._core.board.status_subscribers.add(callback)

    def on_change(
        self, callback: Callable[[RecordChange], object], entity: str | None = None
    ) -> Unsubscribe:
        """Calls back when a record of the local view changed."""
        self._core.check_open()
        return self._core.board.on_change(
            callback, None if entity is None else self._core.entity(entity).name
        )

    def on_failure(self, callback: Callable[[SyncItem], object]) -> Unsubscribe:
        """Calls back when an item was moved to failed."""
        self._core.check_open()
        return self._core.board.failure_subscribers.add(callback)


def core_of(engine: SyncEngine) -> EngineCore:
    """The internal part of an engine, for other modules of this package."""
    return engine._core  # noqa: SLF001 - the module is its own


def checked_item(item: object) -> SyncItem:
    """The item; ``TypeError`` for anything else."""
    if not isinstance(item, SyncItem):
        raise TypeError(f"give the SyncItem that push() returned, not a {type(item).__name__}")
    return item


def _ids(ids: ItemIds | None) -> list[str] | None:
    if ids is None:
        return None
    if isinstance(ids, (str, SyncItem)):
        ids = [ids]
    found = [each.id if isinstance(each, SyncItem) else each for each in ids]
    for each in found:
        if not isinstance(each, str):
            raise TypeError(f"give items, or their ids, not a {type(each).__name__}")
    return found


def create_sync_engine(**settings: Unpack[EngineSettings]) -> SyncEngine:
    """``SyncEngine(SyncConfig(...))``, keyword for keyword.

    A setting that is missing or unknown raises ``ConfigError``, as a wrong value does.
    """
    return SyncEngine(SyncConfig.from_mapping(settings))
