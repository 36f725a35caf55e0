"""Ids that differ only in case or in their Unicode normal form are reported, and never joined."""

import json

import pytest

from bytelyst_sync.http.transport import Response
from tests.conftest import Scripted
from tests.typed import NewEngine, NewPage, present

PAIRS = [("Ab1", "ab1"), ("AB1", "Ab1"), ("caf\u00e9", "cafe\u0301"), ("STRASSE", "stra\u00dfe")]


@pytest.mark.parametrize(("mine", "theirs"), PAIRS)
def test_a_page_with_a_similar_id_is_another_record(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage, mine: str, theirs: str
) -> None:
    listing = page({"id": mine}, {"id": theirs})
    engine = new_engine(transport=scripted(Response(204, {}, b"", ""), listing))
    engine.push("notes", {"id": mine, "title": "mine"})
    assert engine.flush().success
    result = engine.pull()
    assert {record["id"] for record in engine.records("notes")} == {mine, theirs}
    (problem,) = result.problems
    assert "differ only in case" in problem.message
    assert repr(mine) in problem.message or ascii(mine) in problem.message
    assert engine.status.last_error == problem.message


@pytest.mark.parametrize(("mine", "theirs"), PAIRS)
def test_a_create_whose_id_is_similar_to_a_pulled_one_is_reported(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage, mine: str, theirs: str
) -> None:
    engine = new_engine(transport=scripted(page({"id": theirs}), Response(204, {}, b"", "")))
    engine.pull()
    engine.push("notes", {"id": mine, "title": "mine"})
    assert engine.flush().success
    assert "differ only in case" in present(engine.status.last_error)
    assert {record["id"] for record in engine.records("notes")} == {mine, theirs}


def test_two_similar_ids_in_one_page_are_reported(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    engine = new_engine(transport=scripted(page({"id": "a"}, {"id": "A"}, {"id": "b"})))
    result = engine.pull()
    assert engine.count("notes") == 3
    assert len(result.problems) == 1


def test_an_answer_with_the_id_in_another_case_is_not_this_record(
    new_engine: NewEngine, scripted: type[Scripted]
) -> None:
    answer = Response(201, {}, json.dumps({"id": "ab1", "title": "mine"}).encode(), "")
    engine = new_engine(transport=scripted(answer))
    item = engine.push("notes", {"id": "Ab1", "title": "mine"})
    assert not engine.flush().success
    assert engine.wait(item, timeout=0).value == "failed"
    assert "another record" in present(engine.status.last_error)
    assert engine.get("notes", "ab1") is None


def test_other_ids_are_not_reported(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    engine = new_engine(transport=scripted(page({"id": "Ab1"}, {"id": "Ab2"}, {"id": 7})))
    assert engine.pull().problems == ()
    assert engine.pull().problems == ()
    assert engine.status.last_error is None
