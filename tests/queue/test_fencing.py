"""The fencing token: a claim settles an item only while the item has the claim's number."""

import pytest

from bytelyst_sync import SyncItem
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ITEMS, Lane
from tests.queue.conftest import Queue
from tests.typed import present

ANSWERS = {
    "delivered": AttemptResult(meaning=Verdict.DELIVERED, status=200),
    "busy": AttemptResult(meaning=Verdict.BUSY, status=503, unprocessed=True),
    "rejected": AttemptResult(meaning=Verdict.REJECTED, status=422),
    "unknown": AttemptResult(meaning=Verdict.UNKNOWN),
    "conflict": AttemptResult(meaning=Verdict.CONFLICT, status=409, record={"id": "1", "n": 9}),
}


@pytest.fixture
def item(queue: Queue) -> SyncItem:
    found: SyncItem = queue.push("notes", {"id": "1"})
    return found


@pytest.fixture
def taken_over(queue: Queue, item: SyncItem) -> Claim:
    """A claim, after another process has claimed its item too."""
    (claim,) = queue.claim()
    row = present(queue.item(item))

    def claim_again(tx: Transaction) -> None:
        tx.replace(ITEMS, row, row._replace(claim=2, frozen=1))

    queue.storage.write(claim_again)
    return claim._replace(item=claim.item._replace(claim=1), until=0.0)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_answer_to_a_former_claim_changes_nothing(
    queue: Queue, taken_over: Claim, answer: AttemptResult
) -> None:
    before = queue.rows()
    queue.settle(taken_over, answer)
    assert queue.rows() == before
    assert queue.effects.taken_over == 1


def test_a_former_claim_that_was_not_sent_gives_nothing_back(
    queue: Queue, taken_over: Claim, item: SyncItem
) -> None:
    queue.run(lambda work: queue.claims.unclaim(work.tx, [taken_over]))
    assert queue.lane(item) is Lane.SENDING


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_answer_to_the_present_claim_counts(
    queue: Queue, taken_over: Claim, item: SyncItem, answer: AttemptResult
) -> None:
    current = taken_over._replace(item=present(queue.item(item)))
    queue.settle(current, answer)
    assert queue.item(item) is None or queue.lane(item) is not Lane.SENDING
    assert queue.effects.taken_over == 0
