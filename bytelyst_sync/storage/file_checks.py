"""Checks whether a path may be used for a store, before any file is opened or created.

A store holds private data. So a file of another owner, a file that others can read or change, and a
file with several names are refused; so is everything that is no regular file. The error says how to
correct it. A refused file is not changed.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from contextlib import suppress
from pathlib import Path

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.files import Identity, sibling

__all__ = [
    "SIBLINGS",
    "check_files",
    "check_mode",
    "check_modes",
    "check_status",
    "header_of",
    "remote_kind",
]

SIBLINGS = ("-wal", "-shm", "-lock", ".lock", ".deliver")
"""The suffixes of the files beside a store: SQLite's, LMDB's, and the package's own locks."""

_KINDS = (
    (stat.S_ISDIR, "a directory: name a file in it"),
    (stat.S_ISLNK, "a symbolic link: remove it, or name the file that it leads to"),
    (stat.S_ISFIFO, "a FIFO: name a regular file"),
    (stat.S_ISSOCK, "a socket: name a regular file"),
    (stat.S_ISBLK, "a device: name a regular file"),
    (stat.S_ISCHR, "a device: name a regular file"),
)
_REMOTE = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gpfs"}
    | {"lustre", "nfs", "nfs4", "smb3", "smbfs", "webdav"}
)
_HEADER_BYTES = 100
_open_descriptors: dict[Identity, int] = {}


def check_files(path: Path, unresolved: Path) -> None:
    """Raises ``StorageError`` if the store, or a file beside it, must not be used.

    ``given`` is the path before links were resolved. Files that do not exist are accepted. Modes
    are checked by ``check_modes``, once the path is known to name a store.
    """
    _check_links(unresolved)
    mounts = _mount_points()
    for suffix in ("", *SIBLINGS):
        file = sibling(path, suffix)
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageError(
                f"{file} cannot be examined ({error.strerror or error}): check the owner and the"
                " mode of its directory"
            ) from error
        check_status(file, status)
        if os.fspath(file) in mounts:
            raise StorageError(
                f"{file} is a mount point of its own: what is written beside it would be lost"
                f" when the container is replaced. Mount the directory {file.parent} instead"
            )


def _check_links(unresolved: Path) -> None:
    """Refuses a path through a symbolic link in a directory that other users may write."""
    for part in (unresolved, *unresolved.parents):
        if not part.is_symlink():
            continue
        folder = part.parent.stat()
        if _others_may_write(folder):
            raise StorageError(
                f"{part} is a symbolic link in a directory that others may write, and leads to"
                f" {part.resolve()}: use that path if it is the right one"
            )


def check_status(file: Path, status: os.stat_result) -> None:
    """Refuses what is no regular file, belongs to another user, or has a second hard link."""
    for is_kind, what in _KINDS:
        if is_kind(status.st_mode):
            raise StorageError(f"{file} is {what}")
    if os.name != "posix":
        return
    if status.st_uid != os.geteuid():
        raise StorageError(
            f"{file} belongs to user {status.st_uid}, and this is user {os.geteuid()}: run as its"
            f" owner, or change the owner: chown {os.geteuid()} {_quoted(file)}"
        )
    if status.st_nlink > 1:
        raise StorageError(
            f"{file} has {status.st_nlink} names (hard links), and a store must have one: remove"
            f" the others (find them with: find / -xdev -inum {status.st_ino})"
        )


def check_modes(path: Path) -> None:
    """Refuses a store if others can read or change it or a file beside it, as copied or restored
    files often allow. An empty store is new, and gets its mode when it is opened.
    """
    if os.name != "posix":
        return
    modes: dict[Path, int] = {}
    for suffix in ("", *SIBLINGS):
        file = sibling(path, suffix)
        with suppress(FileNotFoundError):
            status = file.lstat()
            if suffix or status.st_size:
                modes[file] = stat.S_IMODE(status.st_mode)
    _refuse_open_modes(modes)


def check_mode(file: Path, status: os.stat_result) -> None:
    """Refuses one file that others can read or change."""
    if os.name == "posix":
        _refuse_open_modes({file: stat.S_IMODE(status.st_mode)})


def _refuse_open_modes(modes: dict[Path, int]) -> None:
    """Raises one error, with a command that corrects all of the files."""
    files = [file for file, mode in modes.items() if mode & 0o077]
    if files:
        raise StorageError(
            f"{files[0]} can be read or changed by others (mode {modes[files[0]]:04o}) and holds"
            f" private data: chmod 600 {' '.join(map(_quoted, files))}"
        )


def header_of(path: Path) -> bytes:
    """The first hundred bytes of a file.

    The descriptor stays open: on POSIX, closing any descriptor of a file drops the locks that
    SQLite holds on it in this process.
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    if os.name != "posix":
        with path.open("rb") as file:
            return file.read(_HEADER_BYTES)
    status = path.stat()
    identity = (status.st_dev, status.st_ino)
    descriptor = _open_descriptors.get(identity)
    if descriptor is None:
        descriptor = _open_descriptors[identity] = os.open(
            path, flags | os.O_NOFOLLOW | os.O_NONBLOCK
        )
    return os.pread(descriptor, _HEADER_BYTES, 0)


def remote_kind(path: Path) -> tuple[str, str] | None:
    """Mount point and kind of the network file system that contains the path, or ``None``."""
    best = ("", "")
    for point, kind in _mounts():
        below = path.is_relative_to(point)
        if below and len(point) >= len(best[0]):
            best = (point, kind)
    return best if best[1] in _REMOTE else None


def _others_may_write(folder: os.stat_result) -> bool:
    if os.name != "posix":
        return False
    by_group = folder.st_mode & stat.S_IWGRP and folder.st_gid != os.getegid()
    return bool(folder.st_mode & stat.S_IWOTH or by_group)


def _mount_points() -> set[str]:
    return {point for point, _ in _mounts()}


def _mounts() -> list[tuple[str, str]]:
    """Mount points and the kinds of their file systems, on Linux; elsewhere an empty list."""
    if not sys.platform.startswith("linux"):
        return []
    try:
        text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return []
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) > 4 and kinds[0]:
            mounts.append((_unescaped(fields[4]), kinds[0]))
    return mounts


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _quoted(file: Path) -> str:
    return shlex.quote(os.fspath(file))
