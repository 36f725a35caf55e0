"""The memory-mapped store on the command line, and copies between the kinds of stores."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import EncryptedStorage, LmdbStorage, SQLiteStorage
from bytelyst_sync.cli.trust import check_untrusted
from bytelyst_sync.errors import ConfigError, StorageError
from bytelyst_sync.storage import generate_key
from bytelyst_sync.storage.copying import copy_store
from bytelyst_sync.storage.schema import ITEMS, META, SCHEMA_VERSION, TABLES
from bytelyst_sync.testing.storage_samples import SAMPLES, all_rows, fill, inserting, make_item
from tests.cli.conftest import Done
from tests.typed import present

ROOT = Path(__file__).parents[2]
KINDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "sqlite": (SQLiteStorage, "{}.db"),
    "lmdb": (LmdbStorage, "lmdb:{}.mdb"),
}


def opened(kind: str, tmp_path: Path, name: str) -> "closing[Any]":
    storage, text = KINDS[kind]
    return closing(storage(tmp_path / text.format(name).removeprefix("lmdb:")))


def test_the_verbs_work_on_a_memory_mapped_store(cli: Callable[..., Done], tmp_path: Path) -> None:
    store = ["--storage", "lmdb:app.mdb"]
    cli("push", "notes", '[{"id": "1", "title": "x"}, {"id": "2"}]', *store)
    assert [item["record_id"] for item in cli("queue", "--json", *store).lines] == ["1", "2"]
    assert cli("status", "--json", *store).json["storage"] == str(tmp_path / "app.mdb")
    exported = cli("export", "notes", *store).out
    assert [json.loads(line)["id"] for line in exported.splitlines()] == ["1", "2"]
    checks = cli("doctor", "--no-network", "--json", *store).json["checks"]
    found = {each["check"]: each for each in checks}
    assert found["lmdb"]["message"].startswith("LMDB 0.9.")
    assert found["integrity"]["message"] == "every page of the store is sound"
    assert found["store"]["message"].endswith(f"app.mdb (schema {SCHEMA_VERSION})")
    assert found["queue"]["level"] == "ok"
    assert not (tmp_path / "app.mdb-wal").exists()


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_a_copy_has_everything(
    cli: Callable[..., Done], tmp_path: Path, source: str, target: str
) -> None:
    with opened(source, tmp_path, "old") as old:
        for table in TABLES:
            fill(old, table, SAMPLES.get(table.name, []))
        numbers = [old.write(lambda tx: tx.next_number()) for _ in range(40)]
        expected = [all_rows(old, table) for table in TABLES]
    old_name, new_name = KINDS[source][1].format("old"), KINDS[target][1].format("new")
    done = cli("copy", old_name, new_name)
    assert "12 items" in done.out
    with opened(target, tmp_path, "new") as new:
        assert [all_rows(new, table) for table in TABLES] == expected
        assert new.write(lambda tx: tx.next_number()) == numbers[-1] + 1
        assert new.read(lambda reader: reader.count(ITEMS)) == 12
        assert new.notice is None


def test_an_encrypted_store_stays_encrypted(tmp_path: Path) -> None:
    key = generate_key()
    with closing(EncryptedStorage(LmdbStorage(tmp_path / "a.mdb"), key)) as sealed:
        sealed.write(inserting(make_item(1, data='{"title":"very private"}')))
        row = all_rows(sealed, ITEMS)[0]
    assert b"very private" not in (tmp_path / "a.mdb").read_bytes()
    with (
        closing(LmdbStorage(tmp_path / "a.mdb")) as old,
        closing(SQLiteStorage(tmp_path / "b.db")) as new,
    ):
        copy_store(old, new)
    assert b"very private" not in (tmp_path / "b.db").read_bytes()
    with closing(EncryptedStorage(tmp_path / "b.db", key)) as copied:
        assert all_rows(copied, ITEMS) == [row]


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_encrypted_stores_on_the_command_line(
    cli: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: str,
) -> None:
    """Push, export, import, copies and sign-out, with the right key, another one and none."""
    for name in ("KEY", "OTHER_KEY"):
        monkeypatch.setenv(name, generate_key())
    old, new, third = (
        KINDS[kind][1].format(name)
        for kind, name in zip((source, target, source), ("old", "new", "third"), strict=True)
    )
    cli(
        "push",
        "notes",
        '[{"id": "1", "title": "very private"}]',
        "--storage",
        old,
        "--key-env",
        "KEY",
    )
    assert "1 items" in cli("copy", old, new).out
    exported = cli("export", "--all", "--storage", new, "--key-env", "KEY").out
    assert json.loads(exported) == {
        "entity": "notes",
        "record": {"id": "1", "title": "very private"},
    }
    (tmp_path / "notes.jsonl").write_text(exported)
    cli("import", "--all", "notes.jsonl", "--storage", third, "--key-env", "KEY")
    for store in (old, new, third):
        file = tmp_path / store.removeprefix("lmdb:")
        for each in tmp_path.glob(f"{file.name}*"):
            assert b"very private" not in each.read_bytes()
        (item,) = cli("queue", "--data", "--json", "--storage", store, "--key-env", "KEY").lines
        assert item["data"] == {"id": "1", "title": "very private"}
        for verb in (["queue"], ["export", "notes"], ["import", "--all", "notes.jsonl"]):
            error = cli(*verb, "--storage", store, code=4).err
            assert "the store is encrypted: name the variable with its key (--key-env" in error
            error = cli(*verb, "--storage", store, "--key-env", "OTHER_KEY", code=4).err
            assert "encrypted with another key" in error
        assert (
            cli("status", "--json", "--storage", store, "--key-env", "KEY").json["queue_length"]
            == 1
        )
        cli("sign-out", "--yes", "--force", "--storage", store, "--key-env", "KEY")
        assert cli("queue", "--json", "--storage", store, "--key-env", "KEY").lines == []


HOLDER = """
import sys
from bytelyst_sync.storage.location import open_storage
storage = open_storage(sys.argv[1], durability="full", account=None)
storage.read(lambda reader: None)
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("busy", ["lmdb:old.mdb", "new.db"])
def test_a_store_in_use_is_not_copied(cli: Callable[..., Done], tmp_path: Path, busy: str) -> None:
    """Even by a program that only has it open."""
    with closing(LmdbStorage(tmp_path / "old.mdb")) as old:
        old.write(inserting(make_item(1)))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, busy],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert present(holder.stdout).readline() == b"open\n"
        refused = cli("copy", "lmdb:old.mdb", "new.db", code=4)
    finally:
        holder.communicate(timeout=20)
    assert f"{busy.removeprefix('lmdb:')} is in use: close the programs" in refused.err
    assert "1 items" in cli("copy", "lmdb:old.mdb", "new.db").out


def test_a_store_that_is_delivered_is_not_copied(tmp_path: Path) -> None:
    with closing(LmdbStorage(tmp_path / "old.mdb")) as old:
        lock = old.delivery_right()
        assert lock.acquire()
        with (
            closing(SQLiteStorage(tmp_path / "new.db")) as new,
            pytest.raises(StorageError, match="is in use: close the program"),
        ):
            copy_store(old, new)
        lock.release()


def test_a_source_that_changes_meanwhile_is_not_copied(tmp_path: Path) -> None:
    class Changing(LmdbStorage):
        def read(self, work: Callable[..., object]) -> Any:
            result = super().read(work)
            other.write(lambda tx: tx.next_number())
            return result

    other = LmdbStorage(tmp_path / "old.mdb")
    other.write(inserting(make_item(1)))
    with (
        closing(other),
        closing(Changing(tmp_path / "old.mdb")) as old,
        closing(SQLiteStorage(tmp_path / "new.db")) as new,
    ):
        with pytest.raises(StorageError, match="was written to while it was copied"):
            copy_store(old, new)
        assert all_rows(new, ITEMS) == all_rows(new, META) == []


def test_a_target_with_rows_is_refused(cli: Callable[..., Done], tmp_path: Path) -> None:
    for name in ("old", "new"):
        with opened("lmdb", tmp_path, name) as storage:
            storage.write(inserting(make_item(1)))
    assert "is not empty" in cli("copy", "lmdb:old.mdb", "lmdb:new.mdb", code=4).err
    assert "same file" in cli("copy", "lmdb:old.mdb", "./old.mdb", code=2).err
    assert "is not there" in cli("copy", "none.db", "new.db", code=2).err
    assert not (tmp_path / "new.db").exists()


def test_an_untrusted_file_names_no_memory_mapped_store_elsewhere(tmp_path: Path) -> None:
    inside, outside = f"lmdb:{tmp_path / 'here' / 'a.mdb'}", f"lmdb:{tmp_path / 'a.mdb'}"
    check_untrusted({"storage": inside}, tmp_path / "here" / "x.toml", "it may be another's")
    with pytest.raises(ConfigError, match="is not opened"):
        check_untrusted({"storage": outside}, tmp_path / "here" / "x.toml", "it may be another's")
