"""How a database file is opened and repaired, and what SQLite's errors mean."""

from __future__ import annotations

import sqlite3

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.current_file import Settings
from bytelyst_sync.storage.damaged_files import Replacement, recent_report
from bytelyst_sync.storage.schema import META, SALVAGED
from bytelyst_sync.storage.sqlite.errors import (
    is_damage,
    is_doubtful,
    is_trouble,
    translate_error,
)
from bytelyst_sync.storage.sqlite.file import Database
from bytelyst_sync.storage.sqlite.opening import check_before_locking, open_database
from bytelyst_sync.storage.sqlite.salvage import has_damage, replacement
from bytelyst_sync.storage.sqlite.statements import statements

__all__ = ["DatabaseKind"]


class DatabaseKind:
    """See ``FileKind``."""

    database = "SQLite"
    finds_all_damage = False
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check_before_locking(self) -> None:
        """See ``FileKind``."""
        check_before_locking(self._settings)

    def open(self) -> tuple[Database, bool, str | None]:
        """See ``FileKind``."""
        database, created = open_database(self._settings)
        try:
            return database, created, database.notice or _recent_notice(database)
        except BaseException:
            database.close()
            raise

    def continues(self, file: Database, former: Database) -> bool:  # noqa: ARG002
        """See ``FileKind``. SQLite removes deleted data from the file itself."""
        return False

    def start_after(self, file: Database, number: int) -> None:
        """See ``FileKind``."""
        file.start_after(number)

    def has_damage(self) -> bool:
        """See ``FileKind``."""
        return has_damage(self._settings)

    def set_aside(self) -> str:
        """See ``FileKind``."""
        return self._replacement().set_aside()

    def finish_salvage(self) -> str | None:
        """See ``FileKind``."""
        return self._replacement().finish()

    def _replacement(self) -> Replacement:
        return replacement(self._settings)

    def is_trouble(self, error: Exception) -> bool:
        """See ``FileKind``."""
        return isinstance(error, sqlite3.Error) and is_trouble(error)

    def is_damage(self, error: Exception) -> bool:
        """See ``FileKind``."""
        return is_damage(error)

    def is_doubtful(self, error: Exception) -> bool:
        """See ``FileKind``."""
        return is_doubtful(error)

    def translate(self, error: Exception) -> StorageError:
        """See ``FileKind``."""
        return translate_error(error, self._settings.path, self._settings.busy_timeout_s)


def _recent_notice(database: Database) -> str | None:
    """The report of a salvage in the last 24 hours, by this process or another one."""
    connection = database.borrow()
    try:
        row = connection.execute(statements(META).get, (SALVAGED,)).fetchone()
    finally:
        database.give_back(connection)
    return None if row is None else recent_report(row[1])
