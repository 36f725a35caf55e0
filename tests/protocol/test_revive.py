"""Records that are brought back from their tombstones; a server with soft deletes on loopback."""

from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync import ConfigError, Dialect, SyncEngine
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Seen
from tests.protocol.loopback import Loopback
from tests.typed import present

WHEN = "2024-05-06T07:08:09Z"


class Soft:
    """Keeps deleted records, whose ids cannot be created again. ``shows``: a 409 has the record."""

    def __init__(
        self, mark: str, living: bool | str | None, dead: str | bool, *, shows: bool = True
    ) -> None:
        self.mark, self.living, self.dead, self.shows = mark, living, dead, shows
        self.rows: dict[Any, Any] = {}

    def put(self, record: Json, *, deleted: bool = False) -> None:
        version = self.rows.get(record["id"], {"version": 0})["version"] + 1
        mark = {self.mark: self.dead if deleted else self.living}
        self.rows[record["id"]] = {**mark, **record, "version": version}

    def __call__(self, request: Seen) -> tuple[int, Json | None]:
        key = request.path.rpartition("/")[2]
        if request.path == "/notes":
            return self.collection(request)
        row = self.rows.get(key)
        if row is None:
            return 404, {"error": "no such record"}
        if request.method == "GET":
            return 200, row
        if request.headers.get("if-match") not in (None, str(row["version"])):
            return 412, {"current": row}
        if request.method == "DELETE":
            self.put({"id": key}, deleted=True)
            return 204, None
        self.put({**row, **request.body})
        return 200, self.rows[key]

    def collection(self, request: Seen) -> tuple[int, Json]:
        if request.method == "GET":
            return 200, {"items": list(self.rows.values())}
        if request.body["id"] in self.rows:
            row = self.rows[request.body["id"]]
            return 409, {"error": "taken", **({"current": row} if self.shows else {})}
        self.put(request.body)
        return 201, self.rows[request.body["id"]]


MARKS = {
    "a time": ("deleted_at", None, WHEN, "deleted_at"),
    "a flag": ("deleted", False, True, "deleted"),
    "a value": ("status", "open", "trash", "status=trash"),
}
each_mark = pytest.mark.parametrize(("mark", "living", "dead", "said"), MARKS.values(), ids=MARKS)


def dialect(said: str, **fields: Any) -> Dialect:
    return Dialect(
        cursor=None, since=None, next_page=None, tombstone=said, revive="update", **fields
    )


@pytest.mark.parametrize("shows", [True, False])
@each_mark
def test_a_create_of_what_was_deleted_is_an_update_of_its_tombstone(
    loopback: Callable[..., Loopback],
    connect: Callable[..., SyncEngine],
    mark: str,
    living: bool | str | None,
    dead: str | bool,
    said: str,
    shows: bool,
) -> None:
    soft = Soft(mark, living, dead, shows=shows)
    soft.put({"id": "0", "title": "lives"})
    soft.put({"id": "1", "title": "old"}, deleted=True)
    api = loopback(soft)
    engine = connect(api, dialect(said))
    assert engine.pull().success
    engine.push("notes", {"id": "1", "title": "new"})
    assert engine.flush(timeout=10).success
    assert soft.rows["1"] == {mark: living, "id": "1", "title": "new", "version": 2}
    write = api.requests[-1]
    assert (write.method, write.path) == ("PATCH", "/notes/1")
    assert write.headers["if-match"] == "1", "no POST was tried: the tombstone had been pulled"
    assert present(engine.get("notes", "1"))["title"] == "new"


@pytest.mark.parametrize("shows", [True, False])
@each_mark
def test_so_is_one_whose_tombstone_is_met_by_the_create(
    loopback: Callable[..., Loopback],
    connect: Callable[..., SyncEngine],
    mark: str,
    living: bool | str | None,
    dead: str | bool,
    said: str,
    shows: bool,
) -> None:
    soft = Soft(mark, living, dead, shows=shows)
    api = loopback(soft)
    engine = connect(api, dialect(said))
    soft.put({"id": "0", "title": "lives"})
    assert engine.pull().success
    soft.put({"id": "1", "title": "old"}, deleted=True)
    engine.push("notes", {"id": "1", "title": "new"})
    assert engine.flush(timeout=10).success
    assert (soft.rows["1"][mark], soft.rows["1"]["title"]) == (living, "new")
    assert api.said.count("POST /notes") == 1


def test_a_record_that_was_deleted_here_comes_back(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    soft = Soft("deleted", False, True)
    engine = connect(loopback(soft), dialect("deleted"))
    for title in ("first", "second"):
        engine.push("notes", {"id": "1", "title": title})
        assert engine.flush(timeout=10).success
        assert soft.rows["1"]["title"] == title
        if title == "first":
            engine.delete("notes", "1")
            assert engine.flush(timeout=10).success
            assert soft.rows["1"]["deleted"]


def test_an_edit_that_wins_over_a_delete_is_one(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    soft = Soft("deleted", False, True)
    engine = connect(loopback(soft), dialect("deleted"), conflict="client-wins")
    soft.put({"id": "1", "title": "old", "n": 1})
    assert engine.pull().success
    soft.put({"id": "1", "title": "old", "n": 1}, deleted=True)
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    for _ in range(2):
        engine.full_sync(timeout=10)
    assert soft.rows["1"] == {"deleted": False, "id": "1", "title": "mine", "n": 1, "version": 3}


def test_what_the_program_says_of_the_mark_is_sent(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    soft = Soft("status", "open", "trash")
    soft.put({"id": "1"}, deleted=True)
    engine = connect(loopback(soft), dialect("status=trash"))
    assert engine.pull().success
    engine.push("notes", {"id": "1", "status": "urgent"})
    assert engine.flush(timeout=10).success
    assert soft.rows["1"]["status"] == "urgent"


def test_a_tombstone_that_changed_meanwhile_is_met_again(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    soft = Soft("deleted", False, True)
    soft.put({"id": "1"}, deleted=True)
    engine = connect(loopback(soft), dialect("deleted"))
    assert engine.pull().success
    soft.put({"id": "1"}, deleted=True)
    engine.push("notes", {"id": "1", "title": "new"})
    assert engine.flush(timeout=10).success
    assert soft.rows["1"]["title"] == "new"


def test_revive_is_update_or_nothing() -> None:
    with pytest.raises(ConfigError, match=r'revive .*"update" or None'):
        Dialect(revive="create")
