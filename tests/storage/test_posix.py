"""What only POSIX systems have: modes, links, limits, and forks of a store in memory."""

import errno
import os
import shlex
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bytelyst_sync.errors import ConfigError, StorageError, StorageFullError
from bytelyst_sync.storage import file_checks, file_errors
from bytelyst_sync.storage.delivery_lock import LockFile
from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite import errors
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item


def test_every_file_is_its_owners_only(path: Path, storage: SQLiteStorage) -> None:
    old = os.umask(0)
    try:
        storage.write(inserting(make_item(1)))
        right = storage.delivery_right()
        right.acquire()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        right.release()
    finally:
        os.umask(old)
    names = ("", "-wal", "-shm", ".lock", ".deliver")
    assert modes == {f"queue.db{suffix}": 0o600 for suffix in names}


@pytest.fixture
def closed(path: Path) -> Path:
    """A store with an item in it, and the files beside it."""
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    storage.delivery_right().acquire()
    storage.close()
    return path


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.fspath(path))


KINDS = {
    "a directory": lambda path: path.mkdir(),
    "a FIFO": lambda path: os.mkfifo(path, 0o600),
    "a socket": make_socket,
    "a device": lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3)),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock", ".deliver"])
def test_a_path_that_is_no_regular_file_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., None], suffix: str
) -> None:
    monkeypatch.chdir(path.parent)  # the name of a socket is short
    place = Path(path.name + suffix)
    try:
        make(place)
    except PermissionError:
        pytest.skip("only root makes devices")
    before = place.lstat()
    storage = SQLiteStorage(path)
    with pytest.raises(StorageError, match=r"is a (directory|FIFO|socket|device): name a "):
        storage.write(inserting(make_item(1)))
    storage.close()
    assert (place.lstat().st_mode, place.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert [each.name for each in path.parent.iterdir()] == [place.name]


@pytest.mark.parametrize("name", ["a\0b.db", "~nobody-of-this-name/app.db"])
def test_a_path_that_no_file_can_have_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(ConfigError, match="is not the path of a file") as caught:
        SQLiteStorage(name).read(lambda tx: None)
    assert caught.value.field == "storage"


def test_a_relative_path_in_a_deleted_working_directory_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deleted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ConfigError, match=r"'app\.db' is not the path of a file"):
        SQLiteStorage("app.db")


@pytest.mark.parametrize("suffix", ["", ".lock", ".deliver"])
@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
def test_a_file_that_others_can_read_or_change_is_refused(
    closed: Path, suffix: str, mode: int
) -> None:
    file = closed.with_name(closed.name + suffix)
    file.chmod(mode)
    storage = SQLiteStorage(closed)
    with pytest.raises(StorageError, match=rf"mode 0{mode:o}.*: chmod 600 {file}$"):
        storage.read(lambda tx: tx.count(ITEMS))
    file.chmod(0o600)
    assert all_rows(storage, ITEMS) == [make_item(1)]
    storage.close()


def test_one_remedy_makes_a_restored_copy_usable(closed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "restored" / closed.name
    copy.parent.mkdir()
    for part in closed.parent.glob(f"{closed.name}*"):
        if part.is_file():
            restored = copy.with_name(part.name)
            restored.write_bytes(part.read_bytes())
            restored.chmod(0o644)
    storage = SQLiteStorage(copy)
    with pytest.raises(StorageError, match="can be read or changed by others") as refused:
        storage.read(lambda tx: tx.count(ITEMS))
    remedy = str(refused.value).rpartition(": ")[2]
    assert remedy.count(str(copy)) > 1
    subprocess.run(shlex.split(remedy), check=True)
    assert all_rows(storage, ITEMS) == [make_item(1)]
    storage.close()


@pytest.mark.parametrize("suffix", ["", ".lock", ".deliver"])
def test_a_second_name_is_refused(closed: Path, suffix: str) -> None:
    file = closed.with_name(closed.name + suffix)
    other = closed.with_name("other")
    other.hardlink_to(file)
    storage = SQLiteStorage(closed)
    with pytest.raises(StorageError, match=r"has 2 names \(hard links\)"):
        storage.read(lambda tx: tx.count(ITEMS))
    other.unlink()
    assert all_rows(storage, ITEMS) == [make_item(1)]
    storage.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("suffix", ["", ".lock", ".deliver"])
def test_another_owners_file_is_refused(closed: Path, suffix: str) -> None:
    file = closed.with_name(closed.name + suffix)
    os.chown(file, 12345, 12345)
    storage = SQLiteStorage(closed)
    with pytest.raises(StorageError, match=rf"belongs to user 12345, .* chown 0 {file}$"):
        storage.read(lambda tx: tx.count(ITEMS))
    storage.close()


def test_another_owners_file_is_refused_whoever_runs(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    storage = SQLiteStorage(closed)
    with pytest.raises(StorageError, match=r"belongs to user \d+, and this is user"):
        storage.read(lambda tx: tx.count(ITEMS))
    storage.close()


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o1777, True), (0o755, False)])
@pytest.mark.parametrize("deep", [False, True], ids=["the file", "a directory"])
def test_a_link_is_refused_where_others_could_have_put_it(
    tmp_path: Path, mode: int, refused: bool, deep: bool
) -> None:
    shared, private = tmp_path / "shared", tmp_path / "private"
    shared.mkdir()
    private.mkdir(mode=0o700)
    link = shared / "app"
    link.symlink_to(private if deep else private / "queue.db")
    shared.chmod(mode)
    storage = SQLiteStorage(link / "queue.db" if deep else link)
    if refused:
        with pytest.raises(StorageError, match="symbolic link in a directory that others may"):
            storage.write(inserting(make_item(1)))
        assert list(private.iterdir()) == []
    else:
        storage.write(inserting(make_item(1)))
    storage.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_that_is_mounted_alone_is_refused(
    closed: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """A lone file mounted into a container: its log would stay behind with the container."""
    file = closed.with_name(closed.name + suffix)
    file.touch(0o600)
    monkeypatch.setattr(file_checks, "_mounts", lambda: [("/", "ext4"), (str(file), "ext4")])
    storage = SQLiteStorage(closed)
    with pytest.raises(StorageError, match=f"Mount the directory {closed.parent} instead"):
        storage.read(lambda tx: tx.count(ITEMS))
    storage.close()


def test_a_network_file_system_is_warned_of_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mounts = [("/", "ext4"), (str(path.parent), "nfs4"), (f"{path.parent}2", "ext4")]
    monkeypatch.setattr(file_checks, "_mounts", lambda: mounts)
    storage = SQLiteStorage(path)
    for number in (1, 2):
        storage.write(inserting(make_item(number)))
        storage.close()
    (record,) = caplog.records
    assert "network file system (nfs4 at" in record.getMessage()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mountinfo is Linux's")
def test_mounts_are_read_as_linux_lists_them() -> None:
    mounts = dict(file_checks._mounts())
    assert "/proc" in mounts
    assert mounts["/proc"] == "proc"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(errno.EIO, StorageError), (errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError)],
)
def test_a_failed_write_raises_the_right_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, failure: int, kind: type[Exception]
) -> None:
    """SQLite reports a bad disk and a used-up quota alike."""

    def fail(**_: Any) -> None:
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(file_errors, "TemporaryFile", fail)
    monkeypatch.setattr(file_errors.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))  # type: ignore[attr-defined]  # what it imports
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = 778  # type: ignore[attr-defined]  # of Python 3.11
    assert type(errors.translate_error(error, path, 1.0)) is kind


def test_a_deleted_lock_file_is_created_again(tmp_path: Path) -> None:
    first, second = (LockFile(tmp_path / "lock") for _ in range(2))
    assert first.try_acquire()
    first.path.unlink()
    assert second.try_acquire()
    first.release()
    assert not first.try_acquire()
    second.release()
    assert first.try_acquire()
    first.close()
    second.close()


def test_a_symbolic_link_at_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(StorageError, match="cannot be locked"):
        LockFile(tmp_path / "lock").try_acquire()
    assert not (tmp_path / "target").exists()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_starts_empty() -> None:
    storage = MemoryStorage()
    storage.write(inserting(make_item(1)))
    right = storage.delivery_right()
    assert right.acquire()
    child = os.fork()
    if not child:
        status = 1
        try:
            right.release()
            empty = all_rows(storage, ITEMS) == []
            status = 0 if empty and not right.held and right.acquire() else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert right.held
    assert all_rows(storage, ITEMS) == [make_item(1)]
