"""The internal part of an engine: its runtime, which is created at first use, and its end.

Who owns what: ``_lock`` guards ``_runtime`` and ``closed`` for the length of an assignment. The
engine's threads refer to this object and never to ``SyncEngine``, so that Python notices when a
program drops its engine without closing it.
"""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol, TypeVar

from bytelyst_sync import blocking_calls
from bytelyst_sync.clock import Clock, SystemClock, clamp_timeout
from bytelyst_sync.config.entity import Entity, compile_entities
from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.delivery.flush_requests import FlushRequest
from bytelyst_sync.errors import EngineClosedError, SyncError, UnsentChangesError
from bytelyst_sync.events.notifier import in_callback
from bytelyst_sync.events.status import QueueCounts, StatusBoard
from bytelyst_sync.events.telemetry_recorder import TelemetryRecorder
from bytelyst_sync.interrupts import HandlerWatch
from bytelyst_sync.model import ItemState, SyncItem, SyncStatus
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.queue.transactions import OpenTransaction, open_transaction, opened
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.closable import ClosableSharedStorage
from bytelyst_sync.storage.forking import FORK_REMEDY
from bytelyst_sync.storage.location import open_storage

__all__ = ["Companion", "EngineCore"]

T = TypeVar("T")
_CLOSE_S = 5.0
_IN_FLIGHT_S = 5.0
"""How long signing out waits for requests that are under way."""
_LEAST_WAIT_S = 0.1
"""How long ``close`` waits for each part when its timeout is over."""


class Companion(Protocol):
    """A thread that works with an engine, and ends with it."""

    def close(self, timeout: float) -> bool:
        """Ends the thread; true if it ended in time."""
        ...

    def after_fork(self) -> None:
        """In a forked child: the thread stays with the parent."""
        ...


class EngineCore:
    """One engine without its public calls."""

    def __init__(self, config: SyncConfig) -> None:
        self.config = config
        self.clock: Clock = config.clock or SystemClock()
        self.entities = compile_entities(config)
        self.recorder = TelemetryRecorder(config.telemetry, self.clock)
        self.board = StatusBoard(self.clock, self._counts, self.recorder)
        self.storage = open_storage(
            config.storage, durability=config.durability, account=config.account
        )
        self.closed = False
        self.dropped = False
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._runtime: Runtime | None = None
        self._last_flush: FlushRequest | None = None
        self._companions: list[Companion] = []

    @property
    def started(self) -> bool:
        """Whether there is anything to close: a store, a worker, connections."""
        return self._runtime is not None

    def check_open(self) -> None:
        """Raises ``EngineClosedError`` after ``close``."""
        if self.closed:
            raise EngineClosedError("the engine is closed; make a new one")

    def entity(self, name: str) -> Entity:
        """The entity of that name."""
        self.check_open()
        return self.entities.named(name)

    def running(self) -> Runtime:
        """The runtime, created at first use."""
        runtime = self._runtime
        if runtime is not None and not self.closed and runtime.opened:
            if self._pid != os.getpid():
                raise SyncError(
                    "this process was forked without Python's hooks, so that this engine has no"
                    f" thread here and nothing would be delivered: {FORK_REMEDY}"
                )
            return runtime
        self.check_open()
        self._pid = os.getpid()
        new = runtime
        if new is None:
            new = Runtime(self.config, self.entities, self.board, self.clock, self.storage)
        if not self.joined:  # else at the first use outside of the application's transaction
            self._open_queue(new)
        with self._lock:
            self.check_open()
            if self._runtime is None:  # else another thread was faster
                new.report_to_board()
                self._runtime = new
            return self._runtime

    def _open_queue(self, runtime: Runtime) -> None:
        try:
            runtime.open_queue()
        except BaseException:
            with suppress(SyncError):
                self.storage.close()
            raise

    @property
    def joined(self) -> bool:
        """Whether this thread has a transaction of the application open on the store's database."""
        return bool(getattr(self.storage, "joined", False))

    @contextmanager
    def blocking(self, call: str) -> Iterator[Runtime]:
        """For calls that wait for delivery or change what is queued: they cannot be part of a
        transaction of the application. In that of a test case, the package's threads use the
        test's connection, and end with the call.
        """
        if self.joined:
            raise SyncError(
                f"{call} was called inside transaction.atomic(): it would wait for, or lock, what"
                " no other process sees before that ends. Call it after the transaction, for"
                " example with transaction.on_commit(...)"
            )
        lending = getattr(self.storage, "lending", None)
        if lending is None:
            yield self.running()
            return
        with lending() as lent:
            try:
                yield self.running()
            finally:
                if lent:
                    self._end_runtime()

    def _end_runtime(self) -> None:
        """Ends all threads and connections; the next use makes new ones."""
        with self._lock:
            runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.close(lambda: _CLOSE_S)

    def write(
        self, rule: Callable[[UnitOfWork, Runtime], T], call: str = "a change of the queue"
    ) -> T:
        """Runs a rule in one durable transaction, or in the one that is open; wakes the worker.

        ``call`` names it in an error.
        """
        with self.blocking(call) as runtime:
            return self._write(runtime, rule)

    def _write(self, runtime: Runtime, rule: Callable[[UnitOfWork, Runtime], T]) -> T:
        transaction = open_transaction(self)
        if transaction is not None:
            return transaction.run(lambda work: rule(work, runtime))
        runtime.fold_inbox()
        result = runtime.state.write(lambda work: rule(work, runtime))
        runtime.wake_after_push()
        return result

    def push(self, requests: Sequence[PushRequest]) -> list[SyncItem | None]:
        """Queues operations in one durable transaction, or in the one that is open."""
        runtime = self.running()
        try:
            if runtime.inbox is not None:
                return list(
                    runtime.inbox.push(requests, runtime.outbox.length, runtime.wake_after_push)
                )
            transaction = open_transaction(self)
            if transaction is not None:
                items = transaction.push(runtime.outbox, requests)
                runtime.outcomes.expect(transaction.handles[-len(requests) :])
                return items
            items = runtime.state.write(partial(runtime.outbox.push, requests=requests))
        except SyncError:
            runtime.start_delivery()
            raise
        runtime.worker.wake_after_push()
        return items

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See ``SyncEngine.transaction``."""
        if open_transaction(self) is not None:
            yield
            return
        runtime = self.running()
        if isinstance(runtime.storage, ClosableSharedStorage):
            with runtime.storage.atomic():
                yield
            return
        transaction = OpenTransaction(runtime.state, HandlerWatch().in_handler)
        try:
            with opened(self, transaction):
                yield
            if transaction.commit():
                runtime.worker.wake_after_push()
        except BaseException as error:
            if isinstance(error, SyncError):
                runtime.start_delivery()
            cancelled = dict.fromkeys(transaction.handles, ItemState.CANCELLED)
            runtime.outcomes.add(CommitEffects(outcomes=cancelled))
            raise

    def _counts(self) -> QueueCounts:
        runtime = self._runtime
        if runtime is None:
            if self.closed:
                return QueueCounts()
            runtime = self.running()
        return runtime.counts()

    # --- the end

    def accompany(self, companion: Companion) -> None:
        """Closes it with the engine, before the store is closed."""
        with self._lock:
            self.check_open()
            self._companions.append(companion)

    def close(self, timeout: float, least: float = _LEAST_WAIT_S) -> bool:
        """Closes within ``timeout``; each part is waited for ``least`` seconds at least."""
        deadline = self.clock.monotonic() + clamp_timeout(timeout)
        with self._lock:
            self.closed = True
            runtime = self._runtime

        def left() -> float:
            return 0.0 if in_callback() else max(least, deadline - self.clock.monotonic())

        for each in tuple(self._companions):
            each.close(left())
        stopped = True if runtime is None else runtime.close(left)
        self.board.change(SyncStatus.CLOSED)
        self.board.notifier.close(left())
        self.recorder.close(left())
        return stopped

    def close_elsewhere(self) -> None:
        """Closes on another thread, without waiting: this thread may hold any lock."""
        self.closed = True
        with suppress(RuntimeError):  # the interpreter is about to exit: its exit hook closes
            _thread.start_new_thread(self._close_quietly, ())

    def sign_out(self, *, wipe: bool, force: bool) -> None:
        """Ends the account's session; see ``SyncEngine.sign_out``."""
        runtime = self.running()
        was_paused = self.board.paused
        runtime.worker.pause(True)
        try:
            # a paused flush ends with the requests that are under way
            blocking_calls.flush(runtime, _IN_FLIGHT_S)

            def check(tx: Reader) -> None:
                if not force:
                    _refuse_unsent(*runtime.outbox.counts(tx))

            if wipe:
                runtime.storage.wipe(unless=check)
            else:
                runtime.storage.read(check)
        except BaseException:
            runtime.worker.pause(was_paused)
            raise
        self.close(_IN_FLIGHT_S)

    def drop(self) -> None:
        """The program has dropped the engine: flushes as at exit and closes, on another thread.

        Takes no lock, because a finalizer may run while its thread holds any; ``threading.Thread``
        takes one too.
        """
        self.dropped = True
        with suppress(RuntimeError):  # the interpreter is about to exit: its exit hook closes
            _thread.start_new_thread(self._flush_and_close, ())

    def _flush_and_close(self) -> None:
        with suppress(Exception):
            if self.exit_timeout > 0:
                self.begin_last_flush()
                self.await_last_flush(self.exit_timeout)
        self._close_quietly()

    def _close_quietly(self) -> None:
        with suppress(Exception):
            self.close(_CLOSE_S)

    # --- the hooks of fork and exit

    @property
    def exit_timeout(self) -> float:
        """Seconds that the flush at the interpreter's exit may take."""
        return self.config.exit_timeout

    def begin_last_flush(self) -> None:
        """At exit: requests one flush, if anything is queued."""
        runtime = self._runtime
        if runtime is None or self.closed or runtime.worker.paused:
            return
        if runtime.storage.read(runtime.outbox.length):
            self._last_flush = blocking_calls.ask(runtime)

    def await_last_flush(self, timeout: float) -> None:
        """At exit: waits for that flush; items that are left stay queued."""
        if self._last_flush is not None:
            self._last_flush.wait(timeout)

    def end(self, timeout: float) -> bool:
        """At exit: closes within the timeout."""
        return self._runtime is None or self.close(timeout, least=0.0)

    def after_fork(self) -> None:
        """In a forked child: drops the runtime, which belongs to the parent; a new one is created
        at first use.
        """
        self._lock = threading.Lock()
        self._pid = os.getpid()
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.after_fork()
        for each in self._companions:
            each.after_fork()
        self.board.after_fork()


def _refuse_unsent(queued: int, failed: int, parked: int) -> None:
    if queued + failed + parked:
        raise UnsentChangesError(
            f"{queued} queued, {failed} failed and {parked} changes in conflict were not accepted"
            " by the server: flush() and decide them first, or discard them with"
            " sign_out(force=True)",
            queued=queued,
            failed=failed,
            parked=parked,
        )
