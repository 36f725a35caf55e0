"""Django signals for the callbacks of an engine.

They are sent at most once, after the commit, on a thread of the engine, in the process that
delivers (usually ``sync_worker``). ``sender`` is the engine; ``queue`` is the queue's name.
An exception of a receiver is logged.

An engine subscribes its callbacks when a signal has its first receiver, because a callback that
nobody listens to would cost each push some work. ``_lock`` guards ``_ENGINES`` and the marks of
what is subscribed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connections
from django.dispatch import Signal

from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import EngineClosedError

__all__ = ["connect_engine", "item_failed", "record_changed", "status_changed"]

_lock = threading.Lock()
_ENGINES: WeakKeyDictionary[SyncEngine, tuple[str, set[str]]] = WeakKeyDictionary()
"""The engines with the names of their queues and of the signals that they send."""


class _EngineSignal(Signal):
    """A signal of engines; ``argument`` is what receivers get."""

    def __init__(
        self, argument: str, subscribe: Callable[[SyncEngine], Callable[..., Any]]
    ) -> None:
        super().__init__()
        self.argument = argument
        self.subscribe = subscribe

    def connect(self, *arguments: Any, **options: Any) -> None:
        """As Django's ``connect``; existing engines send the signal from now on."""
        super().connect(*arguments, **options)
        with _lock:
            engines = list(_ENGINES)
        for each in engines:
            _send_signals(each)


record_changed = _EngineSignal("change", lambda engine: engine.on_change)
"""A record of the local view changed; ``change`` is a ``RecordChange``."""
item_failed = _EngineSignal("item", lambda engine: engine.on_failure)
"""An item was moved to failed; ``item`` is a ``SyncItem``."""
status_changed = _EngineSignal("status", lambda engine: engine.on_status_change)
"""The status changed; ``status`` is a ``SyncStatusInfo``."""
_SIGNALS = (record_changed, item_failed, status_changed)


def connect_engine(engine: SyncEngine, queue: str) -> None:
    """Makes an engine send the signals that have receivers now or get some later."""
    with _lock:
        _ENGINES[engine] = queue, set()
    _send_signals(engine)


def _send_signals(engine: SyncEngine) -> None:
    """Subscribes the callbacks of an engine for signals that have receivers."""
    for signal in _SIGNALS:
        if not signal.has_listeners(engine):
            continue
        with _lock:
            queue, sent = _ENGINES[engine]
            if signal.argument in sent:
                continue
            sent.add(signal.argument)
        try:
            signal.subscribe(engine)(_sending(signal, engine, queue))
        except EngineClosedError:
            return


def _sending(signal: _EngineSignal, engine: SyncEngine, queue: str) -> Callable[[Any], None]:
    def send(value: Any) -> None:
        if not signal.has_listeners(engine):
            return
        try:
            signal.send_robust(engine, queue=queue, **{signal.argument: value})
        finally:
            connections.close_all()  # a receiver may have opened some in this thread

    return send
