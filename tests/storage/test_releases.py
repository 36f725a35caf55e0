"""Stores that earlier releases wrote are opened, migrated and delivered."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bytelyst_sync import EntityConfig, SyncEngine, create_sync_engine
from bytelyst_sync.model import Json
from bytelyst_sync.storage import EncryptedStorage, SQLiteStorage
from bytelyst_sync.storage.schema import RECORDS, SCHEMA_VERSION, TABLES
from bytelyst_sync.storage.sqlite.statements import statements
from bytelyst_sync.testing import SyncServer
from tests.typed import present

RELEASES = Path(__file__).parent / "releases"
ENTITIES = {
    "notes": EntityConfig("/notes", id_source="server", conflict="manual"),
    "tasks": EntityConfig("/tasks", id_source="server", references={"project_id": "projects"}),
    "projects": EntityConfig("/projects", id_source="server"),
    "events": EntityConfig("/events", id_source="server", dedup="content"),
}


@pytest.fixture(params=sorted(RELEASES.glob("*.sql")), ids=lambda dump: dump.stem)
def release(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture
def store(
    release: Path, restore: Callable[[str, Path], None], release_key: str, tmp_path: Path
) -> Callable[..., EncryptedStorage | SQLiteStorage]:
    """A function that opens the release's store."""
    path = tmp_path / "queue.db"
    restore(release.name, path)
    if "encrypted" in release.stem:
        return lambda: EncryptedStorage(path, release_key)
    return lambda: SQLiteStorage(path)


@pytest.fixture
def server(release: Path, tmp_path: Path) -> Iterator[SyncServer]:
    state = tmp_path / "server.jsonl"
    shutil.copy(release.with_suffix(".server.jsonl"), state)
    with SyncServer(id_source="server", state=state) as server:
        yield server


@pytest.fixture
def new_engine(
    server: SyncServer,
) -> Iterator[Callable[[EncryptedStorage | SQLiteStorage], SyncEngine]]:
    made = []

    def make(storage: EncryptedStorage | SQLiteStorage) -> SyncEngine:
        options: Json = {"base_url": server.url, "entities": ENTITIES, "auto_flush": False}
        made.append(create_sync_engine(**options, storage=storage, probe=None, exit_timeout=0))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def test_everything_is_still_there(
    store: Callable[..., EncryptedStorage | SQLiteStorage],
    new_engine: Callable[[EncryptedStorage | SQLiteStorage], SyncEngine],
) -> None:
    """Nothing is lost or changed by opening it, and each state is what it was."""
    engine = new_engine(store())
    assert [(i.entity, i.operation) for i in engine.queue()] == [
        ("events", "create"),
        ("notes", "update"),
        ("notes", "update"),
        ("notes", "update"),
        ("projects", "create"),
        ("tasks", "create"),
        ("notes", "delete"),
        ("events", "create"),
    ]
    assert engine.queue_length == 8
    (failed,) = engine.failed()
    assert failed.record_id == "4"
    assert failed.data == {"id": "4", "title": "too long"}
    assert "title too long" in present(failed.last_error)
    (conflict,) = engine.conflicts()
    assert present(conflict.local)["title"] == "my title"
    assert present(conflict.remote)["title"] == "their title"
    assert conflict.fields == ("title",)
    (settled,) = engine.conflicts(resolved=True)
    assert (settled.record_id, settled.resolution) == ("5", "remote")
    assert present(engine.get("notes", "1"))["title"] == "queued"
    assert engine.get("notes", "2") is None
    (renamed,) = engine.records("notes", where={"title": "renamed by its local id"})
    assert renamed["id"] == 7


def test_it_is_delivered_in_order_and_once(
    store: Callable[..., EncryptedStorage | SQLiteStorage],
    new_engine: Callable[[EncryptedStorage | SQLiteStorage], SyncEngine],
    server: SyncServer,
) -> None:
    engine = new_engine(store())
    known = len(server.journal)
    engine.flush(timeout=30)
    assert engine.queue_length == 0
    made = [(e.collection, e.id, e.kind) for e in server.journal[known:]]
    assert sorted(made) == [
        ("events", "2", "create"),
        ("notes", "1", "update"),
        ("notes", "2", "delete"),
        ("notes", "3", "update"),
        ("notes", "7", "update"),
        ("projects", "2", "create"),
        ("tasks", "1", "create"),
    ], "the create whose answer was lost is there already"
    assert made.index(("projects", "2", "create")) < made.index(("tasks", "1", "create"))
    assert server.records("tasks")["1"]["project_id"] == 2
    assert server.records("notes")["7"]["title"] == "renamed by its local id"
    assert len(server.records("events")) == 2


def test_failed_items_and_conflicts_can_be_decided(
    store: Callable[..., EncryptedStorage | SQLiteStorage],
    new_engine: Callable[[EncryptedStorage | SQLiteStorage], SyncEngine],
    server: SyncServer,
) -> None:
    engine = new_engine(store())
    engine.flush(timeout=30)
    assert engine.reprocess_failed() == 1
    engine.resolve(next(engine.conflicts()), "local")
    assert engine.flush(timeout=30).success
    assert server.records("notes")["4"]["title"] == "too long"
    assert server.records("notes")["6"]["title"] == "my title"


def test_pulls_go_on_from_their_cursors(
    store: Callable[..., EncryptedStorage | SQLiteStorage],
    new_engine: Callable[[EncryptedStorage | SQLiteStorage], SyncEngine],
    server: SyncServer,
) -> None:
    server.patch("notes", 5, {"body": "new"})
    engine = new_engine(store())
    engine.pull()
    assert present(engine.get("notes", "5"))["body"] == "new"
    pulls = [each for each in server.requests if each.method == "GET"]
    assert all("since" in each.query or "cursor" in each.query for each in pulls), pulls


def test_the_schema_equals_that_of_a_new_file(
    store: Callable[..., EncryptedStorage | SQLiteStorage],
    new_engine: Callable[[EncryptedStorage | SQLiteStorage], SyncEngine],
    tmp_path: Path,
) -> None:
    """The columns, the indexes and the kept counts are those of a store made today."""
    engine = new_engine(store())
    assert engine.queue_length == 8
    engine.close()
    with closing(sqlite3.connect(tmp_path / "queue.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        for table in TABLES:
            found = [row[1] for row in database.execute(f"PRAGMA table_info({table.name})")]
            assert found == list(table.columns)
            _, *indexes = statements(table).create()
            made = database.execute(
                "SELECT sql FROM sqlite_master WHERE type='index' AND tbl_name=? AND sql NOTNULL",
                (table.name,),
            )
            assert {text for (text,) in made} == set(indexes)


def test_a_damaged_former_store_is_salvaged(
    store: Callable[..., EncryptedStorage | SQLiteStorage],
    new_engine: Callable[[EncryptedStorage | SQLiteStorage], SyncEngine],
    tmp_path: Path,
) -> None:
    """Rows are found under the column names of their release."""
    with closing(sqlite3.connect(tmp_path / "queue.db")) as database:
        page = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name='conflicts_record'"
        ).fetchone()[0]
    with (tmp_path / "queue.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    engine = new_engine(store())
    assert engine.queue_length == 8
    assert "set aside" in present(engine.status.last_error)
    assert present(engine.get("notes", "1"))["title"] == "queued"
    rows = SQLiteStorage(tmp_path / "queue.db").read(lambda tx: list(tx.scan(RECORDS)))
    assert [row.changed_seq for row in rows if row.entity == "notes"] == [2, 3, 4, 5, 17, 7, 13]
