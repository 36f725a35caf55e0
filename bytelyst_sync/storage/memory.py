"""A store in memory: for tests, and for programs that can afford to lose their queue.

Who owns what: one plain lock guards all of the content. It is held while ``work`` runs, for reading
and for writing, so every transaction sees and leaves a consistent state. A call from within
``work`` would wait for itself, and is refused. ``then`` runs while the lock is free. The delivery
lock is a second lock, which only its own objects use.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from bytelyst_sync.storage.base import DeliveryLock, Reader, Transaction
from bytelyst_sync.storage.ordered import Key, OrderedKeys
from bytelyst_sync.storage.ordered_tables import Counts, Layout, OrderedView

__all__ = ["MemoryStorage"]

T = TypeVar("T")


class _Content:
    """The content of a store: per table the rows by key, the order of keys and of each index, and
    the number of rows per combination of counted columns.

    It has the primitives of ``OrderedView``. Each change stores the step that undoes it.
    """

    def __init__(self) -> None:
        self._rows: defaultdict[Layout, dict[Key, Any]] = defaultdict(dict)
        self._orders: defaultdict[tuple[Layout, str | None], OrderedKeys] = defaultdict(OrderedKeys)
        self._counts: defaultdict[Layout, Counts] = defaultdict(dict)
        self._number = 0
        self._undo: list[Callable[[], Any]] = []

    def keep(self) -> None:
        """Makes the changes permanent."""
        self._undo.clear()

    def undo(self) -> None:
        """Undoes all changes since the last ``keep``, last first."""
        steps, self._undo = self._undo, []
        while steps:
            steps.pop()()
        self._undo.clear()  # the steps themselves have added entries

    def get(self, layout: Layout, key: Key) -> Any | None:
        """See ``OrderedRows``."""
        return self._rows[layout].get(key)

    def rows(
        self, layout: Layout, index: str | None, start: Key, stop: Key, *, reverse: bool
    ) -> Iterator[Any]:
        """See ``OrderedRows``."""
        rows = self._rows[layout]
        entries = self._orders[layout, index].between(start, stop, reverse=reverse)
        if index is None:
            return map(rows.__getitem__, entries)
        return map(rows.__getitem__, map(layout.key_of_entry[index], entries))

    def add(self, layout: Layout, key: Key, row: Any, entries: list[tuple[str, Key]]) -> bool:
        """See ``OrderedRows``."""
        rows = self._rows[layout]
        if key in rows:
            return False
        rows[key] = row
        self._orders[layout, None].add(key)
        self._undo.append(partial(self.drop, layout, key))
        for index, entry in entries:
            self.add_entry(layout, index, entry, key)
        return True

    def swap(self, layout: Layout, key: Key, row: Any) -> Any | None:
        """See ``OrderedRows``."""
        rows = self._rows[layout]
        there = rows.get(key)
        if there is not None:
            rows[key] = row
            self._undo.append(partial(self.swap, layout, key, there))
        return there

    def drop(self, layout: Layout, key: Key) -> Any | None:
        """See ``OrderedRows``."""
        there = self._rows[layout].pop(key, None)
        if there is not None:
            self._orders[layout, None].remove(key)
            self._undo.append(partial(self.add, layout, key, there, []))
        return there

    def add_entry(self, layout: Layout, index: str, entry: Key, key: Key) -> None:  # noqa: ARG002
        """See ``OrderedRows``. The entry contains the key."""
        self._orders[layout, index].add(entry)
        self._undo.append(partial(self.drop_entry, layout, index, entry))

    def drop_entry(self, layout: Layout, index: str, entry: Key) -> None:
        """See ``OrderedRows``."""
        self._orders[layout, index].remove(entry)
        self._undo.append(partial(self.add_entry, layout, index, entry, ()))

    def counts(self, layout: Layout) -> Counts:
        """See ``OrderedRows``."""
        return self._counts[layout].copy()

    def add_to_count(self, layout: Layout, counted: Key, by: int) -> None:
        """See ``OrderedRows``."""
        counts = self._counts[layout]
        counts[counted] = counts.get(counted, 0) + by
        if not counts[counted]:
            del counts[counted]
        self._undo.append(partial(self.add_to_count, layout, counted, -by))

    def last_number(self) -> int:
        """See ``OrderedRows``."""
        return self._number

    def set_last_number(self, number: int) -> None:
        """See ``OrderedRows``."""
        self._undo.append(partial(self.set_last_number, self._number))
        self._number = number


class _Right:
    """An object for the delivery lock of one ``MemoryStorage``."""

    exclusive = True

    def __init__(self, storage: MemoryStorage, lock: threading.Lock) -> None:
        self._storage = storage
        self._lock = lock
        self._mutex = threading.Lock()
        self._held = False

    @property
    def held(self) -> bool:
        """Whether this object holds the lock in this process."""
        return self._held and self._lock is self._storage.right_lock()

    def acquire(self) -> bool:
        """Tries once, without waiting."""
        lock = self._storage.right_lock()
        if lock is not self._lock:  # in a forked child: the former lock is the parent's
            self._lock, self._mutex, self._held = lock, threading.Lock(), False
        with self._mutex:
            if not self._held:
                self._held = lock.acquire(blocking=False)
            return self._held

    def release(self) -> None:
        """Releases the lock, if this object holds it."""
        if not self.held:
            return
        with self._mutex:
            if self._held:
                self._held = False
                self._lock.release()


class MemoryStorage:
    """A queue and a local view that live as long as this object; nothing is durable.

    ``close()`` keeps the content: the object is the store. A forked child starts with an empty
    store, because the parent delivers what it has queued. Any thread may call any method.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._right = threading.Lock()
        self._local = threading.local()
        self._content = _Content()

    def __repr__(self) -> str:
        return "MemoryStorage()"

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """Runs ``work`` in a transaction. Its exception is raised here, with its changes undone.

        Raises ``RuntimeError`` if it is called from a ``work`` of the same store.
        """
        self._refuse_nesting("write")
        with self._lock:
            view = OrderedView(self._content)
            self._local.inside = True
            try:
                result = work(view)
                self._content.keep()
            except BaseException:
                self._content.undo()
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
            view = OrderedView(self._content)
            self._local.inside = True
            try:
                return work(view)
            finally:
                view.end()
                self._local.inside = False

    def changes(self) -> object:
        """Always the same: there is no other process."""
        return 0

    def delivery_right(self) -> DeliveryLock:
        """A new object for the delivery lock of this store."""
        return _Right(self, self.right_lock())

    def right_lock(self) -> threading.Lock:
        """The lock that the objects for the delivery lock share."""
        self._disown_after_fork()
        return self._right

    @property
    def notice(self) -> str | None:
        """Always ``None``: there is no file."""
        return None

    def after_fork(self) -> None:
        """In a forked child: starts empty, because the parent delivers what it has queued."""
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
