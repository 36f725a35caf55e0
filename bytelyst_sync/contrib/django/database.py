"""The differences between the databases: transactions, locks, clocks. One value for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
from django.db import Error

from bytelyst_sync.errors import ConfigError

__all__ = ["Vendor", "vendor_of"]

_IDLE_S = 10
"""How long a transaction may stand still: then the database ends it, so that a process that was
stopped in one holds up the others no longer.
"""


_LOCK_S = 5
"""How long a statement may wait for a lock."""
_STATEMENT_S = 60
"""How long a statement may run."""


@attrs.frozen(kw_only=True)
class Vendor:
    """One database's statements.

    ``read`` and ``write`` are run first in a transaction of that kind; ``lock`` locks and reads a
    queue's row and the clock, or finds none if it is locked; ``now`` is the clock.
    """

    name: str
    read: tuple[str, ...]
    write: tuple[str, ...]
    lock: str
    add_queue: str
    add_lease: str
    now: str
    notifies: bool = False
    """Whether it has ``LISTEN`` and ``NOTIFY``."""
    explicit: bool = False
    """Whether ``read`` and ``write`` begin the transaction themselves."""

    @contextmanager
    def transaction(self, connection: Any, begin: tuple[str, ...]) -> Iterator[None]:
        """A transaction of its own, or a savepoint in that of a test case."""
        if connection.in_atomic_block:
            with _savepoint(connection):
                yield
            return
        if not self.explicit:
            connection.set_autocommit(False)
        try:
            for text in begin:
                _run(connection, text)
            yield
            self._end(connection, "COMMIT")
        except BaseException:
            _roll_back(connection, explicit=self.explicit)
            raise
        finally:
            if not self.explicit:
                _back_to_autocommit(connection)

    def _end(self, connection: Any, text: str) -> None:
        if self.explicit:
            _run(connection, text)
        else:
            connection.commit()


def _run(connection: Any, text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text)


@contextmanager
def _savepoint(connection: Any) -> Iterator[None]:
    name = connection.savepoint()
    try:
        yield
    except BaseException:
        if name is not None:
            connection.savepoint_rollback(name)
        raise
    if name is not None:
        connection.savepoint_commit(name)


def _roll_back(connection: Any, *, explicit: bool) -> None:
    """Ends the transaction; a connection that cannot do that is closed."""
    try:
        if explicit:
            _run(connection, "ROLLBACK")
        else:
            connection.rollback()
    except Error:
        with suppress(Error):
            connection.close()


def _back_to_autocommit(connection: Any) -> None:
    if connection.connection is not None:
        try:
            connection.set_autocommit(True)
        except Error:
            with suppress(Error):
                connection.close()


_QUEUE = "SELECT version, number, counts, {} FROM bytelyst_sync_queues WHERE name = %s"
_POSTGRESQL_NOW = "extract(epoch FROM clock_timestamp())::double precision"
_MARIADB_NOW = "CAST(UNIX_TIMESTAMP(SYSDATE(6)) AS DOUBLE)"
_SQLITE_NOW = "(julianday('now') - 2440587.5) * 86400.0"

_BY_INDEX = " SET LOCAL random_page_cost = 1.1;"
"""Every statement has an index, and its pages are in memory: what was pushed just now. With the
server's default for disks, PostgreSQL may read the inboxes of other queues instead.
"""
_BEGIN_READ = f"BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;{_BY_INDEX}"
_BEGIN_WRITE = (
    f"BEGIN; SET TRANSACTION ISOLATION LEVEL READ COMMITTED;{_BY_INDEX}"
    f" SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_S}s';"
    f" SET LOCAL lock_timeout = '{_LOCK_S}s'; SET LOCAL statement_timeout = '{_STATEMENT_S}s';"
    " SELECT set_config('synchronous_commit', 'on', true)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
)
"""Each is sent at once."""

_POSTGRESQL = Vendor(
    name="postgresql",
    read=(_BEGIN_READ,),
    write=(_BEGIN_WRITE,),
    lock=f"{_QUEUE.format(_POSTGRESQL_NOW)} FOR UPDATE SKIP LOCKED",
    add_queue=(
        "INSERT INTO bytelyst_sync_queues (name, version, number, counts)"
        " VALUES (%s, 0, 0, '{}') ON CONFLICT DO NOTHING"
    ),
    add_lease=(
        "INSERT INTO bytelyst_sync_leases (queue, owner, until) VALUES (%s, '', 0)"
        " ON CONFLICT DO NOTHING"
    ),
    now=_POSTGRESQL_NOW,
    notifies=True,
    explicit=True,
)
_MARIADB_TIMEOUTS = (
    f"SET SESSION idle_transaction_timeout = {_IDLE_S},"
    f" innodb_lock_wait_timeout = {_LOCK_S}, max_statement_time = {_STATEMENT_S}"
)
"""It has none for a transaction; these connections are the queue's own."""
_MARIADB = Vendor(
    name="mysql",
    read=("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",),
    write=(
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        _MARIADB_TIMEOUTS,
    ),
    lock=f"{_QUEUE.format(_MARIADB_NOW)} FOR UPDATE SKIP LOCKED",
    add_queue=(
        "INSERT IGNORE INTO bytelyst_sync_queues (name, version, number, counts)"
        " VALUES (%s, 0, 0, '{}')"
    ),
    add_lease="INSERT IGNORE INTO bytelyst_sync_leases (queue, owner, until) VALUES (%s, '', 0)",
    now=_MARIADB_NOW,
)
_SQLITE = Vendor(
    name="sqlite",
    read=("BEGIN",),
    write=("BEGIN IMMEDIATE",),
    lock=_QUEUE.format(_SQLITE_NOW),
    add_queue=_POSTGRESQL.add_queue,
    add_lease=_POSTGRESQL.add_lease,
    now=_SQLITE_NOW,
    explicit=True,
)
_VENDORS = {each.name: each for each in (_POSTGRESQL, _MARIADB, _SQLITE)}


def vendor_of(connection: Any) -> Vendor:
    """The statements for this connection; ``ConfigError`` for a database that is not supported."""
    vendor = _VENDORS.get(connection.vendor)
    if vendor is None:
        raise ConfigError(
            f"the database {connection.alias!r} is {connection.display_name}; a queue needs"
            " PostgreSQL, MariaDB or SQLite: name another one with using=",
            field="using",
            value=connection.alias,
        )
    return vendor
