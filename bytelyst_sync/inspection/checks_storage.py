"""Checks of the store: its directory, its files, its pages, the disk. Nothing is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from glob import escape

from bytelyst_sync.inspection.doctor_context import (
    Check,
    DoctorContext,
    Finding,
    fail,
    ok,
    warn,
)
from bytelyst_sync.inspection.store_files import BUSY
from bytelyst_sync.inspection.text import count_of
from bytelyst_sync.storage import schema
from bytelyst_sync.storage.file_checks import SIBLINGS, remote_kind

__all__ = ["CHECKS"]

_MIB = 1024 * 1024
_LITTLE, _SCARCE = 32 * _MIB, 512 * _MIB
_SUFFIXES = ("", *SIBLINGS)
_SIGN = 16


def directory(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the directory exists and is writable, but not for others."""
    if context.settings is None:
        return
    folder = context.settings.store.parent
    if not folder.is_dir():
        yield fail("directory", f"{folder} is not there", f"mkdir -p {folder}, or set storage")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield fail(
            "directory",
            f"{folder} cannot be written to, and the store keeps files beside it",
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


def store(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the store is a file that can be read and written."""
    if context.settings is None or not context.settings.store.parent.is_dir():
        return
    path = context.settings.store
    if path.is_dir():
        yield fail("store", f"{path} is a directory", "name a file in it (storage)")
        context.readable = False
    elif not path.exists():
        yield ok("store", f"{path} is not there yet: the first push makes it")
    elif not os.access(path, os.R_OK | os.W_OK):
        context.readable = False
        yield fail(
            "store", f"{path} cannot be read and written", f"check who owns it: ls -l {path}"
        )


def permissions(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the files belong to one user, and that nobody else can read them."""
    path = context.store
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


def database_version(context: DoctorContext) -> Iterator[Finding]:
    """Shows the version of SQLite or LMDB. The package works around known faults of it."""
    version = context.inspector.database_version
    yield ok(version.split()[0].strip(",").lower(), version)


def file_system(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the file system is local: locks are unreliable over a network."""
    if context.settings is None:
        return
    remote = remote_kind(context.settings.store)
    if remote is not None:
        point, kind = remote
        yield fail(
            "file system",
            f"{point} is a network file system ({kind}): locks do not work reliably there",
            "set storage to a file on a local disk",
        )


def disk_space(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the disk has space."""
    if context.settings is None or not context.settings.store.parent.is_dir():
        return
    folder = context.settings.store.parent
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


def schema_version(context: DoctorContext) -> Iterator[Finding]:
    """Checks that no newer release and no other program has written the store."""
    if context.store is None or not context.readable:
        return
    state = context.inspector.state(context.store)
    version = state.schema
    if version is None:
        return  # the check of the pages reports it
    if state.is_foreign:
        context.readable = False
        database = context.inspector.database_version.split()[0]
        yield fail(
            "store",
            f"{context.store} is another program's {database} database",
            "set storage to a file of its own",
        )
    elif version > schema.SCHEMA_VERSION:
        context.readable = False
        yield fail(
            "store",
            f"{context.store} was written by a newer release (schema {version}, this one knows "
            f"{schema.SCHEMA_VERSION})",
            "pip install --upgrade bytelyst-sync",
        )
    elif state.is_empty:
        context.readable = False
        yield ok("store", f"{context.store} is empty")
    else:
        yield ok("store", f"{context.store} (schema {version})")


def integrity(context: DoctorContext) -> Iterator[Finding]:
    """Checks the pages of the store."""
    if context.store is None or not context.readable:
        return
    damages = context.inspector.damage(context.store)
    if damages:  # checked again: another program may have begun to write meanwhile
        damages = context.inspector.damage(context.store)
    if not damages:
        yield ok("integrity", "every page of the store is sound")
        return
    context.readable = False
    first = damages[0]
    damaged = first.splitlines()[0] if len(damages) == 1 else f"{len(damages)} faults: {first}"
    if damages[0] == BUSY:
        yield warn("integrity", "the store is locked by another program", "try again later")
        return
    yield fail(
        "integrity",
        f"{context.store} is damaged ({damaged})",
        "copy the file away, then use it: the next push or flush sets it aside and carries over "
        "what can be read; check the disk",
    )


def leftovers(context: DoctorContext) -> Iterator[Finding]:
    """Reports files of an earlier damage."""
    if context.settings is None or not context.settings.store.parent.is_dir():
        return
    path = context.settings.store
    copies = sorted(path.parent.glob(f"{escape(path.name)}.damaged-*"))
    unfinished = [each for each in copies if each.name.endswith(".salvage")]
    if unfinished:
        yield warn(
            "store",
            f"the repair of a damaged store was interrupted ({unfinished[0]})",
            "use the store: the next push or flush carries on",
        )
    elif copies:
        yield warn(
            "store",
            f"a damaged store was set aside as {copies[0]}; what could be read was carried over",
            "look at what is missing, check the disk, then delete it",
        )


CHECKS: tuple[Check, ...] = (
    database_version,
    directory,
    file_system,
    disk_space,
    store,
    permissions,
    schema_version,
    integrity,
    leftovers,
)
