"""Calls from signal handlers and finalizers.

Python may run a signal handler, or a finalizer, between any two steps of a thread, also while that
thread holds a lock of this package or is in the middle of a transaction. A call of the engine from
there would wait for its own thread, for ever. So each public call looks at its thread's stack: if
code of the package was interrupted where it may hold a lock, the call raises ``SyncError`` at once
and has done nothing. Elsewhere it runs as always.

The stack is the truth: a flag for "inside a call" would be wrong after an interrupt that raises.
"""

from __future__ import annotations

import signal
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial, wraps
from inspect import isfunction
from types import CodeType, FrameType
from typing import Any, TypeVar

from bytelyst_sync.errors import SyncError

__all__ = ["HandlerWatch", "interrupted_function", "refuse_interrupts"]

T = TypeVar("T")
_SENDER = "bytelyst_sync.delivery.exchange"
LOCKING = (
    "bytelyst_sync.agent",
    "bytelyst_sync.background_thread",
    "bytelyst_sync.delivery",
    "bytelyst_sync.engine_core",
    "bytelyst_sync.events",
    "bytelyst_sync.process_hooks",
    "bytelyst_sync.pull",
    "bytelyst_sync.queue.transactions",
    "bytelyst_sync.runtime",
    "bytelyst_sync.storage",
)
"""Modules and packages whose functions may hold a lock or change what is in memory."""
REQUESTING = (_SENDER, "bytelyst_sync.http", "bytelyst_sync.pull.puller")
"""Those among them, and others, that hold what only a request needs: neither a push nor a reading
does.
"""
_USER_CODE = {
    ("bytelyst_sync.background_thread", "_run_once"),
    ("bytelyst_sync.delivery.flush_requests", "wait"),
    ("bytelyst_sync.events.outcomes", "sleep"),
    ("bytelyst_sync.events.notifier", "call_user"),
    ("bytelyst_sync.events.notifier", "entry"),
    ("bytelyst_sync.events.status", "<lambda>"),
    ("bytelyst_sync.delivery.base_url_probe", "__call__"),
}
"""Functions that hold nothing, and neither do their callers, while they call user code or wait."""
_PULLS = frozenset({"pull", "full_sync", "reconcile", "close"})
_is_concerned: dict[str, bool] = {}
"""Of each module seen, by its name: whether it is one of those above."""


def interrupted_function(frame: FrameType | None, *, requests: bool = False) -> str | None:
    """The function of the package on this stack that may hold a lock, or ``None``.

    ``requests``: also one that may hold what a request is made with.
    """
    known = _is_concerned
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        concerned = known.get(module)
        if concerned is None:
            concerned = known[module] = _concerns(module)
        if concerned:
            name = frame.f_code.co_name
            if module == "logging" or (module, name) in _USER_CODE:
                return None  # nothing is logged under a lock
            if requests or not _within(module, REQUESTING):
                return f"{module}.{name}"
            if module == _SENDER:
                return None
        frame = frame.f_back
    return None


def _concerns(module: str) -> bool:
    watched = (*LOCKING, *REQUESTING, "logging")
    return _within(module, watched)


def _within(module: str, rooms: tuple[str, ...]) -> bool:
    return module in rooms or module.startswith(tuple(f"{room}." for room in rooms))


def refuse_interrupts(kind: type[T]) -> type[T]:
    """A class decorator: public methods and properties raise ``SyncError`` where they would wait
    for their own thread.
    """
    for name, member in list(vars(kind).items()):
        if name.startswith("_") or name == "close":
            continue
        if isfunction(member):
            setattr(kind, name, _checked(name, member))
        elif isinstance(member, property) and member.fget is not None:
            setattr(kind, name, property(_checked(name, member.fget), doc=member.__doc__))
    return kind


def _checked(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    requests = name in _PULLS

    @wraps(call)
    def checked(*args: Any, **options: Any) -> Any:
        held = interrupted_function(sys._getframe(1), requests=requests)  # noqa: SLF001
        if held is not None:
            raise SyncError(
                f"{name}() was called by a signal handler or a finalizer that interrupted {held}; "
                "nothing was done: set a flag there, and call it afterwards",
                retryable=True,
            )
        return call(*args, **options)

    return checked


class HandlerWatch:
    """Tells calls of signal handlers and finalizers that began after this object was made from the
    calls of the code that they interrupted.
    """

    def __init__(self) -> None:
        self._codes = _handler_codes()
        self._before = self._running_now()

    def in_handler(self) -> bool:
        """Whether such a handler or finalizer runs in this thread now."""
        return self._running_now() > self._before

    def _running_now(self) -> int:
        count = 0
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
        while frame is not None:
            code = frame.f_code
            if id(code) in self._codes or code.co_name == "__del__" or code is _FINALIZER:
                count += 1
            frame = frame.f_back
        return count


_FINALIZER = weakref.finalize.__call__.__code__


def _handler_codes() -> dict[int, CodeType]:
    """The code of each signal handler, by its identity; they run in the main thread only."""
    codes: dict[int, CodeType] = {}
    if threading.current_thread() is not threading.main_thread():
        return codes
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        if callable(handler):
            function = getattr(handler, "__func__", handler)
            code = getattr(function, "__code__", None)
            if code is None:
                code = getattr(type(handler).__call__, "__code__", None)
            if code is not None:
                codes[id(code)] = code
    return codes
