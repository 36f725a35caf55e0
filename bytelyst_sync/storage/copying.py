"""Copies everything from one store to another one of any kind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.base import Reader, Storage, Table, Transaction
from bytelyst_sync.storage.files import sibling
from bytelyst_sync.storage.schema import TABLES

if sys.platform != "win32":
    import fcntl

__all__ = ["copy_store", "require_unused"]

_ROWS_AT_ONCE = 500
_SUFFIXES_OF_OPEN_FILES = ("-shm", "-lock")


def require_unused(path: Path) -> None:
    """Raises ``StorageError`` if another process has the store in this file open.

    SQLite and LMDB lock a file beside the store as long as it is open. Call it before this process
    opens the store: closing a descriptor of that file drops the locks of its own process.
    """
    if sys.platform == "win32":
        return
    for suffix in _SUFFIXES_OF_OPEN_FILES:
        try:
            with sibling(path, suffix).open("r+b") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:  # noqa: PERF203  two passes
            pass
        except OSError as error:
            raise StorageError(f"{path} is in use: close the programs that use it") from error


def copy_store(source: Storage, target: Storage) -> dict[str, int]:
    """Copies all rows and the sequence in one transaction; returns the number of rows by table.

    Encrypted values are copied as they are, and opened with the same key. Raises ``StorageError``
    if another program delivers what one of the stores holds, if the source changes meanwhile, or if
    the target is not empty. Nothing is written then.
    """
    with ExitStack() as locks:
        for storage in (source, target):
            locks.enter_context(_held(storage))
        if target.read(_has_rows):
            raise StorageError(
                f"{target!r} is not empty: copy to a new file, or sign out there first"
            )
        before = source.changes()

        def work(tx: Transaction) -> dict[str, int]:
            copied = source.read(lambda reader: _copy_all(reader, tx))
            if source.changes() != before:
                raise StorageError(
                    f"{source!r} was written to while it was copied: close the programs that use"
                    " it, and copy it again"
                )
            return copied

        return target.write(work)


@contextmanager
def _held(storage: Storage) -> Iterator[None]:
    """Holds the delivery lock, which a program that uses the store holds too."""
    lock = storage.delivery_right()
    if not lock.acquire():
        raise StorageError(f"{storage!r} is in use: close the program that delivers it, then copy")
    try:
        yield
    finally:
        lock.release()


def _has_rows(reader: Reader) -> bool:
    tables: tuple[Table[Any], ...] = TABLES
    return any(next(reader.scan(table, limit=1), None) is not None for table in tables)


def _copy_all(source: Reader, target: Transaction) -> dict[str, int]:
    copied: dict[str, int] = {}
    for table in TABLES:
        rows: Iterator[Any] = source.scan(table)
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            target.insert(table, *batch)
            copied[table.name] = copied.get(table.name, 0) + len(batch)
    last = source.last_number()
    while target.last_number() < last:
        target.next_number()
    return copied
