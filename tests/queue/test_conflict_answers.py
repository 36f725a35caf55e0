"""Answers that report a conflict, compared with the state that the change was based on."""

import pytest

from bytelyst_sync import EntityConfig
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import Lane
from tests.queue.conftest import Queue


@pytest.mark.parametrize("version", [2, None])
def test_an_update_that_was_sent_on_an_older_state_meets_a_conflict(
    make_queue: type[Queue], version: int | None
) -> None:
    """The answer to the create, settled first, brings the newer state that the update meets."""
    queue = make_queue(notes=EntityConfig("/notes", id_source="server", conflict="merge"))
    queue.arrive("notes", "2", {"id": 2, "name": "z", "title": "theirs"}, version and 1)
    create = queue.push("notes", {"name": "z", "title": "mine"})
    update = queue.push("notes", {"id": 2, "title": "mine too"}, "update")
    current = {"id": 2, "name": "z", "title": "newer"}
    answer = AttemptResult(meaning=Verdict.CONFLICT, status=409, record=current, version=version)
    claims = queue.claim(2)
    assert [claim.item.seq for claim in claims] == [create.seq, update.seq]
    queue.run(
        lambda work: queue.settlement.settle_all(
            work, [(claim, answer) for claim in claims], queue.outages
        )
    )
    assert queue.record("notes", "2").version == version
    left = queue.rows_of("notes", "2")
    assert left
    assert Lane.FAILED not in [row.lane for row in left]
