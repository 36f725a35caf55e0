"""Encryption at rest: wraps any store and encrypts the payload before it is written.

The data of records, the server's answers and the pull cursors are encrypted. Names of entities, ids
of records, times and versions are not, because rows are found and ordered by them. Each value is
bound to its table, row and column and, in queued items and conflicts, to the item's id, the record
and the operation: a value that was copied to another place cannot be decrypted. A row with such a
value is set aside and reported.

Somebody who can write the file can still delete rows, change columns that are not encrypted, or
restore an older copy of the file. The store cannot detect that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.base import DeliveryLock, Reader, Storage, Table, Transaction, Value
from bytelyst_sync.storage.cipher import AlteredValueError, Cipher, Key, is_encrypted, key_name
from bytelyst_sync.storage.encrypted_rows import (
    DecryptingReader,
    EncryptingTransaction,
    decrypted_values,
    encrypted_columns,
    is_unencrypted,
    key_columns,
    stored_values,
)
from bytelyst_sync.storage.schema import META, SEALED, TABLES, Meta
from bytelyst_sync.storage.set_aside import UnsoundRowError, set_aside_row
from bytelyst_sync.storage.sqlite.store import SQLiteStorage

__all__ = ["EncryptedStorage"]

R = TypeVar("R", bound=NamedTuple)
T = TypeVar("T")
V = TypeVar("V", bound=int | str)

_MARKER_CONTEXT, _MARKER_TEXT = b"the marker of an encrypted store", "encrypted"
_ROWS_AT_ONCE = 200
_SET_ASIDE_AT_ONCE = 1000
_NOTICES = 3


class _UnmarkedError(Exception):
    """The marker is missing, damaged, of release 0.1, or encrypted with an unknown key."""


class EncryptedStorage:
    """A store whose payload is encrypted with AES-256-GCM. Needs the extra ``crypto``.

    ``storage`` is a path (SQLite, with ``durability``) or any other store. ``key`` is 32 random
    bytes, a result of ``generate_key()``, or a callable that returns either and is called at the
    first use. A wrong key raises ``StorageError`` and changes nothing. A store of release 0.1 is
    encrypted again at the first use, in small transactions that may be cut off at any point.

    To change the key, pass the new one as ``key`` and the former one in ``old_keys``, call
    ``rotate()`` once, and omit the former key afterwards. Any thread may call every method.
    """

    seals = True
    """The wrapped store must not be used without this object."""

    def __init__(
        self,
        storage: Storage | str | os.PathLike[str],
        key: Key | Callable[[], Key],
        *,
        old_keys: Iterable[Key] = (),
        durability: str = "full",
    ) -> None:
        self._cipher = Cipher(key, old_keys)
        self._storage: Storage = (
            SQLiteStorage(storage, durability)
            if isinstance(storage, (str, os.PathLike))
            else storage
        )
        self._known_marker: str | None = None
        """The last marker that was authenticated."""
        self._notices: list[str] = []

    def __repr__(self) -> str:
        return f"EncryptedStorage({self._storage!r})"

    @property
    def path(self) -> Path | None:
        """The file of the wrapped store; ``None`` if it has none."""
        path: Path | None = getattr(self._storage, "path", None)
        return path

    @property
    def kind(self) -> str | None:
        """The kind of the wrapped store; ``None`` if it is not in a file."""
        kind: str | None = getattr(self._storage, "kind", None)
        return kind

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """See ``Storage``."""

        def encrypted(tx: Transaction) -> T:
            if not self._is_marked(tx):
                tx.insert(META, self._new_marker())
            return work(EncryptingTransaction(tx, self._cipher))

        return self._repaired(lambda: self._storage.write(encrypted, then))

    def read(self, work: Callable[[Reader], T]) -> T:
        """See ``Storage``."""

        def decrypted(tx: Reader) -> T:
            self._is_marked(tx)
            return work(DecryptingReader(tx, self._cipher))

        return self._repaired(lambda: self._storage.read(decrypted))

    def _repaired(self, action: Callable[[], T]) -> T:
        """Runs the action, and again after a migration or after setting a row aside."""
        for _ in range(_SET_ASIDE_AT_ONCE):
            try:
                return action()
            except _UnmarkedError:  # noqa: PERF203 - each pass runs a transaction
                self._migrate()
            except UnsoundRowError as error:
                self._set_aside(error)
        raise StorageError(
            f"more than {_SET_ASIDE_AT_ONCE} rows of the store were altered or damaged and have"
            " been set aside; the next call continues. Restore a backup if there is one"
        )

    def _set_aside(self, error: UnsoundRowError) -> None:
        self._storage.write(lambda tx: set_aside_row(tx, error.table, error.row, error.reason))
        self._notices = [*self._notices, str(error)][-_NOTICES:]

    # -- the marker ------------------------------------------------------------------------------

    def _is_marked(self, tx: Reader) -> bool:
        """Checks the key by the store's marker; false if the store is empty.

        Raises ``_UnmarkedError`` if the marker cannot be decrypted.
        """
        row = tx.get(META, SEALED)
        if row is None:
            if tx.last_number() > 0:
                raise _UnmarkedError
            return False
        if row.value != self._known_marker:
            if not (is_encrypted(row.value) and self._cipher.knows(key_name(row.value))):
                raise _UnmarkedError
            try:
                self._cipher.decrypt(row.value, _MARKER_CONTEXT)
            except AlteredValueError:
                raise _UnmarkedError from None
            self._known_marker = row.value
        return True

    def _new_marker(self) -> Meta:
        return Meta(SEALED, self._cipher.encrypt(_MARKER_TEXT, _MARKER_CONTEXT))

    def _mark(self, tx: Transaction) -> None:
        """Marks the store with the current key."""
        row = tx.get(META, SEALED)
        if row is None:
            tx.insert(META, self._new_marker())
        elif not self._cipher.is_current(row.value):
            tx.replace(META, row, self._new_marker())

    def _migrate(self) -> None:
        """Encrypts a store of release 0.1 again, or one without a valid marker, and marks it.

        The marker is written last: a migration that was cut off runs again.
        """
        self._storage.read(self._check_key)
        self._encrypt_again(former=True)
        self._storage.write(self._replace_marker)

    def _check_key(self, tx: Reader) -> None:
        """Checks the key by a stored value, because the marker may be damaged."""
        marker = tx.get(META, SEALED)
        value = next(stored_values(tx), None)
        if marker is None and value is not None and not is_encrypted(value):
            raise StorageError(
                "the store was created without encryption: create an encrypted one in a new file,"
                " and copy the records to it"
            )
        name = None
        if is_encrypted(value):
            name = key_name(value)
        elif value is None and marker is not None:
            name = key_name(marker.value) if is_encrypted(marker.value) else str(marker.value)
        if name is not None and not self._cipher.knows(name):
            raise self._cipher.unknown_key(name)

    def _replace_marker(self, tx: Transaction) -> None:
        row = tx.get(META, SEALED)
        if row is not None:
            tx.delete(META, row)
        tx.insert(META, self._new_marker())

    # -- encrypting again ------------------------------------------------------------------------

    def rotate(self) -> int:
        """Encrypts rows of the former keys again with ``key``; returns how many rows.

        Other programs with the same keys may use the store meanwhile. It may be cut off and called
        again. Keep the old keys until it has returned.
        """
        self.read(lambda _: None)
        self._storage.write(self._mark)
        return self._encrypt_again(former=False)

    def _encrypt_again(self, *, former: bool) -> int:
        return sum(self._encrypt_table(table, former) for table in TABLES if table.private)

    def _encrypt_table(self, table: Table[Any], former: bool) -> int:
        after: tuple[Value, ...] | None = None
        done = 0
        while True:
            bound = after

            def work(tx: Transaction, bound: tuple[Value, ...] | None = bound) -> tuple[int, Any]:
                rows = list(tx.scan(table, after=bound, limit=_ROWS_AT_ONCE))
                changed = sum(self._encrypt_row(tx, table, row, former) for row in rows)
                return changed, rows[-1] if len(rows) == _ROWS_AT_ONCE else None

            count, last = self._repaired(lambda: self._storage.write(work))
            done += count
            if last is None:
                return done
            after = key_columns(table)(last)

    def _encrypt_row(self, tx: Transaction, table: Table[Any], row: Any, former: bool) -> bool:
        """Encrypts a row again; false if the current key was used already."""
        cipher = self._cipher
        if is_unencrypted(table, row) or all(
            cipher.is_current(getattr(row, column))
            for column in encrypted_columns(table)
            if getattr(row, column) is not None
        ):
            return False
        changed = {
            column: cipher.encrypt(text, context, matched=column in table.matched)
            for column, (text, _, context) in decrypted_values(
                cipher, table, row, former=former
            ).items()
        }
        tx.replace(table, row, row._replace(**changed))
        return True

    # -- the rest of the port --------------------------------------------------------------------

    def changes(self) -> object:
        """See ``Storage``."""
        return self._storage.changes()

    def delivery_right(self) -> DeliveryLock:
        """See ``Storage``."""
        return self._storage.delivery_right()

    def purge(self) -> None:
        """Removes deleted data from the file, if the wrapped store can."""
        purge = getattr(self._storage, "purge", None)
        if purge is not None:
            purge()

    @property
    def notice(self) -> str | None:
        """See ``Storage``."""
        notices = [*self._notices, self._storage.notice]
        return "; ".join(filter(None, notices)) or None

    def after_fork(self) -> None:
        """See ``Storage``."""
        self._storage.after_fork()

    def close(self) -> None:
        """See ``Storage``."""
        self._storage.close()
