"""How the SQLite store opens its file, whose file it takes, and how it brings it up to date."""

import os
import sqlite3
import stat

import pytest

from bytelyst_sync.errors import (
    ConfigError,
    StorageError,
    StorageVersionError,
)
from bytelyst_sync.storage import migrations, schema
from bytelyst_sync.storage.schema import ITEMS, META, Meta
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.storage.wal import keep_hidden_commits
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.db"


@pytest.fixture
def storage(path):
    storage = SQLiteStorage(path, busy_timeout_s=5.0)
    yield storage
    storage.close()


def pragma(storage, name):
    storage.write(lambda tx: None)
    return storage._database.writer.execute(f"PRAGMA {name}").fetchone()[0]


# -- how it is opened -----------------------------------------------------------------------------


def test_nothing_is_touched_before_the_first_use(path):
    storage = SQLiteStorage(path)
    assert storage.notice is None
    assert "queue.db" in repr(storage)
    storage.close()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
def test_durability(path, durability, level):
    storage = SQLiteStorage(path, durability=durability)
    assert pragma(storage, "journal_mode") == "wal"
    assert pragma(storage, "synchronous") == level
    storage.close()


def test_an_unknown_durability_is_refused(path):
    with pytest.raises(ConfigError, match="'full' or 'normal'") as caught:
        SQLiteStorage(path, durability="fast")
    assert caught.value.field == "durability"


def test_an_empty_file_is_a_new_database(path, storage):
    path.touch(0o644)
    storage.write(inserting(make_item(1)))
    assert all_rows(storage, ITEMS) == [make_item(1)]
    assert storage.notice is None
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_close_leaves_one_database_file(path, storage):
    storage.write(inserting(make_item(1)))
    storage.read(lambda reader: reader.count(ITEMS))
    storage.changes()
    storage.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["queue.db", "queue.db.lock"]


def test_a_symbolic_link_is_resolved_once(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "real" / "queue.db")
    storage = SQLiteStorage(link)
    link.unlink()
    storage.write(inserting(make_item(1)))
    storage.close()
    assert (tmp_path / "real" / "queue.db").exists()
    assert not link.exists()


@pytest.mark.parametrize("call", ["read", "write", "changes"])
def test_a_directory_in_its_place_is_refused(path, storage, call):
    path.mkdir()
    with pytest.raises(StorageError, match="is a directory: name a file in it"):
        _use(storage, call)
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("call", ["read", "write", "changes"])
def test_a_missing_directory_is_refused(tmp_path, call):
    storage = SQLiteStorage(tmp_path / "none" / "queue.db")
    with pytest.raises(StorageError, match="check that its directory exists") as caught:
        _use(storage, call)
    assert "none" in str(caught.value)


def _use(storage, call):
    if call == "changes":
        return storage.changes()
    return getattr(storage, call)(lambda view: view.count(ITEMS))


def test_a_directory_that_is_made_later_is_found(tmp_path):
    storage = SQLiteStorage(tmp_path / "later" / "queue.db")
    with pytest.raises(StorageError):
        storage.write(inserting(make_item(1)))
    (tmp_path / "later").mkdir()
    storage.write(inserting(make_item(1)))
    assert all_rows(storage, ITEMS) == [make_item(1)]
    storage.close()


# -- other files ----------------------------------------------------------------------------------


def _contents(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir() if "lock" not in file.name}


def test_a_newer_file_is_left_untouched(path, storage, monkeypatch):
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 7)
    storage.write(inserting(make_item(1)))
    storage.close()
    monkeypatch.undo()
    before = _contents(path.parent)
    for _ in range(2):
        with pytest.raises(StorageVersionError, match=r"schema 7.*upgrade"):
            storage.write(inserting(make_item(2)))
        with pytest.raises(StorageVersionError):
            storage.read(lambda reader: reader.count(ITEMS))
    storage.close()
    assert _contents(path.parent) == before


def test_a_newer_file_is_left_untouched_while_its_owner_has_it_open(path, monkeypatch):
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 7)
    newer = SQLiteStorage(path)
    newer.write(inserting(make_item(1)))
    monkeypatch.undo()
    before = {name: data for name, data in _contents(path.parent).items() if "shm" not in name}
    older = SQLiteStorage(path)
    with pytest.raises(StorageVersionError):
        older.write(inserting(make_item(2)))
    older.close()
    after = _contents(path.parent)
    assert {name: after[name] for name in before} == before
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 7)
    assert all_rows(newer, ITEMS) == [make_item(1)]
    newer.close()


def test_another_programs_database_is_left_untouched(path, storage):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name)")
    connection.close()
    before = _contents(path.parent)
    with pytest.raises(StorageError, match="another program's SQLite database"):
        storage.write(inserting(make_item(1)))
    storage.close()
    assert _contents(path.parent) == before


def test_an_empty_database_of_nobody_is_taken(path, storage):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=0")
    connection.execute("VACUUM")
    connection.close()
    storage.write(inserting(make_item(1)))
    assert all_rows(storage, ITEMS) == [make_item(1)]
    assert storage.notice is None


# -- migrations -----------------------------------------------------------------------------------


def _rename_first_meta(connection):
    connection.execute("UPDATE meta SET name='new' WHERE name='old'")


def _fail(connection):
    raise RuntimeError("half-way")


@pytest.fixture
def old_file(path):
    storage = SQLiteStorage(path)
    storage.write(lambda tx: tx.insert(META, Meta("old", "1")))
    storage.close()


def test_an_older_schema_is_migrated(old_file, storage, monkeypatch):
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 3)
    steps = {1: _rename_first_meta, 2: lambda c: c.execute("UPDATE meta SET value='2'")}
    monkeypatch.setattr(migrations, "MIGRATIONS", steps)
    assert all_rows(storage, META) == [Meta("new", "2")]
    assert pragma(storage, "user_version") == 3
    assert storage.notice is None


def test_a_migration_is_all_or_nothing(old_file, path, storage, monkeypatch):
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(migrations, "MIGRATIONS", {1: _rename_first_meta, 2: _fail})
    with pytest.raises(RuntimeError, match="half-way"):
        storage.read(lambda reader: reader.count(ITEMS))
    monkeypatch.undo()
    assert all_rows(storage, META) == [Meta("old", "1")]
    assert pragma(storage, "user_version") == 1


def test_a_log_that_another_connection_is_bringing_in_is_left_to_it(path):
    class AtWork:
        def execute(self, _text):
            return self

        def fetchone(self):
            return 1, -1, -1

    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    assert keep_hidden_commits(path, AtWork()) is None
    storage.close()
