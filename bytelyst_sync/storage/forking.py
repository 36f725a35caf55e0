"""Lets stores come through a fork of their process.

A copy of SQLite's memory in a child believes that it holds the locks of its parent's connections.
To open the same file there would be to use locks that are not held: the parent could checkpoint
and delete the WAL while the child writes to it. So the parent closes its connections right before
the fork, and both open their own afterwards, at their next use.

The hooks run on the thread that forks. They are called by ``os.fork`` and ``multiprocessing``, not
by ``subprocess``. They log nothing and raise nothing, for nobody could handle it there.
"""

from __future__ import annotations

import os
import threading
import weakref
from importlib import import_module
from typing import Protocol

__all__ = ["Forked", "bury", "watch"]

_graveyard: list[object] = []
_CTYPES = "ctypes"
"""Loaded by programs that fork: it is large, and the others have no use for it."""


class Forked(Protocol):
    """What a store does about a fork."""

    def before_fork(self) -> None:
        """In the parent: closes what the child must not inherit, and stays closed."""
        ...

    def after_fork_in_parent(self) -> None:
        """In the parent: may be used again."""
        ...

    def after_fork(self) -> None:
        """In the child: lets go of what is the parent's."""
        ...


_stores: weakref.WeakSet[Forked] = weakref.WeakSet()
_forking = threading.local()


def watch(store: Forked) -> None:
    """Has the store told of every fork, for as long as it lives."""
    _stores.add(store)


def bury(thing: object) -> None:
    """Keeps something of the parent's from ever being closed here, even as the program ends."""
    _graveyard.append(thing)
    ctypes = import_module(_CTYPES)
    keep = getattr(getattr(ctypes, "pythonapi", None), "Py_IncRef", None)
    if keep is not None:
        keep(ctypes.py_object(thing))


def _before() -> None:
    # the same ones afterwards: another thread may make one meanwhile
    _forking.stores = list(_stores)
    if _forking.stores:
        import_module(_CTYPES)  # here, for in the child another thread may have been in it
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
