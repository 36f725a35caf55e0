"""Which file a path names. Nothing here opens one.

(On POSIX, closing any descriptor of a file drops the locks that SQLite holds on it.)
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["Identity", "beside", "identity_and_size", "identity_of"]

Identity = tuple[int, int]


def beside(path: Path, suffix: str) -> Path:
    """A file that belongs to this one: its name with something added."""
    return path.with_name(path.name + suffix)


def identity_of(path: Path) -> Identity | None:
    """Which file the path names, ``None`` if that cannot be told."""
    return identity_and_size(path)[0]


def identity_and_size(path: Path) -> tuple[Identity | None, int]:
    """The same, and the file's length in bytes."""
    try:
        status = os.stat(path)  # noqa: PTH116  half the time of Path.stat, and it is in every commit
    except OSError:
        return None, 0
    return (status.st_dev, status.st_ino), status.st_size
