"""One row that cannot be taken is skipped, counted and reported, and stops nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bytelyst_sync import Dialect, MemoryStorage
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from bytelyst_sync.pull import page_commits
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import RECORDS
from tests.conftest import Scripted
from tests.typed import NewEngine, ViewOf, present

T = TypeVar("T")
BAD = {
    "no id": '{"note":"x"}',
    "null": '{"id":null}',
    "true": '{"id":true}',
    "a fraction": '{"id":1.5}',
    "a list": '{"id":["1"]}',
    "empty": '{"id":""}',
    "a path": '{"id":"../x"}',
    "a control character": '{"id":"a\\u0000"}',
    "a text": '"x"',
    "a number": "7",
    "null row": "null",
    "a list as a row": "[]",
    "1e999": '{"id":"bad","n":1e999}',
    "5,000 digits": '{"id":"bad","n":' + "9" * 5000 + "}",
    "250 nested lists": '{"id":"bad","n":' + "[" * 250 + "]" * 250 + "}",
    "NaN": '{"id":"bad","n":NaN}',
}


class Counting(MemoryStorage):
    """Notes how many records each commit added."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[int] = []

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        before = self._count()
        result = super().write(work, then)
        added = self._count() - before
        if added:
            self.added.append(added)
        return result

    def _count(self) -> int:
        return self.read(lambda tx: sum(1 for _ in tx.scan(RECORDS, None, ("notes",))))


def body(*rows: str, **members: Any) -> Response:
    fields = "".join(f',"{name}":{json.dumps(value)}' for name, value in members.items())
    return Response(200, {}, f'{{"items":[{",".join(rows)}]{fields}}}'.encode(), "")


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_the_others_are_taken_and_the_pull_goes_on(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf, bad: str
) -> None:
    wire = scripted(
        body('{"id":"a"}', bad, '{"id":"b"}', cursor="1", has_more=True),
        body('{"id":"c"}', cursor="2", has_more=False),
        body('{"id":"d"}', cursor="3", has_more=False),
    )
    engine = new_engine(transport=wire)
    result = engine.pull()
    assert set(view_of(engine)) == {"a", "b", "c"}
    assert (result.success, result.pulled, result.errors) == (False, 3, 1)
    (problem,) = result.problems
    assert problem.entity == "notes"
    assert "1 row(s) skipped" in problem.message
    assert "1 row(s) skipped" in present(engine.status.last_error)
    assert engine.pull().success, "the cursor went past it"
    assert "since=2" in wire.requests[2].url
    assert set(view_of(engine)) == {"a", "b", "c", "d"}


def test_a_bad_row_alone_in_a_page_stops_nothing(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf
) -> None:
    wire = scripted(
        body('{"id":null}', cursor="1", has_more=True),
        body('{"id":"a"}', cursor="2", has_more=False),
        body('{"id":null}', cursor="3", has_more=False),
        body('{"id":"b"}', cursor="4", has_more=False),
    )
    engine = new_engine(transport=wire)
    assert engine.pull().errors == 1
    assert engine.pull().errors == 1
    assert engine.pull().success
    assert set(view_of(engine)) == {"a", "b"}


def test_where_no_row_was_ever_good_the_mapping_is_wrong_and_the_cursor_stays(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf
) -> None:
    wire = scripted(
        body('{"uid":"1"}', cursor="1", has_more=True),
        body('{"uid":"2"}', cursor="2", has_more=False),
    )
    engine = new_engine(transport=wire)
    result = engine.pull()
    assert (result.success, result.errors) == (False, 1)
    assert "`id_field`" in present(engine.status.last_error)
    wire.answers = [body('{"id":"1"}', '{"id":"2"}', cursor="2", has_more=False)]
    assert engine.pull().success
    assert "since" not in wire.requests[-1].url, "what was not taken is asked for again"
    assert set(view_of(engine)) == {"1", "2"}


def test_a_row_that_a_dialects_own_step_cannot_decode_is_skipped(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf
) -> None:
    class Strict(Dialect):
        def decode(self, found: Json) -> Json:
            return {"id": found["id"], "title": found["title"].upper()}

    rows = ('{"id":"a","title":"x"}', '{"id":"b"}', '{"id":"c","title":"y"}')
    wire = scripted(body(*rows, cursor="1", has_more=False))
    engine = new_engine(transport=wire, dialect=Strict())
    assert engine.pull().errors == 1
    assert "`decode` of Strict raised KeyError" in present(engine.status.last_error)
    assert view_of(engine)["c"]["title"] == "Y"
    assert set(view_of(engine)) == {"a", "c"}


def test_a_row_that_the_dialect_leaves_out_is_no_problem(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf
) -> None:
    wire = scripted(body('{"id":"_design/x"}', '{"id":"a"}', cursor="1", has_more=False))
    engine = new_engine(transport=wire, dialect=Dialect(skip_ids="_design/"))
    assert engine.pull().success
    assert set(view_of(engine)) == {"a"}


@pytest.mark.parametrize("number", ["1234567890.123456789", "19.90", "1e2", "0.10"])
def test_a_number_goes_back_as_the_server_wrote_it(
    new_engine: NewEngine, scripted: type[Scripted], tmp_path: Path, number: str
) -> None:
    page = body('{"id":"1","amount":' + number + ',"lines":[{"p":' + number + "}]}", cursor="1")
    wire = scripted(page, Response(200, {}, b'{"id":"1"}', ""))
    dialect = Dialect(update="PUT {endpoint}/{id}", patch="full", next_page=None)
    file = tmp_path / "app.db"
    for _ in range(2):
        engine = new_engine(transport=wire, dialect=dialect, storage=file)
        if len(wire.requests) == 0:
            engine.pull()
        else:
            assert present(engine.get("notes", "1"))["amount"] == float(number)
            engine.push("notes", {**present(engine.get("notes", "1")), "note": "b"}, "update")
            engine.flush()
        engine.close()
    sent = present(wire.requests[-1].body).decode()
    assert sent.count(f":{number}") == 2


@pytest.mark.parametrize(
    ("lengths", "parts", "rests"),
    [
        pytest.param([0] * 250, [100, 100, 50], 0, id="small rows, a hundred at a time"),
        pytest.param([100_000] * 5, [2, 2, 1], 2, id="larger rows, a quarter of a megabyte"),
        pytest.param([0, 0, 600_000, 0, 600_000], [2, 1, 1, 1], 1, id="one that is larger, alone"),
    ],
)
def test_a_page_is_committed_in_parts_of_a_bounded_size(
    new_engine: NewEngine,
    scripted: type[Scripted],
    monkeypatch: pytest.MonkeyPatch,
    lengths: list[int],
    parts: list[int],
    rests: int,
) -> None:
    """A push waits for one part at most, so the largest rows bound it, not the average ones. After
    a large part, pushes that wait come first.
    """
    rested: list[int] = []
    monkeypatch.setattr(page_commits, "let_others_run", rested.append)
    rows = [json.dumps({"id": str(n), "text": "x" * size}) for n, size in enumerate(lengths)]
    storage = Counting()
    engine = new_engine(
        transport=scripted(body(*rows, cursor="1", has_more=False)), storage=storage
    )
    assert engine.pull().pulled == len(lengths)
    assert (storage.added, len(rested)) == (parts, rests)
