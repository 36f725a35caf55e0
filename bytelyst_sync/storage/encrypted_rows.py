"""Encrypts and decrypts rows, in the reader and the transaction of an encrypted store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from bytelyst_sync.storage.base import Reader, Table, Transaction, Value
from bytelyst_sync.storage.cipher import AlteredValueError, Cipher
from bytelyst_sync.storage.derived import DerivedReader, DerivedTransaction, picker
from bytelyst_sync.storage.schema import FORMER_COLUMNS, META, SALVAGED, SEALED, TABLES
from bytelyst_sync.storage.set_aside import UnsoundRowError

__all__ = [
    "DecryptingReader",
    "EncryptingTransaction",
    "decrypted_values",
    "encrypted_columns",
    "is_unencrypted",
    "key_columns",
    "stored_values",
]

R = TypeVar("R", bound=NamedTuple)
V = TypeVar("V", bound=int | str)


class DecryptingReader(DerivedReader):
    """Decrypts rows as they are read, and hides the store's marker."""

    def __init__(self, tx: Reader, cipher: Cipher) -> None:
        self._tx = tx
        self._cipher = cipher
        self._read: dict[tuple[str, tuple[Value, ...], str], tuple[str, str, bytes]] = {}
        """By table, key and column: the text, its encrypted form and its context, as read."""

    def get(self, table: Table[R], *key: Value) -> R | None:
        """See ``Reader``."""
        row = self._tx.get(table, *key)
        return None if row is None else self._decrypt_row(table, row)

    def scan(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        **bounds: Any,
    ) -> Iterator[R]:
        """See ``Reader``."""
        return self._decrypted_scan(self._tx.scan, table, index, prefix, bounds)

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        """See ``Reader``."""
        rows = self._tx.fetch(table, prefix, values)
        return {value: self._decrypt_row(table, row) for value, row in rows.items()}

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        """See ``Reader``."""
        return self._tx.present(table, index, prefix, values)

    def count(self, table: Table[R], *prefix: Value) -> int:
        """See ``Reader``."""
        return self._tx.count(table, *prefix)

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        """See ``Reader``."""
        return self._tx.counts(table)

    def last_number(self) -> int:
        """See ``Reader``."""
        return self._tx.last_number()

    def _decrypted_scan(
        self,
        scan: Callable[..., Iterator[R]],
        table: Table[R],
        index: str | None,
        prefix: tuple[Value, ...],
        bounds: dict[str, Any],
    ) -> Iterator[R]:
        if index is not None and len(prefix) > 1 and table.order(index)[1] in table.matched:
            return self._matched(scan, table, index, prefix, bounds)
        if table is not META:
            return (self._decrypt_row(table, row) for row in scan(table, index, prefix, **bounds))
        limit = bounds.pop("limit", None)
        rows = scan(table, index, prefix, **bounds, limit=None if limit is None else limit + 1)
        shown = (self._decrypt_row(table, row) for row in rows if not _is_marker(row))
        return islice(shown, limit)

    def _matched(
        self,
        scan: Callable[..., Iterator[R]],
        table: Table[R],
        index: str,
        prefix: tuple[Value, ...],
        bounds: dict[str, Any],
    ) -> Iterator[R]:
        """Rows with a text in a matched column, whichever key it was encrypted with."""
        entity, text, *rest = prefix
        column = table.order(index)[1]
        context = _context(table, column, (entity,))
        matches = chain.from_iterable(
            scan(table, index, (entity, each, *rest), **bounds)
            for each in self._cipher.matches(str(text), context)
        )
        return (self._decrypt_row(table, row) for row in islice(matches, bounds.get("limit")))

    def _decrypt_row(self, table: Table[R], row: R) -> R:
        if not table.private or is_unencrypted(table, row):
            return row
        opened = decrypted_values(self._cipher, table, row)
        key = key_columns(table)(row)
        for column, known in opened.items():
            self._read[table.name, key, column] = known
        return row._replace(**{column: text for column, (text, _, _) in opened.items()})


class EncryptingTransaction(DecryptingReader, DerivedTransaction):
    """Encrypts rows as they are written."""

    _tx: Transaction

    def insert(self, table: Table[R], *rows: R) -> None:
        """See ``Transaction``."""
        self._tx.insert(table, *(self._encrypt_row(table, row) for row in rows))

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """See ``Transaction``."""
        key = key_columns(table)(old)
        self._tx.replace(
            table, self._encrypt_row(table, old, key), self._encrypt_row(table, new, key)
        )

    def delete(self, table: Table[R], *rows: R) -> None:
        """See ``Transaction``."""
        key = key_columns(table)
        self._tx.delete(table, *(self._encrypt_row(table, row, key(row)) for row in rows))

    def take(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        **bounds: Any,
    ) -> Iterator[R]:
        """See ``Transaction``."""
        return self._decrypted_scan(self._tx.take, table, index, prefix, bounds)

    def next_number(self) -> int:
        """See ``Transaction``."""
        return self._tx.next_number()

    def _encrypt_row(self, table: Table[R], row: R, key: tuple[Value, ...] | None = None) -> R:
        """The row as it is stored; ``key`` is the key by which it was read, if it was.

        A value that was read, and whose text and context are the same, keeps its encrypted form.
        """
        encrypted: dict[str, str] = {}
        for column, context in _contexts(table, row):
            text = getattr(row, column)
            known = None if key is None else self._read.get((table.name, key, column))
            if known is not None and (known[0], known[2]) == (text, context):
                encrypted[column] = known[1]
            else:
                matched = column in table.matched
                encrypted[column] = self._cipher.encrypt(text, context, matched=matched)
        return row._replace(**encrypted) if encrypted else row


# -- encrypted columns and their contexts


@cache
def encrypted_columns(table: Table[Any]) -> tuple[str, ...]:
    """The names of the columns that are encrypted."""
    return (*table.private, *table.matched)


@cache
def key_columns(table: Table[Any]) -> Callable[[Any], tuple[Value, ...]]:
    """A function from a row to its key."""
    return picker(table.columns, table.key)


def _context(table: Table[Any], column: str, values: tuple[Value, ...]) -> bytes:
    return json.dumps([table.name, column, *values]).encode()


def _contexts(table: Table[Any], row: Any) -> Iterator[tuple[str, bytes]]:
    """The encrypted columns that have a value in this row, each with its context."""
    if table.private:
        values = picker(table.columns, (*table.key, *table.bound))(row)
        for column in table.private:
            if getattr(row, column) is not None:
                yield column, _context(table, column, values)
        for column, bound in table.matched.items():
            if getattr(row, column) is not None:
                yield column, _context(table, column, picker(table.columns, bound)(row))


def decrypted_values(
    cipher: Cipher, table: Table[Any], row: Any, *, former: bool = False
) -> dict[str, tuple[str, str, bytes]]:
    """By column: the text, its encrypted form, and its context.

    ``former``: accept values of release 0.1, which were bound to their column only.
    """
    opened: dict[str, tuple[str, str, bytes]] = {}
    for column, context in _contexts(table, row):
        stored = getattr(row, column)
        old = _former_context(table, column) if former else None
        matched = column in table.matched
        try:
            text = cipher.decrypt(stored, context, matched=matched, former=old)
        except AlteredValueError as error:
            raise UnsoundRowError(table, row, f"({column}) {error}") from error
        opened[column] = (text, stored, context)
    return opened


def _former_context(table: Table[Any], column: str) -> bytes:
    names = {new: old for old, new in FORMER_COLUMNS.get(table.name, {}).items()}
    return f"{table.name}.{names.get(column, column)}".encode()


def stored_values(tx: Reader) -> Iterator[Any]:
    """The values of the encrypted columns, as stored."""
    for table in TABLES:
        rows: Iterator[Any] = tx.scan(table)
        for row in rows:
            if not is_unencrypted(table, row):
                yield from (getattr(row, each) for each in table.private if getattr(row, each))


def _is_marker(row: Any) -> bool:
    return bool(row.name == SEALED)


def is_unencrypted(table: Table[Any], row: Any) -> bool:
    """Whether the store writes this row itself, without encryption."""
    return table is META and row.name in (SEALED, SALVAGED)
