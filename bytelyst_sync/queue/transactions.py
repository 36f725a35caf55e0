"""``transaction()``: calls of one task or thread that are committed together.

Until its end nothing is written and no lock is held. Each call runs the queue's own rules on an
overlay of the store in memory, and so returns or raises what it would; at the end the same calls
run on the store in one transaction. If the queue changed meanwhile, the result of that run counts:
an error then is raised at the end, and nothing is written.

The items that calls return are final: their ids are chosen before the rules run and used again at
the end, and a number stands for their place in the queue until that is known.

Who owns what: a transaction belongs to the task, or else the thread, that opened it, and nobody
else uses it. It is found through a context variable. Contexts are copied, to child tasks and to
other threads, so its owner is compared as well.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from bytelyst_sync.errors import SyncError
from bytelyst_sync.model import SyncItem
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.overlay import Overlay
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork

__all__ = [
    "FIRST_HANDLE",
    "OpenTransaction",
    "acting_for",
    "current_owner",
    "new_handle",
    "open_transaction",
    "opened",
]

T = TypeVar("T")
Rule = Callable[[UnitOfWork], T]
_RANDOM_BYTES = 16
FIRST_HANDLE = 1 << 62
"""Handles are larger than all numbers of a store."""


class OpenTransaction:
    """The calls of one transaction so far."""

    def __init__(self, state: StateStore, aside: Callable[[], bool]) -> None:
        """``aside`` tells whether the current call does not belong to it, though its owner makes
        it: a signal handler that interrupted the owner.
        """
        self.owner = current_owner()
        self.aside = aside
        self.closed = False
        self.handles: list[int] = []
        """The numbers that stand for the places of its items."""
        self._state = state
        self._overlay = Overlay()
        self._effects = CommitEffects()
        self._rules: list[Rule[object]] = []

    def push(self, outbox: Outbox, requests: Sequence[PushRequest]) -> list[SyncItem | None]:
        """Takes pushes in; returns or raises what they would."""
        promised = [_promised(each) for each in requests]
        items = self._preview(lambda work: outbox.push(work, promised))
        self.handles += [each.handle for each in promised if each.handle is not None]
        final = [_kept(each, item) for each, item in zip(promised, items, strict=True)]
        self._rules.append(lambda work: outbox.push(work, final))
        return items

    def run(self, rule: Rule[T]) -> T:
        """Takes in any other call that writes. If it returned true, and returns false at the end,
        the whole transaction fails.
        """
        result = self._preview(rule)

        def again(work: UnitOfWork) -> None:
            if rule(work) is False and result is True:
                raise SyncError(
                    "an item that was to be changed in a transaction was sent before its end; "
                    "nothing of the transaction was queued"
                )

        self._rules.append(again)
        return result

    def _preview(self, rule: Rule[T]) -> T:
        result = self._state.preview(rule, self._overlay, self._effects)
        self._overlay.keep()
        return result

    def commit(self) -> bool:
        """Runs the calls in one durable transaction; false if there were none."""
        if not self._rules:
            return False

        def run(work: UnitOfWork) -> None:
            for rule in self._rules:
                rule(work)

        self._state.write(run)
        return True


def new_handle() -> int:
    """A random number that stands for an item's ``seq`` before that is known."""
    return FIRST_HANDLE | int.from_bytes(os.urandom(8), "big") >> 2


def _promised(new: PushRequest) -> PushRequest:
    return new._replace(item_id=os.urandom(_RANDOM_BYTES).hex(), handle=new_handle())


def _kept(new: PushRequest, item: SyncItem | None) -> PushRequest:
    """The request as it runs at the end: one that returned another record's item is about that
    record, also if that item has left the queue by then.
    """
    if item is None or item.record_id == new.record:
        return new
    field = new.entity.id_field
    data = {**new.data, field: item.data.get(field, item.record_id)}
    return new._replace(record=item.record_id, data=data, text=None, id_is_new=False, item_id=None)


# --- which one is open

_OPEN: ContextVar[tuple[tuple[object, OpenTransaction], ...]] = ContextVar(
    "bytelyst_sync_transactions", default=()
)
"""The open transactions of this context, each with the engine that it belongs to."""
_ACTING_FOR: ContextVar[object] = ContextVar("bytelyst_sync_owner", default=None)


def current_owner() -> object:
    """Whose calls these are: the running asyncio task, else this thread of this process."""
    owner = _ACTING_FOR.get()
    if owner is not None:
        return owner
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no event loop runs in this thread
            task = None
        if task is not None:
            return task
    return os.getpid(), threading.get_ident()


@contextmanager
def acting_for(owner: object) -> Iterator[None]:
    """Calls inside belong to the transactions of this owner: a thread that works for a task."""
    token = _ACTING_FOR.set(owner)
    try:
        yield
    finally:
        _ACTING_FOR.reset(token)


def open_transaction(engine: object) -> OpenTransaction | None:
    """The engine's transaction that this task or thread has open."""
    current = _OPEN.get()
    if not current:
        return None
    owner = current_owner()
    for each, transaction in current:
        if each is not engine or transaction.closed or transaction.owner != owner:
            continue
        if not transaction.aside():
            return transaction
    return None


@contextmanager
def opened(engine: object, transaction: OpenTransaction) -> Iterator[None]:
    """Opens the transaction for the length of the block.

    ``SyncError`` if another task or thread leaves the block.
    """
    others = tuple(pair for pair in _OPEN.get() if not pair[1].closed)
    _OPEN.set((*others, (engine, transaction)))
    try:
        yield
    finally:
        transaction.closed = True
        _OPEN.set(tuple(pair for pair in _OPEN.get() if pair[1] is not transaction))
    if transaction.owner != current_owner():
        raise SyncError(
            "transaction() was left by another task or thread than the one that opened it; nothing"
            " of it was queued"
        )
