"""The queue's rules on a store in memory, with a clock and answers that the tests set."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from bytelyst_sync import EntityConfig, Storage, SyncConfig, SyncItem
from bytelyst_sync.clock import SystemClock
from bytelyst_sync.config.entity import compile_entities
from bytelyst_sync.events.notifier import Subscribers
from bytelyst_sync.model import Json, SyncOperation
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim, Claims
from bytelyst_sync.queue.control import QueueControl
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.queue.settle import Settlement
from bytelyst_sync.replica.conflicts import Resolver
from bytelyst_sync.replica.remote_changes import RemoteChanges
from bytelyst_sync.replica.view import canonical_key, view
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.outage import Health
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.indexes import Indexes
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage import MemoryStorage
from bytelyst_sync.storage.base import Table, Transaction
from bytelyst_sync.storage.schema import ITEMS, RECORDS, Item, Lane, Record
from tests.typed import present

T = TypeVar("T")


class Queue:
    """One store and the rules on it. ``now`` is the wall clock."""

    def __init__(
        self, max_retry_delay: float = 60.0, storage: Storage | None = None, **entities: Any
    ) -> None:
        self.storage = storage or MemoryStorage()
        config = SyncConfig(
            base_url="http://nowhere.invalid",
            storage=self.storage,
            entities=entities or {"notes": "/notes"},
        )
        self.entities = compile_entities(config)
        self.resolver = Resolver(self.entities, lambda: 0.0)
        self.outbox = Outbox(self.entities)
        self.control = QueueControl(self.entities)
        self.claims = Claims(self.entities, self.resolver, max_retry_delay)
        self.remote_changes = RemoteChanges(self.resolver)
        self.policy = RetryPolicy(
            max_retries=3,
            retry_delay=1.0,
            max_retry_delay=max_retry_delay,
            give_up_after=86_400.0,
            random=lambda: 0.5,
        )
        self.settlement = Settlement(self.entities, self.resolver, self.remote_changes, self.policy)
        self.state = StateStore(
            self.storage,
            self.entities,
            SystemClock(),
            watched=Subscribers("on_change"),
            publish=lambda effects: None,
            indexes=Indexes(self.entities, private=False),
        )
        self.now = 1_000_000_000.0
        self.outages: dict[str, Health] = {}
        self.effects = CommitEffects()
        self.watch = False

    def run(self, work: Callable[[UnitOfWork], T]) -> T:
        """One transaction; ``effects`` are what it did."""

        def transaction(tx: Transaction) -> tuple[T, CommitEffects]:
            effects = CommitEffects(watch=self.watch)
            return work(UnitOfWork(tx, effects, self.now, self.entities)), effects

        result, self.effects = self.storage.write(transaction)
        return result

    def push(self, name: str, data: Json, operation: str = "create", **options: Any) -> Any:
        """The item, or ``None`` where a delete cancelled a create."""
        entity = self.entities[name]
        verb = SyncOperation(operation)
        change = PushRequest.of(entity, verb, data, self.now)._replace(**options)
        return self.run(lambda work: self.outbox.push(work, [change])[0])

    def claim(self, limit: int = 1) -> list[Claim]:
        return self.run(lambda work: self.claims.claim(work, limit))

    def settle(self, claim: Claim, answer: AttemptResult) -> None:
        self.run(lambda work: self.settlement.settle_all(work, [(claim, answer)], self.outages))

    def deliver(self, claim: Claim | None = None, **answer: Any) -> Item:
        """The server took it; ``answer`` says what it brought along."""
        (claim,) = [claim] if claim is not None else self.claim()
        self.settle(claim, AttemptResult(meaning=Verdict.DELIVERED, status=200, **answer))
        return claim.item

    def arrive(
        self, name: str, key: str, state: Json | None, version: str | int | None = None
    ) -> bool:
        """The server's record comes with a page."""
        entity = self.entities[name]
        return self.run(
            lambda work: self.remote_changes.apply(
                work, entity, key, state, version, began=work.tx.last_number()
            )
        )

    def view(self, name: str, key: str) -> Json | None:
        entity = self.entities[name]
        return self.storage.read(lambda tx: view(tx, entity, canonical_key(tx, entity, key)))

    def item(self, item: SyncItem) -> Item | None:
        """The row of an item by now, or ``None``."""
        return self.storage.read(lambda tx: tx.get(ITEMS, item.seq))

    def lane(self, item: SyncItem) -> Lane:
        return Lane(present(self.item(item)).lane)

    def rows_of(self, name: str, key: str) -> list[Item]:
        return self.storage.read(lambda tx: list(tx.scan(ITEMS, "record", (name, key))))

    def rows(self, table: Table[Any] = ITEMS) -> list[Any]:
        return self.storage.read(lambda tx: list(tx.scan(table)))

    def record(self, name: str, key: str) -> Record:
        return present(self.storage.read(lambda tx: tx.get(RECORDS, name, key)))


@pytest.fixture
def make_queue() -> type[Queue]:
    return Queue


@pytest.fixture
def queue() -> Queue:
    return Queue(notes=EntityConfig("/notes"), tasks=EntityConfig("/tasks"))


@pytest.fixture
def tree() -> Queue:
    """Projects, whose ids the server gives, and tasks that refer to them."""
    return Queue(
        projects=EntityConfig("/projects", id_source="server"),
        tasks=EntityConfig("/tasks", references={"project_id": "projects"}),
    )
