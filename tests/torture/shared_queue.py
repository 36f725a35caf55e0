"""A queue in PostgreSQL, processes that push and deliver, and a server that records requests."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import attrs

from bytelyst_sync.testing import SyncServer
from tests.contrib.database_servers import PgBouncer, PostgreSQL
from tests.torture.fork_server import ForkServer, read_lines
from tests.torture.harness import Stopwatch, Trial, check
from tests.torture.lock_monitor import LockMonitor, MonitoredPostgreSQL
from tests.torture.queue_books import NUMBERS, Books

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Process", "Site", "missing", "missing_pooler"]

WORK = "tests.torture.queue_site.work"
DATABASE = "torture"
BOUND_S = 60.0
"""For what takes moments on a machine that does nothing else."""


def missing() -> str | None:
    """Why there is no PostgreSQL here."""
    return PostgreSQL.missing()


def missing_pooler() -> str | None:
    """Why there is no PostgreSQL with pgbouncer before it."""
    return PostgreSQL.missing() or PgBouncer.missing()


@attrs.define
class Process:
    """One that was started, and the file to which it writes."""

    kind: str
    pid: int
    told: Path
    arguments: tuple[object, ...] = ()
    stopped: bool = False

    def send(self, number: int) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)
        self.stopped = number == signal.SIGSTOP

    def has_told(self, line: object) -> bool:
        """Whether it wrote this."""
        return line in read_lines(self.told)


@attrs.frozen(kw_only=True)
class Terms:
    """The times of a site. ``lease_s`` is that of a claim; see ``queue_site.setup``."""

    request_deadline_s: float = 2.0
    margin_s: float = 1.0
    idle_s: float = 3.0
    poll_s: float = 5.0
    build: str = ""

    @property
    def lease_s(self) -> float:
        """How long a claim lasts."""
        return self.request_deadline_s + self.margin_s


class Site:
    """A context manager. All of its methods are called by the scenario's own thread."""

    def __init__(
        self, trial: Trial, *, pooled: bool = False, terms: Terms | None = None, **server: Any
    ) -> None:
        self.trial = trial
        self.chance = trial.random
        self.terms = terms or Terms()
        self.books = Books()
        self.server = SyncServer(**server)
        self.settings: dict[str, object] = {}
        """Of the queue, in each process that is started from now on."""
        self.processes: list[Process] = []
        self.kills = 0
        self._pooled = pooled
        self._begun = 0
        self._now = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # this process is the test run that the servers of databases end with
            os.environ.pop("PYTEST_XDIST_WORKER", None)
            folder = self.trial.folder
            self.postgresql = stack.enter_context(MonitoredPostgreSQL(folder))
            self.pgbouncer = None
            database = self.postgresql.settings(DATABASE)
            if self._pooled:
                self.pgbouncer = stack.enter_context(PgBouncer(folder, self.postgresql))
                database = {**database, "PORT": str(self.pgbouncer.port)}
                database["DISABLE_SERVER_SIDE_CURSORS"] = True
            given = {"database": database, **attrs.asdict(self.terms)}
            os.environ["BYTELYST_SYNC_TORTURE_SITE"] = json.dumps(given)
            self.fork_server = stack.enter_context(ForkServer())
            stack.enter_context(self.server)
            self.settings = {
                "BASE_URL": self.server.url,
                "REQUEST_DEADLINE": self.terms.request_deadline_s,
                "LISTEN": self.direct if self._pooled else None,
            }
            status = self.fork_server.reap(self.start("prepare").pid)
            self.processes.clear()
            check(status == 0, f"the tables are made (status {status})")
            self.monitor = stack.enter_context(LockMonitor(self.postgresql, DATABASE))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    @property
    def direct(self) -> str:
        """A connection string that leads past the pooler."""
        port = self.postgresql.port
        return f"host=127.0.0.1 port={port} user=tests dbname={DATABASE} connect_timeout=5"

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Asks the database."""
        return self.postgresql.execute(text, DATABASE)

    # --- processes

    def start(self, kind: str, *arguments: object, **settings: object) -> Process:
        """Starts a process that runs a function of ``queue_site.work``."""
        self._begun += 1
        told = self.trial.folder / f"{kind}-{self._begun}"
        given = {**self.settings, **settings}
        pid = self.fork_server.start_by_name(WORK, kind, given, str(told), *arguments)
        process = Process(kind, pid, told, arguments)
        self.processes.append(process)
        return process

    def first_number(self) -> int:
        """The first number of the process that is started next."""
        return (self._begun + 1) * NUMBERS

    def worker(self, *arguments: object, **settings: object) -> Process:
        """Starts a worker."""
        return self.start("worker", *arguments, **settings)

    def pusher(self, *arguments: object, **settings: object) -> Process:
        """Starts a process that pushes."""
        return self.start("pusher", self.first_number(), *arguments, **settings)

    def of_kind(self, kind: str) -> list[Process]:
        """The living processes of a kind."""
        return [each for each in self.processes if each.kind == kind]

    def kill(self, process: Process) -> None:
        """Kills it, and reads what it wrote."""
        self.kills += self.fork_server.kill(process.pid) == -signal.SIGKILL
        self._forget(process)

    def end(self, process: Process) -> int:
        """Waits for its end, and reads what it wrote; returns the exit status."""
        status = self.fork_server.reap(process.pid)
        self._forget(process)
        return status

    def _forget(self, process: Process) -> None:
        self.processes.remove(process)
        self.books.read(process.told)

    # --- waiting

    def rest(self, seconds: float) -> None:
        """Lets just this time pass."""
        self._now.wait(seconds)

    def wait_for(
        self, holds: Callable[..., object], promise: str, within_s: float = BOUND_S
    ) -> float:
        """Waits until it holds; returns how long that took, on a machine that is free."""
        watch = Stopwatch()
        while not holds():
            check(watch.fair_s < within_s, f"{promise} within {within_s:g} s")
            self.rest(0.01)
        return watch.fair_s

    def rows(self) -> dict[str, int]:
        """The rows of the queue and of its inbox."""
        tables = ("items", "inbox")
        counts = ", ".join(f"(SELECT count(*) FROM bytelyst_sync_{each})" for each in tables)
        return dict(zip(tables, self.query(f"SELECT {counts}")[0], strict=True))

    def wait_until_delivered(self, within_s: float = BOUND_S) -> float:
        """The living workers, by themselves, leave nothing in the queue; how long that took."""
        watch = Stopwatch()
        while any(self.rows().values()):
            if watch.fair_s > within_s:
                left = self.query(
                    "SELECT entity, record, lane, retries, claim, lease, error, due, now()"
                    " FROM bytelyst_sync_items ORDER BY position LIMIT 5"
                )
                check(False, f"no item is stranded after {within_s:g} s: {self.rows()} {left}")
            self.rest(0.05)
        return watch.fair_s

    # --- the end

    def finish(self, *, errors: bool = False) -> dict[str, object]:
        """Stops the pushers, waits for the workers, and compares the books; figures for the table.

        ``errors``: whether the pushers may have had some, because the database went away.
        """
        for process in [*self.processes]:
            if process.kind != "worker":
                self.kill(process)
        took = self.wait_until_delivered()
        self.stop_workers()
        found = self.books.compare(self.server)
        check(errors or not self.books.errors, f"no push fails: {self.books.errors[:3]}")
        return {
            **({"kills": self.kills} if self.kills else {}),
            **found,
            **self.locks(),
            "delivered after s": took,
        }

    def stop_workers(self) -> None:
        """Each ends by itself after SIGTERM."""
        workers = self.of_kind("worker")
        for process in workers:
            # before, the signal would end it as any other program
            wait_told(self, process, "started")
            process.send(signal.SIGTERM)
        ends = [self.end(process) for process in workers]
        check(not any(ends), f"workers end well at SIGTERM: {ends}")

    def locks(self) -> dict[str, object]:
        """Checks what the monitor and the database's log say of locks."""
        logged = self.monitor.logged()
        check(not logged["deadlocks"], f"no deadlock: {logged['deadlocks'][:2]}")
        for waits in (logged["waits"], self.monitor.waits):
            check(not waits, f"no session waits for a lock on the queue's tables: {waits[:3]}")
        check(self.monitor.looks, "the database was watched")
        return {"deadlocks": 0, "lock waits": 0, "looks for waits": self.monitor.looks}


def wait_told(site: Site, process: Process, line: object, within_s: float = BOUND_S) -> None:
    """Waits until a process has written a line."""
    promise = f"the {process.kind} says {line!r}"
    site.wait_for(lambda: process.has_told(line), promise, within_s)
