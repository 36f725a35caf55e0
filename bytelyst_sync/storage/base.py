"""The storage port: primitives for reading and changing rows in a transaction.

A store keeps the rows of declared tables, ordered by key and by index, and counts them by a few
columns. The port contains no rules of the queue: those are implemented once, above it. It can be
implemented with SQLite, with dictionaries, with an ordered key-value store, and with a database
that many machines share. In the last case ``take`` is ``SELECT … SKIP LOCKED``, ``write`` joins
the caller's open transaction and runs ``then`` when that commits, and the delivery lock is not
exclusive: claims are leases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import attrs

__all__ = [
    "Closes",
    "DeliveryLock",
    "PullRight",
    "Reader",
    "SharedStorage",
    "SharedTransaction",
    "Storage",
    "Table",
    "Transaction",
]

R = TypeVar("R", bound=NamedTuple)
T = TypeVar("T")
V = TypeVar("V", bound=int | str)
Value = Any
"""A column's value: ``None``, ``int``, ``float`` or ``str``."""


@attrs.frozen(eq=False)
class Table(Generic[R]):
    """The declaration of one table.

    ``row`` is a NamedTuple class whose fields are the columns, ``key`` names the columns of the
    primary key. An index lists columns. It omits each row that has ``None`` in any of them, so an
    index on a column that is mostly ``None`` is small. Rows with equal index columns are ordered by
    the key. The store keeps the number of rows for each combination of the ``counted`` columns. A
    ``numbered`` table is counted, and the key of a new row is the number just taken for it from the
    sequence. ``EncryptedStorage`` encrypts the ``private`` columns and binds them to the values of
    the key and of ``bound``; it encrypts a ``matched`` column so that equal texts remain equal
    among rows with equal values in the columns listed with it.
    """

    name: str
    row: type[R]
    key: tuple[str, ...]
    indexes: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    counted: tuple[str, ...] = ()
    numbered: bool = False
    private: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    matched: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

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

    def scan_order(self, index: str | None, width: int) -> tuple[str, ...]:
        """``order`` for a scan with bounds of this many values; ``ValueError`` if too many."""
        order = self.order(index)
        if width > len(order):
            raise ValueError(f"a scan of {self.name} by {index or 'key'} is ordered by {order}")
        return order


class Reader(Protocol):
    """One consistent view of the store, for the thread that runs the transaction."""

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
        """Iterates over rows in the order of an index (``None``: of the key), lazily.

        ``prefix`` gives the values of the leading columns. ``after`` (exclusive) and ``upto``
        (inclusive) bound the columns that follow the prefix; they may give fewer values than there
        are columns. With ``reverse`` the scan goes from ``after`` down to ``upto``. Do not change
        the table while a scan of it is running: make a list first.
        """
        ...

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        """The rows whose key is the prefix and one of these values, by that value."""
        ...

    def select(
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

    def matching(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> list[R]:
        """All rows that have one of these values in that column; those of one value in the order
        of the index.
        """
        ...

    def first_of_each(
        self,
        table: Table[R],
        index: str,
        prefix: tuple[Value, ...],
        values: Iterable[V],
        *,
        reverse: bool = False,
    ) -> dict[V, R]:
        """The first row (``reverse``: the last one) with each of these values in that column, in
        the order of an index, by that value; for a key of one column.
        """
        ...

    def count(self, table: Table[R], *prefix: Value) -> int:
        """The number of rows with these leading ``counted`` columns, a sum of ``counts``."""
        width = len(prefix)
        return sum(n for values, n in self.counts(table).items() if values[:width] == prefix)

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        """The number of rows for each combination of the ``counted`` columns that has any;
        the store keeps it.
        """
        ...

    def last_number(self) -> int:
        """The number that ``next_number`` returned last (0: none yet). A store may also consider
        the key of a row of a ``numbered`` table.
        """
        ...


class Transaction(Reader, Protocol):
    """A reader that can also change rows. All changes are committed, or none."""

    def insert(self, table: Table[R], *rows: R) -> None:
        """Adds rows; ``ValueError``, "TABLE already has KEY", for a key that exists."""
        ...

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """Replaces ``old``, a row as it was read in this transaction. The key may change.

        Raises ``LookupError``, "TABLE has no KEY", if it is not there.
        """
        ...

    def replace_all(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        """``replace`` for many pairs of an old and a new row."""
        ...

    def update_many(self, table: Table[R], rows: Sequence[R], **values: Value) -> list[R]:
        """Sets columns outside of the key to the same values in all of these rows, and returns
        the new rows. The rows are distinct, and as they were read in this transaction.
        """
        ...

    def delete(self, table: Table[R], *rows: R) -> None:
        """Removes rows, as they were read in this transaction; ``LookupError`` as ``replace``."""
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
        """``scan`` for rows about to be claimed: skips rows that another transaction has locked,
        and locks these until this one ends. Same as ``scan`` in a store with one writer at a time.
        """
        ...

    def next_number(self) -> int:
        """The next number of the store's sequence: ascending, each number is used once."""
        ...


class SharedTransaction(Transaction, Protocol):
    """The transaction of a ``SharedStorage``."""

    def update_by(self, table: Table[R], index: str, keys: Iterable[V], **values: Value) -> None:
        """Sets columns outside of all indexes and the key to the same values in each row that has
        one of these keys in the first column of an index.
        """
        ...


class DeliveryLock(Protocol):
    """The lock for delivering what a store holds. If it is exclusive, it has one holder at most.

    It is freed by ``release``, and when the process that holds it ends.
    """

    exclusive: bool
    """False if several processes may deliver at once; each claim is then a lease."""

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        ...

    def acquire(self) -> bool:
        """Tries once, without waiting. True if this object holds the lock now."""
        ...

    def release(self) -> None:
        """Frees the lock, if this object holds it."""
        ...


@runtime_checkable
class Storage(Protocol):
    """A store of the queue and the local view. Every method may be called from any thread.

    A store in which deleted data remains readable (in free pages, logs, copies) has a method
    ``purge()`` that removes it. A store opens itself at its first use. Errors are subclasses of
    ``StorageError``.
    """

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """Runs ``work`` in a transaction and returns its result once that is durable.

        An exception in ``work`` undoes its changes and is raised here. ``work`` may run several
        times, so it must have no effects outside of its transaction. ``then`` is called with
        the result after the commit, while no lock is held.
        """
        ...

    def read(self, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on one consistent view, without waiting for writers; keep it short."""
        ...

    def changes(self) -> object:
        """A token; it changes if another process may have committed."""
        ...

    def delivery_right(self) -> DeliveryLock:
        """A new object for this store's delivery lock, which it does not hold yet."""
        ...

    @property
    def notice(self) -> str | None:
        """A report for the user, such as that a damaged file was set aside; or ``None``."""
        ...

    def after_fork(self) -> None:
        """In a forked child: forgets the parent's connections and locks without closing them."""
        ...

    def close(self) -> None:
        """Closes connections and files; idempotent. A later use opens the store again."""
        ...


class PullRight(Protocol):
    """The right to pull in the background, which one process at a time has. Used by one thread."""

    def take(self, span_s: float) -> bool:
        """Takes it, or prolongs it by so many seconds; false if another process has it."""
        ...

    def keep(self) -> bool:
        """Between two requests: prolongs it, if it is held; false if it was lost."""
        ...

    def release(self) -> None:
        """Gives it back, if it is held."""
        ...


class Closes(Protocol):
    """Something that runs until it is closed."""

    def close(self) -> None:
        """Ends it."""
        ...


@runtime_checkable
class SharedStorage(Storage, Protocol):
    """A store in a database that the application itself uses, and many machines at once.

    Pushes are appended to an inbox, in the application's own transaction. They are queued by the
    next ``write`` of any process. See ``queue/inbox.py``.
    """

    lease_s: float
    """How long a claim lasts. Every engine of the store delivers, so a claim is a lease."""
    longest_id: int
    """How many characters the id of a record may have."""

    @property
    def poll_s(self) -> float:
        """How often an idle worker looks for changes of other processes, in seconds."""
        ...

    def notify(self) -> None:
        """Tells the workers of other processes that something is queued and committed, where the
        database can; an error is ignored.
        """
        ...

    def listen(self, wake: Callable[[], None]) -> Closes | None:
        """Calls ``wake``, on a thread of its own, whenever another process has told so. Closing the
        result ends that. ``None`` if the database cannot.
        """
        ...

    def pull_right(self) -> PullRight:
        """A new object for the right to pull in the background, which it does not hold yet."""
        ...

    @property
    def listen_problem(self) -> str | None:
        """Why such messages do not arrive, though ``listen`` was called; or ``None``."""
        ...

    def note_deliverer(self) -> None:
        """Stores that a process which delivers is alive now, by the database's clock."""
        ...

    def deliverer_seen_s(self) -> float | None:
        """Seconds since that was stored last; ``None``: never. One cheap query."""
        ...

    def append(
        self, rows: Sequence[NamedTuple], committed: Callable[[], None] | None = None
    ) -> None:
        """Inserts rows into the inbox; the database assigns their numbers.

        It joins the transaction that this thread has open, if there is one, and takes no lock that
        another ``append`` or a ``write`` holds. ``committed`` is called after the outermost commit,
        or never.
        """
        ...

    def waiting(self, most: int) -> int:
        """How many rows of the inbox this thread sees: committed ones, and its own. It reads no
        more than ``most``, and returns that number if there are more.
        """
        ...

    @property
    def joined(self) -> bool:
        """Whether this thread has a transaction of the application open, so that ``append`` joins
        it. The transaction of a test case does not count.
        """
        ...

    def atomic(self) -> AbstractContextManager[None]:
        """A transaction of the application, or a savepoint in the one that is open."""
        ...

    def lending(self) -> AbstractContextManager[bool]:
        """Lets the package's threads use this thread's connection for the length of the block, if
        it is in the transaction of a test case, which no other connection sees. Yields whether
        it is.
        """
        ...

    def now(self) -> float:
        """The database's clock, in seconds since the epoch."""
        ...
