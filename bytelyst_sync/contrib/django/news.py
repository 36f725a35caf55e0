"""Wake-ups: PostgreSQL's ``NOTIFY`` tells workers at once that something was queued.

A notification is sent after the commit, in a statement of its own, through the queue's own database
alias; so it passes a connection pooler. ``LISTEN`` does not pass one that lends connections for
single transactions: the workers listen on a connection that leads past it (``listen``).

*The echo.* Whether notifications arrive is proven, not assumed: each listener sends one to itself,
on the way that pushes take, first when it has connected and then every ``_PROVE_EVERY_S``. If the
echo does not arrive, or the connection breaks, the listener connects again; meanwhile the worker
looks for pushes every second. The echo also finds a connection that was cut without a word.

*The leading edge.* A process that pushes much sends one notification in ``_QUIET_S``. A push in
that time may come too late for the look of the workers that were woken. So these look again a
little later, until there is nothing new (``delivery/worker.py``).

Who owns what: the thread of a ``Listener`` owns its connection; ``receives`` and ``problem`` are
assigned whole.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Protocol

from django.db import connections

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import SyncError
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["Listener", "Notifier", "find_listen_problem"]

logger = SafeLogger("bytelyst_sync.worker")

_QUIET_S = 0.05
_CHANNEL = "bytelyst_sync"
_PROVE_EVERY_S = 30.0
_ECHO_WITHIN_S = 5.0
_STEP_S = 0.2
"""How long a wait for notifications lasts, so that ``close`` is noticed."""
_JOIN_S = 2.0
_LONGEST_PAUSE_S = 10.0
_CLOCK = SystemClock()


class Notifies(Protocol):
    """The method of the store that sends a notification."""

    using: str
    queue: str

    def execute(self, text: str, *values: Any) -> int:
        """Runs a statement on its own."""
        ...


class Notifier:
    """Sends the notifications of one process for one queue. Any thread may use it."""

    def __init__(self, store: Notifies) -> None:
        self._store = store
        self._sent_at = -_QUIET_S

    def notify(self) -> None:
        """Something was queued, and is committed. An error is ignored: workers look by themselves,
        too.
        """
        now = _CLOCK.monotonic()
        if now - self._sent_at < _QUIET_S:
            return
        self._sent_at = now
        with suppress(SyncError):
            _notify(self._store, f"news {self._store.queue}")


def _notify(store: Notifies, text: str) -> None:
    store.execute("SELECT pg_notify(%s, %s)", _CHANNEL, text)


class Listener:
    """A thread that calls ``wake`` for each notification of a queue, until it is closed.

    ``listen`` is an alias of ``DATABASES``, or a connection string.
    """

    def __init__(self, store: Notifies, listen: str, wake: Callable[[], None]) -> None:
        self._store = store
        self._listen = listen
        self._wake = wake
        self._closing = threading.Event()
        self.receives = False
        """Whether the last echo arrived."""
        self.problem: str | None = None
        """Why notifications do not arrive."""
        self._thread = threading.Thread(target=self._run, name="bytelyst-sync-listen", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system has no more threads
            self._set_problem(str(error))

    def close(self) -> None:
        """Ends the thread; it may take the length of a step."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        pause_s = 1.0
        while not self._closing.is_set():
            try:
                with _listening(self._store, self._listen) as channel:
                    while self._receive(channel):
                        pause_s = 1.0
            except Exception as error:  # noqa: BLE001 - each driver has its own
                self._set_problem(f"{type(error).__name__}: {' '.join(str(error).split())}")
            if self._closing.wait(pause_s):
                return
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    def _receive(self, channel: _Channel) -> bool:
        """Proves that notifications arrive, and waits for some; false if it is closing."""
        if not channel.proves(self._closing):
            if not self._closing.is_set():
                raise SyncError("its own notification did not arrive: is it a connection pooler?")
            return False
        if not self.receives:
            logger.info("queue %r: notifications of pushes arrive", self._store.queue)
        self.receives, self.problem = True, None
        # for what was pushed before
        self._wake()
        prove_at = _CLOCK.monotonic() + _PROVE_EVERY_S
        while not self._closing.is_set() and _CLOCK.monotonic() < prove_at:
            if f"news {self._store.queue}" in channel.texts(_STEP_S):
                self._wake()
        return not self._closing.is_set()

    def _set_problem(self, why: str) -> None:
        self.receives = False
        text = (
            f"queue {self._store.queue!r}: notifications of pushes do not arrive on"
            f" {_shown(self._listen)}, so the worker looks every second ({why}). Set LISTEN to an"
            " alias or a connection string that leads to the same PostgreSQL past any pooler"
        )
        if self.problem is None:
            logger.warning("%s", text)
        self.problem = text


class _Channel:
    """One connection that listens."""

    def __init__(self, store: Notifies, connection: Any) -> None:
        self._store = store
        self._connection = connection
        self._token = uuid.uuid4().hex

    def texts(self, wait_s: float) -> list[str]:
        """The next notifications; empty if none arrives in this time."""
        return [each.payload for each in self._connection.notifies(timeout=wait_s, stop_after=1)]

    def proves(self, closing: threading.Event, within_s: float = _ECHO_WITHIN_S) -> bool:
        """Whether a notification, sent as pushes send it, arrives here in this time."""
        text = f"echo {self._token}"
        _notify(self._store, text)
        deadline = _CLOCK.monotonic() + within_s
        while not closing.is_set() and _CLOCK.monotonic() < deadline:
            if text in self.texts(min(_STEP_S, within_s)):
                return True
        return False


def find_listen_problem(store: Notifies, listen: str, within_s: float = 2.0) -> str | None:
    """Tests whether notifications arrive; ``None`` if so, else the reason."""
    try:
        with _listening(store, listen) as channel:
            if channel.proves(threading.Event(), within_s):
                return None
    except Exception as error:  # noqa: BLE001 - each driver has its own
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return "a notification did not arrive"


@contextmanager
def _listening(store: Notifies, listen: str) -> Iterator[_Channel]:
    connection = _connect(listen)
    try:
        connection.execute(f"LISTEN {_CHANNEL}")
        yield _Channel(store, connection)
    finally:
        with suppress(Exception):  # it may be broken
            connection.close()


def _connect(listen: str) -> Any:
    """A new connection in autocommit mode."""
    try:
        psycopg = import_module("psycopg")
    except ImportError as error:
        raise SyncError("LISTEN needs psycopg 3.2 or newer: pip install psycopg") from error
    if listen not in connections.databases:
        return psycopg.connect(listen, autocommit=True, connect_timeout=10)
    parameters = connections.create_connection(listen).get_connection_params()
    parameters.setdefault("connect_timeout", 10)
    return psycopg.connect(**parameters, autocommit=True)


def _shown(listen: str) -> str:
    """The connection string without its password, for messages."""
    return f"database {listen!r}" if listen in connections.databases else "the one in LISTEN"
