"""What only the memory-mapped store does: its keys, its map, its file."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from subprocess import Popen
from typing import Any

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytelyst_sync import create_sync_engine
from bytelyst_sync.errors import StorageError, StorageVersionError
from bytelyst_sync.model import Json
from bytelyst_sync.storage import LmdbStorage, SQLiteStorage, current_file
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.delivery_lock import WriteLock
from bytelyst_sync.storage.lmdb import format as lmdb_format
from bytelyst_sync.storage.lmdb import keys, salvage
from bytelyst_sync.storage.lmdb.errors import DamagedError
from bytelyst_sync.storage.lmdb.keys import FORMAT, encode, encode_values, stored_key
from bytelyst_sync.storage.lmdb.pages import PageFile
from bytelyst_sync.storage.lmdb.verification import find_damage
from bytelyst_sync.storage.location import open_storage
from bytelyst_sync.storage.ordered import TOP
from bytelyst_sync.storage.schema import ITEMS, META, RECORDS, SCHEMA_VERSION, Item, Meta, Record
from bytelyst_sync.testing.storage_samples import (
    all_rows,
    expected_rows,
    inserting,
    make_item,
    scan_arguments,
)
from tests.typed import present

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.mdb"


@pytest.fixture
def storage(path: Path) -> Iterator[LmdbStorage]:
    storage = LmdbStorage(path, busy_timeout_s=20.0)
    yield storage
    storage.close()


def fill(storage: LmdbStorage, count: int = 300) -> list[Item]:
    rows = [
        make_item(seq, record=f"r{seq}", data=f'{{"n":"{seq:0500}"}}')
        for seq in range(1, count + 1)
    ]
    storage.write(lambda tx: tx.insert(ITEMS, *rows))
    return rows


# -- keys -----------------------------------------------------------------------------------------

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
VALUES = st.none() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"]))


def rank(value: str | float | None) -> tuple[int, str | float]:
    """What a value is compared by."""
    return (0, 0) if value is None else (2, value) if isinstance(value, str) else (1, value)


@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_keys_compare_as_tuples_do(
    one: list[str | float | None], other: list[str | float | None]
) -> None:
    keys_of = [encode(b"\x10", each) for each in (one, other)]
    ranks = [[rank(value) for value in each] for each in (one, other)]
    assert (keys_of[0] < keys_of[1]) is (ranks[0] < ranks[1])
    assert (keys_of[0] == keys_of[1]) is (ranks[0] == ranks[1])


@given(st.lists(VALUES, max_size=2), st.lists(VALUES, min_size=1, max_size=2))
def test_the_top_is_behind_all_that_starts_alike(
    start: list[str | float | None], rest: list[float | str | None]
) -> None:
    assert encode(b"", start) < encode(b"", start + rest) < encode(b"", [*start, TOP])


def test_an_integer_of_more_than_64_bits_is_refused(storage: LmdbStorage) -> None:
    with pytest.raises(OverflowError, match="does not fit in 64 bits"):
        storage.write(inserting(make_item(2**63)))


@pytest.mark.parametrize("reverse", [False, True])
def test_long_keys_keep_their_order(storage: LmdbStorage, reverse: bool) -> None:
    start = "é" * 300
    names = [start + "b", start + "a" * 900, start, "a", start + "a", start[:-1], "z", start[:230]]
    rows = [Record(entity, name, "{}", None, 1, 1) for entity in "ab" for name in names]
    storage.write(lambda tx: tx.insert(RECORDS, *rows))
    items = [
        make_item(seq, record=names[seq % len(names)], position=seq % 3) for seq in range(1, 30)
    ]
    storage.write(lambda tx: tx.insert(ITEMS, *items))
    for table, known in ((RECORDS, rows), (ITEMS, items)):
        for index in (None, *table.indexes):
            for asked in scan_arguments(known, table, index):
                found = storage.read(
                    lambda r, t=table, i=index, a=asked: list(r.scan(t, i, reverse=reverse, **a))  # type: ignore[misc]  # no lambda with defaults is inferred
                )
                assert found == expected_rows(known, table, index, reverse=reverse, **asked)
    for row in rows:
        assert storage.read(lambda r, row=row: r.get(RECORDS, row.entity, row.record)) == row  # type: ignore[misc]  # no lambda with defaults is inferred
    storage.write(lambda tx: tx.delete(RECORDS, *rows[::2]))
    assert all_rows(storage, RECORDS) == sorted(rows[1::2])


def test_two_long_keys_with_one_hash_are_not_mixed_up(
    storage: LmdbStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "blake2b", lambda key, digest_size: FixedHash())
    first, second = (Record("a", "x" * 600 + end, "{}", None, 1, 1) for end in "ab")
    storage.write(lambda tx: tx.insert(RECORDS, first))
    for work in (
        lambda tx: tx.insert(RECORDS, second),
        lambda tx: tx.get(RECORDS, "a", second.record),
        lambda tx: tx.delete(RECORDS, second),
    ):
        with pytest.raises(StorageError, match="same hash as another long key: shorten the id"):
            storage.write(work)
    assert all_rows(storage, RECORDS) == [first]


class FixedHash:
    def digest(self) -> bytes:
        return bytes(32)


@pytest.mark.parametrize("kind", [LmdbStorage, SQLiteStorage])
def test_an_id_is_not_present_because_a_longer_one_is(
    tmp_path: Path, kind: type[LmdbStorage | SQLiteStorage]
) -> None:
    longer = ["a\0", "a\0b", "ab", "a" * 500 + "b"]
    with closing(kind(tmp_path / "queue")) as storage:
        storage.write(
            lambda tx: tx.insert(ITEMS, *(make_item(n, record=r) for n, r in enumerate(longer)))
        )
        asked = ["", "a", *longer, "a" * 500, "b"]
        found = storage.read(lambda r: r.present(ITEMS, "record", ("notes",), asked))
        assert found == set(longer)
        assert storage.read(lambda r: r.present(ITEMS, "record", ("note",), asked)) == set()
        assert storage.read(lambda r: r.present(ITEMS, None, (), [0, 3, 4, 2**60])) == {0, 3}


# -- the map --------------------------------------------------------------------------------------


def test_synced_commits_seldom_change_the_length_of_the_file(path: Path) -> None:
    """A sync is cheaper then. The zeros behind the last page are no damage."""
    lengths = set()
    with closing(LmdbStorage(path)) as storage:
        for seq in range(1, 400):
            storage.write(inserting(make_item(seq, data="x" * 3000)))
            lengths.add(path.stat().st_size)
        assert all_rows(storage, ITEMS)[-1].seq == 399
    with closing(PageFile(path)) as pages:
        assert pages.metas[0].last_page * PAGE < max(lengths)
    assert find_damage(path) is None
    assert len(lengths) < 8


def test_counts_and_the_sequence_follow_the_commits_of_others(path: Path) -> None:
    """What the last own commit left is kept only until another store commits."""
    with closing(LmdbStorage(path)) as one, closing(LmdbStorage(path)) as other:
        for turn in range(5):
            for storage in (one, other, one, one):
                storage.write(push_next)
            for storage in (one, other):
                numbers = storage.read(lambda r: (r.last_number(), r.count(ITEMS, 0, "notes")))
                assert numbers == (4 * turn + 4, 4 * turn + 4)
    assert find_damage(path) is None


def test_counts_are_right_after_jobs_and_commits_that_failed(path: Path) -> None:
    with closing(LmdbStorage(path, map_bytes=64 * 1024)) as storage:
        for turn in range(1, 30):
            with pytest.raises(ZeroDivisionError):
                storage.write(lambda tx: (push_next(tx), 1 / 0))  # type: ignore[func-returns-value]  # for its effect
            storage.write(push_next)  # sometimes the map grows
            numbers = storage.read(lambda r: (r.last_number(), r.count(ITEMS, 0, "notes")))
            assert numbers == (turn, turn)
        assert (
            present(storage._file.database)._environment._environment.info()["map_size"] > 64 * 1024
        )
    assert find_damage(path) is None


def push_next(tx: Transaction) -> None:
    tx.insert(ITEMS, make_item(tx.next_number(), data="x" * 3000))


def test_the_map_grows_beside_readers(path: Path) -> None:
    storage = LmdbStorage(path, "normal", map_bytes=64 * 1024)
    storage.write(inserting(make_item(1)))
    stop, seen = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            seen.append(storage.read(lambda r: len(list(r.scan(ITEMS))) == r.count(ITEMS)))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for seq in range(2, 60):
        storage.write(inserting(make_item(seq, data="x" * 50_000)))
    stop.set()
    for reader in readers:
        reader.join(20)
    assert seen
    assert all(seen)
    assert [row.seq for row in all_rows(storage, ITEMS)] == list(range(1, 60))
    assert path.stat().st_size > 60 * 50_000
    storage.close()


GROWING = """
import json, sys
from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing.storage_samples import make_item

storage = LmdbStorage(sys.argv[1], "normal", map_bytes=64 * 1024)

def push(tx):
    number = tx.next_number()
    tx.insert(ITEMS, make_item(number, data="x" * 20_000))
    return number

print(json.dumps([storage.write(push) for _ in range(100)]))
storage.close()
"""


def test_processes_adopt_the_map_of_each_other(
    path: Path, start_python: Callable[..., Popen[str]]
) -> None:
    processes = [start_python(GROWING, path) for _ in range(3)]
    numbers = []
    for process in processes:
        printed, _ = process.communicate(timeout=50)
        numbers += json.loads(printed)
    assert sorted(numbers) == list(range(1, 301))
    with closing(LmdbStorage(path, map_bytes=64 * 1024)) as storage:
        assert [row.seq for row in all_rows(storage, ITEMS)] == sorted(numbers)
    assert find_damage(path) is None


DEAD_READER = """
import os, sys
from bytelyst_sync.storage.lmdb.store import LmdbStorage
storage = LmdbStorage(sys.argv[1])
storage.read(lambda reader: os._exit(0))
"""


def test_what_a_dead_reader_kept_is_used_again(
    path: Path, start_python: Callable[..., Popen[str]]
) -> None:
    storage = LmdbStorage(path, "normal")
    storage.write(inserting(*[make_item(seq, data="x" * 9000) for seq in range(1, 50)]))
    start_python(DEAD_READER, path).wait(30)
    storage.close()
    storage.write(lambda tx: None)
    with closing(LmdbStorage(path)) as other:
        assert len(all_rows(other, ITEMS)) == 49
    environment = present(storage._file.database)._environment._environment
    assert environment.reader_check() == 0
    assert environment.info()["num_readers"] <= 2
    storage.close()


# -- forks ----------------------------------------------------------------------------------------

FORKS = """
import json, os, sys, threading
from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing.storage_samples import make_item

storage = LmdbStorage(sys.argv[1], "normal", map_bytes=64 * 1024)

def push(tx):
    number = tx.next_number()
    tx.insert(ITEMS, make_item(number, data="x" * 5000))
    return number

stop = threading.Event()
def busy():
    while not stop.is_set():
        storage.write(push)
thread = threading.Thread(target=busy)
thread.start()
children = []
for _ in range(6):
    child = os.fork()
    if not child:
        try:
            for _ in range(10):
                storage.write(push)
                storage.read(lambda reader: reader.count(ITEMS))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(child)
    storage.write(push)
codes = [os.waitpid(child, 0)[1] for child in children]
stop.set()
thread.join(20)
rows = storage.read(lambda reader: [row.seq for row in reader.scan(ITEMS)])
print(json.dumps([codes, len(rows) >= 66, rows == list(range(1, len(rows) + 1))]))
storage.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forks_amid_a_busy_thread(
    path: Path, run_python: Callable[..., list[int | list[int]]]
) -> None:
    assert run_python(FORKS, path) == [[0] * 6, True, True]
    assert find_damage(path) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_file_can_be_used_after_a_fork_beside_a_long_write(
    path: Path, storage: LmdbStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write lock cannot be had in time, so the file is not closed by the one who forks."""
    storage.write(inserting(make_item(1)))
    monkeypatch.setattr(current_file, "_FORK_WAIT_S", 0.05)
    lock = WriteLock(Path(f"{path}.lock"), 1.0)
    with lock:
        storage.before_fork()
        storage.after_fork_in_parent()
    lock.close()
    storage.write(inserting(make_item(2)))
    assert [row.seq for row in all_rows(storage, ITEMS)] == [1, 2]


# -- the file -------------------------------------------------------------------------------------


def test_a_location_names_the_kind_of_store(tmp_path: Path) -> None:
    with closing(open_storage(f"lmdb:{tmp_path}/a.mdb", durability="full", account=None)) as one:
        assert isinstance(one, LmdbStorage)
        assert one.path == tmp_path / "a.mdb"
    with closing(open_storage(f"{tmp_path}/lmdb", durability="full", account="é")) as other:
        assert isinstance(other, SQLiteStorage)
    text = f"lmdb:{tmp_path}/{{account}}.mdb"
    with closing(open_storage(text, durability="full", account="é")) as third:
        assert isinstance(third, LmdbStorage)
        assert third.path == tmp_path / "=c3=a9.mdb"


def test_an_engine_keeps_its_queue_in_it(tmp_path: Path, path: Path) -> None:
    lengths = []
    for _ in range(2):
        engine = create_sync_engine(
            base_url="http://127.0.0.1:9", entities={"notes": "/notes"}, storage=f"lmdb:{path}"
        )
        with engine:
            engine.pause()
            engine.push("notes", {"title": "on a plane"})
            lengths.append(engine.queue_length)
    assert lengths == [1, 2]
    assert path.stat().st_mode & 0o777 == 0o600
    assert {each.name for each in tmp_path.iterdir()} <= {
        f"queue.mdb{suffix}" for suffix in ("", "-lock", ".lock", ".deliver")
    }


def test_the_missing_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ImportError, match=r'pip install "bytelyst-sync\[lmdb\]"'):
        LmdbStorage(path)


@pytest.mark.parametrize("content", [b"hello", b"SQLite format 3\0" + bytes(4080), bytes(10)])
def test_another_programs_file_is_refused_and_untouched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StorageError, match="is no store of this package and is untouched"):
        LmdbStorage(path).read(lambda reader: None)
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == ["queue.mdb"]


def test_another_programs_environment_is_refused_and_untouched(path: Path) -> None:
    with lmdb.open(str(path), subdir=False) as environment, environment.begin(write=True) as other:
        other.put(b"a", b"b")
    Path(f"{path}-lock").unlink()
    path.chmod(0o600)
    content = path.read_bytes()
    with pytest.raises(StorageError, match="is no store of this package and is untouched"):
        LmdbStorage(path).read(lambda reader: None)
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == ["queue.mdb"]


@pytest.mark.skipif(os.name != "posix", reason="needs modes")
@pytest.mark.parametrize("suffix", ["", "-lock", ".lock"])
def test_a_file_that_others_can_read_is_refused(
    path: Path, storage: LmdbStorage, suffix: str
) -> None:
    storage.write(inserting(make_item(1)))
    storage.close()
    file = Path(f"{path}{suffix}")
    file.chmod(0o644)
    with pytest.raises(StorageError, match=r"can be read or changed by others .* chmod 600"):
        storage.read(lambda reader: None)
    file.chmod(0o600)
    assert all_rows(storage, ITEMS) == [make_item(1)]


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_linked_lock_file_is_refused(path: Path, storage: LmdbStorage) -> None:
    storage.write(inserting(make_item(1)))
    storage.close()
    os.link(f"{path}-lock", path.parent / "other")
    with pytest.raises(StorageError, match="has 2 names"):
        storage.read(lambda reader: None)


def test_a_deleted_file_is_created_again(path: Path, storage: LmdbStorage) -> None:
    storage.write(inserting(make_item(1)))
    path.unlink()
    storage.write(lambda tx: tx.insert(ITEMS, make_item(tx.next_number())))
    assert "was deleted while it was in use" in present(storage.notice)
    assert [row.seq for row in all_rows(storage, ITEMS)] > [1_000_000]


def test_a_deleted_lock_file_is_noticed(path: Path, storage: LmdbStorage) -> None:
    storage.write(inserting(make_item(1)))
    Path(f"{path}-lock").unlink()
    storage.write(inserting(make_item(2)))
    with closing(LmdbStorage(path)) as other:
        other.write(inserting(make_item(3)))
    storage.write(inserting(make_item(4)))
    assert [row.seq for row in all_rows(storage, ITEMS)] == [1, 2, 3, 4]
    assert find_damage(path) is None


def rewrite(path: Path, key: bytes, change: Callable[..., Any]) -> None:
    """Changes the value of a key without the package."""
    with lmdb.open(str(path), subdir=False) as environment, environment.begin(write=True) as tx:
        tx.put(key, change(tx.get(key)))


def test_a_newer_schema_is_refused_and_untouched(path: Path, storage: LmdbStorage) -> None:
    storage.write(inserting(make_item(1)))
    storage.close()
    newer = {**lmdb_format.current_format(), "schema": SCHEMA_VERSION + 1}
    rewrite(path, FORMAT, lambda _: encode_values(FORMAT, newer))
    content = path.read_bytes()
    with pytest.raises(StorageVersionError, match="upgrade bytelyst-sync"):
        storage.read(lambda reader: None)
    assert path.read_bytes() == content


def test_an_older_schema_is_converted(path: Path, storage: LmdbStorage) -> None:
    """Version 1 had other names for some columns, and lacked some columns and tables."""
    rows = fill(storage, 50)
    storage.write(lambda tx: tx.next_number())
    storage.close()
    older = json.loads(json.dumps(lmdb_format.current_format()))
    older["schema"] = 1
    items = older["tables"]["items"]
    items["columns"] = [{"position": "turn"}.get(each, each) for each in items["columns"]][:-3]
    del older["tables"]["experiment_rows"]
    rewrite(path, FORMAT, lambda _: encode_values(FORMAT, older))
    assert all_rows(storage, ITEMS) == rows
    assert storage.read(lambda reader: reader.count(ITEMS)) == 50
    assert storage.write(lambda tx: tx.next_number()) == 51
    assert storage.notice is None
    assert find_damage(path) is None
    assert not list(path.parent.glob("*.converted*"))


def test_a_conversion_that_is_cut_off_starts_again(
    path: Path, storage: LmdbStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = fill(storage, 50)
    storage.close()
    older = {**lmdb_format.current_format(), "schema": 1}
    rewrite(path, FORMAT, lambda _: encode_values(FORMAT, older))
    with monkeypatch.context() as patch:
        patch.setattr(salvage, "_carry", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            storage.read(lambda reader: None)
    assert all_rows(storage, ITEMS) == rows


def test_deleted_data_is_removed(path: Path, storage: LmdbStorage) -> None:
    secret = "do not keep this"
    storage.write(lambda tx: tx.insert(META, Meta("a", secret)))
    storage.write(lambda tx: tx.delete(META, Meta("a", secret)))
    fill(storage, 20)
    other = LmdbStorage(path)
    assert len(all_rows(other, ITEMS)) == 20
    storage.purge()
    assert secret.encode() not in path.read_bytes()
    for each in (storage, other):
        assert len(all_rows(each, ITEMS)) == 20
        assert each.notice is None
    other.close()
    assert find_damage(path) is None


# -- durability -----------------------------------------------------------------------------------


@pytest.fixture
def reboot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """The next stores are of another boot."""

    def reboot() -> None:
        monkeypatch.setattr(lmdb_format, "BOOT", lmdb_format.BOOT + 1)  # type: ignore[attr-defined]  # what it imports
        lmdb_format._mark.cache_clear()

    yield reboot
    lmdb_format._mark.cache_clear()


def mark_of(path: Path) -> bytes | None:
    with closing(PageFile(path)) as pages:
        return dict(pages.entries(pages.metas[0].root, set(), [])).get(lmdb_format.UNSYNCED)


def test_unsynced_commits_are_marked_until_the_file_is_closed(path: Path) -> None:
    storage = LmdbStorage(path, "normal")
    storage.read(lambda reader: None)
    assert mark_of(path) is None
    storage.write(inserting(make_item(1)))
    assert mark_of(path) is not None
    other = LmdbStorage(path, "normal")
    other.write(inserting(make_item(2)))
    other.close()
    assert mark_of(path) is None
    storage.write(inserting(make_item(3)))
    assert mark_of(path) is not None
    storage.close()
    assert mark_of(path) is None
    with closing(LmdbStorage(path)) as synced:
        synced.write(inserting(make_item(4)))
        assert mark_of(path) is None
        assert len(all_rows(synced, ITEMS)) == 4


def test_two_stores_of_a_process_share_the_file(path: Path) -> None:
    """All commits are synced if one of them wants that."""
    loose = LmdbStorage(path, "normal")
    loose.write(inserting(make_item(1)))
    synced = LmdbStorage(path)
    synced.write(inserting(make_item(2)))
    assert present(loose._file.database)._environment is present(synced._file.database)._environment
    assert present(synced._file.database)._environment._environment.flags()["sync"]
    loose.write(inserting(make_item(3)))
    loose.close()
    assert len(all_rows(synced, ITEMS)) == 3
    synced.close()
    assert len(all_rows(loose, ITEMS)) == 3
    loose.close()


def test_a_sound_file_is_verified_after_a_loss_of_power(
    path: Path, reboot: Callable[[], None]
) -> None:
    storage = LmdbStorage(path, "normal")
    rows = fill(storage)
    copy = path.with_name("after.mdb")
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    storage.close()
    reboot()
    with closing(LmdbStorage(copy)) as after:
        assert all_rows(after, ITEMS) == rows
        assert after.notice is None
    assert mark_of(copy) is None


def test_a_file_with_old_pages_is_set_aside_after_a_loss_of_power(
    path: Path, reboot: Callable[[], None]
) -> None:
    """Some of the last pages were not written: the file has old ones, which are sound alone."""
    storage = LmdbStorage(path, "normal")
    fill(storage)
    before = path.read_bytes()
    storage.write(lambda tx: tx.insert(ITEMS, make_item(900)))
    after = bytearray(path.read_bytes())
    storage.close()
    changed = [
        place
        for place in range(2 * PAGE, len(before), PAGE)
        if before[place : place + PAGE] != after[place : place + PAGE]
    ]
    path.unlink()
    after[changed[-1] : changed[-1] + PAGE] = before[changed[-1] : changed[-1] + PAGE]
    path.write_bytes(after)
    path.chmod(0o600)
    reboot()
    with closing(LmdbStorage(path)) as later:
        seqs = [row.seq for row in all_rows(later, ITEMS)]
        assert set(range(1, 301)) <= {*seqs, 900}
        assert "a damaged database was set aside" in present(later.notice)
    assert find_damage(path) is None


# -- salvage --------------------------------------------------------------------------------------


def pages_of(path: Path) -> tuple[list[int], list[int]]:
    """The numbers of the pages by kind, from the root on."""
    with closing(PageFile(path)) as pages:
        branches, leaves, waiting = [], [], [pages.metas[0].root]
        while waiting:
            number = waiting.pop(0)
            flags, nodes = pages._nodes(number, set())
            if flags == 1:
                branches.append(number)
                waiting += pages._children(nodes)
            else:
                leaves.append(number)
        return branches, leaves


def overwrite(path: Path, number: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(number * PAGE)
        file.write(data)


@pytest.mark.parametrize("data", [bytes(PAGE), b"\xff" * PAGE, b"\x55" * PAGE])
def test_damage_to_a_page_leaves_the_rest_readable(
    path: Path, storage: LmdbStorage, data: bytes
) -> None:
    rows = fill(storage)
    storage.close()
    leaf = pages_of(path)[1][4]
    with closing(PageFile(path)) as pages:
        lost = [key for key, _ in pages.leaf_entries(leaf, set(), [])]
    overwrite(path, leaf, data)
    kept = all_rows(storage, ITEMS)
    assert len(kept) >= len(rows) - len(lost) > 0
    assert set(kept) <= {*rows, *(row._replace(frozen=1) for row in rows)}
    assert "a damaged database was set aside" in present(storage.notice)
    assert storage.read(lambda reader: reader.count(ITEMS)) == len(kept)
    assert storage.write(lambda tx: tx.next_number()) > 1_000_000
    assert len(list(path.parent.glob("queue.mdb.damaged-*"))) >= 1
    storage.close()
    assert find_damage(path) is None


@pytest.mark.parametrize("place", [0, 1, "root"])
def test_all_rows_are_found_without_the_pages_above_them(
    path: Path, storage: LmdbStorage, place: Any
) -> None:
    """A meta page, or the root."""
    rows = fill(storage)
    storage.close()
    overwrite(path, pages_of(path)[0][0] if place == "root" else place, bytes(PAGE))
    kept = all_rows(storage, ITEMS)
    assert [row._replace(frozen=0) for row in kept] == rows
    assert "rows kept: 300 items" in present(storage.notice)
    storage.close()
    assert find_damage(path) is None


def test_a_short_file_is_set_aside(path: Path, storage: LmdbStorage) -> None:
    fill(storage)
    storage.close()
    with closing(PageFile(path)) as pages:
        used = pages.metas[0].last_page * PAGE
    os.truncate(path, used // 2)
    kept = all_rows(storage, ITEMS)
    assert 0 < len(kept) < 300
    assert "a damaged database was set aside" in present(storage.notice)


def test_damage_is_noticed_while_the_file_is_in_use(path: Path, storage: LmdbStorage) -> None:
    rows = fill(storage)
    storage.close()
    content = path.read_bytes()
    place = content.index(b'\\"n\\":\\"' + b"0" * 496 + b"0150")
    overwrite(path, 0, content[: place + 20] + b"1" + content[place + 21 :])
    assert len(all_rows(storage, ITEMS)) == 299
    assert "299 items; some rows could not be read" in present(storage.notice)
    storage.write(inserting(rows[149]._replace(seq=2_000_000)))
    storage.close()
    assert find_damage(path) is None


@pytest.mark.parametrize(
    ("change", "notice"),
    [
        ({"time": float("inf")}, "items 1: a stored value is of a wrong type or out of range"),
        ({"lane": "x"}, "a damaged database was set aside"),
    ],
    ids=["alone", "with an entry"],
)
def test_a_crafted_row_is_set_aside(
    path: Path, storage: LmdbStorage, change: Json, notice: str
) -> None:
    """Its checksum is right, its columns are not."""
    storage.write(inserting(make_item(1), make_item(2)))
    storage.close()
    key = stored_key(encode(keys.space_of(ITEMS, None), (1,)))
    row = list(make_item(1)._replace(**change))
    rewrite(path, key, lambda _: encode_values(key, row))
    assert [row.seq for row in all_rows(storage, ITEMS)] == [2]
    assert notice in present(storage.notice)
    assert storage.read(lambda reader: reader.count(ITEMS)) == 1
    storage.close()
    assert find_damage(path) is None


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":1}', "[1,2]", "[" + "1" * 5000 + "]", "\xff"]
)
def test_a_crafted_value_is_never_executed(path: Path, storage: LmdbStorage, text: str) -> None:
    storage.write(inserting(make_item(1), make_item(2)))
    storage.close()
    key = stored_key(encode(keys.space_of(ITEMS, None), (1,)))
    raw = text.encode("latin-1")
    sum_of = keys._CHECKSUM.pack(keys.crc32(raw, keys.crc32(key)))  # type: ignore[attr-defined]  # what it imports
    rewrite(path, key, lambda _: sum_of + raw)
    assert [row.seq for row in all_rows(storage, ITEMS)] == [2]
    assert "a damaged database was set aside" in present(storage.notice)


def test_items_that_depend_on_lost_rows_are_repaired(path: Path, storage: LmdbStorage) -> None:
    items = [
        make_item(1, lane=3),
        make_item(2, lane=2, blocker=1),
        make_item(3, record="r2", lane=2, blocker=9),
        make_item(4, record="r3", lane=5, conflict=7),
    ]
    storage.write(lambda tx: tx.insert(ITEMS, *items))
    storage.close()
    overwrite(path, 0, bytes(PAGE))
    found = all_rows(storage, ITEMS)
    states = [(row.seq, row.lane, row.blocker) for row in found]
    assert states == [(1, 3, None), (2, 2, 1), (3, 0, None), (4, 4, None)]
    assert found[0].frozen == 1
    assert found[3].conflict is None


def test_a_salvage_that_was_cut_off_is_continued(
    path: Path, storage: LmdbStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = fill(storage)
    storage.close()
    overwrite(path, 0, bytes(PAGE))
    with monkeypatch.context() as patch:
        patch.setattr(salvage, "_repair", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            storage.read(lambda reader: None)
    assert not path.exists()
    assert [row._replace(frozen=0) for row in all_rows(storage, ITEMS)] == rows
    assert not list(path.parent.glob("*.salvage*"))


# -- kills and full disks -------------------------------------------------------------------------

KILLED = """
import os, sys, threading
from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing.storage_samples import make_item

storage = LmdbStorage(sys.argv[1], sys.argv[2], map_bytes=64 * 1024)

def push(tx):
    number = tx.next_number()
    tx.insert(ITEMS, make_item(number, record=sys.argv[3], data="x" * 3000))
    return number

def tell(number):
    os.write(1, f"{number}\\n".encode())

def work():
    while True:
        tell(storage.write(push))
        if storage.read(lambda reader: reader.count(ITEMS, 0, "notes")) < 1:
            os._exit(3)

if os.fork() == 0:
    tell(storage.write(push))
    os._exit(0)
os.wait()
for _ in range(2):
    threading.Thread(target=work).start()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_kills_lose_nothing_that_was_acknowledged(
    path: Path, start_python: Callable[..., Popen[str]], durability: str
) -> None:
    """Three processes write, fork, and grow the map; one after the other is killed."""
    acknowledged, running = [], [start_python(KILLED, path, durability, n) for n in range(3)]
    for number in range(9):
        process = running.pop(0)
        acknowledged += [int(present(process.stdout).readline()) for _ in range(6)]
        process.kill()
        rest = present(process.stdout).read()
        acknowledged += [
            int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")
        ]
        if number < 6:
            running.append(start_python(KILLED, path, durability, number + 3))
    with closing(LmdbStorage(path, durability)) as storage:
        seqs = [row.seq for row in all_rows(storage, ITEMS)]
        assert storage.notice is None
        assert set(acknowledged) <= set(seqs)
        assert len(acknowledged) == len(set(acknowledged)) >= 54
        assert seqs == list(range(1, len(seqs) + 1))
        assert storage.read(lambda reader: reader.count(ITEMS)) == len(seqs)
    assert find_damage(path) is None


NARROW = """
import json, resource, sys
from bytelyst_sync.errors import StorageFullError
from bytelyst_sync.storage.lmdb import environment
from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing.storage_samples import inserting, make_item

resource.setrlimit(resource.RLIMIT_AS, (2**30, resource.RLIM_INFINITY))
storage = LmdbStorage(sys.argv[1], "normal")
storage.write(inserting(make_item(1)))
size = storage._file.database._environment._environment.info()["map_size"]
print(json.dumps([size < 2**30, storage.read(lambda reader: reader.count(ITEMS))]))
storage.close()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs limits")
def test_the_map_is_smaller_where_there_is_little_address_space(
    path: Path, run_python: Callable[..., list[int | list[int]]]
) -> None:
    assert run_python(NARROW, path) == [True, 1]


def test_a_file_that_was_closed_before_a_fork_is_opened_again(storage: LmdbStorage) -> None:
    """By a thread that had the file, and waited for the write lock meanwhile."""
    storage.write(lambda tx: None)
    file = present(storage._file.database)
    storage._file.before_fork()
    storage._file.after_fork_in_parent()
    with pytest.raises(current_file.FileReplaced):
        file.preallocate()


def test_a_sound_file_is_not_set_aside_whatever_was_read(
    path: Path, storage: LmdbStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write(lambda tx: tx.insert(META, Meta("name", "kept")))
    read, doubts = LmdbStorage._read, [DamagedError("once"), DamagedError("twice")]

    def doubtful(self: LmdbStorage, *arguments: Any) -> Any:
        if doubts:
            raise doubts.pop()
        return read(self, *arguments)

    monkeypatch.setattr(LmdbStorage, "_read", doubtful)
    assert present(storage.read(lambda tx: tx.get(META, "name"))).value == "kept"
    assert storage.notice is None
    assert not doubts
    assert list(path.parent.glob("*damaged*")) == []
