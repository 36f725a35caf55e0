"""The connections that a queue uses.

Pushes and reads of a thread that has a connection of Django's open use that one: so pushes join the
application's transaction, and a web process that only pushes needs no second connection. The
package's own threads, threads that have none, and all transactions that change the queue borrow one
from a pool, which is closed with the engine.

Who owns what: a borrowed connection belongs to one thread at a time. ``_lock`` guards the list of
free ones. While a test case lends its connection, ``_lent_lock`` lets one thread use it at a time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import Error, connections

__all__ = ["ConnectionPool", "in_application_transaction", "in_test_case"]

_MOST_FREE = 4
_LONGEST_LIFE_S = 300
_ABANDONED: list[Any] = []
"""Connections of a parent process, which must be neither used nor closed here."""


class ConnectionPool:
    """Connections to the database ``alias`` of Django's settings."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._free: list[Any] = []
        self._closed = False
        """After ``close`` a connection is closed when it comes back, and none is kept."""
        self._lent: Any = None
        self._lent_lock = threading.RLock()

    @property
    def current(self) -> Any:
        """This thread's connection, which may not be open."""
        return connections[self.alias]

    @contextmanager
    def connection(self, *, own: bool = False) -> Iterator[Any]:
        """A connection for one transaction of this thread; ``own``: never the application's, but
        for a test case's.
        """
        self.after_fork()
        lent = self._lent
        if lent is not None:
            with self._lent_lock:
                yield lent
            return
        current = self.current
        if current.in_atomic_block:
            yield current
            return
        if not own and _is_usable(current):
            yield current
            return
        borrowed = self._borrow()
        try:
            yield borrowed
        finally:
            self._give_back(borrowed)

    def _borrow(self) -> Any:
        with self._lock:
            if self._free:
                return self._free.pop()
        made = connections.create_connection(self.alias)
        made.settings_dict = {**made.settings_dict, "CONN_MAX_AGE": _LONGEST_LIFE_S}
        made.inc_thread_sharing()
        return made

    def _give_back(self, connection: Any) -> None:
        connection.close_if_unusable_or_obsolete()
        with self._lock:
            if len(self._free) < _MOST_FREE and not self._closed:
                self._free.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Closes the free connections; those in use are closed when they come back."""
        self.after_fork()
        with self._lock:
            free, self._free, self._closed = self._free, [], True
        for connection in free:
            with suppress(Error):
                connection.close()

    def after_fork(self) -> None:
        """In a forked child: forgets the parent's connections without closing them."""
        if self._pid != os.getpid():
            _ABANDONED.extend(self._free)
            self._start()

    @contextmanager
    def lending(self) -> Iterator[bool]:
        """Lets other threads use this thread's connection, if that is in a test case's transaction;
        yields whether it is.
        """
        current = self.current
        if not in_test_case(current) or self._lent is not None:
            yield self._lent is not None
            return
        current.inc_thread_sharing()
        self._lent = current
        try:
            yield True
        finally:
            with self._lent_lock:
                self._lent = None
            current.dec_thread_sharing()


def _is_usable(connection: Any) -> bool:
    """Whether the connection is open; one that was found to be broken is closed."""
    if connection.connection is None:
        return False
    if connection.errors_occurred and not connection.is_usable():
        connection.close()
    return connection.connection is not None


def in_test_case(connection: Any) -> bool:
    """Whether all open transactions of the connection are those of ``django.test.TestCase``."""
    return bool(connection.atomic_blocks) and all(
        _is_of_test_case(each) for each in connection.atomic_blocks
    )


def in_application_transaction(connection: Any) -> bool:
    """Whether the application has a transaction open on the connection."""
    is_open = connection.in_atomic_block or (
        connection.connection is not None and not connection.get_autocommit()
    )
    return bool(is_open) and not in_test_case(connection)


def _is_of_test_case(atomic: Any) -> bool:
    return bool(getattr(atomic, "_from_testcase", False))
