"""A row that somebody crafted, or that a disk garbled, is set aside: no crash, no wrong data."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.model import Json
from bytelyst_sync.storage import SQLiteStorage
from bytelyst_sync.storage.schema import ITEMS, SET_ASIDE
from bytelyst_sync.testing import SyncServer
from bytelyst_sync.testing.storage_samples import all_rows
from tests.typed import present

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000

CRAFTED = {
    "data of no JSON": "UPDATE items SET data='{broken' WHERE record='2'",
    "data that is no object": "UPDATE items SET data='[1]' WHERE record='2'",
    "data too deep": f"UPDATE items SET data='{DEEP}' WHERE record='2'",
    "data that is a blob": "UPDATE items SET data=x'ff00' WHERE record='2'",
    "data that is no UTF-8": "UPDATE items SET data=CAST(x'7bff7d' AS TEXT) WHERE record='2'",
    "an unknown operation": "UPDATE items SET operation='explode' WHERE record='2'",
    "an unknown lane": "UPDATE items SET lane=99 WHERE record='2'",
    "a lane that is text": "UPDATE items SET lane='ready' WHERE record='2'",
    "a record that is a blob": "UPDATE items SET record=x'00' WHERE record='2'",
    "no id": "UPDATE items SET id=NULL WHERE record='2'",
    "a time that is text": "UPDATE items SET time='now' WHERE record='2'",
    "a time beyond the calendar": "UPDATE items SET time=9e999 WHERE record='2'",
    "a number beyond all others": (
        "INSERT INTO items (seq, id, entity, record, operation, data, time, lane, position,"
        " retries, frozen) VALUES (9223372036854775807, 'x', 'notes', 'evil', 'create', '{}', 1, 0,"
        " 1, 0, 0)"
    ),
    "a state of no JSON": "UPDATE records SET state='{broken' WHERE record='9'",
    "a state that is a number": "UPDATE records SET state=5 WHERE record='9'",
    "a state that is a list": "UPDATE records SET state='[]' WHERE record='9'",
    "a cursor of no JSON": "UPDATE meta SET value='{' WHERE name LIKE 'pull/%'",
    "a cursor that is a blob": "UPDATE meta SET value=x'00' WHERE name LIKE 'pull/%'",
    "counters of no JSON": "UPDATE counters SET name='[' || name WHERE name LIKE '[%'",
    "counters of text": "UPDATE counters SET value='many'",
    "a sequence at its end": (
        "INSERT OR REPLACE INTO counters VALUES ('sequence', 9223372036854775807)"
    ),
}


@pytest.fixture
def server() -> Iterator[SyncServer]:
    with SyncServer() as server:
        server.put("notes", {"id": "9", "text": "theirs"})
        yield server


@pytest.fixture
def new_engine(tmp_path: Path, server: SyncServer) -> Iterator[Callable[[], SyncEngine]]:
    made = []

    def make() -> SyncEngine:
        options: Json = {"entities": {"notes": "/notes"}, "probe": None, "auto_flush": False}
        made.append(
            create_sync_engine(
                base_url=server.url,
                storage=tmp_path / "a.db",
                exit_timeout=0,
                retry_delay=0.01,
                **options,
            )
        )
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.mark.parametrize("statement", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_row_does_not_stop_the_queue(
    tmp_path: Path, new_engine: Callable[[], SyncEngine], server: SyncServer, statement: str
) -> None:
    engine = new_engine()
    engine.pull()
    for number in (1, 2, 3):
        engine.push("notes", {"id": str(number), "text": "mine"})
    engine.close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(statement)
        connection.commit()
    engine = new_engine()
    engine.push("notes", {"id": "4", "text": "mine"})
    engine.flush(timeout=10)
    assert engine.queue_length == 0
    list(engine.records("notes"))
    engine.pull(timeout=10)
    shown = {record["id"]: record["text"] for record in engine.records("notes")}
    assert shown["9"] == "theirs"
    assert {"1", "3", "4"} <= server.records("notes").keys() <= {"1", "2", "3", "4", "9"}
    assert all(each["text"] in ("mine", "theirs") for each in server.records("notes").values())
    assert present(engine.get("notes", "9"))["text"] == "theirs"
    assert len(list(engine.queue())) == len(list(engine.failed())) == 0
    engine.close()


def test_a_crafted_row_is_reported_and_kept(
    tmp_path: Path, new_engine: Callable[[], SyncEngine]
) -> None:
    engine = new_engine()
    engine.push("notes", {"id": "1", "text": "mine"})
    engine.close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("UPDATE items SET lane='ready'")
        connection.commit()
    engine = new_engine()
    assert engine.queue_length == 0 or list(engine.queue()) == []
    assert "items 1: a stored value" in present(engine.status.last_error)
    assert "was set aside" in present(engine.status.last_error)
    engine.close()
    (row,) = all_rows(SQLiteStorage(tmp_path / "a.db"), SET_ASIDE)
    assert json.loads(json.loads(row.row)["data"]) == {"id": "1", "text": "mine"}
    storage = SQLiteStorage(tmp_path / "a.db")
    assert storage.read(lambda tx: tx.counts(ITEMS)) == {}
    storage.close()
