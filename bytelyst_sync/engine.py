"""The facade: every public call, thin. What it does is decided below.

It is as long as the public interface: a docstring and a line or two for each call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from bytelyst_sync import syncing
from bytelyst_sync.clock import Clock, SystemClock, patience
from bytelyst_sync.config import SyncConfig
from bytelyst_sync.entity import Entity, at_least_once, compile_entities
from bytelyst_sync.errors import EngineClosedError, InvalidDataError
from bytelyst_sync.flows.asking import checked_answer, conflict_number
from bytelyst_sync.flows.lifecycle import register
from bytelyst_sync.flows.notifier import in_callback
from bytelyst_sync.flows.observer import Observer
from bytelyst_sync.flows.status import StatusBoard, Tally
from bytelyst_sync.flows.tickets import Ticket
from bytelyst_sync.flows.transactions import Buffer
from bytelyst_sync.model import (
    Conflict,
    ItemState,
    RecordChange,
    SyncItem,
    SyncOperation,
    SyncResult,
    SyncStatus,
    SyncStatusInfo,
)
from bytelyst_sync.rules.ids import record_key
from bytelyst_sync.rules.prepare import as_operation
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.state.changes import Change
from bytelyst_sync.state.effects import Effects, as_conflict, as_sync_item
from bytelyst_sync.state.reading import conflict_rows, queued_items, view_records
from bytelyst_sync.state.replica import canonical_key, view
from bytelyst_sync.state.triage import repaired_by
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import CONFLICTS
from bytelyst_sync.telemetry import SyncStats

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SyncEngine", "create_sync_engine"]

logger = logging.getLogger("bytelyst_sync")
T = TypeVar("T")
Json = dict[str, Any]


class _Local(threading.local):
    """What one thread has open."""

    buffer: Buffer | None = None


class SyncEngine:
    """Keeps a program working when the network does not (SPEC §1).

    Every method may be called from any thread, also from callbacks. Use it as a context manager,
    or call ``close``. A call after ``close`` raises ``EngineClosedError``.
    """

    def __init__(self, config: SyncConfig) -> None:
        if not isinstance(config, SyncConfig):
            raise TypeError(
                f"SyncEngine takes a SyncConfig, not a {type(config).__name__}; "
                "create_sync_engine(...) takes the settings as keywords"
            )
        self.config = config
        self._clock: Clock = config.clock or SystemClock()
        self._entities = compile_entities(config)
        self._observer = Observer(config.telemetry, self._clock)
        self._board = StatusBoard(self._clock, self._tally, self._observer)
        self._lock = threading.Lock()
        """Guards ``_runtime`` and ``_closed`` for the length of an assignment."""
        self._runtime: Runtime | None = None
        self._closed = False
        self._last_flush: Ticket | None = None
        self._local = _Local()
        register(self)
        for name in at_least_once(self._entities):
            logger.warning(
                "%s: the server gives the ids and knows no idempotency keys: a create whose "
                "answer is lost is made twice (delivery is at least once)",
                name,
            )

    def __repr__(self) -> str:
        names = ", ".join(self._entities)
        return f"<SyncEngine {self.config.base_url} [{names}] {self._board.status}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- life

    def start(self) -> None:
        """Starts the worker, which the first push, flush or pull would do as well. Idempotent."""
        self._running().wake()

    def close(self, timeout: float = 5.0) -> bool:
        """Stops the worker within ``timeout`` seconds and leaves the rest queued. Idempotent.

        False if a request under way did not end in time; the store is then closed when it does.
        From a callback it asks the worker to stop and does not wait.
        """
        return self._close(timeout, least=0.1)

    def _close(self, timeout: float, least: float) -> bool:
        """``least`` is how long each part is waited for when the time is over, in seconds."""
        deadline = self._clock.monotonic() + patience(timeout)
        with self._lock:
            self._closed = True
            runtime = self._runtime

        def left() -> float:
            return 0.0 if in_callback() else max(least, deadline - self._clock.monotonic())

        stopped = True if runtime is None else runtime.close(left)
        self._board.change(SyncStatus.CLOSED)
        self._board.notifier.close(left())
        self._observer.close(left())
        return stopped

    def pause(self) -> None:
        """The worker sends nothing more; pushes still land."""
        runtime = self._running()
        self._board.paused = True
        runtime.worker.pause(True)

    def resume(self) -> None:
        """Goes on, also after refused credentials."""
        runtime = self._running()
        self._board.paused = False
        runtime.refusal.lift()
        runtime.worker.pause(False)
        runtime.wake()

    # --- changes

    def push(
        self, entity: str, data: Any, operation: str | SyncOperation = SyncOperation.CREATE
    ) -> SyncItem | None:
        """Queues a change; it is durable when this returns. Never touches the network.

        Returns the queued item, or ``None`` where it cancelled a queued create. Raises
        ``UnknownEntityError``, ``InvalidDataError`` (with the path), ``RecordDeletedError``,
        ``QueueFullError``, ``StorageError``; nothing is queued then.
        """
        verb = as_operation(operation)
        change = Change.of(self._entity(entity), verb, data, self._clock.wall())
        buffer = self._buffer()
        if buffer is not None:
            return buffer.add(change)
        return self._write(lambda tx, effects, run: run.outbox.push(tx, change, effects))

    def push_many(
        self,
        entity: str,
        rows: Iterable[Any],
        operation: str | SyncOperation = SyncOperation.CREATE,
    ) -> list[SyncItem]:
        """The same for many in one commit, all or nothing.

        Rows that cancelled a queued create have no item, and are left out of the list.
        """
        verb = as_operation(operation)
        found, now = self._entity(entity), self._clock.wall()
        changes = [Change.of(found, verb, data, now) for data in rows]
        buffer = self._buffer()
        if buffer is not None:
            made = [buffer.add(change) for change in changes]
        else:
            made = self._write(lambda tx, effects, run: run.outbox.push_many(tx, changes, effects))
        return [item for item in made if item is not None]

    def delete(self, entity: str, record_id: str | int) -> SyncItem | None:
        """Queues a delete."""
        field = self._entity(entity).id_field
        return self.push(entity, {field: record_id}, SyncOperation.DELETE)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Every push of this thread inside commits together on exit, or not at all on an
        exception; across entities. Inner transactions join the outer one.
        """
        if self._buffer() is not None:
            yield
            return
        runtime = self._running()
        buffer = Buffer(runtime.outbox, runtime.storage)
        self._local.buffer = buffer
        try:
            yield
        finally:
            self._local.buffer = None
        if buffer.changes:
            self._write(lambda tx, effects, _: buffer.commit(tx, effects))
            buffer.committed()

    def _buffer(self) -> Buffer | None:
        return self._local.buffer

    # --- delivery

    def flush(self, timeout: float | None = None) -> SyncResult:
        """Blocks until what was queued at the call is delivered, failed, parked or waiting.

        It does not wait out a backoff, an offline network, refused credentials or a pause;
        offline, it probes once at once. ``timeout`` is in seconds. From a callback it starts the
        work and returns what is known. Raises ``StorageError`` if the store is broken.
        """
        return syncing.flush(self._running(), timeout)

    def pull(self, entity: str | None = None, timeout: float | None = None) -> SyncResult:
        """Fetches what others changed, of one entity or of all, and applies it page by page.

        ``timeout`` is in seconds. From a callback it starts the work and returns.
        """
        names = list(self._entities) if entity is None else [self._entity(entity).name]
        return syncing.pull(self._running(), names, timeout)

    def full_sync(self, timeout: float | None = None) -> SyncResult:
        """Flush, then pull, then flush what conflict resolution queued."""
        return syncing.full_sync(self._running(), list(self._entities), timeout)

    def reconcile(self, entity: str) -> SyncResult:
        """Lists all of an entity and removes what is gone at the server."""
        return syncing.pull(self._running(), [self._entity(entity).name], None, full=True)

    def wait(self, item: SyncItem, timeout: float | None = None) -> ItemState:
        """Blocks until this item is acknowledged by the server, failed, parked or cancelled.

        Returns its state, or the state it is in at the timeout (seconds). From a callback it
        returns at once.
        """
        return syncing.wait(self._running(), checked_item(item), timeout)

    # --- taking back

    def cancel(self, item: SyncItem) -> bool:
        """Takes a queued item back if it is not frozen; a create takes its record's later items
        with it, and is refused while other queued records refer to it.
        """
        place = checked_item(item).place
        return self._write(
            lambda tx, effects, run: run.triage.cancel(tx, run.outcomes.follow(place), effects)
        )

    def reprocess_failed(
        self, ids: Iterable[str | SyncItem] | None = None, data: Any = None
    ) -> int:
        """Failed items go back with a fresh retry budget; returns how many.

        ``data`` repairs a rejected one, if exactly one id is given.
        """
        chosen = _ids(ids)
        if data is not None and (chosen is None or len(chosen) != 1):
            raise ValueError("data repairs one failed item: give exactly one id with it")
        repair = None if data is None else repaired_by(self._entities, data)
        now = self._clock.wall()
        return self._write(
            lambda tx, effects, run: run.triage.reprocess(
                tx, chosen, effects, now=now, repair=repair
            )
        )

    def discard_failed(self, ids: Iterable[str | SyncItem] | None = None) -> int:
        """Drops failed items, a create with its record's later ones; returns how many."""
        chosen = _ids(ids)
        return self._write(lambda tx, effects, run: run.triage.discard_failed(tx, chosen, effects))

    def clear_queue(self) -> int:
        """Drops what is queued, but what is being sent right now; returns how many."""
        return self._write(lambda tx, effects, run: run.triage.clear(tx, effects))

    def resolve(self, conflict: Conflict | str, data: Json | str) -> SyncItem | None:
        """Settles a parked conflict: ``"local"``, ``"remote"``, or a merged record.

        Returns the item that will be sent, if one is needed.
        """
        number = conflict_number(conflict)
        row = self._running().storage.read(lambda tx: tx.get(CONFLICTS, number))
        if row is None:
            raise InvalidDataError(f"there is no conflict {number}", path="conflict")
        answer = checked_answer(self._entity(row.entity), row.record, data)
        seen = conflict if isinstance(conflict, Conflict) else None
        now = self._clock.wall()

        def settle(tx: Transaction, effects: Effects, run: Runtime) -> SyncItem | None:
            item = run.resolver.resolve(tx, number, answer, effects, now, seen=seen)
            return None if item is None else as_sync_item(item)

        return self._write(settle)

    # --- looking

    def get(self, entity: str, record_id: str | int) -> Json | None:
        """One record as it is here: the server's last known state with queued changes on top."""
        found = self._entity(entity)
        key = record_key(record_id, found.name, found.id_field)
        storage = self._running().storage
        return storage.read(lambda tx: view(tx, found, canonical_key(tx, found, key)))

    def records(self, entity: str, where: Mapping[str, Any] | None = None) -> Iterator[Json]:
        """The same for all records, in the order of their ids, streamed in constant memory."""
        found = self._entity(entity)
        return view_records(self._running().storage, found, dict(where or {}))

    def queue(self) -> Iterator[SyncItem]:
        """What is queued, oldest first."""
        return queued_items(self._running().storage)

    def failed(self) -> Iterator[SyncItem]:
        """The failed items, oldest first."""
        runtime = self._running()
        rows = runtime.storage.read(lambda tx: list(runtime.triage.failed_items(tx)))
        return (as_sync_item(row) for row in rows)

    def conflicts(self, resolved: bool = False) -> Iterator[Conflict]:
        """The open conflicts, oldest first; with ``resolved=True`` the settled ones."""
        rows = self._running().storage.read(lambda tx: conflict_rows(tx, settled=resolved))
        return (as_conflict(row) for row in rows)

    @property
    def status(self) -> SyncStatusInfo:
        """The engine at this instant."""
        return self._board.info()

    @property
    def queue_length(self) -> int:
        """Queued and not yet delivered, exact; neither failed nor in conflict."""
        runtime = self._running()
        return runtime.storage.read(runtime.outbox.length)

    @property
    def is_online(self) -> bool:
        """Whether the network was there when it was last needed."""
        return self._board.online

    def stats(self) -> SyncStats:
        """Numbers of this engine's work since it was made, and of its queue at this instant."""
        info = self._board.info()
        return self._observer.stats(info.queue_length, info.failed, info.conflicts)

    # --- hearing

    def on_status_change(self, callback: Callable[[SyncStatusInfo], object]) -> Callable[[], None]:
        """Calls back with every change of the status, once and in order; returns the function
        that unsubscribes.
        """
        self._check_open()
        return self._board.status_subscribers.add(callback)

    def on_change(
        self, callback: Callable[[RecordChange], object], entity: str | None = None
    ) -> Callable[[], None]:
        """Calls back when a record of the local view changed."""
        self._check_open()
        return self._board.on_change(
            callback, None if entity is None else self._entity(entity).name
        )

    def on_failure(self, callback: Callable[[SyncItem], object]) -> Callable[[], None]:
        """Calls back when an item was moved to failed."""
        self._check_open()
        return self._board.failure_subscribers.add(callback)

    # --- behind it

    def _entity(self, name: str) -> Entity:
        self._check_open()
        return self._entities.named(name)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosedError("the engine is closed; make a new one")

    def _running(self) -> Runtime:
        runtime = self._runtime
        if runtime is not None and not self._closed:
            return runtime
        self._check_open()
        made = Runtime(self.config, self._entities, self._board, self._clock)
        with self._lock:
            self._check_open()
            if self._runtime is None:
                self._runtime = made
            return self._runtime

    def _write(self, work: Callable[[Transaction, Effects, Runtime], T]) -> T:
        """One durable transaction; then everybody hears of it and the worker is woken."""
        runtime = self._running()

        def run(tx: Transaction) -> tuple[T, Effects]:
            effects = runtime.new_effects()
            return work(tx, effects, runtime), effects

        def then(done: tuple[T, Effects]) -> None:
            runtime.publish(done[1])
            runtime.worker.poke()

        return runtime.storage.write(run, then)[0]

    def _tally(self) -> Tally:
        runtime = self._runtime
        if runtime is None:
            if self._closed:
                return Tally()
            runtime = self._running()
        return runtime.tally()

    @property
    def exit_timeout(self) -> float:
        """Seconds that the flush at exit may take."""
        return self.config.exit_timeout

    def begin_last_flush(self) -> None:
        """At the interpreter's exit: asks for one flush, if anything is queued."""
        runtime = self._runtime
        if runtime is None or self._closed or runtime.worker.paused:
            return
        if runtime.storage.read(runtime.outbox.length):
            self._last_flush = syncing.ask(runtime)

    def await_last_flush(self, timeout: float) -> None:
        """At the interpreter's exit: waits for it; what is left stays queued."""
        if self._last_flush is not None:
            self._last_flush.wait(timeout)

    def end(self, timeout: float) -> bool:
        """At the interpreter's exit: closes, waiting no longer than this."""
        return self._runtime is None or self._close(timeout, least=0.0)

    def after_fork(self) -> None:
        """In a forked child: what is open belongs to the parent; all starts anew on first need."""
        self._lock = threading.Lock()
        self._local = _Local()
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.after_fork()
        self._board.after_fork()


def checked_item(item: object) -> SyncItem:
    """The item; ``TypeError`` for anything else."""
    if not isinstance(item, SyncItem):
        raise TypeError(f"give the SyncItem that push() returned, not a {type(item).__name__}")
    return item


def _ids(ids: Iterable[str | SyncItem] | None) -> list[str] | None:
    if ids is None:
        return None
    if isinstance(ids, (str, SyncItem)):
        ids = [ids]
    return [each.id if isinstance(each, SyncItem) else each for each in ids]


def create_sync_engine(**settings: Any) -> SyncEngine:
    """``SyncEngine(SyncConfig(...))``, keyword for keyword.

    A setting that is missing or unknown raises ``ConfigError``, as a wrong value does.
    """
    return SyncEngine(SyncConfig.from_mapping(settings))
