"""What the contract of many deliverers works with: a deliverer's rules, a server, rows, threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeVar, cast

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.config.entity import compile_entities
from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.events.notifier import Subscribers
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim, Claims
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.queue.settle import Settlement
from bytelyst_sync.replica.conflicts import Resolver
from bytelyst_sync.replica.remote_changes import RemoteChanges
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.state.indexes import Indexes
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.base import SharedStorage, Storage
from bytelyst_sync.storage.schema import ITEMS, Item
from bytelyst_sync.storage.shared_schema import InboxRow
from bytelyst_sync.testing.manual_clock import ManualClock
from bytelyst_sync.testing.storage_samples import RefusedError

__all__ = [
    "BOUND_S",
    "DELIVERED",
    "LEASE_S",
    "LOST",
    "Deliverer",
    "HeldServer",
    "engine_on",
    "eventually",
    "in_thread",
    "inbox_row",
    "is_shared",
    "rolled_back",
    "shared_part",
]

T = TypeVar("T")
BOUND_S = 30.0
LEASE_S = 70.0
DELIVERED = AttemptResult(meaning=Verdict.DELIVERED, status=201)
LOST = AttemptResult(meaning=Verdict.UNKNOWN)
_POLICY = RetryPolicy(
    max_retries=3, retry_delay=1.0, max_retry_delay=60.0, give_up_after=60.0, random=lambda: 0.5
)
_PAUSE_S = 0.02


def is_shared(storage: Storage) -> bool:
    """Whether the store claims that several processes may deliver at once."""
    return not storage.delivery_right().exclusive


def shared_part(storage: Storage) -> SharedStorage:
    """A store that claims that, as what it then is."""
    assert isinstance(storage, SharedStorage)
    return storage


def in_thread(work: Callable[[], T]) -> T:
    """The result of ``work`` on another thread, which has connections of its own."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(BOUND_S)
    assert found, "it did not end, or it raised an exception"
    return found[0]


def eventually(condition: Callable[[], Any]) -> bool:
    """Whether the condition becomes true in time."""
    clock, pause = SystemClock(), threading.Event()
    deadline = clock.monotonic() + BOUND_S
    while not condition():
        if clock.monotonic() >= deadline:
            return False
        pause.wait(_PAUSE_S)
    return True


@contextmanager
def rolled_back(transaction: AbstractContextManager[None]) -> Iterator[None]:
    """The transaction, which is left by an exception."""
    refused = RefusedError()
    with suppress(RefusedError), transaction:
        yield
        raise refused


def inbox_row(handle: int) -> InboxRow:
    """A row of the inbox."""
    return InboxRow(0, handle, "notes", f"r{handle}", "create", "{}", 1_700_000_000.25, "{}")


class Deliverer:
    """The rules of one process that delivers by leases, by a clock that the test moves."""

    def __init__(self, storage: Storage, clock: ManualClock) -> None:
        config = SyncConfig(
            base_url="http://nowhere.invalid", storage=storage, entities={"notes": "/notes"}
        )
        self.storage, self.clock = storage, clock
        self.entities = compile_entities(config)
        resolver = Resolver(self.entities, lambda: 0.0, LEASE_S)
        self.claims = Claims(self.entities, resolver, 60.0, lease_s=LEASE_S)
        self._settlement = Settlement(self.entities, resolver, RemoteChanges(resolver), _POLICY)
        self._state = StateStore(
            storage,
            self.entities,
            clock,
            watched=Subscribers("on_change"),
            publish=lambda _: None,
            indexes=Indexes(self.entities, private=False),
        )

    def push(self, *records: str) -> None:
        """Queues creates."""
        entity, now = self.entities["notes"], self.clock.wall()
        requests = [
            PushRequest.of(entity, SyncOperation.CREATE, {"id": each}, now) for each in records
        ]
        self._state.write(lambda work: Outbox(self.entities).push(work, requests))

    def claim(self, limit: int = 9) -> list[Claim]:
        """Claims what is ready."""
        return self._state.write(lambda work: self.claims.claim(work, limit))

    def renew(self, *claims: Claim) -> bool:
        """Prolongs the leases of some claims; false if that came too late."""
        return self._state.write(lambda work: self.claims.renew(work.tx, claims, self.clock.wall()))

    def recover(self) -> int:
        """Takes over what others left; the number of items."""
        return self._state.write(self.claims.recover)

    def settle(self, claim: Claim, answer: AttemptResult) -> int:
        """Settles a claim; returns how many answers were dropped, because of a takeover."""

        def settle(work: UnitOfWork) -> int:
            self._settlement.settle_all(work, [(claim, answer)], {})
            return work.effects.taken_over

        return self._state.write(settle)

    def row(self, claim: Claim) -> Item | None:
        """The item of a claim as it is stored now."""
        return self.storage.read(lambda tx: tx.get(ITEMS, claim.item.seq))

    def orphaned_in(self) -> float | None:
        """Seconds until ``recover`` has something to do."""
        now = self.clock.wall()
        return self.storage.read(lambda tx: self.claims.orphaned_in(tx, now))


class HeldServer:
    """A transport to a server that accepts every write, and may hold the answers back."""

    def __init__(self, *, held: bool = False) -> None:
        self.bodies: list[str] = []
        """The records of the writes, in the order of their arrival."""
        self.arrived = threading.Event()
        self._free = threading.Event()
        if not held:
            self.let_go()

    def let_go(self) -> None:
        """From now on it answers at once."""
        self._free.set()

    def send(self, request: Request) -> Response:
        """See ``Transport``."""
        if request.method in ("GET", "HEAD"):
            return Response(200, {"content-type": "application/json"}, b"[]", request.url)
        self.bodies.append((request.body or b"").decode())
        self.arrived.set()
        assert self._free.wait(BOUND_S)
        headers = {"content-type": "application/json"}
        return Response(201, headers, request.body or b"{}", request.url)


def engine_on(storage: Storage, server: HeldServer, *, delivers: bool = False) -> SyncEngine:
    """An engine; with ``delivers`` it does so by itself, otherwise in ``flush()``."""
    return SyncEngine(
        SyncConfig(
            base_url="http://server.test",
            entities={"notes": {"endpoint": "/notes", "dedup": "none"}},
            storage=storage,
            transport=cast("Any", server),
            probe=None,
            auto_flush=delivers,
            exit_timeout=0.0,
            retry_delay=0.01,
            max_retry_delay=0.1,
        )
    )
