"""The queue's rules on a store in memory, with a clock and answers by hand."""

import pytest

from bytelyst_sync import EntityConfig, SyncConfig
from bytelyst_sync.entity import compile_entities
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.state.arrivals import Arrivals
from bytelyst_sync.state.changes import Change
from bytelyst_sync.state.claims import Claims
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.outbox import Outbox
from bytelyst_sync.state.replica import canonical_key, view
from bytelyst_sync.state.resolver import Resolver
from bytelyst_sync.state.settlement import Settlement
from bytelyst_sync.state.triage import Triage
from bytelyst_sync.storage import MemoryStorage
from bytelyst_sync.storage.schema import ITEMS, RECORDS, Lane
from bytelyst_sync.transport.answers import Answer


class Queue:
    """One store and the rules on it. ``now`` is the wall clock."""

    def __init__(self, max_retry_delay=60.0, **entities):
        self.storage = MemoryStorage()
        config = SyncConfig(
            base_url="http://nowhere.invalid",
            storage=self.storage,
            entities=entities or {"notes": "/notes"},
        )
        self.entities = compile_entities(config)
        self.resolver = Resolver(self.entities, lambda: 0.0)
        self.outbox = Outbox(self.entities)
        self.triage = Triage(self.entities)
        self.claims = Claims(self.entities, self.resolver, max_retry_delay)
        self.arrivals = Arrivals(self.resolver)
        self.settlement = Settlement(
            self.entities,
            self.resolver,
            self.arrivals,
            max_retries=3,
            retry_delay=1.0,
            max_retry_delay=max_retry_delay,
            random=lambda: 0.5,
        )
        self.now = 1_000_000_000.0
        self.effects = Effects()
        self.watch = False

    def run(self, work):
        """One transaction; ``effects`` are what it did."""

        def transaction(tx):
            effects = Effects(watch=self.watch)
            return work(tx, effects), effects

        result, self.effects = self.storage.write(transaction)
        return result

    def push(self, name, data, operation="create"):
        entity = self.entities[name]
        verb = SyncOperation(operation)
        change = Change.of(entity, verb, data, self.now)
        return self.run(lambda tx, effects: self.outbox.push(tx, change, effects))

    def claim(self, limit=1):
        return self.run(lambda tx, _: self.claims.claim(tx, limit, self.now))

    def settle(self, claim, answer):
        self.run(lambda tx, effects: self.settlement.settle(tx, claim, answer, effects, self.now))

    def deliver(self, claim=None, **answer):
        """The server took it; ``answer`` says what it brought along."""
        (claim,) = [claim] if claim is not None else self.claim()
        self.settle(claim, Answer(meaning=Meaning.DELIVERED, status=200, **answer))
        return claim.item

    def arrive(self, name, key, state, version=None):
        """The server's record comes with a page."""
        entity = self.entities[name]
        return self.run(
            lambda tx, effects: self.arrivals.arrive(
                tx,
                entity,
                key,
                state,
                version,
                began=tx.last_number(),
                effects=effects,
                now=self.now,
            )
        )

    def view(self, name, key):
        entity = self.entities[name]
        return self.storage.read(lambda tx: view(tx, entity, canonical_key(tx, entity, key)))

    def item(self, item):
        """The row of an item by now, or ``None``."""
        return self.storage.read(lambda tx: tx.get(ITEMS, item.place))

    def lane(self, item):
        return Lane(self.item(item).lane)

    def rows_of(self, name, key):
        return self.storage.read(lambda tx: list(tx.scan(ITEMS, "record", (name, key))))

    def rows(self, table=ITEMS):
        return self.storage.read(lambda tx: list(tx.scan(table)))

    def record(self, name, key):
        return self.storage.read(lambda tx: tx.get(RECORDS, name, key))


@pytest.fixture
def make_queue():
    return Queue


@pytest.fixture
def queue():
    return Queue(notes=EntityConfig("/notes"), tasks=EntityConfig("/tasks"))


@pytest.fixture
def tree():
    """Projects, whose ids the server gives, and tasks that refer to them."""
    return Queue(
        projects=EntityConfig("/projects", id_source="server"),
        tasks=EntityConfig("/tasks", references={"project_id": "projects"}),
    )
