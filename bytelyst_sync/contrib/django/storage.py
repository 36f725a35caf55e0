"""The queue in a database of the Django project: ``DjangoStorage``.

How it works, from a push to its delivery:

*A push* is one ``INSERT`` into the inbox, on the connection of the calling thread. Inside
``transaction.atomic()`` it is part of the application's transaction: rolled back with it, and
invisible to others before its commit. It reads and locks nothing that another push or a worker
locks, so it can neither wait for them nor deadlock with them.

*A fold* moves what is committed in the inbox into the queue, where the rules for pushes are applied
(``queue/inbox.py``). Every ``write`` begins with one. So an item gets its place in the queue after
its commit, never before what is being sent.

*The lock of the queue* is its row in ``bytelyst_sync_queues``. Every ``write`` holds it, in a short
READ COMMITTED transaction: one transaction at a time changes the queue, as in a SQLite store, and
the same rules hold. It is taken with ``SKIP LOCKED`` and tried again, so that no session waits in
the database. A process that is stopped while it holds the lock loses its session to the database's
idle timeout.

*Workers* deliver at once, any number of them. Each claims items in a short transaction, for the
length of a lease, and sends them without any lock. The number of a claim is its fencing token. It
is compared under the lock when the item is settled: if another worker has taken over an item whose
lease had ended, the answer of the former one is dropped (``queue/claims.py``). As one transaction
at a time changes the queue, no two workers claim the same item, and a record's next item is ready
only when its first one is settled, on whatever machine.

*Wake-ups*: a push ends with a notification, after its commit (``news.py``). Workers that hear these
look rarely by themselves.

*Counts and the sequence* stand in the queue's row. They are read and written with the lock, so they
cost no statement of their own.

*Reads* use one REPEATABLE READ transaction. Inside a transaction of the application they see that
transaction's own pushes, and are repeated if the queue changed meanwhile.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.contrib.django.attempt import Attempt
from bytelyst_sync.contrib.django.connections import ConnectionPool, in_application_transaction
from bytelyst_sync.contrib.django.database import Vendor, vendor_of
from bytelyst_sync.contrib.django.errors import translated_errors
from bytelyst_sync.contrib.django.locks import PullLease, SharedDeliveryLock
from bytelyst_sync.contrib.django.models import LONGEST, LONGEST_QUEUE_NAME
from bytelyst_sync.contrib.django.news import Listener, Notifier, find_listen_problem
from bytelyst_sync.contrib.django.reader import DjangoReader
from bytelyst_sync.contrib.django.row_codec import codec_of
from bytelyst_sync.contrib.django.workers import last_seen, note_worker
from bytelyst_sync.errors import ConfigError, StorageError
from bytelyst_sync.storage.base import Reader, Transaction, Value
from bytelyst_sync.storage.shared_schema import INBOX, RECEIPTS

__all__ = ["DjangoStorage"]

T = TypeVar("T")
P = ParamSpec("P")
_CLOCK = SystemClock()
_LEASE_S = 70.0
_LOCK_WAIT_S = 30.0
_POLL_S, _POLL_IF_NOTIFIED_S = 1.0, 5.0
_PAUSE_S = (0.005, 0.02)
_OFTEN, _SLOWER_EACH, _SLOWEST = 8, 4, 4.0
"""After so many tries the pauses grow: tries cost the time of a CPU, which the holder may lack."""
_REPEATED_READS = 5


class DjangoStorage:
    """A ``SharedStorage``: the queue ``queue`` in the database ``using`` of Django's settings.

    ``lease_s`` is how long a claim lasts: then another worker takes its item over. It must be
    longer than ``request_deadline``. ``listen`` is where workers hear of pushes: an alias or a
    connection string that leads past a connection pooler; ``None``: ``using``. Any thread may call
    any method.
    """

    longest_id = LONGEST

    def __init__(
        self,
        using: str = "default",
        queue: str = "default",
        *,
        lease_s: float = _LEASE_S,
        listen: str | None = None,
    ) -> None:
        if not 0 < len(queue) <= LONGEST_QUEUE_NAME or not queue.isprintable():
            raise ConfigError(
                f"the name of a queue is {queue!r}; allowed: 1 to {LONGEST_QUEUE_NAME} printable"
                " characters",
                field="queue",
                value=queue,
            )
        self.using = using
        self.queue = queue
        self.offset_s: float | None = None
        """How far the database's clock is ahead of this machine's, when it was read last."""
        self.offset_read_at: float | None = None
        """When that was, on the monotonic clock."""
        self.lease_s = lease_s
        self.listens_on = using if listen is None else listen
        """The alias or connection string on which workers hear of pushes."""
        self._notifier = Notifier(self)
        self._listener: Listener | None = None
        self._pool = ConnectionPool(using)
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"DjangoStorage(using={self.using!r}, queue={self.queue!r})"

    @property
    def vendor(self) -> Vendor:
        """The statements of its database; ``ConfigError`` if that is not supported."""
        return vendor_of(self._pool.current)

    # -- transactions ----------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """Runs ``work`` under the lock of the queue, and returns its result once it is committed.

        ``StorageError`` inside a transaction of the application: the lock would be held until that
        ends.
        """
        self._refuse_nesting("write")
        if self.joined:
            raise StorageError(
                f"queue {self.queue!r} cannot be changed inside transaction.atomic(): its lock"
                " would be held until that ends. Only pushes join a transaction"
            )
        result = self._locked(work)
        if then is not None:
            then(result)
        return result

    def _locked(self, work: Callable[[Transaction], T]) -> T:
        deadline = _CLOCK.monotonic() + _LOCK_WAIT_S
        tries = refused = 0
        while True:
            attempt: Attempt[T] = Attempt(self, work, is_added=refused > 0)
            try:
                with translated_errors(self.using), self._pool.connection(own=True) as connection:
                    attempt.run(connection)
                    if attempt.lacks_queue:
                        self._add_queue(connection)
            except StorageError:
                # a connection may have been broken since its last use
                tries += 1
                if attempt.began or tries > 1 or self._pool.current.in_atomic_block:
                    raise
                continue
            if attempt.began:
                return attempt.results[0]
            if _CLOCK.monotonic() >= deadline:
                raise StorageError(
                    f"queue {self.queue!r} of the database {self.using!r} has been locked by"
                    f" another session for {_LOCK_WAIT_S:g} s: find the transaction that takes too"
                    " long (pg_stat_activity, information_schema.innodb_trx)"
                )
            refused += 1
            time.sleep(_pause_s(refused))

    def _add_queue(self, connection: Any) -> None:
        """Adds the row of the queue, which is the lock. That is done outside of the transactions
        that look for it: on MariaDB these lock the gap where it will be, and block each other.
        """
        with connection.cursor() as cursor:
            cursor.execute(self.vendor.add_queue, [self.queue])

    def read(self, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on one consistent view, without waiting for writers."""
        self._refuse_nesting("read")
        with translated_errors(self.using), self._pool.connection() as connection:
            if connection.in_atomic_block or not connection.get_autocommit():
                return self._read_joined(connection, work)
            with self.vendor.transaction(connection, self.vendor.read):
                return self._read(connection, work)

    def _read(self, connection: Any, work: Callable[[Reader], T]) -> T:
        reader = DjangoReader(connection, self.queue)
        self._local.inside = True
        try:
            return work(reader)
        finally:
            self._local.inside = False
            reader.end()

    def _read_joined(self, connection: Any, work: Callable[[Reader], T]) -> T:
        """In a transaction that may see a commit of others between two statements."""
        before = DjangoReader(connection, self.queue).state().version
        for _ in range(_REPEATED_READS):
            result = self._read(connection, work)
            version = DjangoReader(connection, self.queue).state().version
            if version == before:
                return result
            before = version
        raise StorageError(
            f"queue {self.queue!r} changed during each of {_REPEATED_READS} attempts to read it"
            " inside transaction.atomic(): read it outside, or try again"
        )

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """A cursor for statements outside of the store's own transactions."""
        with (
            translated_errors(self.using),
            self._pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            yield cursor

    # -- the inbox -------------------------------------------------------------------------------

    def append(
        self, rows: Sequence[NamedTuple], committed: Callable[[], None] | None = None
    ) -> None:
        """Inserts rows into the inbox, in the transaction that this thread has open."""
        columns = INBOX.columns[1:]
        one = f"({', '.join(['%s'] * (1 + len(columns)))})"
        values: list[Value] = []
        for row in rows:
            values += [self.queue, *codec_of(INBOX).values(columns, row[1:])]
        text = f"INSERT INTO bytelyst_sync_inbox (queue, {', '.join(columns)}) VALUES "  # noqa: S608
        with self._cursor() as cursor:
            cursor.execute(text + ", ".join([one] * len(rows)), values)
        if committed is None:
            return
        if self._pool.current.connection is None:
            committed()  # this thread has no connection of its own, so it has no transaction
        else:
            transaction.on_commit(committed, using=self.using, robust=True)

    def waiting(self, most: int) -> int:
        """How many rows of the inbox this thread sees, counted up to ``most``."""
        text = (  # by handle, whose only index begins with the queue
            "SELECT count(*) FROM (SELECT handle FROM bytelyst_sync_inbox WHERE queue = %s"
            " ORDER BY handle LIMIT %s) AS counted"
        )
        return int(self.query(text, self.queue, most)[0][0])

    @property
    def joined(self) -> bool:
        """Whether this thread has a transaction of the application open on the database."""
        return in_application_transaction(self._pool.current)

    async def run_async(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Runs a call of an asyncio task in the thread, and with the connections, in which Django
        runs the synchronous code of that task; so a push joins the transaction of a test case.
        """
        return await sync_to_async(call, thread_sensitive=True)(*args, **options)

    def atomic(self) -> AbstractContextManager[None]:
        """``transaction.atomic()`` on the queue's database."""
        found: AbstractContextManager[None] = transaction.atomic(using=self.using)
        return found

    def lending(self) -> AbstractContextManager[bool]:
        """Lets the package's threads use the connection of a test case."""
        return self._pool.lending()

    def now(self) -> float:
        """The database's clock, in seconds since the epoch."""
        with self._cursor() as cursor:
            cursor.execute(f"SELECT {self.vendor.now}")
            now = float(cursor.fetchone()[0])
        self.observe_clock(now)
        return now

    def observe_clock(self, now: float) -> None:
        """The database's clock reads ``now``."""
        self.offset_s, self.offset_read_at = now - _CLOCK.wall(), _CLOCK.monotonic()

    # -- wake-ups --------------------------------------------------------------------------------

    @property
    def poll_s(self) -> float:
        """Seconds between two looks for pushes; long while notifications arrive."""
        listener = self._listener
        return _POLL_S if listener is None or not listener.receives else _POLL_IF_NOTIFIED_S

    def notify(self) -> None:
        """Sends a notification, on PostgreSQL."""
        if self.vendor.notifies:
            self._notifier.notify()

    def listen(self, wake: Callable[[], None]) -> Listener | None:
        """Starts a thread that listens, on PostgreSQL."""
        if not self.vendor.notifies:
            return None
        self._listener = Listener(self, self.listens_on, wake)
        return self._listener

    @property
    def listen_problem(self) -> str | None:
        """Why notifications do not arrive."""
        return None if self._listener is None else self._listener.problem

    def find_listen_problem(self) -> str | None:
        """Tests whether notifications reach workers; ``None`` if so, else the reason."""
        return find_listen_problem(self, self.listens_on) if self.vendor.notifies else None

    # -- the store -------------------------------------------------------------------------------

    def note_deliverer(self) -> None:
        """Stores that a process which delivers this queue is alive."""
        note_worker(self, self.vendor, self.queue)

    def deliverer_seen_s(self) -> float | None:
        """Seconds since such a process was alive; ``None``: there never was one."""
        return last_seen(self, self.vendor, self.queue)

    def changes(self) -> object:
        """A token that changes with every commit; always another one while the inbox has rows."""
        with self._cursor() as cursor:
            cursor.execute(
                # by handle, whose only index begins with the queue
                "SELECT max(version), (SELECT min(handle) FROM bytelyst_sync_inbox"
                " WHERE queue = %s) FROM bytelyst_sync_queues WHERE name = %s",
                [self.queue, self.queue],
            )
            version, waiting = cursor.fetchone()
        return version if waiting is None else object()

    def delivery_right(self) -> SharedDeliveryLock:
        """A lock that everybody may hold: claims are leases."""
        return SharedDeliveryLock()

    def pull_right(self) -> PullLease:
        """A new object for the lease of the right to pull in the background."""
        return PullLease(self, self.queue, self.lease_s)

    def execute(self, text: str, *values: Value) -> int:
        """Runs a statement in a transaction of its own; the number of rows that it changed."""
        with self._cursor() as cursor:
            cursor.execute(text, list(values))
            return int(cursor.rowcount)

    def query(self, text: str, *values: Value) -> list[tuple[Any, ...]]:
        """Runs a query on its own; its rows."""
        with self._cursor() as cursor:
            cursor.execute(text, list(values))
            return list(cursor.fetchall())

    @property
    def notice(self) -> str | None:
        """Always ``None``: checking the database is the project's task."""
        return None

    def purge(self) -> None:
        """After the queue was wiped: deletes its inbox and its receipts."""
        for table in (INBOX, RECEIPTS):
            self.execute(
                f"DELETE FROM bytelyst_sync_{table.name} WHERE queue = %s",  # noqa: S608
                self.queue,
            )

    def after_fork(self) -> None:
        """In a forked child: forgets the parent's connections without closing them."""
        self._pool.after_fork()
        self._local = threading.local()
        self._listener = None

    def close(self) -> None:
        """Closes the connections that are not Django's own; idempotent."""
        self._pool.close()

    def _refuse_nesting(self, call: str) -> None:
        if getattr(self._local, "inside", False):
            raise RuntimeError(
                f"{call}() was called from within a transaction of the same store: use the"
                " transaction that was passed in, or call it afterwards"
            )

    def enter(self, inside: bool) -> None:
        """Whether this thread runs the work of a transaction."""
        self._local.inside = inside


def _pause_s(refused: int) -> float:
    """How long to wait after so many tries in vain."""
    slower = min(_SLOWEST, 1.0 + max(0, refused - _OFTEN) / _SLOWER_EACH)
    return random.uniform(*_PAUSE_S) * slower
