"""What a listing lacks: held back, read before it is believed, accepted, sent again, forgotten."""

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bytelyst_sync import Dialect, EntityConfig, Request, SyncEngine, SyncItem
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from bytelyst_sync.storage.schema import ALIASES, RECORDS
from bytelyst_sync.testing import ManualClock, Reply, SyncServer
from tests import conftest
from tests.conftest import Scripted
from tests.convergence.server import Server, Wire, World
from tests.typed import Eventually, NewEngine, NewPage, ViewOf, present

DAY = timedelta(days=1)


class Lister:
    """A server that lists all it has, without cursor and tombstones. A transport.

    ``most`` caps its listings; ``refuses`` answers readings with 403.
    """

    def __init__(self, count: int) -> None:
        self.rows = {str(n): {"id": str(n), "title": f"t{n}"} for n in range(count)}
        self.most = 10_000
        self.refuses = False
        self.read: list[Any] = []
        self.written: list[Any] = []

    def send(self, request: Request) -> Response:
        path = urlsplit(request.url).path
        key = path.removeprefix("/notes").strip("/")
        if request.method == "POST":
            row = json.loads(present(request.body))
            self.rows[row["id"]] = row
            self.written.append(row)
            return self.answer(row, 201)
        if request.method != "GET":
            self.written.append(key)
            return self.answer(self.rows.get(key), 200 if key in self.rows else 404)
        if not key:
            return self.answer({"items": list(self.rows.values())[: self.most]})
        self.read.append(key)
        if self.refuses:
            return self.answer({}, 403)
        return self.answer(self.rows.get(key), 200 if key in self.rows else 404)

    def answer(self, body: Json | None, status: int = 200) -> Response:
        return Response(status, {}, json.dumps(body).encode(), "")

    def lose(self, *keys: str) -> Json:
        return {key: self.rows.pop(key) for key in keys}


LISTED: Json = {"dialect": Dialect(cursor=None, since=None, next_page=None, tombstone=None)}


def keys(start: int, end: int) -> list[str]:
    return [str(n) for n in range(start, end)]


# reconcile reads before it believes


def test_reconcile_reads_a_record_before_it_believes_that_it_is_gone(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    wire = Lister(30)
    engine = new_engine(transport=wire, **LISTED)
    engine.pull()
    wire.lose("1", "2")
    wire.most = 26
    result = engine.reconcile("notes")
    assert (result.success, result.pulled) == (True, 2)
    assert set(wire.read) == {"1", "2", "28", "29"}
    assert set(view_of(engine)) == set(wire.rows), "what is there, though it is not listed, stays"


def test_a_server_that_caps_its_pages_costs_no_record(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    wire = Lister(60)
    engine = new_engine(transport=wire, **LISTED)
    engine.pull()
    wire.most = 30
    assert engine.reconcile("notes").success
    assert len(view_of(engine)) == 60


def test_at_most_batch_size_are_read_in_a_run_and_the_rest_later(
    new_engine: NewEngine, view_of: ViewOf, eventually: Eventually
) -> None:
    wire = Lister(40)
    engine = new_engine(transport=wire, batch_size=5, **LISTED)
    engine.pull()
    wire.lose(*keys(0, 12))
    engine.pause()  # so that nothing is read in the background
    assert engine.reconcile("notes").success
    engine.resume()
    eventually(lambda: set(view_of(engine)) == set(wire.rows))
    assert len(wire.read) == 12


def test_a_reading_that_is_refused_removes_nothing(new_engine: NewEngine, view_of: ViewOf) -> None:
    wire = Lister(5)
    engine = new_engine(transport=wire, **LISTED)
    engine.pull()
    wire.lose("1")
    wire.refuses = True
    result = engine.reconcile("notes")
    assert (result.success, result.errors) == (False, 1)
    assert set(view_of(engine)) == set(keys(0, 5))
    wire.refuses = False
    assert engine.reconcile("notes").success
    assert set(view_of(engine)) == set(wire.rows)


# mass disappearance


@pytest.mark.parametrize(
    ("held", "lost", "max_vanish", "believed"),
    [
        (20, 11, 0.5, False),
        (20, 10, 0.5, True),
        (12, 9, 0.5, True),
        (100, 30, 0.25, False),
        (100, 25, 0.25, True),
        (20, 20, 1.0, True),
        (30, 10, 0.0, False),
        (30, 9, 0.0, True),
    ],
)
@pytest.mark.parametrize("how", ["pull", "reconcile"])
def test_a_listing_that_lacks_too_many_records_is_not_believed(
    new_engine: NewEngine,
    view_of: ViewOf,
    held: int,
    lost: int,
    max_vanish: float,
    believed: bool,
    how: str,
) -> None:
    wire = Lister(held)
    engine = new_engine(transport=wire, max_vanish=max_vanish, **LISTED)
    engine.pull()
    wire.lose(*keys(0, lost))
    result = engine.pull() if how == "pull" else engine.reconcile("notes")
    assert result.success is believed
    assert len(view_of(engine)) == (held - lost if believed else held)
    status = engine.status
    expected = ("idle", None) if believed else ("error", "vanished")
    assert (status.status, status.reason) == expected
    if not believed:
        assert f"{lost} of {held} records" in present(status.last_error)
        assert wire.read == []


def held_back(new_engine: NewEngine, wire: Lister, **options: Any) -> tuple[SyncEngine, Json]:
    engine = new_engine(transport=wire, **{**LISTED, **options})
    engine.pull()
    lost = wire.lose(*keys(0, 15))
    assert not engine.pull().success
    assert engine.status.reason == "vanished"
    return engine, lost


def test_no_queued_edit_is_dropped_while_a_listing_is_held_back(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    wire = Lister(20)
    engine = new_engine(transport=wire, **LISTED)
    engine.pull()
    engine.push("notes", {"id": "3", "title": "mine"}, "update")
    wire.lose(*keys(0, 15))
    assert not engine.pull().success
    assert engine.queue_length == 1
    assert view_of(engine)["3"]["title"] == "mine"


def test_the_next_listing_within_the_bound_settles_it(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    wire = Lister(20)
    engine, lost = held_back(new_engine, wire)
    wire.rows.update(lost)
    assert engine.pull().success
    assert engine.status.reason is None
    assert len(view_of(engine)) == 20


def test_reconcile_with_accept_settles_it(new_engine: NewEngine, view_of: ViewOf) -> None:
    wire = Lister(20)
    engine, _ = held_back(new_engine, wire)
    assert not engine.reconcile("notes").success
    result = engine.reconcile("notes", accept=True)
    assert (result.success, result.pulled) == (True, 15)
    assert set(view_of(engine)) == set(wire.rows)
    assert engine.status.reason is None


def test_it_is_known_after_a_restart(
    new_engine: NewEngine, tmp_path: Path, eventually: Eventually
) -> None:
    wire = Lister(20)
    engine, _ = held_back(new_engine, wire, storage=tmp_path / "app.db")
    engine.close()
    engine = new_engine(transport=wire, storage=tmp_path / "app.db", **LISTED)
    engine.start()
    eventually(lambda: engine.status.reason == "vanished")
    assert engine.status.status == "error"


def test_reupload_sends_again_what_the_server_lost(new_engine: NewEngine, view_of: ViewOf) -> None:
    wire = Lister(20)
    engine, lost = held_back(new_engine, wire)
    before = view_of(engine)
    assert engine.reupload("notes") == 15
    assert view_of(engine) == before
    assert {item.operation for item in engine.queue()} == {"create"}
    assert engine.flush().success
    assert {row["id"]: row for row in wire.written} == lost
    assert engine.pull().success
    assert view_of(engine) == before == wire.rows
    assert engine.reupload("notes") == 0


def test_reupload_of_some_ids(new_engine: NewEngine) -> None:
    wire = Lister(20)
    engine, _ = held_back(new_engine, wire)
    assert engine.reupload("notes", [1, "2", "absent"]) == 2
    assert [item.record_id for item in engine.queue()] == ["1", "2"]
    assert engine.status.reason == "vanished"


def test_reupload_keeps_queued_edits(new_engine: NewEngine) -> None:
    wire = Lister(20)
    engine = new_engine(transport=wire, **LISTED)
    engine.pull()
    engine.push("notes", {"id": "3", "title": "mine"}, "update")
    engine.delete("notes", "4")
    wire.lose(*keys(0, 15))
    engine.pull()
    assert engine.reupload("notes") == 14
    assert engine.flush().success
    assert wire.rows["3"] == {"id": "3", "title": "mine"}
    assert "4" not in wire.rows


def test_a_restored_server_keeps_queued_changes_and_gets_back_what_it_lost(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage, view_of: ViewOf
) -> None:
    rows = [{"id": str(n), "title": "x", "version": n} for n in range(4)]
    wire = scripted(
        page(*rows, cursor=10), page(cursor=3), page(rows[0], {**rows[1], "title": "old"}, cursor=3)
    )
    engine = new_engine(transport=wire)
    engine.pull()
    engine.push("notes", {"id": "2", "title": "mine"}, "update")
    assert engine.pull().success
    assert "restored" in present(engine.status.last_error)
    assert view_of(engine)["1"]["title"] == "old", "equal versions prove nothing"
    assert [item.record_id for item in engine.queue()] == ["2"]
    assert engine.reupload("notes", ["2"]) == 1
    assert engine.reupload("notes") == 1
    sent = {item.record_id: item.data for item in engine.queue()}
    assert sent == {"2": {"id": "2", "title": "mine"}, "3": {"id": "3", "title": "x"}}


# what is forgotten


def test_tombstones_are_pruned_after_thirty_days_and_a_later_pull(
    new_engine: NewEngine, server: SyncServer, tmp_path: Path
) -> None:
    clock = ManualClock()
    engine = new_engine(server.url, clock=clock)
    storage = engine._core.running().storage

    def held() -> set[str]:
        return {row.record for row in storage.read(lambda tx: list(tx.scan(RECORDS)))}

    server.put("notes", {"id": "1"})
    server.put("notes", {"id": "2"})
    engine.pull()
    server.remove("notes", "1")
    engine.pull()
    clock.advance(29 * DAY.total_seconds())
    engine.pull()
    assert held() == {"1", "2"}
    clock.advance(2 * DAY.total_seconds())
    assert held() == {"1", "2"}, "not before a pull"
    server.script(Reply(500), match="GET /notes")
    assert not engine.pull().success
    assert held() == {"1", "2"}, "nor with one that fails"
    engine.pull()
    assert held() == {"2"}


def test_an_alias_lives_as_long_as_its_record_and_thirty_days(
    new_engine: NewEngine, wire: conftest.Wire
) -> None:
    clock = ManualClock()
    wire.store.rules = wire.store.rules.__class__(id_source="server")
    entity = EntityConfig("/notes", id_source="server")
    engine = new_engine(transport=wire, clock=clock, entities={"notes": entity})
    storage = engine._core.running().storage

    def aliases() -> int:
        return storage.read(lambda tx: len(list(tx.scan(ALIASES))))

    item = engine.push("notes", {"title": "x"})
    engine.flush()
    engine.pull()
    clock.advance(60 * DAY.total_seconds())
    engine.pull()
    assert aliases() == 1
    assert present(engine.get("notes", item.record_id))["title"] == "x"
    wire.store.change("notes", "delete", {"id": 1})
    engine.pull()
    clock.advance(29 * DAY.total_seconds())
    engine.pull()
    assert aliases() == 1
    clock.advance(2 * DAY.total_seconds())
    engine.pull()
    assert aliases() == 0


def test_a_pull_without_news_writes_nothing(new_engine: NewEngine, server: SyncServer) -> None:
    engine = new_engine(server.url)
    server.put("notes", {"id": "1"})
    engine.pull()
    storage = engine._core.running().storage
    writes: list[int] = []
    write = storage.write

    def count(*arguments: Any) -> Any:
        writes.append(1)
        return write(*arguments)

    storage.write = count  # type: ignore[assignment,method-assign]  # replaced by the test
    engine.pull()
    assert writes == []


def test_what_reconcile_found_deleted_neither_counts_as_missing_nor_comes_back(
    new_engine: NewEngine, view_of: ViewOf, eventually: Eventually
) -> None:
    wire = Lister(40)
    engine = new_engine(transport=wire, batch_size=5, **LISTED)
    engine.pull()
    for start, end in ((0, 18), (18, 28)):
        wire.lose(*keys(start, end))
        assert engine.reconcile("notes").success
        eventually(lambda: set(view_of(engine)) == set(wire.rows))
    assert engine.reupload("notes") == 0


def test_an_empty_list_of_a_server_without_cursors_is_noticed_and_queued_edits_stay(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    wire = Lister(5)
    engine = new_engine(transport=wire, **LISTED)
    engine.pull()
    engine.push("notes", {"id": "3", "title": "mine"}, "update")
    wire.lose(*keys(0, 5))
    engine.pull()
    assert "wiped" in present(engine.status.last_error)
    assert [item.record_id for item in engine.queue()] == ["3"]
    assert view_of(engine)["3"]["title"] == "mine"


@pytest.fixture
def restored(new_engine: NewEngine) -> tuple[SyncEngine, SyncItem]:
    """An engine with an edit of a record that the server lost when it was restored."""
    server = Server(World())
    engine = new_engine(transport=Wire(server, rng=random.Random(1)), max_vanish=1.0)
    server.change("kept", {"title": "theirs"})
    backup = server.backup()
    server.change("lost", {"title": "theirs"})
    assert engine.pull().pulled == 2
    server.restore(backup)
    item = engine.push("notes", {"id": "lost", "title": "mine"}, "update")
    assert engine.pull().success
    assert present(engine.get("notes", "lost"))["title"] == "mine", "an edit is queued"
    return engine, item


def test_a_record_that_a_restored_server_lost_leaves_with_its_cancelled_edit(
    restored: tuple[SyncEngine, SyncItem],
) -> None:
    engine, item = restored
    assert engine.cancel(item)
    assert engine.pull().success
    assert [record["id"] for record in engine.records("notes")] == ["kept"]


def test_a_record_that_a_restored_server_lost_leaves_with_its_expired_edit(
    restored: tuple[SyncEngine, SyncItem],
) -> None:
    engine, item = restored
    assert engine.cancel(item)
    engine.push("notes", {"id": "lost", "title": "again"}, "update", expires=0.001)
    assert engine.pull().success
    engine.flush()
    assert engine.pull().success
    assert [record["id"] for record in engine.records("notes")] == ["kept"]


def test_a_conflict_brings_back_nothing_that_a_restored_server_lost(new_engine: NewEngine) -> None:
    server = Server(World())
    wire = Wire(server, rng=random.Random(1))
    engine = new_engine(transport=wire, max_vanish=1.0, conflict="manual")
    server.change("kept", {"title": "theirs"})
    assert engine.pull().pulled == 1
    backup = server.backup()
    server.change("lost", {"title": "theirs"})
    engine.push("notes", {"id": "lost", "title": "mine"})
    assert engine.pull().conflicts == 1
    server.restore(backup)
    assert engine.pull().success
    (conflict,) = engine.conflicts()
    engine.resolve(conflict, "remote")
    assert engine.full_sync().success
    assert [record["id"] for record in engine.records("notes")] == ["kept"]


# answers to writes


def wiped(
    new_engine: NewEngine, held: int, edited: int, *, kept: int = 1, **options: Any
) -> tuple[SyncEngine, Lister, Json]:
    """A server that lost what is ``held`` here, but for the last ``kept`` records."""
    wire = Lister(held + kept)
    engine = new_engine(transport=wire, conflict="server-wins", **{**LISTED, **options})
    engine.pull()
    for key in keys(0, edited):
        engine.push("notes", {"id": key, "title": "mine"}, "update")
    lost = wire.lose(*keys(0, held))
    return engine, wire, lost


def test_answers_that_a_record_is_gone_count_as_missing(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    engine, _, _ = wiped(new_engine, held=16, edited=8)
    engine.flush()
    assert len(view_of(engine)) == 9, "eight are believed"
    assert not engine.pull().success
    assert "16 of 17 records" in present(engine.status.last_error)
    assert len(view_of(engine)) == 9


def test_too_many_answers_that_a_record_is_gone_are_not_believed(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    engine, wire, lost = wiped(new_engine, held=17, edited=17, max_retry_delay=300.0)
    result = engine.flush()
    assert not result.success
    assert (engine.status.status, engine.status.reason) == ("error", "vanished")
    assert engine.queue_length == 8, "what came after the first half stays queued"
    assert len(view_of(engine)) == 9
    assert engine.reupload("notes") == 9, "those that were believed"
    left = [item.record_id for item in engine.queue() if item.operation == "update"]
    assert engine.reupload("notes", left) == 8
    assert engine.flush().success
    assert set(wire.rows) == {*lost, "17"}


def test_no_answer_that_a_record_is_gone_is_believed_of_a_server_without_records(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    engine, wire, lost = wiped(new_engine, held=12, edited=12, kept=0, max_retry_delay=300.0)
    assert not engine.flush().success
    assert engine.status.reason == "vanished"
    assert "12 of 12 records" in present(engine.status.last_error)
    assert engine.queue_length == 12
    assert len(view_of(engine)) == 12
    assert engine.reupload("notes", list(lost)) == 12
    assert engine.flush().success
    assert set(wire.rows) == set(lost)


def test_a_few_answers_that_a_record_is_gone_are_believed(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    engine, _, _ = wiped(new_engine, held=9, edited=9)
    engine.flush()
    assert set(view_of(engine)) == {"9"}
    assert engine.status.reason is None


def test_a_few_records_may_all_be_gone(new_engine: NewEngine, view_of: ViewOf) -> None:
    engine, _, _ = wiped(new_engine, held=9, edited=9, kept=0)
    engine.flush()
    assert view_of(engine) == {}
    assert engine.status.reason is None


def test_after_a_restore_an_equal_version_is_no_proof_that_a_record_is_unchanged(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    before = {"id": "1", "title": "x", "version": 1}
    after = {**before, "title": "from the backup"}
    wire = scripted(page(before, cursor=10), page(cursor=3), page(after, cursor=3))
    engine = new_engine(transport=wire, conflict="server-wins")
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    result = engine.pull()
    assert (result.success, result.conflicts) == (True, 1)
    assert present(engine.get("notes", "1"))["title"] == "from the backup"
