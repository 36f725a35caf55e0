"""What an item remembers of its attempts: all of it as long as its key stays the same."""

import pytest

from bytelyst_sync import EntityConfig, SyncItem
from bytelyst_sync.model import ConflictName
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import Item, Lane
from tests.queue.conftest import Queue
from tests.typed import present

LOST = AttemptResult(meaning=Verdict.UNKNOWN)
REDIRECTED = AttemptResult(meaning=Verdict.REDIRECT, status=302)


def attempts(row: Item) -> tuple[int, float | None, int | None, float | None]:
    return row.frozen, row.first_attempt, row.attempted, row.outage_began


def attempted_once(queue: Queue, item: SyncItem) -> Claim:
    """The item's answer was lost, and it is claimed again."""
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    assert None not in attempts(present(queue.item(item)))
    queue.now += 3600
    (claim,) = queue.claim()
    return claim


@pytest.mark.parametrize("conflict", ["client-wins", "merge"])
def test_what_a_conflict_sends_was_never_attempted(
    make_queue: type[Queue], conflict: ConflictName
) -> None:
    queue = make_queue(notes=EntityConfig("/notes", conflict=conflict))
    queue.arrive("notes", "1", {"id": "1", "title": "a", "n": 1}, "v1")
    item = queue.push("notes", {"id": "1", "title": "b"}, "update")
    claim = attempted_once(queue, item)
    theirs = {"id": "1", "title": "a", "n": 2}
    queue.settle(
        claim, AttemptResult(meaning=Verdict.CONFLICT, status=412, record=theirs, version="v2")
    )
    row = present(queue.item(item))
    assert row.id != item.id
    assert attempts(row) == (0, None, None, None)


def test_a_create_that_was_an_update_was_never_attempted(make_queue: type[Queue]) -> None:
    queue = make_queue()
    queue.arrive("notes", "1", {"id": "1", "title": "a"}, "v1")
    item = queue.push("notes", {"id": "1", "title": "b"})
    claim = attempted_once(queue, item)
    queue.settle(claim, AttemptResult(meaning=Verdict.GONE, status=404))
    row = present(queue.item(item))
    assert (row.operation, row.id != item.id) == ("create", True)
    assert attempts(row) == (0, None, None, None)


def test_one_that_tells_its_version_was_never_attempted(make_queue: type[Queue]) -> None:
    queue = make_queue()
    queue.arrive("notes", "1", {"id": "1", "title": "a"})
    item = queue.push("notes", {"id": "1", "title": "b"}, "update")
    claim = attempted_once(queue, item)
    same = {"id": "1", "title": "a"}
    queue.settle(
        claim, AttemptResult(meaning=Verdict.CONFLICT, status=412, record=same, version="v1")
    )
    row = present(queue.item(item))
    assert (row.version, row.id != item.id) == ("v1", True)
    assert attempts(row) == (0, None, None, None)


def test_one_of_unknown_outcome_keeps_its_first_attempt_when_it_is_reprocessed(
    make_queue: type[Queue],
) -> None:
    queue = make_queue()
    item = queue.push("notes", {"id": "1"})
    claim = attempted_once(queue, item)
    first = present(queue.item(item)).first_attempt
    queue.settle(claim, REDIRECTED)
    assert queue.run(lambda work: queue.control.reprocess(work, None)) == 1
    row = present(queue.item(item))
    assert (row.id, row.frozen, row.first_attempt) == (item.id, 1, first)
    assert (row.attempted, row.retries) == (None, 0)


@pytest.mark.parametrize("meaning", [Verdict.MAPPING, Verdict.UNCLEAR, Verdict.REDIRECT])
@pytest.mark.parametrize("from_api", [False, True], ids=["page", "JSON"])
def test_a_page_in_place_of_an_answer_does_not_prove_that_the_api_works(
    queue: Queue, meaning: Verdict, from_api: bool
) -> None:
    item = queue.push("notes", {"id": "1"})
    attempt = attempted_once(queue, item)
    other = queue.push("notes", {"id": "2"})
    (claim,) = queue.claim()
    assert claim.item.seq == other.seq
    queue.settle(claim, AttemptResult(meaning=meaning, status=200, from_api=from_api))
    queue.settle(attempt, LOST)
    assert present(queue.item(item)).retries == int(from_api)


def still_running(queue: Queue, item: SyncItem) -> bool:
    """The server says that it still works at the first attempt; true if the item is queued yet."""
    (claim,) = queue.claim()
    queue.settle(claim, AttemptResult(meaning=Verdict.CONFLICT, status=409))
    queue.now += 60
    return queue.lane(item) is not Lane.FAILED


def test_a_first_attempt_that_never_ends_fails_as_unknown_after_a_day(
    make_queue: type[Queue],
) -> None:
    queue = make_queue()
    item = queue.push("notes", {"id": "1"})
    queue.settle(queue.claim()[0], LOST)
    queue.now += 60
    assert all(still_running(queue, item) for _ in range(100)), "an hour is not long enough"
    row = present(queue.item(item))
    assert (row.id, row.retries, row.frozen) == (item.id, 0, 1)
    queue.now += 86_400
    assert not still_running(queue, item)
    assert present(queue.item(item)).frozen, "its outcome is unknown"


def test_after_a_day_asleep_the_server_is_asked_a_dozen_times(make_queue: type[Queue]) -> None:
    queue = make_queue()
    item = queue.push("notes", {"id": "1"})
    queue.settle(queue.claim()[0], LOST)
    queue.now += 2 * 86_400
    assert all(still_running(queue, item) for _ in range(12))
    assert not still_running(queue, item)
