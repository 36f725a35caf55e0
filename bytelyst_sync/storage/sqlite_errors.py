"""What SQLite says, as the package's errors: each names the file and what to do next."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

from bytelyst_sync.errors import (
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageVersionError,
)

try:
    import resource
except ImportError:  # there are no such limits on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["is_damage", "is_doubtful", "is_trouble", "primary_code", "told"]

_LEAST_FREE_BYTES = 1024 * 1024
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
    """SQLite's primary result code. Python before 3.11 tells it by the message alone."""
    message = str(error)
    for text, code in _MESSAGES:
        if message.startswith(text):
            return code
    return int(getattr(error, "sqlite_errorcode", _ERROR)) & 0xFF


def is_damage(error: BaseException) -> bool:
    """Whether the file itself is said to be damaged, or no database at all."""
    return isinstance(error, sqlite3.Error) and primary_code(error) in (_CORRUPT, _NOTADB)


def is_trouble(error: sqlite3.Error) -> bool:
    """Whether it is the store's trouble, and not a mistake in one job's statement."""
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)):
        return False
    return not isinstance(error, sqlite3.InterfaceError) and primary_code(error) != _ERROR


def is_doubtful(error: sqlite3.Error) -> bool:
    """Whether the connection should not be trusted after it."""
    return primary_code(error) not in (_BUSY, _LOCKED)


def told(error: sqlite3.Error, path: Path, busy_timeout_s: float) -> StorageError:
    """A new error of ours for SQLite's, with its remedy; the caller sets ``__cause__``."""
    code = primary_code(error)
    if code in (_FULL, _IOERR):
        return _told_of_space(error, code, path)
    if code in (_BUSY, _LOCKED):
        return StorageError(
            f"{path} has been locked for {busy_timeout_s:g} s: look for a program that keeps a"
            " transaction on it open (lsof or fuser names those that use it), then try again"
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


def _told_of_space(error: sqlite3.Error, code: int, path: Path) -> StorageError:
    # a quota or a limit on file sizes comes as a failed write (SQLITE_IOERR_WRITE, _SHMSIZE);
    # Python before 3.11 does not tell which failure it was
    extended = getattr(error, "sqlite_errorcode", None)
    if code == _FULL or extended in (778, 4874) or (extended is None and _cannot_grow(path)):
        return StorageFullError(
            f"{path} cannot grow ({error}): the disk is full, or a quota or a limit on file sizes"
            " is reached; nothing was changed, and the next call after space is freed will work"
        )
    return StorageError(
        f"{path}: {error}; check the disk and the system's log. What was being written may be"
        " stored or not: look at queue() before you push it again"
    )


def _cannot_grow(path: Path) -> bool:
    """Whether the disk is full, or this process may not write larger files."""
    try:
        full = shutil.disk_usage(path.parent).free < _LEAST_FREE_BYTES
    except OSError:
        return False
    return full or (resource is not None and _has_limit(resource))


def _has_limit(limits: Any) -> bool:
    return bool(limits.getrlimit(limits.RLIMIT_FSIZE)[0] != limits.RLIM_INFINITY)


def newer(path: Path, found: int, known: int) -> StorageVersionError:
    """The error for a file whose schema is of a later release."""
    return StorageVersionError(
        f"{path} was written by a newer release (schema {found}, this one knows {known}) and is"
        " untouched; upgrade bytelyst-sync"
    )
