"""The hooks for forks and for the interpreter's exit.

Both are installed with the first engine and refer to all engines of the process weakly. In a forked
child, each engine forgets the resources of the parent and creates new ones at the next use; that
hook neither logs nor does I/O. At exit, all engines together get one bounded flush.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Protocol

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import SyncError
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["register"]

logger = SafeLogger("bytelyst_sync.lifecycle")
_GRACE_S = 0.1
"""How long all engines together may take to close, once the time for the flush is over."""


class Living(Protocol):
    """The methods of an engine that the hooks call."""

    @property
    def exit_timeout(self) -> float:
        """Seconds that the flush at exit may take."""
        ...

    def after_fork(self) -> None:
        """In the child."""
        ...

    def begin_last_flush(self) -> None:
        """At exit: requests the flush, and does not wait."""
        ...

    def await_last_flush(self, timeout: float) -> None:
        """At exit: waits for the flush."""
        ...

    def end(self, timeout: float) -> bool:
        """At exit: closes within the timeout; true if everything has ended."""
        ...


_engines: weakref.WeakSet[Living] = weakref.WeakSet()
_lock = threading.RLock()
"""Re-entrant: a signal handler may create an engine while its thread creates one."""
_hooks: list[object] = []


def register(engine: Living) -> None:
    """Registers an engine for as long as it lives."""
    with _lock:
        _engines.add(engine)
        if not _hooks:
            _hooks.append(_at_exit)
            atexit.register(_at_exit)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent's may have held it
    _lock = threading.RLock()
    for engine in list(_engines):
        engine.after_fork()


def _at_exit() -> None:
    """Requests the flush of every engine, then waits for all: many take no longer than one."""
    clock = SystemClock()
    engines = [engine for engine in list(_engines) if engine.exit_timeout > 0]
    start = clock.monotonic()

    def left(engine: Living) -> float:
        return max(0.0, start + engine.exit_timeout - clock.monotonic())

    try:
        for engine in engines:
            _try(engine.begin_last_flush)
        for engine in engines:
            _try(partial(engine.await_last_flush, left(engine)))
        for engine in engines:
            _try(partial(engine.end, 0.0))
        grace = clock.monotonic() + _GRACE_S
        for engine in engines:
            wait = max(left(engine), grace - clock.monotonic())
            _try(partial(engine.end, max(0.0, wait)))
    except KeyboardInterrupt:
        return


def _try(step: Callable[[], object]) -> None:
    try:
        step()
    except SyncError as error:
        logger.warning("no flush at exit, what is queued stays queued: %s", error)
    except Exception as error:  # noqa: BLE001 - the other engines have their turn
        logger.failure(error, "the flush at exit failed; what is queued stays queued")
