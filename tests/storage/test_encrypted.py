"""Encryption at rest: nothing of the payload is readable in any file of the store."""

import base64
import os
import pickle
import secrets
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bytelyst_sync import (
    ConfigError,
    EntityConfig,
    MemoryStorage,
    SQLiteStorage,
    StorageError,
    create_sync_engine,
)
from bytelyst_sync.storage import EncryptedStorage, generate_key
from bytelyst_sync.storage.schema import ITEMS, META, RECORDS, TABLES, Meta, Record
from bytelyst_sync.testing import Reply, SyncServer
from bytelyst_sync.testing.storage import StorageContract
from bytelyst_sync.testing.storage_samples import SAMPLES, asked_scans, expected_rows, fill
from bytelyst_sync.transport.base import Response

KEY = generate_key()
OTHER = generate_key()


class EncryptedContract(StorageContract):
    """The contract, but for the order by a digest: sealed, equal ones still find each other."""

    @pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_scans(self, storage, table, reverse):
        rows = SAMPLES[table.name]
        fill(storage, table, rows)

        def work(reader):
            for index in (None, *table.indexes):
                for asked in asked_scans(rows, table, index):
                    found = list(reader.scan(table, index, reverse=reverse, **asked))
                    expected = expected_rows(rows, table, index, reverse=reverse, **asked)
                    if index == "digest" and len(asked.get("prefix", ())) < 2:
                        continue
                    assert found == expected, f"{table.name} by {index}: {asked}"

        storage.read(work)


class TestEncryptedMemory(EncryptedContract):
    @pytest.fixture
    def storage(self):
        return EncryptedStorage(MemoryStorage(), KEY)


class TestEncryptedSQLite(EncryptedContract):
    @pytest.fixture
    def storage(self, tmp_path):
        storage = EncryptedStorage(tmp_path / "queue.db", KEY, durability="normal")
        yield storage
        storage.close()


@pytest.fixture
def new_engine(tmp_path):
    made = []

    def make(storage, url="http://127.0.0.1:9", **settings):
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


def everything(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def test_nothing_readable_is_on_the_disk(tmp_path, new_engine):
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
        assert next(iter(engine.conflicts())).remote["text"] == f"theirs {word}"
        server.reject = lambda seen: Reply(422, {"error": f"refused {word}"}) if seen.body else None
        engine.push("notes", {"id": "3", "text": f"bad {word}"})
        engine.flush(timeout=10)
        assert f"refused {word}" in next(engine.failed()).last_error
        assert (tmp_path / "a.db-wal").stat().st_size > 0
        assert word.encode() not in everything(tmp_path)
        assert b"text" not in everything(tmp_path)
        engine.close()
        assert word.encode() not in everything(tmp_path)


def test_without_encryption_the_same_is_readable(tmp_path, new_engine):
    """Or the test above would prove nothing."""
    engine = new_engine(tmp_path / "a.db")
    engine.push("notes", {"id": "1", "text": "in the clear"})
    assert b"in the clear" in everything(tmp_path)


def test_what_was_pushed_is_there_after_a_restart(tmp_path, new_engine):
    new_engine(EncryptedStorage(tmp_path / "a.db", KEY)).push("notes", {"id": "1", "text": "x"})
    again = new_engine(EncryptedStorage(tmp_path / "a.db", lambda: KEY))
    assert again.get("notes", "1") == {"id": "1", "text": "x"}
    assert [item.data["text"] for item in again.queue()] == ["x"]


def test_equal_content_collapses(tmp_path, new_engine):
    engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY))
    for _ in range(3):
        engine.push("events", {"text": "same"})
    engine.push("events", {"text": "other"})
    assert engine.queue_length == 2


def test_a_wrong_key_is_a_clear_error_and_changes_nothing(tmp_path, new_engine):
    new_engine(EncryptedStorage(tmp_path / "a.db", KEY)).push("notes", {"id": "1", "text": "x"})
    wrong = new_engine(EncryptedStorage(tmp_path / "a.db", OTHER))
    with pytest.raises(StorageError, match=r"encrypted with another key, named [0-9a-f]{8}"):
        wrong.get("notes", "1")
    with pytest.raises(StorageError, match="Give the right key"):
        wrong.push("notes", {"id": "2", "text": "y"})
    right = new_engine(EncryptedStorage(tmp_path / "a.db", KEY))
    assert [record["id"] for record in right.records("notes")] == ["1"]


def test_no_key_is_a_clear_error(tmp_path, new_engine):
    new_engine(EncryptedStorage(tmp_path / "a.db", KEY)).push("notes", {"id": "1", "text": "x"})
    plain = new_engine(tmp_path / "a.db")
    with pytest.raises(StorageError, match="the store is encrypted; open it as storage=Encrypted"):
        plain.push("notes", {"id": "2"})
    with pytest.raises(StorageError, match="the store is encrypted"):
        list(plain.records("notes"))


def test_a_store_that_was_begun_in_the_clear_is_refused(tmp_path, new_engine):
    new_engine(tmp_path / "a.db").push("notes", {"id": "1", "text": "x"})
    sealed = new_engine(EncryptedStorage(tmp_path / "a.db", KEY))
    with pytest.raises(StorageError, match="begun without encryption"):
        sealed.push("notes", {"id": "2"})
    with pytest.raises(StorageError, match="begun without encryption"):
        sealed.get("notes", "1")


@pytest.mark.parametrize(
    "key", ["", "my secret word", b"short", "QUJD" * 10, 7, None, b"x" * 33], ids=repr
)
def test_what_is_no_key_is_refused_and_not_shown(tmp_path, key):
    with pytest.raises(ConfigError, match="is no key: give 32 random bytes") as raised:
        EncryptedStorage(tmp_path / "a.db", key).read(lambda tx: None)
    assert "my secret word" not in str(raised.value)
    assert "my secret word" not in repr(pickle.loads(pickle.dumps(raised.value)))


def test_bytes_and_text_are_one_key(tmp_path, new_engine):
    raw = os.urandom(32)
    new_engine(EncryptedStorage(tmp_path / "a.db", raw)).push("notes", {"id": "1"})
    text = base64.urlsafe_b64encode(raw).decode()
    assert new_engine(EncryptedStorage(tmp_path / "a.db", text)).queue_length == 1


def test_a_key_is_never_shown(tmp_path):
    storage = EncryptedStorage(tmp_path / "a.db", KEY, old_keys=[OTHER])
    assert KEY not in repr(storage) + repr(vars(storage))
    assert OTHER not in repr(storage) + repr(vars(storage))


def test_a_callable_is_asked_once_and_not_before_the_first_use(tmp_path):
    asked = []

    def key():
        asked.append(1)
        return KEY

    storage = EncryptedStorage(tmp_path / "a.db", key)
    assert asked == []
    storage.write(lambda tx: tx.insert(META, Meta("a", "1")))
    assert storage.read(lambda tx: tx.get(META, "a")) == Meta("a", "1")
    storage.close()
    assert asked == [1]


# --- rotation


def fill_queue(engine, count):
    engine.push_many("notes", [{"id": str(n), "text": f"text {n}"} for n in range(count)])
    engine.push("events", {"text": "same"})


def test_a_new_key_takes_the_old_ones_place(tmp_path, new_engine):
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


def test_a_rotation_that_was_cut_off_goes_on(tmp_path, new_engine):
    fill_queue(new_engine(EncryptedStorage(tmp_path / "a.db", KEY)), 450)
    both = EncryptedStorage(tmp_path / "a.db", OTHER, old_keys=[KEY])
    writes, write = [], both._storage.write

    def cut(work, then=None):
        writes.append(work)
        if len(writes) == 3:
            raise KeyboardInterrupt
        return write(work, then)

    both._storage.write = cut
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


def test_a_value_that_was_altered_is_told(tmp_path):
    storage = EncryptedStorage(tmp_path / "a.db", KEY)
    record = Record("notes", "1", '{"id":"1"}', None, 1, 0)
    storage.write(lambda tx: (tx.next_number(), tx.insert(RECORDS, record)))
    storage.close()
    with sqlite3.connect(tmp_path / "a.db") as database:
        (state,) = database.execute("SELECT state FROM records").fetchone()
        flipped = "A" if state[-8] != "A" else "B"
        altered = state[:-8] + flipped + state[-7:]
        database.execute("UPDATE records SET state=?", (altered,))
    database.close()
    with pytest.raises(StorageError, match=r"a sealed value of records.state has been altered"):
        storage.read(lambda tx: tx.get(RECORDS, "notes", "1"))
    storage.close()


def test_a_value_moved_to_another_column_does_not_open(tmp_path):
    storage = EncryptedStorage(tmp_path / "a.db", KEY)
    record = Record("notes", "1", '{"id":"1"}', None, 1, 0)
    storage.write(lambda tx: (tx.next_number(), tx.insert(RECORDS, record)))
    storage.close()
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("UPDATE records SET beside=state")
    database.close()
    with pytest.raises(StorageError, match="altered or damaged"):
        storage.read(lambda tx: tx.get(RECORDS, "notes", "1"))
    storage.close()


def test_equal_payloads_do_not_look_equal(tmp_path):
    storage = EncryptedStorage(tmp_path / "a.db", KEY)
    rows = [Record("notes", str(n), '{"same":1}', None, 1, 0) for n in range(2)]
    storage.write(lambda tx: [tx.next_number(), *(tx.insert(RECORDS, row) for row in rows)])
    storage.close()
    plain = SQLiteStorage(tmp_path / "a.db")
    one, other = plain.read(lambda tx: list(tx.scan(RECORDS)))
    assert one.state != other.state
    plain.close()


def test_an_unchanged_value_is_not_sealed_anew(tmp_path, new_engine):
    """Else each change of an item's lane would write all of its payload again."""
    engine = new_engine(EncryptedStorage(tmp_path / "a.db", KEY), transport=Refusing())
    engine.push("notes", {"id": "1", "text": "x"})
    plain = SQLiteStorage(tmp_path / "a.db")
    before = plain.read(lambda tx: [item.data for item in tx.scan(ITEMS)])
    engine.flush(timeout=10)
    assert plain.read(lambda tx: [item.data for item in tx.scan(ITEMS)]) == before
    plain.close()


class Refusing:
    def send(self, request):
        return Response(422)


def test_without_the_extra_the_error_names_it(tmp_path):
    (tmp_path / "cryptography.py").write_text("raise ImportError('not there')")
    program = "from bytelyst_sync.storage import EncryptedStorage"
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
