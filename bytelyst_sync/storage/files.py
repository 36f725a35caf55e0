"""Which file a path names. Nothing here opens one.

(On POSIX, closing any descriptor of a file drops the locks that SQLite holds on it.)
"""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["Identity", "Renaming", "beside", "identity_of", "is_past", "last_renaming", "length_of"]

Identity = tuple[int, int]
Renaming = tuple[int, int, int, int]
"""A directory, and its own times."""

_TICK_NS, _COARSE_TICK_NS = 500_000_000, 3_000_000_000
"""Much longer than a change can be old and the next one get the same time; the second where file
systems keep no parts of a second."""


def beside(path: Path, suffix: str) -> Path:
    """A file that belongs to this one: its name with something added."""
    return path.with_name(path.name + suffix)


def identity_of(path: str | Path) -> Identity | None:
    """Which file the path names, ``None`` if that cannot be told."""
    status = _status(path)
    return None if status is None else (status.st_dev, status.st_ino)


def length_of(path: str | Path) -> int:
    """The file's length in bytes; 0 if that cannot be told."""
    status = _status(path)
    return 0 if status is None else status.st_size


def last_renaming(folder: str) -> Renaming | None:
    """When a name in a directory was made, deleted or changed last: its own times say so.

    One of them anybody can set, as a restored backup does; that sets the other. ``None`` if they
    cannot be told.
    """
    status = _status(folder)
    if status is None:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def is_past(renaming: Renaming) -> bool:
    """Whether one more would be told from it: just after it, a directory may keep its times."""
    changed = max(renaming[2:])
    tick = _TICK_NS if changed % 1_000_000_000 else _COARSE_TICK_NS
    return time.time_ns() - changed > tick


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  half the time of Path.stat, and it is in every commit
    except OSError:
        return None
