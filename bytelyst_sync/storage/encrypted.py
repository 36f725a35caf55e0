"""Encryption at rest: any store, with its payload sealed on the way in.

Names of entities, ids of records, times and versions stay readable, because the queue is ordered
and found by them; what the records hold, what the server said and where pulls stand does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.base import DeliveryRight, Reader, Storage, Table, Transaction, Value
from bytelyst_sync.storage.schema import CONFLICTS, ITEMS, META, RECORDS, SEALED, TABLES, Meta
from bytelyst_sync.storage.seal import Key, Seal, is_sealed
from bytelyst_sync.storage.sqlite import SQLiteStorage

__all__ = ["EncryptedStorage"]

R = TypeVar("R", bound=NamedTuple)
T = TypeVar("T")
V = TypeVar("V", bound=int | str)

_DIGEST = "digest"
"""The column by which equal content is found: sealed so that equal ones are alike."""
_PAYLOAD: dict[str, tuple[str, ...]] = {
    ITEMS.name: ("data", "error", _DIGEST),
    RECORDS.name: ("state", "beside"),
    CONFLICTS.name: ("local", "remote", "base", "fields"),
    META.name: ("value",),
}
_ROWS_AT_ONCE = 200


class EncryptedStorage:
    """A store whose payload is encrypted with AES-256-GCM. Needs the extra ``crypto``.

    ``storage`` is a path (SQLite, with ``durability``) or any other store. ``key`` is 32 random
    bytes, what ``generate_key()`` returned, or a callable that returns either and is called at
    the first use. A wrong key raises ``StorageError`` and changes nothing.

    To take a new key, give it as ``key`` and the former one among ``old_keys``, call ``rotate()``
    once, and leave the former one out from then on. Every method may be called from any thread.
    """

    seals = True
    """Its rows are of no use to who reads the store without it."""

    def __init__(
        self,
        storage: Storage | str | os.PathLike[str],
        key: Key | Callable[[], Key],
        *,
        old_keys: Iterable[Key] = (),
        durability: str = "full",
    ) -> None:
        self._seal = Seal(key, old_keys)
        self._storage: Storage = (
            SQLiteStorage(storage, durability)
            if isinstance(storage, (str, os.PathLike))
            else storage
        )

    def __repr__(self) -> str:
        return f"EncryptedStorage({self._storage!r})"

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """As the port says."""

        def sealed(tx: Transaction) -> T:
            self._check(tx)
            if tx.get(META, SEALED) is None:
                tx.insert(META, Meta(SEALED, self._seal.name))
            return work(_SealedTransaction(tx, self._seal))

        return self._storage.write(sealed, then)

    def read(self, work: Callable[[Reader], T]) -> T:
        """As the port says."""

        def opened(tx: Reader) -> T:
            self._check(tx)
            return work(_SealedReader(tx, self._seal))

        return self._storage.read(opened)

    def _check(self, tx: Reader) -> None:
        """Refuses a key that is not this store's, before anything is written with it."""
        row = tx.get(META, SEALED)
        if row is None:
            if tx.last_number() > 0:
                raise StorageError(
                    "the store was begun without encryption; begin an encrypted one with a new "
                    "file, and carry the records over"
                )
        elif not self._seal.knows(row.value):
            raise StorageError(
                f"the store is encrypted with another key, named {row.value}; the one given is "
                f"named {self._seal.name}. Give the right key, or the former one among old_keys"
            )

    def rotate(self) -> int:
        """Seals anew, with ``key``, what is sealed with another one; returns how many rows.

        It may run beside a program that uses the store with the same keys, and again after it
        was cut off. Until it has returned, keep the old keys.
        """

        def take(tx: Transaction) -> None:
            self._check(tx)
            row = tx.get(META, SEALED)
            if row is not None and row.value != self._seal.name:
                tx.replace(META, row, row._replace(value=self._seal.name))

        self._storage.write(take)
        return sum(self._rotate(table) for table in TABLES if table.name in _PAYLOAD)

    def _rotate(self, table: Table[Any]) -> int:
        after: tuple[Value, ...] | None = None
        done = 0
        while True:
            bound = after

            def work(
                tx: Transaction, bound: tuple[Value, ...] | None = bound
            ) -> tuple[int, tuple[Value, ...] | None]:
                rows = list(tx.scan(table, after=bound, limit=_ROWS_AT_ONCE))
                changed = sum(_reseal(tx, table, row, self._seal) for row in rows)
                more = len(rows) == _ROWS_AT_ONCE
                return changed, tuple(
                    getattr(rows[-1], name) for name in table.key
                ) if more else None

            count, after = self._storage.write(work)
            done += count
            if after is None:
                return done

    def changes(self) -> object:
        """As the port says."""
        return self._storage.changes()

    def delivery_right(self) -> DeliveryRight:
        """As the port says."""
        return self._storage.delivery_right()

    @property
    def notice(self) -> str | None:
        """As the port says."""
        return self._storage.notice

    def after_fork(self) -> None:
        """As the port says."""
        self._storage.after_fork()

    def close(self) -> None:
        """As the port says."""
        self._storage.close()


class _SealedReader:
    """Opens rows as they are read. The row that names the key is the store's own, and not shown."""

    def __init__(self, tx: Reader, seal: Seal) -> None:
        self._tx = tx
        self._seal = seal
        self._read: dict[tuple[str, tuple[Value, ...]], tuple[str, str]] = {}
        """What was read, with what it is sealed as: unchanged, it is written back as it was."""

    def get(self, table: Table[R], *key: Value) -> R | None:
        row = self._tx.get(table, *key)
        return None if row is None else self._open(table, row)

    def scan(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        **bounds: Any,
    ) -> Iterator[R]:
        return self._opened(self._tx.scan, table, index, prefix, bounds)

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        rows = self._tx.fetch(table, prefix, values)
        return {value: self._open(table, row) for value, row in rows.items()}

    def pick(
        self, table: Table[R], columns: tuple[str, ...], keys: Iterable[V]
    ) -> dict[V, tuple[Value, ...]]:
        found = self.fetch(table, (), keys).items()
        return {key: tuple(getattr(row, name) for name in columns) for key, row in found}

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        return self._tx.present(table, index, prefix, values)

    def count(self, table: Table[R], *prefix: Value) -> int:
        return self._tx.count(table, *prefix)

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        return self._tx.counts(table)

    def last_number(self) -> int:
        return self._tx.last_number()

    def _opened(
        self,
        scan: Callable[..., Iterator[R]],
        table: Table[R],
        index: str | None,
        prefix: tuple[Value, ...],
        bounds: dict[str, Any],
    ) -> Iterator[R]:
        if index == _DIGEST and len(prefix) > 1:
            entity, digest, *rest = prefix
            sealed = self._seal.close(digest, f"{table.name}.{_DIGEST}", alike=True)
            prefix = (entity, sealed, *rest)
        if table is not META:
            return (self._open(table, row) for row in scan(table, index, prefix, **bounds))
        limit = bounds.pop("limit", None)
        rows = scan(table, index, prefix, **bounds, limit=None if limit is None else limit + 1)
        shown = (self._open(table, row) for row in rows if not _is_marker(row))
        return islice(shown, limit)

    def _open(self, table: Table[R], row: R) -> R:
        found: dict[str, str] = {}
        for column in _PAYLOAD.get(table.name, ()):
            sealed = getattr(row, column)
            # beside the values that are sealed, a store keeps its own marks in the same table
            if sealed is not None and (table is not META or is_sealed(sealed)):
                name = f"{table.name}.{column}"
                text = self._seal.open(sealed, name, alike=column == _DIGEST)
                self._read[name, _key(table, row)] = (text, sealed)
                found[column] = text
        return row._replace(**found) if found else row


class _SealedTransaction(_SealedReader):
    """Seals rows as they are written."""

    _tx: Transaction

    def insert(self, table: Table[R], *rows: R) -> None:
        self._tx.insert(table, *(self._close(table, row, None) for row in rows))

    def replace(self, table: Table[R], old: R, new: R) -> None:
        key = _key(table, old)
        self._tx.replace(table, self._close(table, old, key), self._close(table, new, key))

    def replace_all(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        for old, new in pairs:
            self.replace(table, old, new)

    def amend(self, table: Table[R], rows: Sequence[R], **values: Value) -> list[R]:
        new = [row._replace(**values) for row in rows]
        self.replace_all(table, zip(rows, new, strict=True))
        return new

    def delete(self, table: Table[R], *rows: R) -> None:
        self._tx.delete(table, *(self._close(table, row, _key(table, row)) for row in rows))

    def take(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        **bounds: Any,
    ) -> Iterator[R]:
        return self._opened(self._tx.take, table, index, prefix, bounds)

    def next_number(self) -> int:
        return self._tx.next_number()

    def _close(self, table: Table[R], row: R, key: tuple[Value, ...] | None) -> R:
        """The row as it is stored; ``key`` is the one that it was read by, if it was."""
        sealed: dict[str, str] = {}
        for column in _PAYLOAD.get(table.name, ()):
            text = getattr(row, column)
            if text is None:
                continue
            name = f"{table.name}.{column}"
            known = None if key is None else self._read.get((name, key))
            if known is not None and known[0] == text:
                sealed[column] = known[1]
            else:
                sealed[column] = self._seal.close(text, name, alike=column == _DIGEST)
        return row._replace(**sealed) if sealed else row


def _key(table: Table[Any], row: Any) -> tuple[Value, ...]:
    return tuple(getattr(row, column) for column in table.key)


def _is_marker(row: Any) -> bool:
    return bool(row.name == SEALED)


def _reseal(tx: Transaction, table: Table[Any], row: Any, seal: Seal) -> bool:
    """Whether anything of the row had to be sealed anew."""
    changed: dict[str, Any] = {}
    for column in _PAYLOAD[table.name]:
        text = getattr(row, column)
        if is_sealed(text) and not seal.is_current(text):
            name, alike = f"{table.name}.{column}", column == _DIGEST
            changed[column] = seal.close(seal.open(text, name, alike=alike), name, alike=alike)
    if changed:
        tx.replace(table, row, row._replace(**changed))
    return bool(changed)
