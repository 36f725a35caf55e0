"""The contract of many deliverers, part one: claims, leases and their numbers in any store."""

from __future__ import annotations

import threading

import pytest

from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.storage.base import Storage
from bytelyst_sync.storage.schema import Lane
from bytelyst_sync.testing.manual_clock import ManualClock
from bytelyst_sync.testing.shared_samples import (
    BOUND_S,
    DELIVERED,
    LEASE_S,
    LOST,
    Deliverer,
)

__all__ = ["LeasesContract"]

_THREADS, _ITEMS = 4, 40


class LeasesContract:
    """The rules of leases on the rows of a store; see ``testing.shared``.

    Every store keeps the columns of a lease, so these hold for all. Time is a clock of the test.
    """

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock of both deliverers."""
        return ManualClock()

    @pytest.fixture
    def one(self, storage: Storage, clock: ManualClock) -> Deliverer:
        """A deliverer."""
        return Deliverer(storage, clock)

    @pytest.fixture
    def two(self, another: Storage, clock: ManualClock) -> Deliverer:
        """A second one, as another process has it."""
        return Deliverer(another, clock)

    def test_what_one_claims_no_other_claims(self, one: Deliverer, two: Deliverer) -> None:
        """Each claim has a number of its own, and ends after the lease."""
        one.push("1", "2")
        first, second = one.claim(1), two.claim()
        assert [each.item.record for each in (*first, *second)] == ["1", "2"]
        assert one.claim() == two.claim() == []
        rows = [one.row(each) for each in (*first, *second)]
        assert len({row.claim for row in rows if row is not None}) == 2
        ends = one.clock.wall() + LEASE_S
        assert [row and (row.lane, row.lease) for row in rows] == [(Lane.SENDING, ends)] * 2

    def test_claims_of_many_threads_have_no_item_twice(
        self, one: Deliverer, two: Deliverer
    ) -> None:
        """Half of the threads use the one store's object, half the other's."""
        one.push(*map(str, range(_ITEMS)))
        found: list[list[Claim]] = []
        start = threading.Barrier(_THREADS)

        def work(mine: Deliverer) -> None:
            taken: list[Claim] = []
            start.wait(BOUND_S)
            while some := mine.claim(3):
                taken += some
            found.append(taken)

        threads = [
            threading.Thread(target=work, args=((one, two)[number % 2],))
            for number in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND_S)
        assert len(found) == _THREADS
        records = [each.item.record for taken in found for each in taken]
        assert sorted(records, key=int) == list(map(str, range(_ITEMS)))

    def test_a_lease_that_has_not_ended_is_left_alone(
        self, one: Deliverer, two: Deliverer, clock: ManualClock
    ) -> None:
        """It says when to look again."""
        one.push("1")
        (claim,) = one.claim()
        clock.advance(LEASE_S - 1.0)
        assert two.orphaned_in() == pytest.approx(1.0)
        assert two.recover() == 0
        assert two.claim() == []
        assert one.settle(claim, DELIVERED) == 0
        assert one.row(claim) is None

    def test_only_leases_that_have_ended_are_recovered(
        self, one: Deliverer, two: Deliverer, clock: ManualClock
    ) -> None:
        """The item is frozen, because it may have been processed, and keeps its idempotency key."""
        one.push("1", "2")
        (first,) = one.claim(1)
        clock.advance(LEASE_S / 2)
        (second,) = two.claim(1)
        clock.advance(LEASE_S / 2 + 1.0)
        assert one.orphaned_in() == 0.0
        assert two.recover() == 1
        row, other = two.row(first), two.row(second)
        assert row is not None
        assert (row.lane, row.frozen, row.id) == (Lane.READY, 1, first.item.id)
        assert other is not None
        assert (other.lane, other.frozen) == (Lane.SENDING, 0)

    def test_a_claim_that_has_ended_and_was_not_taken_over_settles(
        self, one: Deliverer, clock: ManualClock
    ) -> None:
        """The number is the fence, not the time; whatever the answer is."""
        one.push("1", "2")
        claim, other = one.claim()
        clock.advance(10 * LEASE_S)
        assert one.settle(claim, DELIVERED) == 0
        assert one.row(claim) is None
        assert one.settle(other, LOST) == 0
        row = one.row(other)
        assert row is not None
        assert (row.lane, row.frozen) == (Lane.DELAYED, 1)

    def test_the_answer_to_a_claim_that_was_taken_over_is_dropped(
        self, one: Deliverer, two: Deliverer, clock: ManualClock
    ) -> None:
        """Whatever it says; the other one's claim goes on."""
        one.push("1")
        (late,) = one.claim()
        clock.advance(LEASE_S + 1.0)
        assert two.recover() == 1
        (again,) = two.claim()
        assert again.item.seq == late.item.seq
        for answer in (LOST, DELIVERED):
            assert one.settle(late, answer) == 1
            row = one.row(again)
            assert row is not None
            assert (row.lane, row.claim, row.retries) == (Lane.SENDING, again.item.claim, 0)
        assert two.settle(again, DELIVERED) == 0
        assert two.row(again) is None

    def test_the_answer_to_a_claim_that_was_recovered_and_not_claimed_again_is_dropped(
        self, one: Deliverer, two: Deliverer, clock: ManualClock
    ) -> None:
        """The item is ready for whoever claims it next."""
        one.push("1")
        (late,) = one.claim()
        clock.advance(LEASE_S + 1.0)
        assert two.recover() == 1
        assert one.settle(late, DELIVERED) == 1
        row = one.row(late)
        assert row is not None
        assert (row.lane, row.frozen) == (Lane.READY, 1)

    def test_a_renewed_lease_lasts_from_then_on(
        self, one: Deliverer, two: Deliverer, clock: ManualClock
    ) -> None:
        """All claims of an attempt are renewed at once."""
        one.push("1", "2")
        claims = one.claim()
        clock.advance(LEASE_S - 1.0)
        assert one.renew(*claims)
        clock.advance(LEASE_S - 1.0)
        assert two.recover() == 0
        clock.advance(2.0)
        assert two.recover() == len(claims)

    def test_a_lease_that_has_ended_is_not_renewed(
        self, one: Deliverer, clock: ManualClock
    ) -> None:
        """Also if nobody took the item over; and none of several, if one has ended."""
        one.push("1")
        (ended,) = one.claim()
        clock.advance(LEASE_S / 2)
        one.push("2")
        (live,) = one.claim()
        clock.advance(LEASE_S / 2 + 1.0)
        before = one.row(live)
        assert not one.renew(ended)
        assert not one.renew(live, ended)
        assert one.row(live) == before
        assert one.renew(live)

    def test_a_claim_that_was_taken_over_is_not_renewed(
        self, one: Deliverer, two: Deliverer, clock: ManualClock
    ) -> None:
        """Its number is another one now."""
        one.push("1")
        (late,) = one.claim()
        clock.advance(LEASE_S + 1.0)
        two.recover()
        (again,) = two.claim()
        before = two.row(again)
        assert not one.renew(late)
        assert two.row(again) == before
