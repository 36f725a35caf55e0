"""Which items are sent next: positions, due times, and entities that are not configured."""

import pytest

from bytelyst_sync.config.entity import Entities
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim, Claims
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import ITEMS, Lane
from tests.queue.conftest import Queue
from tests.typed import present

LOST = AttemptResult(meaning=Verdict.UNKNOWN)
BUSY = AttemptResult(meaning=Verdict.BUSY, status=429, unprocessed=True)
DAY = 86_400.0


def places(claims: list[Claim]) -> list[int]:
    return [claim.item.seq for claim in claims]


def after(seconds: float) -> AttemptResult:
    return AttemptResult(meaning=Verdict.SERVER_ERROR, status=500, retry_after=seconds)


def test_items_of_all_entities_are_claimed_in_order(queue: Queue) -> None:
    pushed = [queue.push(name, {"id": str(n)}) for n, name in enumerate(["tasks", "notes"] * 5)]
    assert places(queue.claim(4)) == [item.seq for item in pushed[:4]]
    assert places(queue.claim(99)) == [item.seq for item in pushed[4:]]


def test_after_busy_an_item_goes_last(queue: Queue) -> None:
    first = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    second = queue.push("tasks", {"id": "b"})
    queue.settle(claim, BUSY)
    assert places(queue.claim(9)) == [second.seq, first.seq]


def test_after_offline_an_item_keeps_its_position(queue: Queue) -> None:
    first = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    second = queue.push("tasks", {"id": "b"})
    queue.settle(claim, AttemptResult(meaning=Verdict.OFFLINE, unprocessed=True))
    assert places(queue.claim(9)) == [first.seq, second.seq]


def test_unclaim_restores_the_item(queue: Queue) -> None:
    queue.push("notes", {"id": "a"})
    (before,) = queue.rows()
    claims = queue.claim()
    queue.run(lambda work: queue.claims.unclaim(work.tx, claims))
    assert queue.rows() == [before]


def test_a_claim_is_settled_once(queue: Queue) -> None:
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.run(queue.claims.recover)
    queue.deliver(claim)
    assert queue.lane(item) is Lane.READY


REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)
DELIVERED = AttemptResult(meaning=Verdict.DELIVERED, status=200)


@pytest.mark.parametrize("way", ["settle", "settle_all"])
def test_a_late_answer_does_not_settle_a_changed_item(queue: Queue, way: str) -> None:
    item = queue.push("notes", {"id": "a"})
    (early,) = queue.claim()
    queue.settle(early, REJECTED)
    queue.run(lambda work: queue.control.reprocess(work, None))
    (late,) = queue.claim()
    assert (late.item.seq, late.item.id) != (early.item.seq, early.item.id)

    def answered(work: UnitOfWork) -> None:
        if way == "settle":
            queue.settlement.settle(work, early, DELIVERED, {})
        else:
            queue.settlement.settle_all(work, [(early, DELIVERED)], {})

    queue.run(answered)
    assert queue.lane(item) is Lane.SENDING
    queue.deliver(late)
    assert queue.item(item) is None


def test_recovered_claims_are_frozen(queue: Queue) -> None:
    item = queue.push("notes", {"id": "a"})
    queue.claim()
    assert queue.run(queue.claims.recover) == 1
    again = queue.push("notes", {"id": "a", "title": 2}, "update")
    assert again.seq != item.seq
    (claim,) = queue.claim(9)
    assert (claim.item.seq, claim.item.id, claim.item.frozen) == (item.seq, item.id, 1)


@pytest.mark.parametrize("back", [1.0, 100.0, DAY, 50 * 365 * DAY])
def test_a_clock_set_back_postpones_no_more_than_the_longest_wait(
    queue: Queue, back: float
) -> None:
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    queue.now -= back
    queue.claim()
    queue.now += 60.0
    assert places(queue.claim()) == [item.seq]


@pytest.mark.parametrize("back", [30.0, DAY, 400 * DAY])
def test_a_clock_set_back_postpones_no_more_than_what_the_server_asked(
    queue: Queue, back: float
) -> None:
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, after(7200.0))
    queue.now -= back
    queue.claim()
    queue.now += 7100.0 - min(back, 30.0)
    assert queue.claim() == []
    queue.now += 130.0
    assert places(queue.claim()) == [item.seq]


def test_a_clock_set_forward_makes_items_due(queue: Queue) -> None:
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, after(7200.0))
    queue.now += 400 * DAY
    assert places(queue.claim()) == [item.seq]


def test_more_items_than_one_promotion_takes_keep_their_order(queue: Queue) -> None:
    pushed = [queue.push("notes", {"id": str(n)}) for n in range(700)]
    for claim in queue.claim(700):
        queue.settle(claim, LOST)
    queue.now -= 400 * DAY
    queue.claim(1)
    queue.claim(1)
    queue.now += 60.0
    found = places(queue.claim(700)) + places(queue.claim(700))
    assert sorted(found) == [item.seq for item in pushed]


def test_the_next_attempt_is_never_delayed_longer_than_intended(queue: Queue) -> None:
    queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)

    def wait() -> float:
        return present(queue.storage.read(lambda tx: queue.claims.next_due(tx, queue.now)))

    assert wait() == pytest.approx(0.5)
    queue.now -= DAY
    assert 0.0 <= wait() <= 0.5
    assert queue.claim() == []
    assert wait() == pytest.approx(0.5)
    queue.now += 2 * DAY
    assert wait() == 0.0


def test_items_of_unknown_entities_are_kept_and_listed(queue: Queue) -> None:
    theirs = queue.push("tasks", {"id": "a"})
    ours = queue.push("notes", {"id": "b"})
    known = Entities({"notes": queue.entities["notes"]})
    claims = Claims(known, queue.resolver, 60.0)
    assert queue.storage.read(claims.unknown_entities) == ["tasks"]
    taken = queue.run(lambda work: claims.claim(work, 9))
    assert places(taken) == [ours.seq]
    assert queue.lane(theirs) is Lane.READY
    assert not queue.storage.read(claims.ready)


def test_a_claim_of_an_unknown_entity_is_recovered(queue: Queue) -> None:
    item = queue.push("tasks", {"id": "a"})
    queue.claim()
    known = Entities({"notes": queue.entities["notes"]})
    claims = Claims(known, queue.resolver, 60.0)
    assert queue.run(claims.recover) == 1
    assert (queue.lane(item), present(queue.item(item)).frozen) == (Lane.READY, 1)
    assert places(queue.claim()) == [item.seq]


def test_a_due_item_of_an_unknown_entity_becomes_ready(queue: Queue) -> None:
    item = queue.push("tasks", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    queue.now += 10.0
    known = Entities({"notes": queue.entities["notes"]})
    claims = Claims(known, queue.resolver, 60.0)
    assert queue.run(lambda work: claims.claim(work, 9)) == []
    assert places(queue.claim()) == [item.seq]


def test_the_next_due_time_is_that_of_known_entities(queue: Queue) -> None:
    queue.push("tasks", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    known = Entities({"notes": queue.entities["notes"]})
    claims = Claims(known, queue.resolver, 60.0)
    queue.now += 10.0
    # an engine that cannot send it must not be told, again and again, that it is due
    queue.run(lambda work: claims.claim(work, 9))
    assert queue.storage.read(lambda tx: claims.next_due(tx, queue.now)) is None


def test_busy_up_to_a_seq(queue: Queue) -> None:
    def busy(place: int) -> bool:
        return queue.storage.read(lambda tx: queue.claims.busy_up_to(tx, place))

    item = queue.push("notes", {"id": "a"})
    assert not busy(item.seq - 1)
    assert busy(item.seq)
    (claim,) = queue.claim()
    assert busy(item.seq)
    queue.settle(claim, LOST)
    assert not busy(item.seq)


def test_a_claim_has_the_stores_number_at_that_time(queue: Queue) -> None:
    queue.push("notes", {"id": "a"})
    before = queue.storage.read(lambda tx: tx.last_number())
    (claim,) = queue.claim()
    assert claim.began == before
    assert queue.storage.read(lambda tx: tx.count(ITEMS, Lane.SENDING)) == 1
