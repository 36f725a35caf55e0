"""The calls that wait: flush, pull, full sync, and waiting for one item.

They run in their caller's thread and use a runtime's parts. In a callback they do not wait, because
they might wait for that callback.
"""

from __future__ import annotations

from bytelyst_sync.agent.thread import look_at_commands
from bytelyst_sync.clock import SystemClock, as_datetime, clamp_timeout
from bytelyst_sync.delivery.flush_requests import FlushRequest
from bytelyst_sync.errors import AccountMismatchError, EngineClosedError, StorageError
from bytelyst_sync.events.notifier import in_callback
from bytelyst_sync.model import ItemState, SyncItem, SyncResult
from bytelyst_sync.queue.report import MOST_PROBLEMS, QueueReport, queue_report
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.state.commit_effects import as_sync_item
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, Item

__all__ = ["ask", "flush", "full_sync", "pull", "wait"]

_NOTIFY_WAIT_S = 5.0
"""How long a call waits for the callbacks about its own changes."""
_LOOK_AGAIN_S = 0.25
_CLOCK = SystemClock()
"""Timeouts use the machine's clock, whatever clock the engine uses."""


def ask(run: Runtime) -> FlushRequest:
    """Requests a flush of what is queued now, without waiting."""
    return run.begin_flush()


def flush(run: Runtime, timeout: float | None) -> SyncResult:
    """See ``SyncEngine.flush``."""
    began = _CLOCK.monotonic()
    patient = clamp_timeout(timeout)
    request = ask(run)
    if not in_callback():
        try:
            request.wait(patient)
        finally:
            run.worker.drop(request)
        if isinstance(request.error, (StorageError, AccountMismatchError)):
            raise request.error
        left = patient - (_CLOCK.monotonic() - began)
        run.board.notifier.drain(max(0.0, min(left, _NOTIFY_WAIT_S)))

    def look(tx: Reader) -> QueueReport:
        return queue_report(tx, run.entities, request.upto)

    try:
        report = run.storage.read(look)
    except EngineClosedError:
        # a callback or another thread has closed the engine: the rest is in the store
        info = run.board.info()
        has_left = info.queue_length > 0
        report = QueueReport(info.queue_length, info.failed, info.conflicts, has_left)
    errors = request.errors + (request.error is not None)
    settled = not (report.has_left or report.failed or report.parked)
    return SyncResult(
        success=errors == 0 and not request.offline and settled,
        pushed=request.pushed,
        conflicts=request.conflicts,
        errors=errors,
        timestamp=as_datetime(run.clock.wall()),
        duration=_CLOCK.monotonic() - began,
        remaining=report.remaining,
        failed=report.failed,
        parked=report.parked,
        offline=request.offline,
        problems=report.problems,
    )


def pull(
    run: Runtime,
    names: list[str],
    timeout: float | None,
    *,
    full: bool = False,
    accept: bool = False,
) -> SyncResult:
    """See ``SyncEngine.pull``; ``full`` and ``accept`` as in ``reconcile``."""
    began = _CLOCK.monotonic()
    patient = clamp_timeout(timeout)
    run.worker.start()
    if in_callback():
        run.pull_scheduler.request(names, full=full)
        run.worker.wake()
        remaining = run.storage.read(run.outbox.length)
        now = as_datetime(run.clock.wall())
        return SyncResult(success=False, timestamp=now, remaining=remaining)
    run.credentials.forget_refused()
    done = run.puller.pull(names, patient, full=full, accept=accept)
    if not done.offline:
        _read_stale_records(run, max(0.0, patient - (_CLOCK.monotonic() - began)))
    if done.errors == 0:
        run.pull_scheduler.end_backoff(names)
        look_at_commands(run.agent)
        run.board.note_sync(well=True)
    run.worker.wake()
    run.board.notifier.drain(min(_NOTIFY_WAIT_S, patient))
    return SyncResult(
        success=done.errors == 0 and not done.offline,
        pulled=done.pulled,
        conflicts=done.conflicts,
        errors=done.errors,
        timestamp=as_datetime(run.clock.wall()),
        duration=_CLOCK.monotonic() - began,
        remaining=run.storage.read(run.outbox.length),
        offline=done.offline,
        problems=tuple(done.problems),
    )


def _read_stale_records(run: Runtime, timeout_s: float) -> None:
    """Reads the records that are marked to be read again, for up to this time."""
    deadline = _CLOCK.monotonic() + timeout_s
    run.stale_records.read(lambda: run.closed or _CLOCK.monotonic() >= deadline, timeout_s)


def full_sync(run: Runtime, names: list[str], timeout: float | None) -> SyncResult:
    """See ``SyncEngine.full_sync``."""
    began = _CLOCK.monotonic()

    def left() -> float | None:
        spent = _CLOCK.monotonic() - began
        return None if timeout is None else max(0.0, timeout - spent)

    first = flush(run, left())
    pulled = pull(run, names, left())
    parts = [first, pulled, flush(run, left())]
    offline = any(part.offline for part in parts)
    if not (offline or in_callback()) and run.stale_records.wait_s() is not None:
        # an answer of the last flush may be older than the pull
        _read_stale_records(run, clamp_timeout(left()))
        parts.append(flush(run, left()))
    last = parts[-1]
    return SyncResult(
        success=pulled.success and last.success and not any(part.errors for part in parts),
        pushed=sum(part.pushed for part in parts),
        pulled=sum(part.pulled for part in parts),
        conflicts=sum(part.conflicts for part in parts),
        errors=sum(part.errors for part in parts),
        timestamp=last.timestamp,
        duration=_CLOCK.monotonic() - began,
        remaining=last.remaining,
        failed=last.failed,
        parked=last.parked,
        offline=any(part.offline for part in parts),
        problems=tuple(each for part in (pulled, last) for each in part.problems)[:MOST_PROBLEMS],
    )


def wait(run: Runtime, item: SyncItem, timeout: float | None, *, idle: bool = False) -> ItemState:
    """See ``SyncEngine.wait``. With ``idle`` it does not wait: the caller has a transaction open,
    and nothing of that is sent before its end.
    """
    run.wake()
    longest = 0.0 if idle or in_callback() else clamp_timeout(timeout)
    deadline = _CLOCK.monotonic() + longest
    looked_again = False
    while True:
        if run.closed:
            raise EngineClosedError(
                f"the engine was closed before {item.entity}/{item.record_id} was settled"
            )
        generation = run.outcomes.generation
        state = _state(run, item)
        left = deadline - _CLOCK.monotonic()
        if state is None and not looked_again:
            # the item may have left the queue in a commit whose outcome is about to be added
            looked_again = True
            run.outcomes.wait(generation, max(0.0, min(left, _LOOK_AGAIN_S)))
            continue
        if state is None:
            return ItemState.SETTLED
        if state not in (ItemState.PENDING, ItemState.SENDING) or left <= 0:
            return state
        run.outcomes.wait(generation, min(left, _LOOK_AGAIN_S))


def _state(run: Runtime, item: SyncItem) -> ItemState | None:
    """The state of the item; ``None``: it left the queue, and this engine did not see how."""
    if run.outcomes.expects(item.seq):
        return ItemState.PENDING
    inbox = run.inbox
    if inbox is not None:
        return run.storage.read(lambda tx: inbox.state_of(tx, item.seq))
    seq = run.outcomes.follow(item.seq)

    def look(tx: Reader) -> Item | None:
        row = tx.get(ITEMS, seq)
        if row is not None or seq != item.seq:
            return row
        # it may be an item of a transaction of an earlier engine
        same_record = tx.scan(ITEMS, "record", (item.entity, item.record_id))
        return next((each for each in same_record if each.id == item.id), None)

    row = run.storage.read(look)
    return run.outcomes.get(seq) if row is None else as_sync_item(row).state
