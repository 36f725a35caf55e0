"""How the SQLite store opens its file, whose file it takes, and how it brings it up to date."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from bytelyst_sync import create_sync_engine
from bytelyst_sync.errors import (
    ConfigError,
    StorageError,
    StorageVersionError,
)
from bytelyst_sync.storage import schema
from bytelyst_sync.storage.schema import ITEMS, META, RECORDS, Meta
from bytelyst_sync.storage.sqlite import migrations
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.storage.sqlite.wal_recovery import keep_hidden_commits
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item
from tests.storage.conftest import pragma
from tests.typed import present

# -- how it is opened -----------------------------------------------------------------------------


def test_nothing_is_touched_before_the_first_use(path: Path) -> None:
    storage = SQLiteStorage(path)
    assert storage.notice is None
    assert "queue.db" in repr(storage)
    storage.close()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
def test_durability(path: Path, durability: str, level: int) -> None:
    storage = SQLiteStorage(path, durability=durability)
    assert pragma(storage, "journal_mode") == "wal"
    assert pragma(storage, "synchronous") == level
    storage.close()


def test_an_unknown_durability_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="'full' or 'normal'") as caught:
        SQLiteStorage(path, durability="fast")
    assert caught.value.field == "durability"


def test_an_empty_file_is_a_new_database(path: Path, storage: SQLiteStorage) -> None:
    path.touch(0o644)
    storage.write(inserting(make_item(1)))
    assert all_rows(storage, ITEMS) == [make_item(1)]
    assert storage.notice is None
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_close_leaves_one_database_file(path: Path, storage: SQLiteStorage) -> None:
    storage.write(inserting(make_item(1)))
    storage.read(lambda reader: reader.count(ITEMS))
    storage.changes()
    storage.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["queue.db", "queue.db.lock"]


def test_a_symbolic_link_is_resolved_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "real" / "queue.db")
    storage = SQLiteStorage(link)
    link.unlink()
    storage.write(inserting(make_item(1)))
    storage.close()
    assert (tmp_path / "real" / "queue.db").exists()
    assert not link.exists()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", ".lock"])
def test_a_symbolic_link_beside_it_is_refused(
    path: Path, storage: SQLiteStorage, suffix: str
) -> None:
    storage.write(inserting(make_item(1)))
    storage.close()
    beside = path.with_name(path.name + suffix)
    beside.unlink(missing_ok=True)
    target = path.with_name("target")
    target.write_bytes(b"notes")
    beside.symlink_to(target)
    again = SQLiteStorage(path)
    with pytest.raises(StorageError, match=f"{beside.name} is a symbolic link: remove it"):
        again.read(lambda reader: reader.count(ITEMS))
    again.close()
    assert target.read_bytes() == b"notes"


@pytest.mark.parametrize("call", ["read", "write", "changes"])
def test_a_directory_in_its_place_is_refused(path: Path, storage: SQLiteStorage, call: str) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="is a directory: name a file in it"):
        _use(storage, call)
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("call", ["read", "write", "changes"])
def test_a_missing_directory_is_refused(tmp_path: Path, call: str) -> None:
    storage = SQLiteStorage(tmp_path / "none" / "queue.db")
    with pytest.raises(StorageError, match="check that its directory exists") as caught:
        _use(storage, call)
    assert "none" in str(caught.value)


def _use(storage: SQLiteStorage, call: str) -> Any:
    if call == "changes":
        return storage.changes()
    return getattr(storage, call)(lambda view: view.count(ITEMS))


def test_a_directory_that_is_created_later_is_used(tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path / "later" / "queue.db")
    with pytest.raises(StorageError):
        storage.write(inserting(make_item(1)))
    (tmp_path / "later").mkdir()
    storage.write(inserting(make_item(1)))
    assert all_rows(storage, ITEMS) == [make_item(1)]
    storage.close()


# -- other files ----------------------------------------------------------------------------------


def _contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


FOREIGN = {
    "text": b"my only copy of a novel\n" * 100,
    "one byte": b"x",
    "a small file": b"a = 1\n",
    "zeros": bytes(8192),
    "a picture": b"\xff\xd8\xff\xe0" + os.urandom(9000),
    "only SQLite's header": b"SQLite format 3\0" + os.urandom(8176),
    "our id without SQLite's header": b"x" * 68 + b"bysy" + bytes(5000),
}


@pytest.mark.parametrize("call", ["read", "write", "changes"])
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_store_is_left_untouched(
    path: Path, storage: SQLiteStorage, content: bytes, call: str
) -> None:
    path.write_bytes(content)
    before = path.stat()
    for _ in range(2):
        with pytest.raises(StorageError, match="no store of this package and is untouched"):
            _use(storage, call)
    storage.close()
    assert _contents(path.parent) == {path.name: content}
    assert (path.stat().st_mode, path.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_an_engine_leaves_it_untouched_too(path: Path) -> None:
    path.write_bytes(FOREIGN["text"])
    engine = create_sync_engine(
        base_url="http://127.0.0.1:9", entities={"n": "/n"}, storage=path, probe=None
    )
    for call in (lambda: engine.push("n", {"id": "1"}), engine.start, engine.flush):
        with pytest.raises(StorageError, match="no store of this package"):
            call()
    assert engine.close()
    assert _contents(path.parent) == {path.name: FOREIGN["text"]}


CRAFTED = {
    "a view for a table": (
        "DROP TABLE records; CREATE VIEW records AS WITH RECURSIVE c(n) AS"
        " (SELECT 1 UNION ALL SELECT n+1 FROM c) SELECT n AS entity, n AS record, '{}' AS state,"
        " NULL AS version, 1 AS changed_seq, 0 AS listed_by, NULL AS deferred_state,"
        " NULL AS deferred_version, NULL AS needs_refresh FROM c"
    ),
    "a trigger": ("CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM records; END"),
    "an index on an expression": "CREATE INDEX i ON items (length(data))",
    "a unique index": "CREATE UNIQUE INDEX i ON items (entity)",
    "a generated column": "ALTER TABLE items ADD COLUMN more AS (length(data))",
    "a constraint": (
        "DROP TABLE aliases; CREATE TABLE aliases"
        " (entity, local, record, given CHECK (length(randomblob(99)) = 1))"
    ),
    "a default": (
        "DROP TABLE aliases; CREATE TABLE aliases"
        " (entity, local, record, given DEFAULT (randomblob(1000)))"
    ),
    "a virtual table": "CREATE VIRTUAL TABLE v USING fts5(x)",
}


@pytest.mark.parametrize("statement", CRAFTED.values(), ids=CRAFTED)
def test_a_schema_that_somebody_crafted_is_left_untouched(
    path: Path, storage: SQLiteStorage, statement: str
) -> None:
    storage.write(inserting(make_item(1)))
    storage.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statement)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="contains objects that this package does not create"):
        storage.write(inserting(make_item(2)))
    with pytest.raises(StorageError, match="contains objects that this package does not create"):
        list(storage.read(lambda tx: list(tx.scan(RECORDS))))
    storage.close()
    assert path.read_bytes() == before


def test_tables_of_analyze_are_accepted(path: Path, storage: SQLiteStorage) -> None:
    storage.write(inserting(make_item(1)))
    storage.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ANALYZE")
        connection.commit()
    assert all_rows(storage, ITEMS) == [make_item(1)]


def test_sql_in_a_damaged_file_is_not_executed(path: Path, storage: SQLiteStorage) -> None:
    """What is carried over is read from plain tables only."""
    storage.write(inserting(make_item(1)))
    storage.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(CRAFTED["a view for a table"])
        connection.executescript("DROP INDEX items_due")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
        file.seek(18)
        file.write(b"\x07\x07")
    assert all_rows(storage, ITEMS) in ([], [make_item(1)])
    assert "set aside" in present(storage.notice)


def test_a_newer_file_is_left_untouched(
    path: Path, storage: SQLiteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_newer_file_is_left_untouched_while_its_owner_has_it_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_another_programs_database_is_left_untouched(path: Path, storage: SQLiteStorage) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name)")
    connection.close()
    before = _contents(path.parent)
    with pytest.raises(StorageError, match="another program's SQLite database"):
        storage.write(inserting(make_item(1)))
    storage.close()
    assert _contents(path.parent) == before


def test_an_empty_database_without_an_application_id_is_used(
    path: Path, storage: SQLiteStorage
) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=0")
    connection.execute("VACUUM")
    connection.close()
    path.chmod(0o600)
    storage.write(inserting(make_item(1)))
    assert all_rows(storage, ITEMS) == [make_item(1)]
    assert storage.notice is None


# -- migrations -----------------------------------------------------------------------------------


def _rename_first_meta(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE meta SET name='new' WHERE name='old'")


def _change_value(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE meta SET value='2'")


def _fail(connection: sqlite3.Connection) -> None:
    raise RuntimeError("half-way")


@pytest.fixture
def old_file(path: Path) -> None:
    storage = SQLiteStorage(path)
    storage.write(lambda tx: tx.insert(META, Meta("old", "1")))
    storage.close()


def test_an_older_schema_is_migrated(
    old_file: None, storage: SQLiteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = schema.SCHEMA_VERSION
    monkeypatch.setattr(schema, "SCHEMA_VERSION", version + 2)
    steps = {version: _rename_first_meta, version + 1: _change_value}
    monkeypatch.setattr(migrations, "MIGRATIONS", steps)
    assert all_rows(storage, META) == [Meta("new", "2")]
    assert pragma(storage, "user_version") == version + 2
    assert storage.notice is None


def test_a_migration_is_all_or_nothing(
    old_file: None, path: Path, storage: SQLiteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = schema.SCHEMA_VERSION
    monkeypatch.setattr(schema, "SCHEMA_VERSION", version + 2)
    steps = {version: _rename_first_meta, version + 1: _fail}
    monkeypatch.setattr(migrations, "MIGRATIONS", steps)
    with pytest.raises(RuntimeError, match="half-way"):
        storage.read(lambda reader: reader.count(ITEMS))
    monkeypatch.undo()
    assert all_rows(storage, META) == [Meta("old", "1")]
    assert pragma(storage, "user_version") == version


def test_a_wal_that_another_connection_checkpoints_is_not_copied(path: Path) -> None:
    class AtWork:
        def execute(self, _text: str) -> Any:
            return self

        def fetchone(self) -> tuple[int, int, int]:
            return 1, -1, -1

    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    assert keep_hidden_commits(path, cast("sqlite3.Connection", AtWork())) is None
    storage.close()
