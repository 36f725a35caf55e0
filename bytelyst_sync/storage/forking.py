"""Closes stores before a fork, so that parent and child can both use them afterwards.

In a child, SQLite's memory still says that the parent's locks are held, although they are not: the
parent could checkpoint and delete the WAL while the child writes to it. So the parent closes its
connections right before the fork, and both processes open their own at the next use.

The hooks run in the thread that forks. ``os.fork`` and ``multiprocessing`` call them;
``subprocess`` does not. They log nothing and raise nothing.
"""

from __future__ import annotations

import os
import threading
import weakref
from importlib import import_module
from typing import Protocol

__all__ = ["FORK_REMEDY", "Forked", "keep_alive_forever", "watch"]

FORK_REMEDY = (
    "fork by os.fork or multiprocessing, while no thread is in a transaction; under uWSGI set"
    " py-call-osafterfork = true and enable-threads = true, or lazy-apps = true; or make the engine"
    " in the child"
)
"""The remedy for a process that was forked without Python's hooks, or during a transaction."""

_referenced_forever: list[object] = []
_CTYPES = "ctypes"
"""Imported only in programs that fork, because it is large."""


class Forked(Protocol):
    """The hooks of a store."""

    def before_fork(self) -> None:
        """In the parent: closes the store, and keeps it closed until after the fork."""
        ...

    def after_fork_in_parent(self) -> None:
        """In the parent: allows the next use to open the store."""
        ...

    def after_fork(self) -> None:
        """In the child: forgets the parent's connections and locks."""
        ...


_stores: weakref.WeakSet[Forked] = weakref.WeakSet()
_forking = threading.local()


def watch(store: Forked) -> None:
    """Calls the store's hooks at every fork, as long as the store exists."""
    _stores.add(store)


def keep_alive_forever(thing: object) -> None:
    """Keeps an object of the parent alive in this process, even at the interpreter's exit."""
    _referenced_forever.append(thing)
    ctypes = import_module(_CTYPES)
    keep = getattr(getattr(ctypes, "pythonapi", None), "Py_IncRef", None)
    if keep is not None:
        keep(ctypes.py_object(thing))


def _before() -> None:
    # the hooks after the fork run for the same stores: another thread may create one meanwhile
    _forking.stores = list(_stores)
    if _forking.stores:
        import_module(_CTYPES)  # not in the child, where another thread's import lock may be held
    for store in _forking.stores:
        store.before_fork()


def _after_in_parent() -> None:
    for store in _forking.__dict__.pop("stores", ()):
        store.after_fork_in_parent()


def _after_in_child() -> None:
    _forking.__dict__.pop("stores", None)
    for store in list(_stores):
        store.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
