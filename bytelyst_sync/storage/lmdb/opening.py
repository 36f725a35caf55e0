"""Opens an LMDB file, after checking without LMDB that it is a store of this package."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.current_file import FileReplaced, Settings
from bytelyst_sync.storage.delivery_lock import is_marked
from bytelyst_sync.storage.file_checks import check_files, check_modes
from bytelyst_sync.storage.file_errors import newer_schema_error
from bytelyst_sync.storage.files import identity_of, length_of, sibling, sync_file
from bytelyst_sync.storage.lmdb.errors import DamagedError
from bytelyst_sync.storage.lmdb.format import (
    UNSYNCED,
    current_format,
    is_unsynced,
    read_format,
    write_format,
)
from bytelyst_sync.storage.lmdb.keys import FORMAT
from bytelyst_sync.storage.lmdb.mapped_file import LOCK_SUFFIX, MappedFile
from bytelyst_sync.storage.lmdb.pages import HEADER_BYTES, PageFile, is_lmdb
from bytelyst_sync.storage.lmdb.verification import find_damage
from bytelyst_sync.storage.schema import SCHEMA_VERSION

__all__ = [
    "OlderFormatError",
    "check_before_locking",
    "format_of",
    "open_file",
    "put_in_place",
    "remove_lock",
]

_HEAD_BYTES = 2 * HEADER_BYTES
_EMPTY_BYTES = 64 * 1024
_MARKS = 3


class OlderFormatError(Exception):
    """The file is of an older release, and must be converted before it is opened."""


def check_before_locking(settings: Settings) -> None:
    """Refuses a path that names no store, before a lock file is created beside it."""
    path = settings.path
    check_files(path, settings.unresolved_path)
    if length_of(path) and not is_marked(sibling(path, ".lock")):
        _read_first(path)
    check_modes(path)


def format_of(path: Path) -> dict[str, Any] | None:
    """What the file says about itself; ``None`` if it is empty.

    Raises ``StorageError`` for a file of another program, and ``DamagedError``.
    """
    first = _read_first(path) if length_of(path) else None
    return None if first is None else first[0]


def open_file(settings: Settings, map_bytes: int | None) -> tuple[MappedFile, bool]:
    """Opens the file, or creates it if it is missing or empty; the second value is true then.

    Under the write lock. Raises ``StorageVersionError`` for a file of a newer release and
    ``StorageError`` for another program's file, which are not changed, ``OlderFormatError``,
    ``DamagedError``, and LMDB's own errors.
    """
    path = settings.path
    check_files(path, settings.unresolved_path)
    _create_if_missing(path)
    identity = identity_of(path)
    if identity is None:
        raise FileReplaced
    check_modes(path)
    is_new = not length_of(path) or not _check_content(path)
    if is_new:
        path.chmod(0o600)
    file = MappedFile(settings, identity, map_bytes)
    try:
        file.check_readers()
        file.require_current()
        _set_up(file, is_new=is_new)
    except BaseException:
        file.close()
        raise
    return file, is_new


def remove_lock(path: Path) -> None:
    """Deletes LMDB's lock file of a store that does not exist any longer.

    Its table of readers would be taken for that of the next file at this path.
    """
    sibling(path, LOCK_SUFFIX).unlink(missing_ok=True)


def put_in_place(copy: Path, path: Path) -> None:
    """Renames a copy to the path of the store. Who has the former file open finds out.

    The caller holds the write lock.
    """
    remove_lock(copy)
    sync_file(copy)
    copy.rename(path)
    remove_lock(path)
    if os.name == "posix":
        sync_file(path.parent)


def _create_if_missing(path: Path) -> None:
    if path.exists():
        return
    try:
        remove_lock(path)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StorageError(
            f"{path} cannot be created ({error.strerror or error}): check that its directory exists"
            " and is writable"
        ) from error


def _set_up(file: MappedFile, *, is_new: bool) -> None:
    transaction = file.begin(write=True)
    try:
        raw = transaction.get(UNSYNCED)
        if is_new:
            write_format(transaction)
        if raw is not None and not is_unsynced(raw):
            transaction.delete(UNSYNCED)  # the file has just been verified
        transaction.commit()
    finally:
        file.finish(transaction)
    if is_new:
        file.sync()


def _check_content(path: Path) -> bool:
    """Whether this is a store, and not a file that was just created; raises if it is neither.

    The caller holds the write lock, so nobody changes the file meanwhile.
    """
    first = _read_first(path)
    if first is None:
        return False
    stored, raw_mark, whole = first
    if stored["schema"] > SCHEMA_VERSION:
        raise newer_schema_error(path, stored["schema"], SCHEMA_VERSION)
    if not whole:
        raise DamagedError("the file is too short, or a page of it is damaged")
    if raw_mark is not None and not is_unsynced(raw_mark):
        damage = find_damage(path)
        if damage is not None:
            raise DamagedError(damage)
    if stored != current_format():
        raise OlderFormatError
    return True


def _read_first(path: Path) -> tuple[dict[str, Any], bytes | None, bool] | None:
    """The format in the file, its mark, and whether its first pages are sound.

    ``None`` if the file is new. Raises ``StorageError`` for a file of another program, and
    ``DamagedError`` for a damaged store.
    """
    with closing(PageFile(path)) as pages:
        if not pages.metas:
            if not _is_lmdb(path) and _is_empty(path):
                return None
            raise _not_readable(path)
        meta = pages.metas[0]
        if not meta.entries:
            return None
        first = dict(islice(pages.entries(meta.root, set(), [], lenient=False), _MARKS))
        stored = read_format(first[FORMAT]) if FORMAT in first else None
        if stored is None:
            raise _not_readable(path)
        return stored, first.get(UNSYNCED), pages.is_well_formed()


def _is_lmdb(path: Path) -> bool:
    with path.open("rb") as file:
        return is_lmdb(file.read(_HEAD_BYTES))


def _is_empty(path: Path) -> bool:
    """Whether a short file has only zeros, as a loss of power can leave a new one."""
    if length_of(path) > _EMPTY_BYTES or not is_marked(sibling(path, ".lock")):
        return False
    if any(path.read_bytes()):
        return False
    os.truncate(path, 0)
    return True


def _not_readable(path: Path) -> Exception:
    if is_marked(sibling(path, ".lock")):
        return DamagedError("the beginning of the file is damaged")
    return StorageError(
        f"{path} is no store of this package and is untouched: use a separate file for the"
        " queue. If it is a store whose first pages are damaged, restore a backup"
    )
