"""Creates the tables of a new file, and migrates the tables of an older release.

Each migration leads from one schema version to the next. All of them, and the new version number,
are written in one transaction. Never change a released migration: add the next one and raise
``SCHEMA_VERSION``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from bytelyst_sync.storage import schema
from bytelyst_sync.storage.sqlite.statements import COUNTERS, statements

__all__ = ["APPLICATION_ID", "MIGRATIONS", "bring_up_to_date"]

APPLICATION_ID = 0x62797379
"""The ``application_id`` in the header of the package's files: ``bysy``."""


def _from_1(connection: sqlite3.Connection) -> None:
    """Renames columns, and adds the columns, tables and indexes that version 1 did not have."""
    for table, names in schema.FORMER_COLUMNS.items():
        for old, new in names.items():
            connection.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    add_what_is_missing(connection)


def _from_2(connection: sqlite3.Connection) -> None:
    """Adds the table of experiments."""
    add_what_is_missing(connection)


def _from_3(connection: sqlite3.Connection) -> None:
    """Adds the number of an item's claim."""
    add_what_is_missing(connection)


def add_what_is_missing(connection: sqlite3.Connection) -> None:
    """Creates the tables and columns that ``schema`` declares and the file lacks, and creates all
    indexes again.
    """
    there = connection.execute("SELECT type, name FROM sqlite_master WHERE sql IS NOT NULL")
    names = there.fetchall()
    for name in [name for kind, name in names if kind == "index"]:
        connection.execute(f"DROP INDEX {name}")
    for table in schema.TABLES:
        make_table, *make_indexes = statements(table).create()
        if ("table", table.name) in names:
            listed = connection.execute(f"PRAGMA table_info({table.name})")
            present = {row[1] for row in listed}
            defaults = table.row._field_defaults
            for column in table.columns:
                if column not in present:
                    value = defaults[column]
                    shown = "" if value is None else f" DEFAULT {value:d}"
                    connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {column}{shown}")
        else:
            connection.execute(make_table)
        for text in make_indexes:
            connection.execute(text)


MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1, 2: _from_2, 3: _from_3}
"""Migrations by the version that they start from."""


def bring_up_to_date(connection: sqlite3.Connection) -> bool:
    """Creates or migrates the tables in one transaction; true if they were created.

    The caller holds the write lock. The connection is in autocommit mode. An error undoes all.
    """
    if _version(connection) == schema.SCHEMA_VERSION:
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        stored = _version(connection)
        if not stored:
            _create(connection)
        else:
            for version in range(stored, schema.SCHEMA_VERSION):
                MIGRATIONS[version](connection)
        connection.execute(f"PRAGMA user_version={schema.SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return not stored


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(COUNTERS)
    for table in schema.TABLES:
        for text in statements(table).create():
            connection.execute(text)
