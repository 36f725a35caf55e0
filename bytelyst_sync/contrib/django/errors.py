"""Errors of the database as the errors of the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, OperationalError, ProgrammingError

from bytelyst_sync.errors import StorageError, StorageFullError

__all__ = ["translated_errors"]

_FULL = ("disk is full", "disk full", "no space left", "table is full")


@contextmanager
def translated_errors(alias: str) -> Iterator[None]:
    """Raises ``StorageError`` for an error of the database."""
    try:
        yield
    except Error as error:
        raise _translated(error, alias) from error


def _translated(error: Error, alias: str) -> StorageError:
    text = " ".join(str(error).split())
    if any(each in text.lower() for each in _FULL):
        return StorageFullError(f"the database {alias!r} is full: {text}")
    if "bytelyst_sync_" in text and isinstance(error, (ProgrammingError, OperationalError)):
        return StorageError(
            f"the database {alias!r} lacks a table or column of the queue: run"
            f" `manage.py migrate --database {alias}` ({text})"
        )
    if isinstance(error, OperationalError):
        return StorageError(f"the database {alias!r} cannot be used now: {text}")
    return StorageError(f"the database {alias!r} refused a statement of the queue: {text}")
