"""Checks of the store: its directory, its files, its pages, the disk. Nothing is changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from glob import escape
from pathlib import Path

from bytelyst_sync.cli.case import Case, Check, Finding, fail, ok, open_for_reading, warn
from bytelyst_sync.cli.show import count_of
from bytelyst_sync.storage import schema
from bytelyst_sync.storage.guard import is_affected
from bytelyst_sync.storage.migrations import APPLICATION_ID
from bytelyst_sync.storage.sqlite_errors import is_damage

__all__ = ["CHECKS"]

_MIB = 1024 * 1024
_LITTLE, _SCARCE = 32 * _MIB, 512 * _MIB
_SUFFIXES = ("", "-wal", "-shm", ".lock", ".deliver")
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph"})
_SIGN = 16


def directory(case: Case) -> Iterator[Finding]:
    """It is there, can be written to, and others cannot put files into it."""
    if case.settings is None:
        return
    folder = case.settings.store.parent
    if not folder.is_dir():
        yield fail("directory", f"{folder} is not there", f"mkdir -p {folder}, or set storage")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield fail(
            "directory",
            f"{folder} cannot be written to, and SQLite keeps files beside the store",
            "run as its owner, or choose another directory (storage)",
        )
        return
    mode = folder.stat().st_mode
    if os.name == "posix" and mode & 0o022 and not mode & 0o1000:
        yield warn(
            "directory",
            f"{folder} can be written to by others (mode {mode & 0o777:04o}): they can replace the "
            "store",
            f"chmod go-w {folder}",
        )
        return
    yield ok("directory", f"{folder} is there and writable")


def store(case: Case) -> Iterator[Finding]:
    """It is a file of ours, of a release that is understood."""
    if case.settings is None or not case.settings.store.parent.is_dir():
        return
    path = case.settings.store
    if path.is_dir():
        yield fail("store", f"{path} is a directory", "name a file in it (storage)")
        case.readable = False
    elif not path.exists():
        yield ok("store", f"{path} is not there yet: the first push makes it")
    elif not os.access(path, os.R_OK | os.W_OK):
        case.readable = False
        yield fail(
            "store", f"{path} cannot be read and written", f"check who owns it: ls -l {path}"
        )


def permissions(case: Case) -> Iterator[Finding]:
    """The files can be read by their owner only, and belong to one and the same."""
    path = case.store
    if path is None or os.name != "posix":
        return
    files = [
        each for each in (path.with_name(path.name + end) for end in _SUFFIXES) if each.exists()
    ]
    wide = [each for each in files if each.stat().st_mode & 0o077]
    if wide:
        names = " ".join(map(str, wide))
        mode = wide[0].stat().st_mode & 0o777
        yield fail(
            "permissions",
            f"others can read what is queued: {names} (mode {mode:04o})",
            f"chmod 600 {names}",
        )
        return
    owners = {each.stat().st_uid for each in files}
    if len(owners) > 1 or owners != {os.geteuid()}:
        owner = path.stat().st_uid
        strange = [str(each) for each in files if each.stat().st_uid != owner]
        text = f"{', '.join(strange)} belong to another user than the store" if strange else (
            f"the store belongs to user {owner}, and this is user {os.geteuid()}"
        )  # fmt: skip
        remedy = f"chown {owner} {' '.join(strange)}" if strange else "run as the store's owner"
        yield warn("permissions", text, remedy)
        return
    yield ok("permissions", f"{count_of(len(files), 'file')}, for their owner only")


def sqlite_version(case: Case) -> Iterator[Finding]:
    """Whether it has the fault that can corrupt a WAL database; the package guards against it."""
    del case
    version = sqlite3.sqlite_version
    if is_affected(sqlite3.sqlite_version_info):
        yield ok(
            "sqlite",
            f"SQLite {version} has the WAL-reset fault (mended in 3.51.3, 3.50.7, 3.44.6); it is "
            "guarded: writes and checkpoints take turns. Write to the store with no other tool",
        )
    else:
        yield ok("sqlite", f"SQLite {version}")


def file_system(case: Case) -> Iterator[Finding]:
    """It is a local one: locks are not to be trusted over a network."""
    mounts = Path("/proc/self/mounts")
    if case.settings is None or not mounts.exists():
        return
    where = str(case.settings.store)
    best, kind = "", ""
    for line in mounts.read_text("utf-8", "replace").splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        below = where == point or where.startswith(point.rstrip("/") + "/")
        if below and len(point) >= len(best):
            best, kind = point, fields[2]
    if kind in _REMOTE:
        yield fail(
            "file system",
            f"{best} is a network file system ({kind}): SQLite's locks are not to be trusted there",
            "set storage to a file on a local disk",
        )


def disk_space(case: Case) -> Iterator[Finding]:
    """There is room for the queue to grow."""
    if case.settings is None or not case.settings.store.parent.is_dir():
        return
    folder = case.settings.store.parent
    free = shutil.disk_usage(folder).free
    size = f"{free / _MIB:.0f} MiB" if free < 10 * _SCARCE else f"{free / _MIB / 1024:.0f} GiB"
    text = f"{size} free at {folder}"
    remedy = "free some space; a push raises StorageFullError when there is none"
    if free < _LITTLE:
        yield fail("disk", f"nearly full: {text}", remedy)
    elif free < _SCARCE:
        yield warn("disk", f"getting full: {text}", remedy)
    else:
        yield ok("disk", text)


def schema_version(case: Case) -> Iterator[Finding]:
    """It is not of a later release, nor another program's."""
    if case.store is None or not case.readable:
        return
    try:
        with closing(open_for_reading(case.store)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            owner = connection.execute("PRAGMA application_id").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.Error:
        return  # the check of the pages tells it
    if owner != APPLICATION_ID and (tables or owner):
        case.readable = False
        yield fail(
            "store",
            f"{case.store} is another program's SQLite database",
            "set storage to a file of its own",
        )
    elif version > schema.SCHEMA_VERSION:
        case.readable = False
        yield fail(
            "store",
            f"{case.store} was written by a newer release (schema {version}, this one knows "
            f"{schema.SCHEMA_VERSION})",
            "pip install --upgrade bytelyst-sync",
        )
    elif not tables:
        case.readable = False
        yield ok("store", f"{case.store} is empty")
    else:
        yield ok("store", f"{case.store} (schema {version})")


def integrity(case: Case) -> Iterator[Finding]:
    """Its pages are sound."""
    if case.store is None or not case.readable:
        return
    found = _damage(case.store)
    if found:
        found = _damage(case.store)  # somebody may have begun to write meanwhile
    if not found:
        yield ok("integrity", "every page of the store is sound")
        return
    case.readable = False
    damaged = found[0].splitlines()[0] if len(found) == 1 else f"{len(found)} faults: {found[0]}"
    if found[0] == _BUSY:
        yield warn("integrity", "the store is locked by another program", "try again later")
        return
    yield fail(
        "integrity",
        f"{case.store} is damaged ({damaged})",
        "copy the file away, then use it: the next push or flush sets it aside and carries over "
        "what can be read; check the disk",
    )


_BUSY = "locked"


def _damage(path: Path) -> list[str]:
    try:
        with closing(open_for_reading(path)) as connection:
            rows = connection.execute("PRAGMA integrity_check(10)").fetchall()
    except sqlite3.Error as error:
        return [str(error)] if is_damage(error) else [_BUSY]
    lines = [line for row in rows for line in str(row[0]).splitlines() if line.strip()]
    return (
        [] if lines == ["ok"] else [each for each in lines if not each.startswith("***")] or lines
    )


def leftovers(case: Case) -> Iterator[Finding]:
    """What an earlier damage left behind."""
    if case.settings is None or not case.settings.store.parent.is_dir():
        return
    path = case.settings.store
    found = sorted(path.parent.glob(f"{escape(path.name)}.damaged-*"))
    unfinished = [each for each in found if each.name.endswith(".salvage")]
    if unfinished:
        yield warn(
            "store",
            f"the repair of a damaged store was interrupted ({unfinished[0]})",
            "use the store: the next push or flush carries on",
        )
    elif found:
        yield warn(
            "store",
            f"a damaged store was set aside as {found[0]}; what could be read was carried over",
            "look at what is missing, check the disk, then delete it",
        )


CHECKS: tuple[Check, ...] = (
    sqlite_version,
    directory,
    file_system,
    disk_space,
    store,
    permissions,
    schema_version,
    integrity,
    leftovers,
)
