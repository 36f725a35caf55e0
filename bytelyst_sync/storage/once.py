"""A store as one engine uses it: once that engine has closed it, it does not open again.

A store opens itself at its first use. A pull that is still under way when the engine closes, or an
iterator that somebody kept, must not be such a use.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from bytelyst_sync.errors import EngineClosedError, StorageError
from bytelyst_sync.storage.base import DeliveryRight, Reader, Storage, Transaction
from bytelyst_sync.storage.schema import META, SEALED

__all__ = ["StorageOnce"]

T = TypeVar("T")


class StorageOnce:
    """The port again; every use after ``close`` raises ``EngineClosedError``.

    One that is under way then may open the store once more, and closes it when it is done.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._closed = False
        self._readable = bool(getattr(storage, "seals", False))
        """Whether what it holds makes sense to who reads it: not if another store sealed it."""

    def _look(self) -> None:
        if self._closed:
            raise EngineClosedError("the engine is closed; make a new one")
        if not self._readable:
            self._storage.read(_refuse_if_sealed)
            self._readable = True

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """As the port says."""
        if self._closed or not self._readable:
            self._look()
        try:
            return self._storage.write(work, then)
        finally:
            if self._closed:
                self._close_again()

    def read(self, work: Callable[[Reader], T]) -> T:
        """As the port says."""
        if self._closed or not self._readable:
            self._look()
        try:
            return self._storage.read(work)
        finally:
            if self._closed:
                self._close_again()

    def _close_again(self) -> None:
        with suppress(StorageError):  # what was to be done is done
            self._storage.close()

    def changes(self) -> object:
        """As the port says."""
        self._look()
        return self._storage.changes()

    def delivery_right(self) -> DeliveryRight:
        """As the port says."""
        self._look()
        return self._storage.delivery_right()

    @property
    def notice(self) -> str | None:
        """As the port says."""
        return self._storage.notice

    def after_fork(self) -> None:
        """As the port says."""
        self._storage.after_fork()

    def close(self) -> None:
        """Closes it for good."""
        self._closed = True
        self._storage.close()


def _refuse_if_sealed(tx: Reader) -> None:
    if tx.get(META, SEALED) is not None:
        raise StorageError(
            "the store is encrypted; open it as storage=EncryptedStorage(path, key=...)"
        )
