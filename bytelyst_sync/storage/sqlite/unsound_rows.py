"""Finds the unsound rows of a database."""

from __future__ import annotations

from itertools import islice
from typing import Final

from bytelyst_sync.storage.row_checks import is_sound, row_maker
from bytelyst_sync.storage.schema import TABLES
from bytelyst_sync.storage.set_aside import UnsoundRowError
from bytelyst_sync.storage.sqlite.file import Database

__all__ = ["find_unsound_rows"]

_SHOWN_PER_TABLE: Final = 100


def find_unsound_rows(database: Database) -> list[UnsoundRowError]:
    """Reads all rows; returns the unsound ones, up to a hundred of each table."""
    connection = database.borrow()
    unsound: list[UnsoundRowError] = []
    try:
        for table in TABLES:
            columns = ",".join(table.columns)
            rows = connection.execute(f"SELECT {columns} FROM {table.name}")  # noqa: S608
            bad = (row for row in map(row_maker(table), rows) if not is_sound(table, row))
            reason = "is malformed or out of range"
            unsound += [
                UnsoundRowError(table, row, reason) for row in islice(bad, _SHOWN_PER_TABLE)
            ]
    finally:
        database.give_back(connection)
    return unsound
