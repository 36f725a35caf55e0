"""Fork and exit, nothing else.

One process-wide list of weak references to engines, one hook for forks and one for the
interpreter's exit, both installed with the first engine. In a forked child each engine lets go of
what belongs to the parent and starts anew on first need; the hook itself neither logs nor does
I/O. At exit all engines together get one bounded flush.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Protocol

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import SyncError
from bytelyst_sync.flows.telling import log_raised

__all__ = ["register"]

logger = logging.getLogger("bytelyst_sync.lifecycle")
_GRACE_S = 0.1
"""How long all engines together may take to close, once the time for the flush is over."""


class Living(Protocol):
    """What an engine has to offer for it."""

    @property
    def exit_timeout(self) -> float:
        """Seconds that it may take at exit."""
        ...

    def after_fork(self) -> None:
        """In the child."""
        ...

    def begin_last_flush(self) -> None:
        """At exit: asks for it, and waits for nothing."""
        ...

    def await_last_flush(self, timeout: float) -> None:
        """At exit: waits for it."""
        ...

    def end(self, timeout: float) -> bool:
        """At exit: closes, waiting no longer than this; true if all has ended."""
        ...


_engines: weakref.WeakSet[Living] = weakref.WeakSet()
_lock = threading.Lock()
_hooks: list[object] = []


def register(engine: Living) -> None:
    """Has the engine looked after for as long as it lives."""
    with _lock:
        _engines.add(engine)
        if not _hooks:
            _hooks.append(_at_exit)
            atexit.register(_at_exit)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent's may have held it
    _lock = threading.Lock()
    for engine in list(_engines):
        engine.after_fork()


def _at_exit() -> None:
    """All engines at once: each is asked before one is waited for, so that many take no longer
    than one.
    """
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
        log_raised(logger, error, "the flush at exit failed; what is queued stays queued")
