"""A store belongs to one account: nothing of it is sent or shown under another one."""

import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.errors import AccountMismatchError, EngineClosedError, UnsentChangesError
from bytelyst_sync.model import Json
from bytelyst_sync.storage import EncryptedStorage, MemoryStorage, SQLiteStorage, generate_key
from bytelyst_sync.storage.location import account_in_path
from bytelyst_sync.storage.schema import ITEMS, META, RECORDS
from bytelyst_sync.testing import Reply, Stall, SyncServer
from bytelyst_sync.testing.storage_samples import all_rows
from tests.typed import present

KEY = generate_key()
WORD = "horse-battery-staple"


@pytest.fixture
def new_engine(server: SyncServer) -> Iterator[Callable[..., SyncEngine]]:
    made = []

    def make(
        storage: SQLiteStorage | MemoryStorage | EncryptedStorage,
        account: str | None = None,
        **settings: Any,
    ) -> SyncEngine:
        options: Json = {"base_url": server.url, "entities": {"notes": "/notes"}, "probe": None}
        options |= {"auto_flush": False, "exit_timeout": 0, **settings}
        made.append(create_sync_engine(**options, storage=storage, account=account))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture(params=["sqlite", "memory", "encrypted"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[..., SQLiteStorage | MemoryStorage | EncryptedStorage]:
    """A function that gives the store, opened by somebody else each time."""
    if request.param == "memory":
        memory = MemoryStorage()
        return lambda: memory
    if request.param == "sqlite":
        return lambda: SQLiteStorage(tmp_path / "a.db")
    return lambda: EncryptedStorage(tmp_path / "a.db", KEY)


# -- whose it is ----------------------------------------------------------------------------------

CALLS: dict[str, Callable[[SyncEngine], object]] = {
    "push": lambda engine: engine.push("notes", {"id": "9"}),
    "get": lambda engine: engine.get("notes", "1"),
    "records": lambda engine: list(engine.records("notes")),
    "queue": lambda engine: list(engine.queue()),
    "flush": lambda engine: engine.flush(timeout=5),
    "pull": lambda engine: engine.pull(timeout=5),
    "sign_out": lambda engine: engine.sign_out(force=True),
}


@pytest.mark.parametrize("other", ["bob", "Anna", None])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_store_is_refused_to_another_account(
    storage: Callable[..., SQLiteStorage | MemoryStorage | EncryptedStorage],
    new_engine: Callable[..., SyncEngine],
    server: SyncServer,
    other: str | None,
    call: Callable[..., object],
) -> None:
    new_engine(storage(), "anna").push("notes", {"id": "1"})
    with pytest.raises(AccountMismatchError, match="belongs to account 'anna'"):
        call(new_engine(storage(), other))
    assert server.journal == []
    assert new_engine(storage(), "anna").queue_length == 1


def test_the_first_account_takes_a_store_without_one(
    storage: Callable[..., SQLiteStorage | MemoryStorage | EncryptedStorage],
    new_engine: Callable[..., SyncEngine],
) -> None:
    nobody = new_engine(storage())
    nobody.push("notes", {"id": "1"})
    anna = new_engine(storage(), "anna")
    assert anna.get("notes", "1") == {"id": "1"}
    for call in (CALLS["push"], CALLS["get"]):
        with pytest.raises(AccountMismatchError):
            call(nobody)
    assert anna.queue_length == 1


def test_a_deleted_store_is_created_again_for_the_account_in_use(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    path = tmp_path / "a.db"
    engine = new_engine(path, "anna")
    engine.push("notes", {"id": "1"})
    for file in tmp_path.iterdir():
        file.unlink()
    engine.push("notes", {"id": "2"})
    with pytest.raises(AccountMismatchError):
        new_engine(path, "bob").push("notes", {"id": "3"})


# -- a store for each -----------------------------------------------------------------------------

NAMES = (
    "anna",
    "Anna",
    "ANNA",
    "é",
    unicodedata.normalize("NFD", "é"),
    "a/b",
    "..",
    "a b",
    "a=20b",
)


def test_accounts_have_files_of_their_own(
    tmp_path: Path, new_engine: Callable[..., SyncEngine]
) -> None:
    for name in NAMES:
        engine = new_engine(f"{tmp_path}/app-{{account}}.db", name)
        engine.push("notes", {"id": "1", "of": name})
        engine.close()
    files = [path.name for path in tmp_path.glob("*.db")]
    assert len({name.casefold() for name in files}) == len(NAMES)
    for name in NAMES:
        assert (
            present(new_engine(f"{tmp_path}/app-{{account}}.db", name).get("notes", "1"))["of"]
            == name
        )


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255), st.data())
def test_different_account_names_give_different_paths(name: str, data: DataObject) -> None:
    other = data.draw(
        st.sampled_from([name.swapcase(), name.lower(), unicodedata.normalize("NFKC", name)])
    )
    one, two = account_in_path(name), account_in_path(other)
    assert one.isascii()
    assert one == one.lower()
    assert len(one) <= 120
    assert not set(one) & set("/\\:.%~ ")
    assert (one == two) is (name == other)


@pytest.mark.parametrize("name", ["con", "nul", "com1"])
def test_windows_device_names_are_encoded(name: str) -> None:
    assert account_in_path(name) != name


# -- signing out ----------------------------------------------------------------------------------


def test_sign_out_deletes_everything(
    storage: Callable[..., SQLiteStorage | MemoryStorage | EncryptedStorage],
    new_engine: Callable[..., SyncEngine],
    server: SyncServer,
) -> None:
    server.put("notes", {"id": "1", "text": WORD})
    engine = new_engine(storage(), "anna")
    engine.pull()
    engine.push("notes", {"id": "2", "text": WORD})
    assert engine.flush(timeout=10).success
    engine.sign_out()
    with pytest.raises(EngineClosedError):
        engine.push("notes", {"id": "3"})
    bob = new_engine(storage(), "bob")
    assert list(bob.records("notes")) == []
    assert bob.queue_length == 0
    bob.pull()
    assert len(list(bob.records("notes"))) == 2, "the cursor was forgotten too"


def test_no_file_contains_the_data_after_sign_out(
    tmp_path: Path, new_engine: Callable[..., SyncEngine], server: SyncServer
) -> None:
    """Neither in free pages, of this wipe or of earlier deletes, nor in logs and copies."""
    engine = new_engine(tmp_path / "a.db", "anna")
    engine.push_many("notes", [{"id": str(n), "text": f"{WORD} {n}" * 50} for n in range(200)])
    (tmp_path / "a.db.damaged-20200101T000000").write_text(WORD)
    engine.clear_queue()
    engine.push("notes", {"id": "1", "text": WORD})
    engine.sign_out(force=True)
    for file in tmp_path.iterdir():
        assert WORD.encode() not in file.read_bytes(), file
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'"):
            if name not in ("meta", "counters"):
                assert database.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,), name


def test_sign_out_refuses_to_delete_unsent_changes(
    storage: Callable[..., SQLiteStorage | MemoryStorage | EncryptedStorage],
    new_engine: Callable[..., SyncEngine],
    server: SyncServer,
) -> None:
    server.put("notes", {"id": "7", "v": 1})
    engine = new_engine(storage(), "anna", conflict="manual")
    engine.pull()
    server.script(Reply(422, {"error": "no"}), match="POST")
    engine.push("notes", {"id": "1"})
    engine.flush(timeout=10)
    server.patch("notes", "7", {"v": 2})
    engine.push("notes", {"id": "7", "v": 3}, "update")
    engine.flush(timeout=10)
    engine.push("notes", {"id": "2"})
    with pytest.raises(UnsentChangesError, match=r"sign_out\(force=True\)") as caught:
        engine.sign_out()
    assert (caught.value.queued, caught.value.failed, caught.value.parked) == (1, 1, 1)
    engine.flush(timeout=10)
    assert "2" in server.records("notes"), "it goes on"
    engine.sign_out(force=True)
    assert all_rows(storage(), ITEMS) == all_rows(storage(), RECORDS) == []


def test_sign_out_waits_for_running_requests(
    storage: Callable[..., SQLiteStorage | MemoryStorage | EncryptedStorage],
    new_engine: Callable[..., SyncEngine],
    server: SyncServer,
) -> None:
    engine = new_engine(storage(), "anna", auto_flush=True)
    server.script(Stall(0.5))
    engine.push("notes", {"id": "1"})
    assert server.wait_for(lambda: server.in_flight)
    engine.sign_out()
    assert server.records("notes").keys() == {"1"}


def test_without_wipe_the_store_keeps_its_account(
    storage: Callable[..., SQLiteStorage | MemoryStorage | EncryptedStorage],
    new_engine: Callable[..., SyncEngine],
    server: SyncServer,
) -> None:
    engine = new_engine(storage(), "anna")
    engine.push("notes", {"id": "1"})
    engine.sign_out(wipe=False, force=True)
    with pytest.raises(AccountMismatchError):
        new_engine(storage(), "bob").get("notes", "1")
    assert new_engine(storage(), "anna").queue_length == 1


@pytest.mark.parametrize("account", ["anna", None])
def test_other_engines_on_a_wiped_store_write_nothing(
    storage: Callable[..., SQLiteStorage | MemoryStorage | EncryptedStorage],
    new_engine: Callable[..., SyncEngine],
    server: SyncServer,
    account: str | None,
) -> None:
    one, two = (new_engine(storage(), account) for _ in range(2))
    two.push("notes", {"id": "1"})
    assert one.queue_length == 1
    one.sign_out(force=True)
    for call in (CALLS["push"], CALLS["get"], CALLS["flush"]):
        with pytest.raises(AccountMismatchError, match="make a new engine"):
            call(two)
    assert server.journal == []
    names = [row.name for row in all_rows(storage(), META)]
    assert names == ["account"]
