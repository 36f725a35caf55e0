"""Translates SQLite's errors to the package's; each names the file and what to do next."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bytelyst_sync.errors import StorageCorruptError, StorageError
from bytelyst_sync.storage.file_errors import cannot_grow, full_error
from bytelyst_sync.storage.files import sibling

__all__ = [
    "is_damage",
    "is_doubtful",
    "is_trouble",
    "primary_code",
    "translate_error",
]

_ERROR = 1
_PERM, _BUSY, _LOCKED, _NOMEM, _READONLY = 3, 5, 6, 7, 8
_IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB, _AUTH = 10, 11, 13, 14, 26, 23

_MESSAGES = (
    ("database or disk is full", _FULL),
    ("disk I/O error", _IOERR),
    ("database disk image is malformed", _CORRUPT),
    ("malformed database schema", _CORRUPT),
    ("Could not decode to UTF-8", _CORRUPT),
    ("unsupported file format", _CORRUPT),
    ("no such table", _CORRUPT),
    ("no such index", _CORRUPT),
    ("no such column", _CORRUPT),
    ("file is not a database", _NOTADB),
    ("file is encrypted or is not a database", _NOTADB),
    ("database is locked", _BUSY),
    ("database table is locked", _LOCKED),
    ("attempt to write a readonly database", _READONLY),
    ("unable to open database file", _CANTOPEN),
    ("access permission denied", _PERM),
)


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code. Before Python 3.11 it is found by the message."""
    message = str(error)
    for text, code in _MESSAGES:
        if message.startswith(text):
            return code
    return int(getattr(error, "sqlite_errorcode", _ERROR)) & 0xFF


def is_damage(error: BaseException) -> bool:
    """Whether SQLite reports that the file is damaged, or no database."""
    return isinstance(error, sqlite3.Error) and primary_code(error) in (_CORRUPT, _NOTADB)


def is_trouble(error: sqlite3.Error) -> bool:
    """Whether the store or the file failed, and not one job's statement."""
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)):
        return False
    return not isinstance(error, sqlite3.InterfaceError) and primary_code(error) != _ERROR


def is_doubtful(error: BaseException) -> bool:
    """Whether the connection should be closed after this error."""
    return primary_code(error) not in (_BUSY, _LOCKED)


def translate_error(error: BaseException, path: Path, busy_timeout_s: float) -> StorageError:
    """A ``StorageError`` for SQLite's error; the caller sets ``__cause__``."""
    code = primary_code(error)
    if code in (_FULL, _IOERR):
        return _write_failure(error, code, path)
    if code in (_BUSY, _LOCKED):
        return StorageError(
            f"{path} has been locked for {busy_timeout_s:g} s: find the program that keeps a"
            " transaction open on it (lsof or fuser lists the programs that use it), then try again"
        )
    if code in (_CORRUPT, _NOTADB):
        return StorageCorruptError(
            f"{path} is damaged and could not be set aside; move it away by hand"
        )
    if code in (_READONLY, _CANTOPEN, _PERM, _AUTH):
        return StorageError(
            f"{path} cannot be opened for writing ({error}): check the owner and the mode of the"
            f" file and of {path.parent}, where SQLite keeps files beside it"
        )
    return StorageError(f"{path}: {error}")


def _write_failure(error: BaseException, code: int, path: Path) -> StorageError:
    # SQLite reports a quota or a limit on file sizes as a failed write (SQLITE_IOERR)
    if code == _FULL or cannot_grow(path, sibling(path, "-wal")):
        return full_error(path, error)
    return StorageError(
        f"{path}: {error}; check the disk and the system's log. The change may be stored"
        " or not: look at queue() before you push it again"
    )
