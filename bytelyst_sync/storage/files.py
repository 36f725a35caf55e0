"""Identity, length and times of files, by ``stat``. Only ``sync_file`` and ``extend_file`` open
a file, which must be no open database of SQLite: on POSIX, closing any descriptor of a file drops
the locks that the process has on it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path, PurePath

from bytelyst_sync.errors import ConfigError

__all__ = [
    "DirectoryTimes",
    "DirectoryWatch",
    "Identity",
    "absolute_path",
    "extend_file",
    "identity_of",
    "is_settled",
    "length_of",
    "sibling",
    "sqlite_uri",
    "sync_file",
]

Identity = tuple[int, int]
DirectoryTimes = tuple[int, int, int, int]
"""Device and inode of a directory, and its times of modification and change in nanoseconds."""

_EXAMINE_EVERY = 64
_TICK_NS, _COARSE_TICK_NS = 500_000_000, 3_000_000_000
"""Two changes further apart than this get different times; the second value is for file systems
that store whole seconds.
"""


def absolute_path(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The absolute path of a store, with ``~`` expanded, and the same with its links resolved.

    Neither depends on the working directory any more. Raises ``ConfigError`` if no file can have
    this path.
    """
    try:
        absolute = Path(path).expanduser().absolute()
        return absolute, absolute.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, a null byte
        raise ConfigError(
            f"storage={os.fspath(path)!r} is not the path of a file ({error}): give an absolute"
            " path on a local disk",
            field="storage",
            value=path,
        ) from error


def sqlite_uri(path: PurePath, query: str) -> str:
    """The URI of a file for SQLite, which takes no host in it: that of a UNC path is moved into the
    path.
    """
    uri = path.as_uri()
    rest = uri.removeprefix("file://")
    return f"{uri if rest.startswith('/') else f'file:////{rest}'}?{query}"


def sibling(path: Path, suffix: str) -> Path:
    """The path with a suffix appended to its file name."""
    return path.with_name(path.name + suffix)


def identity_of(path: str | Path) -> Identity | None:
    """Device and inode of the file, or ``None`` if ``stat`` fails."""
    status = _status(path)
    return None if status is None else (status.st_dev, status.st_ino)


def length_of(path: str | Path) -> int:
    """The file's length in bytes; 0 if ``stat`` fails."""
    status = _status(path)
    return 0 if status is None else status.st_size


class DirectoryWatch:
    """Says after each commit whether the files in a directory must be examined.

    That is so if the directory's times have changed, which happens when a name in it is created,
    deleted or renamed. A program can set the time of modification, as a restored backup does; that
    updates the time of change. In any case the files are examined now and then: a file system may
    not keep these times. To examine them in every commit is slow: Linux 6.13 and later records
    finer times for a file after ``stat``, and the next sync of it then takes a third longer.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._sound_at: DirectoryTimes | None = None
        """The directory's times when the files were last found in place."""
        self._examined_at: DirectoryTimes | None = None
        self.commits = 0
        """How many commits there were."""

    def is_quiet_after_commit(self) -> bool:
        """Whether no file was created, deleted or renamed since ``examined(sound=True)``. Called
        once for each commit; says no now and then, so that the files are examined anyway.
        """
        self.commits += 1
        try:
            status = os.stat(self._folder)  # noqa: PTH116  each commit calls it: see _status
        except OSError:
            self._examined_at = None
            return False
        times = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
        if times == self._sound_at and self.commits % _EXAMINE_EVERY:
            return True
        # decided before the files are examined, so that a later change is noticed
        self._examined_at = times if is_settled(times) else None
        return False

    def examined(self, *, sound: bool) -> None:
        """The files were examined after that; ``sound``: all of them are in place."""
        self._sound_at = self._examined_at if sound else None


def is_settled(renaming: DirectoryTimes) -> bool:
    """Whether another change in the directory will certainly change its times."""
    changed = max(renaming[2:])
    tick = _TICK_NS if changed % 1_000_000_000 else _COARSE_TICK_NS
    return time.time_ns() - changed > tick


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  twice as fast as Path.stat, and each commit calls it
    except OSError:
        return None


def extend_file(path: Path, identity: Identity, length: int) -> int:
    """Writes zeros up to this length, if the path names this file; returns the length it has."""
    with path.open("r+b", buffering=0) as file:
        status = os.fstat(file.fileno())
        if status.st_size >= length or (status.st_dev, status.st_ino) != identity:
            return status.st_size
        file.seek(status.st_size)
        file.write(bytes(length - status.st_size))
        return os.fstat(file.fileno()).st_size


def sync_file(path: Path) -> None:
    """Syncs a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
