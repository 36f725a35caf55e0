"""How an LMDB file is opened and repaired, and what LMDB's errors mean."""

from __future__ import annotations

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.current_file import Settings
from bytelyst_sync.storage.damaged_files import recent_report
from bytelyst_sync.storage.files import sibling
from bytelyst_sync.storage.lmdb.binding import load_lmdb
from bytelyst_sync.storage.lmdb.errors import DamagedError, is_damage, translate_error
from bytelyst_sync.storage.lmdb.format import is_former
from bytelyst_sync.storage.lmdb.mapped_file import MappedFile
from bytelyst_sync.storage.lmdb.opening import (
    OlderFormatError,
    check_before_locking,
    open_file,
    put_in_place,
    remove_lock,
)
from bytelyst_sync.storage.lmdb.rows import LmdbRows
from bytelyst_sync.storage.lmdb.salvage import convert, replacement
from bytelyst_sync.storage.lmdb.verification import find_damage
from bytelyst_sync.storage.lmdb.view import LmdbView
from bytelyst_sync.storage.schema import META, SALVAGED

__all__ = ["MappedKind"]


class MappedKind:
    """See ``FileKind``."""

    database = "LMDB"
    finds_all_damage = True

    def __init__(self, settings: Settings, map_bytes: int | None) -> None:
        self._settings = settings
        self._map_bytes = map_bytes
        self._lmdb = load_lmdb()
        self.errors: tuple[type[Exception], ...] = (self._lmdb.Error, DamagedError)

    def check_before_locking(self) -> None:
        """See ``FileKind``."""
        check_before_locking(self._settings)

    def open(self) -> tuple[MappedFile, bool, str | None]:
        """See ``FileKind``."""
        try:
            file, created = open_file(self._settings, self._map_bytes)
        except OlderFormatError:
            self._convert()
            file, created = open_file(self._settings, self._map_bytes)
        try:
            return file, created, _recent_notice(file)
        except BaseException:
            file.close()
            raise

    def _convert(self) -> None:
        """Converts a file of an older release: all of it, or nothing."""
        copy = sibling(self._settings.path, ".converted")
        remove_lock(copy)
        copy.unlink(missing_ok=True)
        copy.touch(0o600)
        convert(copy, self._settings.path)
        put_in_place(copy, self._settings.path)

    def continues(self, file: MappedFile, former: MappedFile) -> bool:
        """See ``FileKind``."""
        if file.identity == former.identity:
            return True  # only LMDB's lock file was replaced
        transaction = file.begin()
        try:
            return is_former(transaction, former.identity)
        finally:
            file.finish(transaction)

    def start_after(self, file: MappedFile, number: int) -> None:
        """See ``FileKind``."""
        transaction = file.begin(write=True)
        try:
            rows = LmdbRows(transaction)
            rows.set_last_number(number)
            rows.settle()
            transaction.commit()
        finally:
            file.finish(transaction)

    def has_damage(self) -> bool:
        """See ``FileKind``."""
        return find_damage(self._settings.path) is not None

    def set_aside(self) -> str:
        """See ``FileKind``."""
        try:
            return replacement(self._settings).set_aside()
        except self._lmdb.Error as error:
            raise self.translate(error) from error

    def finish_salvage(self) -> str | None:
        """See ``FileKind``."""
        try:
            return replacement(self._settings).finish()
        except self._lmdb.Error as error:
            raise self.translate(error) from error

    def is_trouble(self, error: Exception) -> bool:
        """See ``FileKind``."""
        return isinstance(error, self.errors)

    def is_damage(self, error: Exception) -> bool:
        """See ``FileKind``."""
        return is_damage(error)

    def is_doubtful(self, error: Exception) -> bool:
        """See ``FileKind``."""
        return not isinstance(error, self._lmdb.ReadersFullError)

    def translate(self, error: Exception) -> StorageError:
        """See ``FileKind``."""
        return translate_error(error, self._settings.path)


def _recent_notice(file: MappedFile) -> str | None:
    """The report of a salvage in the last 24 hours, by this process or another one."""
    transaction = file.begin()
    try:
        row = LmdbView(LmdbRows(transaction)).get(META, SALVAGED)
    finally:
        file.finish(transaction)
    return None if row is None else recent_report(row.value)
