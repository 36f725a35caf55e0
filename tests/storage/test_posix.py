"""What only POSIX systems have: modes, links, limits, and forks of a store in memory."""

import os
import stat

import pytest

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.guard import LockFile
from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item

LIMITED_FILES = """
import json, resource, sys
from bytelyst_sync.errors import StorageFullError
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing.storage_samples import inserting, make_item

storage = SQLiteStorage(sys.argv[1])
storage.write(inserting(make_item(1)))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
done, refused = 1, 0
while refused < 3:
    try:
        storage.write(inserting(make_item(done + 1, data="x" * 20_000)))
        done += 1
    except StorageFullError:
        refused += 1
assert storage.read(lambda reader: len(list(reader.scan(ITEMS)))) == done
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
storage.write(inserting(make_item(done + 1)))
print(json.dumps([done + 1, storage.read(lambda reader: len(list(reader.scan(ITEMS))))]))
storage.close()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.db"


@pytest.fixture
def storage(path):
    storage = SQLiteStorage(path, busy_timeout_s=5.0)
    yield storage
    storage.close()


def test_every_file_is_its_owners_only(path, storage):
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


def test_it_works_again_when_there_is_space(path, run_python):
    written, found = run_python(LIMITED_FILES, path)
    assert written == found > 2


def test_a_deleted_lock_file_is_made_anew(tmp_path):
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


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(StorageError, match="cannot be locked"):
        LockFile(tmp_path / "lock").try_acquire()
    assert not (tmp_path / "target").exists()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_starts_empty():
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
