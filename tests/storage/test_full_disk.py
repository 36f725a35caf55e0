"""Stores on a disk that is full for a while."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bytelyst_sync.storage.lmdb.verification import find_damage

FULL_FOR_A_WHILE = """
import json, resource, sys
from bytelyst_sync.errors import StorageFullError
from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import inserting, make_item

kind, path, durability, most_bytes = sys.argv[1:]
if kind == "lmdb":
    storage = LmdbStorage(path, durability, map_bytes=64 * 1024)
else:
    storage = SQLiteStorage(path, durability)
storage.write(inserting(make_item(1)))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(most_bytes), resource.RLIM_INFINITY))
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


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_an_sqlite_store_works_again_when_there_is_space(
    path: Path, run_python: Callable[..., list[int]], durability: str
) -> None:
    written, stored = run_python(FULL_FOR_A_WHILE, "sqlite", path, durability, 200_000)
    assert written == stored > 2


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_an_lmdb_store_works_again_when_there_is_space(
    tmp_path: Path, run_python: Callable[..., list[int]], durability: str
) -> None:
    path = tmp_path / "queue.mdb"
    written, stored = run_python(FULL_FOR_A_WHILE, "lmdb", path, durability, 400_000)
    assert written == stored > 2
    assert find_damage(path) is None
