"""The calls that wait: flush, pull, full sync, and waiting for one item.

They run in their caller's thread and use a runtime's parts. From within a callback none of them
waits: the callback may be what they would wait for.
"""

from __future__ import annotations

from bytelyst_sync.clock import SystemClock, as_datetime, patience
from bytelyst_sync.errors import EngineClosedError, StorageError
from bytelyst_sync.flows.notifier import in_callback
from bytelyst_sync.flows.tickets import Ticket
from bytelyst_sync.model import ItemState, SyncItem, SyncResult
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.state.effects import as_sync_item
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS

__all__ = ["ask", "flush", "full_sync", "pull", "wait"]

_NOTIFY_WAIT_S = 5.0
"""How long a call waits for callbacks to have heard of what it did."""
_LOOK_AGAIN_S = 0.25
_CLOCK = SystemClock()
"""A caller's timeout is real time, whatever clock the engine goes by."""


def ask(run: Runtime) -> Ticket:
    """Asks for a flush of what is queued now, and waits for nothing."""
    ticket = Ticket(run.storage.read(lambda tx: tx.last_number()))
    run.worker.add(ticket)
    run.worker.start()
    return ticket


def flush(run: Runtime, timeout: float | None) -> SyncResult:
    """See ``SyncEngine.flush``."""
    began = _CLOCK.monotonic()
    patient = patience(timeout)
    ticket = ask(run)
    if not in_callback():
        try:
            ticket.wait(patient)
        finally:
            run.worker.drop(ticket)
        if isinstance(ticket.error, StorageError):
            raise ticket.error
        left = patient - (_CLOCK.monotonic() - began)
        run.board.notifier.drain(max(0.0, min(left, _NOTIFY_WAIT_S)))

    def look(tx: Reader) -> tuple[int, bool]:
        return run.outbox.length(tx), run.outbox.leftover(tx, ticket.upto)

    try:
        remaining, left_over = run.storage.read(look)
    except EngineClosedError:
        # a callback or another thread closed the engine meanwhile: what it left is known
        remaining = run.board.info().queue_length
        left_over = remaining > 0
    errors = ticket.errors + (ticket.error is not None)
    return SyncResult(
        success=errors == 0 and not ticket.offline and not left_over,
        pushed=ticket.pushed,
        conflicts=ticket.conflicts,
        errors=errors,
        timestamp=as_datetime(run.clock.wall()),
        duration=_CLOCK.monotonic() - began,
        remaining=remaining,
        offline=ticket.offline,
    )


def pull(
    run: Runtime, names: list[str], timeout: float | None, *, full: bool = False
) -> SyncResult:
    """See ``SyncEngine.pull``; with ``full`` everything is listed anew."""
    began = _CLOCK.monotonic()
    patient = patience(timeout)
    run.worker.start()
    if in_callback():
        run.chores.wish(names, full=full)
        run.worker.wake()
        remaining = run.storage.read(run.outbox.length)
        now = as_datetime(run.clock.wall())
        return SyncResult(success=False, timestamp=now, remaining=remaining)
    run.credentials.forget_refused()
    done = run.puller.pull(names, run.clock.monotonic() + patient, full=full)
    if done.errors == 0:
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
    )


def full_sync(run: Runtime, names: list[str], timeout: float | None) -> SyncResult:
    """See ``SyncEngine.full_sync``."""
    began = _CLOCK.monotonic()

    def left() -> float | None:
        spent = _CLOCK.monotonic() - began
        return None if timeout is None else max(0.0, timeout - spent)

    first = flush(run, left())
    pulled = pull(run, names, left())
    last = flush(run, left())
    parts = (first, pulled, last)
    return SyncResult(
        success=pulled.success and last.success and first.errors == 0,
        pushed=sum(part.pushed for part in parts),
        pulled=sum(part.pulled for part in parts),
        conflicts=sum(part.conflicts for part in parts),
        errors=sum(part.errors for part in parts),
        timestamp=last.timestamp,
        duration=_CLOCK.monotonic() - began,
        remaining=last.remaining,
        offline=any(part.offline for part in parts),
    )


def wait(run: Runtime, item: SyncItem, timeout: float | None) -> ItemState:
    """See ``SyncEngine.wait``."""
    run.wake()
    patient = patience(timeout)
    if in_callback():
        patient = 0.0
    deadline = _CLOCK.monotonic() + patient
    looked_again = False
    while True:
        if run.closed:
            raise EngineClosedError("the engine was closed while it was waited for an item")
        generation = run.outcomes.generation
        state = _state(run, item)
        left = deadline - _CLOCK.monotonic()
        if state is None and not looked_again:
            # its commit may be a moment ahead of the word of what came of it
            looked_again = True
            run.outcomes.wait(generation, max(0.0, min(left, _LOOK_AGAIN_S)))
            continue
        if state is None:
            return ItemState.SETTLED
        if state not in (ItemState.PENDING, ItemState.SENDING) or left <= 0:
            return state
        run.outcomes.wait(generation, min(left, _LOOK_AGAIN_S))


def _state(run: Runtime, item: SyncItem) -> ItemState | None:
    """Where the item stands; ``None``: it left the queue, and this engine did not see how."""
    place = run.outcomes.follow(item.place)
    row = run.storage.read(lambda tx: tx.get(ITEMS, place))
    return run.outcomes.get(place) if row is None else as_sync_item(row).state
