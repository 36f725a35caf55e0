"""A store in memory: for tests, and for programs that can afford to lose their queue.

Who owns what: one plain lock guards all of the content. It is held while ``work`` runs, be it for
reading or for writing, so that every transaction sees and leaves a whole state; a call from within
``work`` would wait for itself, and is refused. ``then`` runs when the lock is free. The right to
deliver is a second lock, which only its handles touch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

from bytelyst_sync.storage.base import DeliveryRight, Reader, Table, Transaction, Value
from bytelyst_sync.storage.ordered import TOP, Key, OrderedKeys

__all__ = ["MemoryStorage"]

R = TypeVar("R", bound=Any)
T = TypeVar("T")
V = TypeVar("V", bound=int | str)


def _picker(columns: tuple[str, ...], wanted: tuple[str, ...]) -> Callable[[Any], Key]:
    """A function from a row to the tuple of some of its columns."""
    places = [columns.index(column) for column in wanted]
    if len(places) == 1:
        only = places[0]
        return lambda row: (row[only],)
    if not places:
        return lambda _: ()
    return itemgetter(*places)


class _Content:
    """One table's rows by key, their orders, and how many there are of each counted kind."""

    def __init__(self, table: Table[Any]) -> None:
        self.rows: dict[Key, Any] = {}
        self.counts: dict[Key, int] = {}
        self.key = _picker(table.columns, table.key)
        self.orders: dict[str | None, OrderedKeys] = {None: OrderedKeys()}
        self._counted = _picker(table.columns, table.counted) if table.counted else None
        self._entries: dict[str | None, Callable[[Any], Key]] = {None: self.key}
        self.keys: dict[str | None, Callable[[Key], Key]] = {None: lambda entry: entry}
        self._widths: dict[str | None, int] = {None: 0}
        for name, columns in table.indexes.items():
            order = table.order(name)
            self.orders[name] = OrderedKeys()
            self._entries[name] = _picker(table.columns, order)
            self.keys[name] = _picker(order, table.key)
            self._widths[name] = len(columns)

    def put(self, row: Any) -> None:
        """Adds a row whose key is free."""
        self.rows[self.key(row)] = row
        for name, entry_of in self._entries.items():
            entry = entry_of(row)
            if None not in entry[: self._widths[name]]:
                self.orders[name].add(entry)
        self._count(row, 1)

    def drop(self, row: Any) -> None:
        """Removes a row that is there."""
        del self.rows[self.key(row)]
        for name, entry_of in self._entries.items():
            entry = entry_of(row)
            if None not in entry[: self._widths[name]]:
                self.orders[name].remove(entry)
        self._count(row, -1)

    def swap(self, old: Any, new: Any) -> None:
        """Replaces a row by another with the same key, touching only the orders that differ."""
        self.rows[self.key(new)] = new
        for name, entry_of in self._entries.items():
            before, after = entry_of(old), entry_of(new)
            if before != after:
                if None not in before[: self._widths[name]]:
                    self.orders[name].remove(before)
                if None not in after[: self._widths[name]]:
                    self.orders[name].add(after)
        self._count(old, -1)
        self._count(new, 1)

    def _count(self, row: Any, by: int) -> None:
        if self._counted is not None:
            counted = self._counted(row)
            self.counts[counted] = self.counts.get(counted, 0) + by
            if not self.counts[counted]:
                del self.counts[counted]


class _View:
    """The reader and the transaction of the port, and what undoes the latter."""

    def __init__(self, contents: dict[str, _Content], number: int) -> None:
        self.number = number
        self._contents = contents
        self._undo: list[Callable[[], None]] = []
        self._ended = False

    def end(self) -> None:
        """The view is of no use any more."""
        self._ended = True

    def undo(self) -> None:
        """Takes back all changes, last first."""
        while self._undo:
            self._undo.pop()()

    def get(self, table: Table[R], *key: Value) -> R | None:
        """The row with this key, or ``None``."""
        row: R | None = self._content_of(table).rows.get(key)
        return row

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
        """Rows in the order of an index or of the key, read as they are asked for."""
        order = table.order(index)
        if len(prefix) + max(len(after or ()), len(upto or ())) > len(order):
            raise ValueError(f"a scan of {table.name} by {index or 'key'} is ordered by {order}")
        content = self._content_of(table)
        if None in prefix:
            return iter(())
        start = prefix if upto is None or not reverse else prefix + upto
        stop = (*prefix, TOP) if upto is None or reverse else (*prefix, *upto, TOP)
        if after is not None:
            if reverse:
                stop = (*prefix, *after)
            else:
                start = (*prefix, *after, TOP)
        return self._rows(content, index, start, stop, limit, reverse=reverse)

    def _rows(
        self,
        content: _Content,
        index: str | None,
        start: Key,
        stop: Key,
        limit: int | None,
        *,
        reverse: bool,
    ) -> Iterator[Any]:
        key_of, rows = content.keys[index], content.rows
        found = content.orders[index].between(start, stop, reverse=reverse)
        for entry in found if limit is None else islice(found, max(limit, 0)):
            self._check()
            yield rows[key_of(entry)]

    def take(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        *,
        upto: tuple[Value, ...] | None = None,
        limit: int | None = None,
    ) -> Iterator[R]:
        """``scan``: there is one writer at a time."""
        return self.scan(table, index, prefix, upto=upto, limit=limit)

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        """The rows whose key is the prefix and one of these values, by that value."""
        rows = ((each, self.get(table, *prefix, each)) for each in values)
        return {each: row for each, row in rows if row is not None}

    def pick(
        self, table: Table[R], columns: tuple[str, ...], keys: Iterable[V]
    ) -> dict[V, tuple[Value, ...]]:
        """Some columns of the rows that have one of these keys, by key."""
        found = self.fetch(table, (), keys).items()
        return {key: tuple(getattr(row, name) for name in columns) for key, row in found}

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        """Which of these values some row has in the column that follows the prefix."""
        return {
            each
            for each in values
            if next(self.scan(table, index, (*prefix, each), limit=1), None) is not None
        }

    def count(self, table: Table[R], *prefix: Value) -> int:
        """How many rows have these leading counted columns."""
        counts = self._content_of(table).counts
        if len(prefix) == len(table.counted):
            return counts.get(prefix, 0)
        width = len(prefix)
        return sum(number for values, number in counts.items() if values[:width] == prefix)

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        """The rows per combination of the counted columns that has any."""
        return self._content_of(table).counts.copy()

    def last_number(self) -> int:
        """The number last given out."""
        self._check()
        return self.number

    def insert(self, table: Table[R], *rows: R) -> None:
        """Adds rows; ``ValueError`` if a key is there already."""
        content = self._content_of(table)
        for row in rows:
            if content.key(row) in content.rows:
                raise ValueError(f"{table.name} already has {content.key(row)}")
            content.put(row)
            self._undo.append(partial(content.drop, row))

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """Changes a row; ``LookupError`` if it is not there, ``ValueError`` if its new key is."""
        content = self._content_of(table)
        there = self._there(table, old)
        if content.key(old) == content.key(new):
            content.swap(there, new)
            self._undo.append(lambda: content.swap(new, there))
        elif content.key(new) in content.rows:
            raise ValueError(f"{table.name} already has {content.key(new)}")
        else:
            self.delete(table, there)
            self.insert(table, new)

    def replace_all(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        """``replace`` for many."""
        for old, new in pairs:
            self.replace(table, old, new)

    def amend(self, table: Table[R], rows: Sequence[R], **values: Value) -> list[R]:
        """Sets the same columns in all of these rows, and returns them as they are then."""
        new = [row._replace(**values) for row in rows]
        self.replace_all(table, zip(rows, new, strict=True))
        return new

    def delete(self, table: Table[R], *rows: R) -> None:
        """Removes rows; ``LookupError`` if one is not there."""
        content = self._content_of(table)
        for row in rows:
            there = self._there(table, row)
            content.drop(there)
            self._undo.append(partial(content.put, there))

    def next_number(self) -> int:
        """The next number of the sequence."""
        self._check()
        self.number += 1
        return self.number

    def _there(self, table: Table[R], row: R) -> R:
        content = self._content_of(table)
        there: R | None = content.rows.get(content.key(row))
        if there is None:
            raise LookupError(f"{table.name} has no {content.key(row)}")
        return there

    def _content_of(self, table: Table[Any]) -> _Content:
        self._check()
        content = self._contents.get(table.name)
        if content is None:
            content = self._contents[table.name] = _Content(table)
        return content

    def _check(self) -> None:
        if self._ended:
            raise RuntimeError(
                "this transaction has ended: use what it gives only inside of its work"
            )


class _Right:
    """The right to deliver what one ``MemoryStorage`` holds."""

    exclusive = True

    def __init__(self, storage: MemoryStorage, lock: threading.Lock) -> None:
        self._storage = storage
        self._lock = lock
        self._mutex = threading.Lock()
        self._held = False

    @property
    def held(self) -> bool:
        """Whether this object, in this process, holds it."""
        return self._held and self._lock is self._storage.right_lock()

    def acquire(self) -> bool:
        """Tries once, without waiting."""
        lock = self._storage.right_lock()
        if lock is not self._lock:  # this is a forked child, and that one the parent's
            self._lock, self._mutex, self._held = lock, threading.Lock(), False
        with self._mutex:
            if not self._held:
                self._held = lock.acquire(blocking=False)
            return self._held

    def release(self) -> None:
        """Gives it back, if it is held."""
        if not self.held:
            return
        with self._mutex:
            if self._held:
                self._held = False
                self._lock.release()


class MemoryStorage:
    """A queue and a local view that live as long as this object; nothing is durable.

    ``close()`` keeps the content: the object is the store. A forked child starts with an empty
    one, for what its parent queued is the parent's to deliver. Any thread may call any method.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._right = threading.Lock()
        self._local = threading.local()
        self._contents: dict[str, _Content] = {}
        self._number = 0

    def __repr__(self) -> str:
        return "MemoryStorage()"

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """Runs ``work`` in a transaction; what it raises is raised here, with its changes undone.

        ``RuntimeError`` from within a ``work`` of the same store.
        """
        self._refuse_nesting("write")
        with self._lock:
            view = _View(self._contents, self._number)
            self._local.inside = True
            try:
                result = work(view)
                self._number = view.number
            except BaseException:
                view.undo()
                raise
            finally:
                view.end()
                self._local.inside = False
        if then is not None:
            then(result)
        return result

    def read(self, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on the committed state; waits for a running write, so keep both short."""
        self._refuse_nesting("read")
        with self._lock:
            view = _View(self._contents, self._number)
            self._local.inside = True
            try:
                return work(view)
            finally:
                view.end()
                self._local.inside = False

    def changes(self) -> object:
        """Always the same: there is no other process."""
        return 0

    def delivery_right(self) -> DeliveryRight:
        """A new handle on the right to deliver, shared by the handles of this object."""
        return _Right(self, self.right_lock())

    def right_lock(self) -> threading.Lock:
        """What the handles of the right to deliver exclude each other by."""
        self._disown_after_fork()
        return self._right

    @property
    def notice(self) -> str | None:
        """Nothing ever happens to it."""
        return None

    def after_fork(self) -> None:
        """In a forked child: starts empty; what was queued is the parent's to deliver."""
        self._start()

    def close(self) -> None:
        """Keeps the content for a later use."""

    def _refuse_nesting(self, call: str) -> None:
        self._disown_after_fork()
        if getattr(self._local, "inside", False):
            raise RuntimeError(
                f"{call}() was called from within a transaction of the same store: use the"
                " transaction that was passed in, or call it afterwards"
            )

    def _disown_after_fork(self) -> None:
        if self._pid != os.getpid():
            self.after_fork()
