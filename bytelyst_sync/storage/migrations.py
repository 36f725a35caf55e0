"""How a file gets the current schema: made anew, or brought up from an older release's.

Each migration leads from one version to the next; they run in one transaction with the mark of
the new version, so that a file is wholly of one version whatever happens. Never change a
migration that was released: add the next one and raise ``SCHEMA_VERSION``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from bytelyst_sync.storage import schema
from bytelyst_sync.storage.sqlite_sql import COUNTERS, statements

__all__ = ["APPLICATION_ID", "MIGRATIONS", "bring_up_to_date"]

APPLICATION_ID = 0x62797379
"""What marks a SQLite file as ours in its header: ``bysy``."""

MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""By the version that a migration starts from."""


def bring_up_to_date(connection: sqlite3.Connection) -> bool:
    """Makes or migrates the tables in one transaction; true if they were made anew.

    Under the write guard. The connection is in autocommit mode. An error undoes all of it.
    """
    if _version(connection) == schema.SCHEMA_VERSION:
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = _version(connection)
        if not found:
            _create(connection)
        else:
            for version in range(found, schema.SCHEMA_VERSION):
                MIGRATIONS[version](connection)
        connection.execute(f"PRAGMA user_version={schema.SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return not found


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(COUNTERS)
    for table in schema.TABLES:
        for text in statements(table).create():
            connection.execute(text)
