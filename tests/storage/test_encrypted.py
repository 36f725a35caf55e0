"""Encryption at rest: nothing of the payload is readable in any file of the store."""

import base64
import json
import os
import pickle
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import (
    ConfigError,
    EntityConfig,
    MemoryStorage,
    Request,
    SQLiteStorage,
    StorageError,
    SyncEngine,
    create_sync_engine,
)
from bytelyst_sync.http.transport import Response
from bytelyst_sync.storage import EncryptedStorage, encrypted, generate_key
from bytelyst_sync.storage.base import Reader, Table, Transaction
from bytelyst_sync.storage.schema import ITEMS, META, RECORDS, TABLES, Item, Meta, Record
from bytelyst_sync.testing import Reply, SyncServer
from bytelyst_sync.testing.storage import StorageContract
from bytelyst_sync.testing.storage_samples import SAMPLES, expected_rows, fill, scan_arguments
from tests.typed import present

KEY = generate_key()
OTHER = generate_key()


class EncryptedContract(StorageContract):
    """The contract, but for the order by a digest: sealed, equal ones still find each other."""

    @pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_scans(self, storage: EncryptedStorage, table: Table[Any], reverse: bool) -> None:
        rows = SAMPLES[table.name]
        fill(storage, table, rows)

        def work(reader: Reader) -> None:
            for index in (None, *table.indexes):
                for asked in scan_arguments(rows, table, index):
                    found = list(reader.scan(table, index, reverse=reverse, **asked))
                    expected = expected_rows(rows, table, index, reverse=reverse, **asked)
                    if index == "digest" and len(asked.get("prefix", ())) < 2:
                        continue
                    assert found == expected, f"{table.name} by {index}: {asked}"

        storage.read(work)


class TestEncryptedMemory(EncryptedContract):
    @pytest.fixture
    def storage(self) -> EncryptedStorage:
        return EncryptedStorage(MemoryStorage(), KEY)


class TestEncryptedSQLite(EncryptedContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[EncryptedStorage]:
        storage = EncryptedStorage(tmp_path / "queue.db", KEY, durability="normal")
        yield storage
        storage.close()


@pytest.fixture
def new_engine(tmp_path: Path) -> Iterator[Callable[..., SyncEngine]]:
    made = []

    def make(
        storage: EncryptedStorage | Path, url: str = "http://127.0.0.1:9", **settings: Any
    ) -> SyncEngine:
        engine = create_sync_engine(
            **{
                "base_url": url,
                "entities": {
                    "notes": EntityConfig("/notes", conflict="manual"),
                    "events": EntityConfig("/events", dedup="content"),
                },
                "storage": storage,
                "auto_flush": False,
                "probe": None,
                **settings,
            }
        )
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def test_the_disk_contains_no_readable_data(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    """Neither of what is queued, nor of what the server said, nor of conflicts and cursors."""
    word = secrets.token_hex(8)
    with SyncServer() as server:
        server.reject = lambda seen: None
        engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY), server.url)
        engine.push("notes", {"id": "1", "text": f"queued {word}"})
        engine.push("events", {"text": f"event {word}"})
        assert word.encode() not in everything(tmp_path)
        assert engine.flush(timeout=10).success
        server.put("notes", {"id": "1", "text": f"theirs {word}"})
        engine.push("notes", {"id": "1", "text": f"mine {word}"}, "update")
        engine.push("notes", {"id": "2", "text": f"left {word}"})
        engine.flush(timeout=10)
        engine.pull(timeout=10)
        assert present(next(iter(engine.conflicts())).remote)["text"] == f"theirs {word}"
        server.reject = lambda seen: Reply(422, {"error": f"refused {word}"}) if seen.body else None
        engine.push("notes", {"id": "3", "text": f"bad {word}"})
        engine.flush(timeout=10)
        assert f"refused {word}" in present(next(engine.failed()).last_error)
        assert (tmp_path / "a.db-wal").stat().st_size > 0
        assert word.encode() not in everything(tmp_path)
        assert b"text" not in everything(tmp_path)
        engine.close()
        assert word.encode() not in everything(tmp_path)


def test_without_encryption_the_data_is_readable(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    """Or the test above would prove nothing."""
    engine = new_engine(tmp_path / "a.db")
    engine.push("notes", {"id": "1", "text": "in the clear"})
    assert b"in the clear" in everything(tmp_path)


def test_pushed_items_are_there_after_a_restart(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    new_engine(EncryptedStorage(tmp_path / "a.db", KEY)).push("notes", {"id": "1", "text": "x"})
    again = new_engine(EncryptedStorage(tmp_path / "a.db", lambda: KEY))
    assert again.get("notes", "1") == {"id": "1", "text": "x"}
    assert [item.data["text"] for item in again.queue()] == ["x"]


def test_equal_content_is_queued_once(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY))
    for _ in range(3):
        engine.push("events", {"text": "same"})
    engine.push("events", {"text": "other"})
    assert engine.queue_length == 2


def test_a_wrong_key_is_a_clear_error_and_changes_nothing(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    new_engine(EncryptedStorage(tmp_path / "a.db", KEY)).push("notes", {"id": "1", "text": "x"})
    wrong = new_engine(EncryptedStorage(tmp_path / "a.db", OTHER))
    with pytest.raises(StorageError, match=r"encrypted with another key, named [0-9a-f]{8}"):
        wrong.get("notes", "1")
    with pytest.raises(StorageError, match="Give the right key"):
        wrong.push("notes", {"id": "2", "text": "y"})
    right = new_engine(EncryptedStorage(tmp_path / "a.db", KEY))
    assert [record["id"] for record in right.records("notes")] == ["1"]


def test_no_key_is_a_clear_error(tmp_path: Path, new_engine: Callable[..., SyncEngine]) -> None:
    new_engine(EncryptedStorage(tmp_path / "a.db", KEY)).push("notes", {"id": "1", "text": "x"})
    plain = new_engine(tmp_path / "a.db")
    with pytest.raises(StorageError, match="the store is encrypted; open it as storage=Encrypted"):
        plain.push("notes", {"id": "2"})
    with pytest.raises(StorageError, match="the store is encrypted"):
        list(plain.records("notes"))


def test_a_store_created_without_encryption_is_refused(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    new_engine(tmp_path / "a.db").push("notes", {"id": "1", "text": "x"})
    sealed = new_engine(EncryptedStorage(tmp_path / "a.db", KEY))
    with pytest.raises(StorageError, match="created without encryption"):
        sealed.push("notes", {"id": "2"})
    with pytest.raises(StorageError, match="created without encryption"):
        sealed.get("notes", "1")


@pytest.mark.parametrize(
    "key", ["", "my secret word", b"short", "QUJD" * 10, 7, None, b"x" * 33], ids=repr
)
def test_an_invalid_key_is_refused_and_not_shown(tmp_path: Path, key: Any) -> None:
    with pytest.raises(ConfigError, match="is no key: give 32 random bytes") as raised:
        EncryptedStorage(tmp_path / "a.db", key).read(lambda tx: None)
    assert "my secret word" not in str(raised.value)
    assert "my secret word" not in repr(pickle.loads(pickle.dumps(raised.value)))


def test_a_key_can_be_bytes_or_text(tmp_path: Path, new_engine: Callable[..., SyncEngine]) -> None:
    raw = os.urandom(32)
    new_engine(EncryptedStorage(tmp_path / "a.db", raw)).push("notes", {"id": "1"})
    text = base64.urlsafe_b64encode(raw).decode()
    assert new_engine(EncryptedStorage(tmp_path / "a.db", text)).queue_length == 1


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    storage = EncryptedStorage(tmp_path / "a.db", KEY, old_keys=[OTHER])
    assert KEY not in repr(storage) + repr(vars(storage))
    assert OTHER not in repr(storage) + repr(vars(storage))


def test_a_callable_key_is_called_once_at_the_first_use(tmp_path: Path) -> None:
    asked = []

    def key() -> str:
        asked.append(1)
        return KEY

    storage = EncryptedStorage(tmp_path / "a.db", key)
    assert asked == []
    storage.write(lambda tx: tx.insert(META, Meta("a", "1")))
    assert storage.read(lambda tx: tx.get(META, "a")) == Meta("a", "1")
    storage.close()
    assert asked == [1]


# --- rotation


def fill_queue(engine: SyncEngine, count: int) -> None:
    engine.push_many("notes", [{"id": str(n), "text": f"text {n}"} for n in range(count)])
    engine.push("events", {"text": "same"})


def test_rotate_replaces_the_old_key(tmp_path: Path, new_engine: Callable[..., SyncEngine]) -> None:
    fill_queue(new_engine(EncryptedStorage(tmp_path / "a.db", KEY)), 500)
    both = EncryptedStorage(tmp_path / "a.db", OTHER, old_keys=[KEY])
    engine = new_engine(both)
    assert engine.get("notes", "7") == {"id": "7", "text": "text 7"}
    engine.push("notes", {"id": "7", "text": "changed"}, "update")
    assert both.rotate() == 500
    assert both.rotate() == 0
    engine.close()

    new = new_engine(EncryptedStorage(tmp_path / "a.db", OTHER))
    assert len(list(new.records("notes"))) == 500
    new.push("events", {"text": "same"})
    assert new.queue_length == 501, "equal content is found under the new key too"
    with pytest.raises(StorageError, match="another key"):
        new_engine(EncryptedStorage(tmp_path / "a.db", KEY)).queue_length  # noqa: B018


def test_a_rotation_that_was_cut_off_can_be_continued(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    fill_queue(new_engine(EncryptedStorage(tmp_path / "a.db", KEY)), 450)
    both = EncryptedStorage(tmp_path / "a.db", OTHER, old_keys=[KEY])
    writes, write = [], both._storage.write

    def cut(work: Callable[..., object], then: None = None) -> Any:
        writes.append(work)
        if len(writes) == 3:
            raise KeyboardInterrupt
        return write(work, then)

    both._storage.write = cut  # type: ignore[assignment,method-assign]  # replaced by the test
    with pytest.raises(KeyboardInterrupt):
        both.rotate()
    both.close()

    again = EncryptedStorage(tmp_path / "a.db", OTHER, old_keys=[KEY])
    engine = new_engine(again)
    assert len(list(engine.records("notes"))) == 450
    assert 0 < again.rotate() < 451
    engine.close()
    assert new_engine(EncryptedStorage(tmp_path / "a.db", OTHER)).queue_length == 451


# --- what an attacker or a bad disk does


def execute(path: Path, text: str, *values: str) -> list[tuple[int | str]]:
    with closing(sqlite3.connect(path)) as database:
        found = database.execute(text, values).fetchall()
        database.commit()
        return found


@pytest.fixture
def forge(tmp_path: Path) -> Callable[..., list[tuple[int | str]]]:
    """Runs SQL on the closed store, as somebody without the key can."""
    return lambda text, *values: execute(tmp_path / "a.db", text, *values)


@pytest.fixture
def two_of_each(tmp_path: Path, new_engine: Callable[..., SyncEngine]) -> Iterator[SyncServer]:
    """A store with two records from the server and two queued updates, closed."""
    with SyncServer() as server:
        engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY), server.url)
        for name, salary in (("alice", 1), ("bob", 999)):
            server.put("notes", {"id": name, "salary": salary})
        engine.pull()
        for name in ("alice", "bob"):
            engine.push("notes", {"id": name, "note": f"for {name}"}, "update")
        engine.close()
        yield server


FORGERIES = {
    "states swapped": (
        "UPDATE records SET state=(SELECT o.state FROM records o WHERE o.record<>records.record)"
    ),
    "queued data swapped": (
        "UPDATE items SET data=(SELECT o.data FROM items o WHERE o.seq<>items.seq)"
    ),
    "an update made a delete": "UPDATE items SET operation='delete' WHERE record='alice'",
    "an update moved to another record": "UPDATE items SET record='eve' WHERE record='bob'",
    "an update moved to another entity": "UPDATE items SET entity='events' WHERE record='bob'",
    "an update under another item's key": "UPDATE items SET id='stolen' WHERE record='bob'",
    "an update copied to a second place": "UPDATE items SET seq=seq+100 WHERE record='bob'",
    "queued data in the clear": 'UPDATE items SET data=\'{"id":"bob","salary":0}\'',
    "a state in the clear": 'UPDATE records SET state=\'{"id":"bob","salary":0}\'',
    "a state in another column": "UPDATE records SET deferred_state=state",
    "a state of no text": "UPDATE records SET state=7",
    "a state cut short": "UPDATE records SET state=substr(state, 1, 60)",
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_row_is_set_aside(
    tmp_path: Path,
    new_engine: Callable[..., SyncEngine],
    forge: Callable[..., list[tuple[int | str]]],
    two_of_each: SyncServer,
    forgery: str,
) -> None:
    """It is set aside and reported; what was not touched is delivered and shown."""
    assert forge(f"{forgery} RETURNING 1")
    engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY), two_of_each.url)
    assert engine.push("notes", {"id": "carl"}) is not None
    engine.flush(timeout=10)
    engine.pull()
    allowed = {"alice": (1, "for alice"), "bob": (999, "for bob"), "carl": (None, None)}
    assert two_of_each.records("notes").keys() == allowed.keys()
    assert not two_of_each.records("events")
    for record in (*two_of_each.records("notes").values(), *engine.records("notes")):
        salary, note = allowed[record["id"]]
        assert record.get("salary") == salary
        assert record.get("note") in (note, None)
    assert "was set aside and is not used" in present(engine.status.last_error)
    assert forge("SELECT count(*) FROM set_aside WHERE source IN ('items', 'records')") != [(0,)]


@pytest.mark.parametrize(
    "forgery",
    [
        """UPDATE meta SET value='{"cursor": "EVIL", "full": null}' WHERE name='pull/notes'""",
        """UPDATE meta SET value=(SELECT m.value FROM meta m WHERE m.name='pull/events')""",
    ],
    ids=["in the clear", "of another entity"],
)
def test_a_forged_cursor_is_not_used(
    tmp_path: Path,
    new_engine: Callable[..., SyncEngine],
    forge: Callable[..., list[tuple[int | str]]],
    two_of_each: SyncServer,
    forgery: str,
) -> None:
    forge(forgery)
    engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY), two_of_each.url)
    before = len(two_of_each.requests)
    assert engine.pull("notes").success
    (first, *_) = two_of_each.requests[before:]
    assert not first.query.get("cursor"), "everything is listed anew"


MARKERS = {
    "lost": "DELETE FROM meta WHERE name='sealed'",
    "garbled": "UPDATE meta SET value='sealed:2:xx'||substr(value, 12) WHERE name='sealed'",
    "altered": "UPDATE meta SET value=substr(value, 1, 30)||'AAAA' WHERE name='sealed'",
    "of another column": "UPDATE meta SET value=(SELECT data FROM items) WHERE name='sealed'",
    "of the first release": "UPDATE meta SET value='0123abcd' WHERE name='sealed'",
}


@pytest.mark.parametrize("damage", MARKERS.values(), ids=MARKERS)
def test_a_damaged_marker_loses_nothing(
    tmp_path: Path,
    new_engine: Callable[..., SyncEngine],
    forge: Callable[..., list[tuple[int | str]]],
    two_of_each: SyncServer,
    damage: str,
) -> None:
    forge(damage)
    engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY), two_of_each.url)
    assert present(engine.get("notes", "alice"))["salary"] == 1
    assert engine.flush(timeout=10).success
    assert engine.status.last_error is None
    with pytest.raises(StorageError, match="another key"):
        new_engine(EncryptedStorage(tmp_path / "a.db", OTHER)).get("notes", "alice")


def test_items_that_wait_for_a_forged_item_are_sent(
    tmp_path: Path,
    new_engine: Callable[..., SyncEngine],
    forge: Callable[..., list[tuple[int | str]]],
) -> None:
    """Later items of its record and of children, which were blocked by it, are not stuck."""
    entities = {
        "projects": EntityConfig("/projects", dedup="none"),
        "tasks": EntityConfig("/tasks", references={"project": "projects"}),
    }
    engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY), entities=entities)
    engine.push("projects", {"id": "1", "name": "a"})
    engine.push("projects", {"id": "1", "name": "b"}, "update")
    engine.push("projects", {"id": "1", "name": "c"}, "update")
    engine.push("tasks", {"id": "2", "project": "1"})
    engine.close()
    forge("UPDATE items SET data='{}' WHERE operation='create' AND entity='projects'")
    with SyncServer() as server:
        server.put("projects", {"id": "1"})
        engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY), server.url, entities=entities)
        engine.flush(timeout=10)
        assert engine.queue_length == 0
        assert server.records("projects")["1"]["name"] == "c"
        assert server.records("tasks").keys() == {"2"}


def test_equal_content_is_found_while_two_keys_are_in_use(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    first = new_engine(EncryptedStorage(tmp_path / "a.db", KEY))
    item = first.push("events", {"text": "same"})
    first.close()
    both = new_engine(EncryptedStorage(tmp_path / "a.db", OTHER, old_keys=[KEY]))
    assert both.push("events", {"text": "same"}).id == item.id
    assert both.queue_length == 1


# --- a store of release 0.1, which bound a value to its column only


@pytest.fixture
def former(
    tmp_path: Path, restore: Callable[[str, Path], None], release_key: str
) -> Callable[..., tuple[EncryptedStorage, list[Any]]]:
    """A function that cuts the migration of such a store off at a write; writes are counted."""
    restore("0.1.0-encrypted.sql", tmp_path / "a.db")

    def open_cut_off(at: int | None = None) -> tuple[EncryptedStorage, list[Any]]:
        storage = EncryptedStorage(tmp_path / "a.db", release_key)
        writes, write = [], storage._storage.write

        def counting(work: Callable[..., object], then: None = None) -> Any:
            writes.append(work)
            if len(writes) == at:
                raise KeyboardInterrupt
            return write(work, then)

        storage._storage.write = counting  # type: ignore[assignment,method-assign]  # replaced by the test
        return storage, writes

    return open_cut_off


def test_migration_of_a_former_store_survives_interruptions(
    tmp_path: Path,
    former: Callable[..., tuple[EncryptedStorage, list[Any]]],
    forge: Callable[..., list[tuple[int | str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encrypted, "_ROWS_AT_ONCE", 3)
    trials = 0
    items: list[Item] = []
    while True:
        trials += 1
        storage, writes = former(at=trials)
        try:
            items = storage.read(lambda tx: list(tx.scan(ITEMS)))
            break
        except KeyboardInterrupt:
            storage.close()
    storage.close()
    assert trials > 3
    assert json.loads(items[0].data) == {"id": "6", "title": "my title"}
    for table in TABLES:
        for column in (*table.private, *table.matched):
            old = f"SELECT {column} FROM {table.name} WHERE {column} LIKE 'sealed:1:%'"
            assert forge(old) == []
    assert forge("SELECT count(*) FROM set_aside") == [(0,)]
    again, writes = former()
    again.read(lambda tx: list(tx.scan(ITEMS)))
    again.close()
    assert writes == [], "it is done once"


def test_a_former_value_is_refused_once_the_store_is_migrated(
    tmp_path: Path,
    former: Callable[..., tuple[EncryptedStorage, list[Any]]],
    forge: Callable[..., list[tuple[int | str]]],
) -> None:
    """Else what was copied before could be moved about."""
    (old,) = forge("SELECT data FROM items WHERE record='3'")
    storage, _ = former()
    storage.read(lambda tx: list(tx.scan(ITEMS)))
    storage.close()
    forge("UPDATE items SET data=? WHERE record='2'", *old)
    storage, _ = former()
    items = storage.read(lambda tx: list(tx.scan(ITEMS)))
    storage.close()
    assert "2" not in [item.record for item in items]
    assert "is not encrypted" in present(storage.notice)


def test_equal_payloads_are_encrypted_differently(tmp_path: Path) -> None:
    storage = EncryptedStorage(tmp_path / "a.db", KEY)
    rows = [Record("notes", str(n), '{"same":1}', None, 1, 0) for n in range(2)]

    def fill(tx: Transaction) -> None:
        tx.next_number()
        for row in rows:
            tx.insert(RECORDS, row)

    storage.write(fill)
    storage.close()
    plain = SQLiteStorage(tmp_path / "a.db")
    one, other = plain.read(lambda tx: list(tx.scan(RECORDS)))
    assert one.state != other.state
    plain.close()


def test_an_unchanged_value_is_not_encrypted_again(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    """Else each change of an item's lane would write all of its payload again."""
    engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY), transport=Refusing())
    engine.push("notes", {"id": "1", "text": "x"})
    plain = SQLiteStorage(tmp_path / "a.db")
    before = plain.read(lambda tx: [item.data for item in tx.scan(ITEMS)])
    engine.flush(timeout=10)
    assert plain.read(lambda tx: [item.data for item in tx.scan(ITEMS)]) == before
    plain.close()


class Refusing:
    def send(self, request: Request) -> Response:
        return Response(422)


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "cryptography.py").write_text("raise ImportError('not there')")
    program = (
        "from bytelyst_sync.storage import EncryptedStorage, generate_key\n"
        "EncryptedStorage('app.db', key=generate_key())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.fspath(Path.cwd())])},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 1
    assert 'pip install "bytelyst-sync[crypto]"' in ran.stderr
