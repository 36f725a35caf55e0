"""Which items are sent next: turns, due times, and what belongs to others."""

import pytest

from bytelyst_sync.entity import Entities
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.state.claims import Claims
from bytelyst_sync.storage.schema import ITEMS, Lane
from bytelyst_sync.transport.answers import Answer

LOST = Answer(meaning=Meaning.UNKNOWN)
BUSY = Answer(meaning=Meaning.BUSY, status=429, unprocessed=True)
DAY = 86_400.0


def places(claims):
    return [claim.item.seq for claim in claims]


def after(seconds):
    return Answer(meaning=Meaning.SERVER_ERROR, status=500, retry_after=seconds)


def test_turns_run_across_entities(queue):
    pushed = [queue.push(name, {"id": str(n)}) for n, name in enumerate(["tasks", "notes"] * 5)]
    assert places(queue.claim(4)) == [item.place for item in pushed[:4]]
    assert places(queue.claim(99)) == [item.place for item in pushed[4:]]


def test_what_met_a_busy_server_goes_last(queue):
    first = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    second = queue.push("tasks", {"id": "b"})
    queue.settle(claim, BUSY)
    assert places(queue.claim(9)) == [second.place, first.place]


def test_what_was_offline_keeps_its_turn(queue):
    first = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    second = queue.push("tasks", {"id": "b"})
    queue.settle(claim, Answer(meaning=Meaning.OFFLINE, unprocessed=True))
    assert places(queue.claim(9)) == [first.place, second.place]


def test_a_claim_that_is_given_back_is_as_it_was(queue):
    queue.push("notes", {"id": "a"})
    (before,) = queue.rows()
    claims = queue.claim()
    queue.run(lambda tx, _: queue.claims.unclaim(tx, claims))
    assert queue.rows() == [before]


def test_a_claim_is_settled_once(queue):
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.run(lambda tx, _: queue.claims.recover(tx))
    queue.deliver(claim)
    assert queue.lane(item) is Lane.READY


REJECTED = Answer(meaning=Meaning.REJECTED, status=422, unprocessed=True)
DELIVERED = Answer(meaning=Meaning.DELIVERED, status=200)


@pytest.mark.parametrize("way", ["settle", "settle_all"])
def test_a_late_answer_is_not_that_of_what_the_item_is_by_now(queue, way):
    item = queue.push("notes", {"id": "a"})
    (early,) = queue.claim()
    queue.run(lambda tx, _: queue.claims.recover(tx))
    queue.settle(queue.claim()[0], REJECTED)
    queue.run(lambda tx, effects: queue.triage.reprocess(tx, None, effects, now=queue.now))
    (late,) = queue.claim()
    assert (late.item.seq, late.item.id) != (early.item.seq, early.item.id)

    def answered(tx, effects):
        if way == "settle":
            queue.settlement.settle(tx, early, DELIVERED, effects, queue.now)
        else:
            queue.settlement.settle_all(tx, [(early, DELIVERED)], effects, queue.now)

    queue.run(answered)
    assert queue.lane(item) is Lane.SENDING
    queue.deliver(late)
    assert queue.item(item) is None


def test_who_takes_over_finds_claims_frozen(queue):
    item = queue.push("notes", {"id": "a"})
    queue.claim()
    assert queue.run(lambda tx, _: queue.claims.recover(tx)) == 1
    again = queue.push("notes", {"id": "a", "title": 2}, "update")
    assert again.place != item.place
    (claim,) = queue.claim(9)
    assert (claim.item.seq, claim.item.id, claim.item.frozen) == (item.place, item.id, 1)


@pytest.mark.parametrize("back", [1.0, 100.0, DAY, 50 * 365 * DAY])
def test_a_clock_set_back_postpones_no_more_than_the_longest_wait(queue, back):
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    queue.now -= back
    queue.claim()
    queue.now += 60.0
    assert places(queue.claim()) == [item.place]


@pytest.mark.parametrize("back", [30.0, DAY, 400 * DAY])
def test_a_clock_set_back_postpones_no_more_than_what_the_server_asked(queue, back):
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, after(7200.0))
    queue.now -= back
    queue.claim()
    queue.now += 7100.0 - min(back, 30.0)
    assert queue.claim() == []
    queue.now += 130.0
    assert places(queue.claim()) == [item.place]


def test_a_clock_set_forward_makes_due(queue):
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, after(7200.0))
    queue.now += 400 * DAY
    assert places(queue.claim()) == [item.place]


def test_more_than_fits_one_promotion_comes_in_turn(queue):
    pushed = [queue.push("notes", {"id": str(n)}) for n in range(700)]
    for claim in queue.claim(700):
        queue.settle(claim, LOST)
    queue.now -= 400 * DAY
    queue.claim(1)
    queue.claim(1)
    queue.now += 1.0
    found = places(queue.claim(700)) + places(queue.claim(700))
    assert sorted(found) == [item.place for item in pushed]


def test_the_wait_for_the_next_try_is_never_longer_than_was_meant(queue):
    queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)

    def wait():
        return queue.storage.read(lambda tx: queue.claims.next_due(tx, queue.now))

    assert wait() == pytest.approx(0.5)
    queue.now -= DAY
    assert 0.0 <= wait() <= 0.5
    assert queue.claim() == []
    assert wait() == pytest.approx(0.5)
    queue.now += 2 * DAY
    assert wait() == 0.0


def test_unknown_entities_are_left_alone_and_named(queue):
    theirs = queue.push("tasks", {"id": "a"})
    ours = queue.push("notes", {"id": "b"})
    known = Entities({"notes": queue.entities["notes"]})
    claims = Claims(known, queue.resolver, 60.0)
    assert queue.storage.read(claims.unknown_entities) == ["tasks"]
    taken = queue.storage.write(lambda tx: claims.claim(tx, 9, queue.now))
    assert places(taken) == [ours.place]
    assert queue.lane(theirs) is Lane.READY
    assert not queue.storage.read(claims.ready)


def test_a_claim_left_by_another_kind_of_engine_is_recovered_for_it(queue):
    item = queue.push("tasks", {"id": "a"})
    queue.claim()
    known = Entities({"notes": queue.entities["notes"]})
    claims = Claims(known, queue.resolver, 60.0)
    assert queue.storage.write(claims.recover) == 1
    assert (queue.lane(item), queue.item(item).frozen) == (Lane.READY, 1)
    assert places(queue.claim()) == [item.place]


def test_an_unknown_entity_that_is_due_is_made_ready_for_the_other(queue):
    item = queue.push("tasks", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    queue.now += 10.0
    known = Entities({"notes": queue.entities["notes"]})
    claims = Claims(known, queue.resolver, 60.0)
    assert queue.storage.write(lambda tx: claims.claim(tx, 9, queue.now)) == []
    assert places(queue.claim()) == [item.place]


def test_the_next_due_time_is_that_of_known_entities(queue):
    queue.push("tasks", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    known = Entities({"notes": queue.entities["notes"]})
    claims = Claims(known, queue.resolver, 60.0)
    queue.now += 10.0
    # an engine that cannot send it must not be told, again and again, that it is due
    queue.storage.write(lambda tx: claims.claim(tx, 9, queue.now))
    assert queue.storage.read(lambda tx: claims.next_due(tx, queue.now)) is None


def test_busy_up_to_a_place(queue):
    def busy(place):
        return queue.storage.read(lambda tx: queue.claims.busy_up_to(tx, place))

    item = queue.push("notes", {"id": "a"})
    assert not busy(item.place - 1)
    assert busy(item.place)
    (claim,) = queue.claim()
    assert busy(item.place)
    queue.settle(claim, LOST)
    assert not busy(item.place)


def test_the_number_of_the_claim_is_that_of_its_moment(queue):
    queue.push("notes", {"id": "a"})
    before = queue.storage.read(lambda tx: tx.last_number())
    (claim,) = queue.claim()
    assert claim.began == before
    assert queue.storage.read(lambda tx: tx.count(ITEMS, Lane.SENDING)) == 1
