"""Claims as leases: when a request may begin, and what prolongs a lease."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from bytelyst_sync import SyncConfig
from bytelyst_sync.config.entity import compile_entities
from bytelyst_sync.delivery.claim_leases import ClaimLeases
from bytelyst_sync.delivery.throttle import Throttle
from bytelyst_sync.errors import ConfigError, StorageError, TransportError
from bytelyst_sync.events.notifier import Subscribers
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.queue.claims import OPEN_GATE, Claim, Claims, Gate
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.queue.outcome import Outcome
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.replica.conflicts import Resolver
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.state.indexes import Indexes
from bytelyst_sync.state.unit_of_work import StateStore
from bytelyst_sync.storage import MemoryStorage
from bytelyst_sync.storage.schema import ITEMS, META, Item, Lane, Meta
from bytelyst_sync.testing import ManualClock
from tests.typed import present

LEASE_S, DEADLINE_S = 70.0, 60.0
POLICY = RetryPolicy(
    max_retries=3, retry_delay=1.0, max_retry_delay=60.0, give_up_after=60.0, random=lambda: 0.5
)


class Deliverer:
    """One of the processes that deliver, as far as its leases go."""

    def __init__(self, storage: MemoryStorage, clock: ManualClock) -> None:
        self.storage, self.clock = storage, clock
        config = SyncConfig(
            base_url="http://nowhere.invalid", storage=storage, entities={"notes": "/notes"}
        )
        self.entities = compile_entities(config)
        resolver = Resolver(self.entities, lambda: 0.0, LEASE_S)
        self.claims = Claims(self.entities, resolver, 60.0, lease_s=LEASE_S)
        self.throttle = Throttle(clock, POLICY)
        self.leases = self.leases_of(LEASE_S)
        self.state = StateStore(
            storage,
            self.entities,
            clock,
            watched=Subscribers("on_change"),
            publish=lambda effects: None,
            indexes=Indexes(self.entities, private=False),
        )
        self.groups: list[Any] = []
        self.during: Callable[[], object] = lambda: None

    def leases_of(self, lease_s: float) -> ClaimLeases:
        return ClaimLeases(
            cast("Any", self.storage),
            self.claims,
            self.clock,
            self.throttle,
            lease_s=lease_s,
            request_deadline_s=DEADLINE_S,
        )

    def push(self, *records: str) -> None:
        entity, create = self.entities["notes"], SyncOperation.CREATE
        requests = [
            PushRequest.of(entity, create, {"id": each}, self.clock.wall()) for each in records
        ]
        self.state.write(lambda work: Outbox(self.entities).push(work, requests))

    def claim(self, limit: int = 9, gate: Gate = OPEN_GATE, ahead: int = 0) -> tuple[Claim, ...]:
        claim = self.claims.claim
        return tuple(self.state.write(lambda work: claim(work, limit, gate, ahead=ahead)))

    def send(self, group: tuple[Claim, ...]) -> Outcome:
        def send(group: tuple[Claim, ...]) -> Outcome:
            self.groups.append(group)
            self.during()
            return Outcome([])

        return self.leases.send(group, send)

    def recover(self) -> int:
        return self.state.write(self.claims.recover)

    def row(self, claim: Claim) -> Item | None:
        return self.storage.read(lambda tx: tx.get(ITEMS, claim.item.seq))

    def orphaned_in(self) -> float | None:
        now = self.clock.wall()
        return self.storage.read(lambda tx: self.claims.orphaned_in(tx, now))


class Server:
    """A transport that answers everything."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def send(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(200, {}, b"{}", request.url)


REQUEST = Request("POST", "http://nowhere.invalid/notes", {}, b"{}")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def new_deliverer(clock: ManualClock) -> Callable[..., Deliverer]:
    storage = MemoryStorage()
    return lambda: Deliverer(storage, clock)


@pytest.fixture
def deliverer(new_deliverer: Callable[..., Deliverer]) -> Deliverer:
    return new_deliverer()


@pytest.fixture
def group(deliverer: Deliverer) -> Any:
    deliverer.push("1", "2")
    return deliverer.claim()


def unsent(outcome: Outcome) -> list[tuple[str, Verdict]]:
    return [(claim.item.record, answer.meaning) for claim, answer in outcome.sent]


# --- claims


def test_claims_have_numbers_and_end_after_the_lease(
    deliverer: Deliverer, group: tuple[Claim, ...], clock: ManualClock
) -> None:
    deliverer.push("3")
    (other,) = deliverer.claim()
    assert len({each.item.claim for each in group}) == 1
    assert other.item.claim not in (None, group[0].item.claim)
    assert {each.item.lease for each in (*group, other)} == {clock.wall() + LEASE_S}
    assert {each.until for each in group} == {clock.monotonic() + LEASE_S}


def test_only_claims_that_have_ended_are_recovered(
    deliverer: Deliverer, group: tuple[Claim, ...], clock: ManualClock
) -> None:
    clock.advance(LEASE_S - 1)
    deliverer.push("3")
    (later,) = deliverer.claim()
    assert (deliverer.recover(), deliverer.orphaned_in()) == (0, 1.0)
    clock.advance(2)
    assert deliverer.orphaned_in() == 0.0
    assert deliverer.recover() == 2
    assert [present(deliverer.row(each)).lane for each in group] == [Lane.READY] * 2
    assert [present(deliverer.row(each)).frozen for each in group] == [1, 1]
    assert present(deliverer.row(later)).lane == Lane.SENDING
    assert deliverer.orphaned_in() == LEASE_S - 2


def test_without_claims_there_is_nothing_to_recover(deliverer: Deliverer) -> None:
    deliverer.push("1")
    assert deliverer.orphaned_in() is None


def test_leases_are_looked_at_when_the_first_ends_and_three_times_in_a_lease(
    deliverer: Deliverer, clock: ManualClock
) -> None:
    leases = deliverer.leases
    assert leases.recovery_due
    for wait_s, expected_s in ((5.0, 5.0), (60.0, LEASE_S / 3), (None, LEASE_S / 3)):
        leases.look_again_in(wait_s)
        assert (leases.recovery_due, leases.recovery_wait_s) == (False, pytest.approx(expected_s))  # type: ignore[comparison-overlap]  # approx is a number
        clock.advance(expected_s)
        assert leases.recovery_due


# --- requests


def test_with_enough_of_the_lease_left_a_request_begins_without_a_renewal(
    deliverer: Deliverer, group: tuple[Claim, ...], clock: ManualClock
) -> None:
    clock.advance(LEASE_S - DEADLINE_S)
    before = deliverer.storage.read(lambda tx: list(tx.scan(ITEMS)))
    assert unsent(deliverer.send(group)) == []
    assert deliverer.groups == [group]
    assert deliverer.storage.read(lambda tx: list(tx.scan(ITEMS))) == before


def test_with_less_left_the_lease_is_renewed_first(
    deliverer: Deliverer, group: tuple[Claim, ...], clock: ManualClock
) -> None:
    clock.advance(LEASE_S - DEADLINE_S + 1)
    assert unsent(deliverer.send(group)) == []
    assert deliverer.groups == [group]
    assert {present(deliverer.row(each)).lease for each in group} == {clock.wall() + LEASE_S}
    assert [present(deliverer.row(each)).claim for each in group] == [
        each.item.claim for each in group
    ]


def test_a_lease_that_has_ended_is_not_renewed_and_nothing_is_sent(
    deliverer: Deliverer, group: tuple[Claim, ...], clock: ManualClock
) -> None:
    clock.advance(LEASE_S + 1)
    assert unsent(deliverer.send(group)) == [("1", Verdict.NOT_SENT), ("2", Verdict.NOT_SENT)]
    assert deliverer.groups == []
    assert present(present(deliverer.row(group[0])).lease) < clock.wall()


def test_nothing_is_sent_for_a_claim_that_was_taken_over(
    deliverer: Deliverer,
    group: tuple[Claim, ...],
    new_deliverer: Callable[..., Deliverer],
    clock: ManualClock,
) -> None:
    clock.advance(LEASE_S + 1)
    other = new_deliverer()
    other.recover()
    claims = other.claim()
    clock.advance(LEASE_S - DEADLINE_S + 1)
    assert len(unsent(deliverer.send(group))) == 2
    assert [present(other.row(each)).lease for each in claims] == [
        each.item.lease for each in claims
    ]
    assert unsent(other.send(claims)) == []


def test_if_the_store_cannot_be_asked_nothing_is_sent(
    deliverer: Deliverer,
    group: tuple[Claim, ...],
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Callable[..., object]) -> None:
        raise StorageError("the database is away")

    clock.advance(LEASE_S - DEADLINE_S + 1)
    monkeypatch.setattr(deliverer.storage, "write", fails)
    assert len(unsent(deliverer.send(group))) == 2


@pytest.mark.parametrize("clock_name", ["wall", "monotonic"])
def test_either_clock_alone_says_that_too_little_is_left(
    deliverer: Deliverer,
    group: tuple[Claim, ...],
    clock: ManualClock,
    clock_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that was suspended, and one whose time of day was set."""
    ahead = getattr(clock, clock_name)() + LEASE_S + 1
    monkeypatch.setattr(clock, clock_name, lambda: ahead)
    monkeypatch.setattr(Claims, "renew", lambda *_: False)
    assert len(unsent(deliverer.send(group))) == 2


def test_a_further_request_of_the_attempt_renews_the_lease(
    deliverer: Deliverer, group: tuple[Claim, ...], clock: ManualClock
) -> None:
    server = Server()
    transport = deliverer.leases.guarded(server)

    def twice() -> None:
        transport.send(REQUEST)
        clock.advance(DEADLINE_S)
        transport.send(REQUEST)

    deliverer.during = twice
    deliverer.send(group)
    assert server.requests == [REQUEST] * 2
    assert present(deliverer.row(group[0])).lease == clock.wall() + LEASE_S


def test_a_further_request_is_not_sent_after_the_end_of_the_lease(
    deliverer: Deliverer, group: tuple[Claim, ...], clock: ManualClock
) -> None:
    server = Server()
    transport = deliverer.leases.guarded(server)

    def twice() -> None:
        transport.send(REQUEST)
        clock.advance(LEASE_S + 1)
        transport.send(REQUEST)

    deliverer.during = twice
    with pytest.raises(TransportError, match="too little was left"):
        deliverer.send(group)
    assert server.requests == [REQUEST]


def test_requests_that_send_no_claim_are_not_held_back(
    deliverer: Deliverer, group: tuple[Claim, ...], clock: ManualClock
) -> None:
    server = Server()
    deliverer.send(group)
    clock.advance(LEASE_S + 1)
    deliverer.leases.guarded(server).send(REQUEST)
    assert server.requests == [REQUEST]


def test_a_lease_must_be_longer_than_a_request(deliverer: Deliverer) -> None:
    with pytest.raises(ConfigError, match="more than request_deadline"):
        deliverer.leases_of(DEADLINE_S)


# --- pauses


def test_a_pause_that_another_process_stored_ends_claiming(
    deliverer: Deliverer, clock: ManualClock
) -> None:
    def store(until: float) -> None:
        row = Meta("pause", f'{{"until": {until}, "span": 3600.0}}')
        deliverer.storage.write(lambda tx: tx.insert(META, row))

    assert deliverer.storage.read(deliverer.leases.check)
    store(clock.wall() + 100.0)
    assert not deliverer.storage.read(deliverer.leases.check)
    assert deliverer.throttle.remaining() == pytest.approx(100.0)
    assert deliverer.storage.read(deliverer.leases.check)


# --- how many are claimed


def test_more_is_claimed_ahead_while_others_find_as_much_as_is_being_sent(
    new_deliverer: Callable[..., Deliverer],
) -> None:
    one, two = new_deliverer(), new_deliverer()
    one.push(*"123456")
    assert [each.item.record for each in one.claim(1, ahead=1)] == ["1", "2"]
    assert [each.item.record for each in two.claim(1, ahead=1)] == ["3"]
    assert [each.item.record for each in one.claim(0, ahead=1)] == []


def test_where_one_item_is_sent_at_a_time_none_is_claimed_ahead(deliverer: Deliverer) -> None:
    deliverer.push(*"123456")
    assert len(deliverer.claim(1, Gate(one=True), ahead=1)) == 1
