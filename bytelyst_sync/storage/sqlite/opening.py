"""Opens a database file, after checking that it is a store of this package."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage import schema
from bytelyst_sync.storage.current_file import FileReplaced, Settings
from bytelyst_sync.storage.delivery_lock import is_marked
from bytelyst_sync.storage.file_checks import check_files, check_modes, header_of
from bytelyst_sync.storage.file_errors import newer_schema_error
from bytelyst_sync.storage.files import identity_of, length_of, sibling
from bytelyst_sync.storage.sqlite.connections import PAGE_BYTES, connect
from bytelyst_sync.storage.sqlite.errors import is_damage
from bytelyst_sync.storage.sqlite.file import Database, remove_wal, require_same_file
from bytelyst_sync.storage.sqlite.migrations import APPLICATION_ID, bring_up_to_date
from bytelyst_sync.storage.sqlite.schema_checks import unexpected_objects
from bytelyst_sync.storage.sqlite.wal_file import WAL_BYTES, WAL_PAGES
from bytelyst_sync.storage.sqlite.wal_recovery import keep_hidden_commits, remember

__all__ = ["check_before_locking", "open_database"]

_SMALLEST_FILE_BYTES = 512
_MAGIC = b"SQLite format 3\0"
_ID_PLACE = slice(68, 72)
_WAL_HEADERS_BYTES = 32 + 24
"""The headers of a WAL and of its first frame; the frame's page follows."""
_OBJECTS_SHOWN = 3


def open_database(settings: Settings) -> tuple[Database, bool]:
    """Opens the file, or creates it if it is missing or empty; the second value is true then.

    Under the write lock. Raises ``StorageVersionError`` for a file of a newer release and
    ``StorageError`` for another program's file, which are not changed, and SQLite's own errors.
    """
    path = settings.path
    check_files(path, settings.unresolved_path)
    try:
        if not path.exists():
            remove_wal(path)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StorageError(
            f"{path} cannot be created ({error.strerror or error}): check that its directory exists"
            " and is writable"
        ) from error
    identity = identity_of(path)
    if identity is None:
        raise FileReplaced
    size = path.stat().st_size
    check_modes(path)
    if size:
        _check_content(settings, size)
    else:
        path.chmod(0o600)
    writer = connect(path, "rw", settings.busy_timeout_s)
    try:
        _set_up(writer, settings)
        hidden = keep_hidden_commits(path, writer) if size else None
        made = bring_up_to_date(writer)
        if hidden is not None:
            remember(writer, hidden)
        require_same_file(path, identity)
    except BaseException:
        writer.close()
        raise
    database = Database(settings, identity, writer)
    database.notice = hidden
    return database, made


def _set_up(writer: sqlite3.Connection, settings: Settings) -> None:
    writer.execute(f"PRAGMA page_size={PAGE_BYTES}")
    if writer.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise StorageError(
            f"{settings.path} cannot have a write-ahead log: use a file on a local disk"
        )
    writer.execute(f"PRAGMA synchronous={'FULL' if settings.full else 'NORMAL'}")
    if settings.full:
        writer.execute("PRAGMA fullfsync=1")
    writer.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
    writer.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")


def check_before_locking(settings: Settings) -> None:
    """Refuses a path that names no store, before a lock file is created beside it."""
    path = settings.path
    check_files(path, settings.unresolved_path)
    size = length_of(path)
    if size:
        _check_header(settings, size)
    check_modes(path)


def _check_header(settings: Settings, size: int) -> None:
    """Reads the database file without its WAL, which may contain the first commit of a store."""
    path = settings.path
    if size < _SMALLEST_FILE_BYTES and not _is_own(path):
        raise _not_a_store_error(path)  # SQLite would overwrite the file
    application = None
    try:
        with closing(connect(path, "ro&immutable=1", settings.busy_timeout_s)) as connection:
            application = _application_id(connection)
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if is_damage(error) and not _is_own(path, application):
            raise _not_a_store_error(path) from error
        return
    if application != APPLICATION_ID and (application or tables):
        raise _other_program(path)


def _other_program(path: Path) -> StorageError:
    return StorageError(
        f"{path} is another program's SQLite database and is untouched: use a separate file for"
        " the queue"
    )


def _check_content(settings: Settings, size: int) -> None:
    """Checks the file without changing it or creating files beside it.

    Raises ``StorageError`` for a file that this package did not write, and
    ``sqlite3.DatabaseError`` for a damaged store. The caller holds the write lock, so nobody writes
    if there is no WAL: the file is then opened as immutable, and SQLite creates no other files.
    """
    path = settings.path
    if size < _SMALLEST_FILE_BYTES:
        raise sqlite3.DatabaseError("file is not a database")  # SQLite would overwrite it
    wal = sibling(path, "-wal")
    mode = "ro" if wal.exists() and wal.stat().st_size else "ro&immutable=1"
    connection = connect(path, mode, settings.busy_timeout_s)
    application = None
    try:
        application = _application_id(connection)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        strange = unexpected_objects(connection) if application == APPLICATION_ID else []
    except sqlite3.DatabaseError as error:
        if is_damage(error) and not _is_own(path, application):
            raise _not_a_store_error(path) from error
        raise
    finally:
        connection.close()
    if application != APPLICATION_ID and (application or tables):
        raise _other_program(path)
    if application == APPLICATION_ID and tables and version < 1:
        raise sqlite3.DatabaseError("file is not a database")  # its header is damaged
    if application == APPLICATION_ID and version > schema.SCHEMA_VERSION:
        raise newer_schema_error(path, version, schema.SCHEMA_VERSION)
    if strange:
        raise StorageError(
            f"{path} contains objects that this package does not create"
            f" ({', '.join(strange[:_OBJECTS_SHOWN])}) and is untouched: they could run SQL in this"
            " program. Move the file away, or drop them"
        )


def _is_own(path: Path, application: int | None = None) -> bool:
    """Whether a file that cannot be read is a damaged store, by its header or lock file.

    ``application`` is the id in the header, if SQLite accepted the header. Until the first
    checkpoint, the header in the file has no id yet, but the one in the WAL has.
    """
    if application is None:
        application = _id_in(header_of(path))
    if application is not None and APPLICATION_ID in (application, _id_in_wal(path)):
        return True
    return is_marked(sibling(path, ".lock"))


def _application_id(connection: sqlite3.Connection) -> int:
    """The id in the header, which SQLite reads although the pages after it are damaged."""
    # only then may a file be shorter than its header says, as after a checkpoint that was cut off
    connection.execute("PRAGMA writable_schema=ON")
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    connection.execute("PRAGMA writable_schema=OFF")
    return application


def _id_in(header: bytes) -> int | None:
    """The application id in SQLite's header, or ``None`` if this is another file's beginning."""
    is_database = header[: len(_MAGIC)] == _MAGIC
    return int.from_bytes(header[_ID_PLACE], "big") if is_database else None


def _id_in_wal(path: Path) -> int | None:
    """The application id in the first page of the WAL, if that is page 1 of the database."""
    try:
        with sibling(path, "-wal").open("rb") as file:
            return _id_in(file.read(_WAL_HEADERS_BYTES + _ID_PLACE.stop)[_WAL_HEADERS_BYTES:])
    except FileNotFoundError:
        return None


def _not_a_store_error(path: Path) -> StorageError:
    """The error for a file that this package did not write."""
    return StorageError(
        f"{path} is no store of this package and is untouched: use a separate file for the"
        " queue. If it is a store whose first bytes are damaged, restore a backup"
    )
