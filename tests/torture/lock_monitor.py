"""Watches PostgreSQL for sessions that wait for locks on a queue's tables, and for deadlocks."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from tests.contrib.database_servers import PostgreSQL

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LockMonitor", "MonitoredPostgreSQL"]

EVERY_S = 0.02
LONG_S = 0.1
TABLES = "bytelyst_sync_"
WAITING = f"""
    SELECT held.pid, held.locktype, held.mode, session.query
    FROM pg_locks held JOIN pg_stat_activity session USING (pid)
    WHERE NOT held.granted AND held.locktype <> 'extend' AND session.query LIKE '%{TABLES}%'
"""
"""``extend``: a table's file grows. That lock is not held until the end of a transaction."""


class MonitoredPostgreSQL(PostgreSQL):
    """It writes each wait for a lock that takes ``LONG_S`` into its log, and each deadlock."""

    def command(self) -> list[str | Path]:
        """See ``DatabaseServer``."""
        logged = ["--log_lock_waits=on", f"--deadlock_timeout={LONG_S * 1000:.0f}ms"]
        return [*super().command(), *logged, "--log_line_prefix=%m [%p] "]


class LockMonitor:
    """Looks 50 times a second, on a thread of its own; a context manager.

    The thread owns its connection; ``waits`` and ``looks`` are read when it has ended.
    """

    def __init__(self, server: PostgreSQL, database: str) -> None:
        self._server, self._database = server, database
        self.looks = 0
        self.waits: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            # the server may be restarted
            with suppress(psycopg.Error):
                self._watch()

    def _watch(self) -> None:
        address = f"host=127.0.0.1 port={self._server.port} user=tests dbname={self._database}"
        with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
            while not self._ended.wait(EVERY_S):
                found = connection.execute(WAITING).fetchall()
                self.looks += 1
                self.waits += [" ".join(map(str, each))[:200] for each in found]

    def logged(self) -> dict[str, list[str]]:
        """What the server wrote of deadlocks, and of long waits in statements on the tables."""
        text = (self._server.folder / "log").read_text(errors="replace")
        # a line, and those that say what it is about
        blocks = re.split(r"\n(?=\S+ \S+ \S+ \[\d+\] (?:LOG|ERROR|FATAL|PANIC|WARNING):)", text)
        return {
            "deadlocks": [each for each in blocks if "deadlock detected" in each],
            "waits": [each for each in blocks if "still waiting for" in each and TABLES in each],
        }
