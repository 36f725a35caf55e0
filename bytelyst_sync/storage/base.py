"""The storage port: plain primitives in a transaction, and nothing of the queue's rules.

A store keeps rows of declared tables, ordered by their key and by their indexes, and counts them
by a few columns. Whatever the queue means by a row is decided above this port, once for all
stores. The port is small enough for SQLite, for a dictionary, for an ordered key-value store, and
for a database that many machines share: there ``take`` is ``SELECT … SKIP LOCKED``, ``write``
joins the transaction that the caller already has open and runs ``then`` when that commits, and
the right to deliver is not exclusive, so that claims are leases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import attrs

__all__ = ["DeliveryRight", "Reader", "Storage", "Table", "Transaction"]

R = TypeVar("R", bound=NamedTuple)
T = TypeVar("T")
V = TypeVar("V", bound=int | str)
Value = Any
"""What a column holds: ``None``, ``int``, ``float`` or ``str``."""


@attrs.frozen(eq=False)
class Table(Generic[R]):
    """The declaration of one table.

    ``row`` is a NamedTuple class whose fields are the columns, ``key`` names the columns of the
    primary key. An index lists columns; it leaves out every row that has ``None`` in any of them,
    so that a column which is mostly ``None`` costs nothing. Within equal index columns rows are
    ordered by the key. ``counted`` names the columns by which the number of rows is kept. A
    ``numbered`` table is counted, and a new row's key is the number just given out for it.
    """

    name: str
    row: type[R]
    key: tuple[str, ...]
    indexes: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    counted: tuple[str, ...] = ()
    numbered: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in the order of a row."""
        return self.row._fields

    def order(self, index: str | None) -> tuple[str, ...]:
        """The columns that a scan of this index (``None``: the key) is ordered by."""
        if index is None:
            return self.key
        columns = self.indexes[index]
        return columns + tuple(name for name in self.key if name not in columns)


class Reader(Protocol):
    """One consistent view of the store. Used only by the thread that it was given to."""

    def get(self, table: Table[R], *key: Value) -> R | None:
        """The row with this key, or ``None``."""
        ...

    def scan(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        *,
        after: tuple[Value, ...] | None = None,
        upto: tuple[Value, ...] | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[R]:
        """Rows in the order of an index (``None``: of the key), read as they are asked for.

        ``prefix`` gives the leading columns of that order. ``after`` (left out) and ``upto``
        (included) bound the columns that follow the prefix, as tuples that may be shorter than
        what follows; with ``reverse`` the scan goes downwards, from ``after`` down to ``upto``.
        The table must not be changed while a scan of it is running: take what you need first.
        """
        ...

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        """The rows whose key is the prefix and one of these values, by that value."""
        ...

    def pick(
        self, table: Table[R], columns: tuple[str, ...], keys: Iterable[V]
    ) -> dict[V, tuple[Value, ...]]:
        """Some columns of the rows that have one of these keys, by key; for a key of one column."""
        ...

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        """Which of these values some row has in the column that follows the prefix, in the order
        of an index (``None``: of the key).
        """
        ...

    def count(self, table: Table[R], *prefix: Value) -> int:
        """How many rows have these leading ``counted`` columns; kept, never counted."""
        ...

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        """The rows per combination of the ``counted`` columns; those with none are left out."""
        ...

    def last_number(self) -> int:
        """The number last given out by ``next_number`` (0: none yet); a store may take the key of a
        row of a ``numbered`` table for given.
        """
        ...


class Transaction(Reader, Protocol):
    """A reader that may also change things; all of it is committed, or nothing."""

    def insert(self, table: Table[R], *rows: R) -> None:
        """Adds rows whose keys are not there yet."""
        ...

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """Changes a row; ``old`` is the row as it is, read in this transaction.

        The key may change with it.
        """
        ...

    def replace_all(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        """``replace`` for many, each the row as it is and as it shall be."""
        ...

    def amend(self, table: Table[R], rows: Sequence[R], **values: Value) -> list[R]:
        """Sets columns that are not of the key to the same values in all of these rows, each
        another one, and as it is; returns them as they are then.
        """
        ...

    def delete(self, table: Table[R], *rows: R) -> None:
        """Removes rows; each is the row as it is, read in this transaction."""
        ...

    def take(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        *,
        upto: tuple[Value, ...] | None = None,
        limit: int | None = None,
    ) -> Iterator[R]:
        """``scan`` for rows about to be claimed: leaves out those that another transaction
        holds, and holds these until this one ends. The same as ``scan`` where there is one
        writer at a time.
        """
        ...

    def next_number(self) -> int:
        """The next number of the store's one sequence: ascending, never given twice."""
        ...


class DeliveryRight(Protocol):
    """The right to deliver what a store holds; at most one holder where it is exclusive.

    It is given back by ``release`` and, whatever happens, when the process that holds it dies.
    """

    exclusive: bool
    """False where several may deliver at once and each claim is a lease."""

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        ...

    def acquire(self) -> bool:
        """Tries once, without waiting; true if it is (or already was) held."""
        ...

    def release(self) -> None:
        """Gives it back; nothing happens if it is not held."""
        ...


@runtime_checkable
class Storage(Protocol):
    """A place for the queue and the local view. Every method may be called from any thread.

    A store opens itself at its first use. Errors are those under ``StorageError``.
    """

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """Runs ``work`` in a transaction and returns its result once that is durable.

        An exception in ``work`` undoes all that it did and is raised here. ``work`` may be run
        again from the start, so it must have no effect but on its transaction. ``then`` is
        called with the result after the commit, outside of every lock.
        """
        ...

    def read(self, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on one consistent view, without waiting for writers; keep it short."""
        ...

    def changes(self) -> object:
        """A token that differs from an earlier one if another process may have committed since."""
        ...

    def delivery_right(self) -> DeliveryRight:
        """A new, not yet held, handle on this store's right to deliver."""
        ...

    @property
    def notice(self) -> str | None:
        """What its owner should know, such as that a damaged file was set aside; or ``None``."""
        ...

    def after_fork(self) -> None:
        """In a forked child: lets go of what belongs to the parent, without touching it."""
        ...

    def close(self) -> None:
        """Lets go of everything; idempotent. A later use opens the store again."""
        ...
