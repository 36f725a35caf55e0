"""The links of an item are stored and deleted with the item."""

import pytest

from bytelyst_sync import EntityConfig
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import LINKS
from tests.queue.conftest import Queue

DELIVERED = AttemptResult(meaning=Verdict.DELIVERED, status=200)


@pytest.fixture
def notes(make_queue: type[Queue]) -> Queue:
    return make_queue(
        folders=EntityConfig("/folders"),
        notes=EntityConfig("/notes", references={"folder": "folders", "tags[].id": "folders"}),
    )


def test_settling_together_deletes_the_links(notes: Queue) -> None:
    for number in range(9):
        notes.push("notes", {"id": str(number), "folder": "a", "tags": [{"id": "b"}, {"id": 3}]})
    assert len(notes.rows(LINKS)) == 27
    claims = notes.claim(9)
    sent = [(claim, DELIVERED) for claim in claims]
    notes.run(lambda work: notes.settlement.settle_all(work, sent, {}))
    assert notes.rows() == []
    assert notes.rows(LINKS) == []


def test_cancelling_deletes_the_links(notes: Queue) -> None:
    item = notes.push("notes", {"id": "n", "folder": "a"})
    assert notes.run(lambda work: notes.control.cancel(work, item.seq))
    assert notes.rows(LINKS) == []


def test_an_edit_replaces_them(notes: Queue) -> None:
    notes.push("notes", {"id": "n", "folder": "a"})
    notes.push("notes", {"id": "n", "folder": "b"}, "update")
    assert [link.record for link in notes.rows(LINKS)] == ["b"]


def test_values_that_are_no_ids_refer_to_nothing(notes: Queue) -> None:
    notes.push("notes", {"id": "n", "folder": True, "tags": [{"id": None}, {"id": 1.5}, "x"]})
    assert notes.rows(LINKS) == []
