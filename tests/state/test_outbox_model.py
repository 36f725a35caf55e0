"""The queue against a plain model: a list of entries, and SPEC's tables read off it.

The model knows no lanes and no blockers. It keeps what was pushed and what came of it, and derives
from that where every item must stand; after each step the store is compared with it row by row.
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bytelyst_sync import EntityConfig, RecordDeletedError, SyncConfig
from bytelyst_sync.entity import compile_entities
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.state.arrivals import Arrivals
from bytelyst_sync.state.changes import Change
from bytelyst_sync.state.claims import Claims
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.outbox import Outbox
from bytelyst_sync.state.resolver import Resolver
from bytelyst_sync.state.settlement import Settlement
from bytelyst_sync.state.triage import Triage
from bytelyst_sync.storage import MemoryStorage, SQLiteStorage
from bytelyst_sync.storage.schema import CONFLICTS, ITEMS, LINKS, OPEN, RECORDS, Lane
from bytelyst_sync.transport.answers import Answer

MAX_RETRIES = 2
RETRY_DELAY = 1.0
MAX_DELAY = 60.0
SLACK_S = 1.0
MAX_STALLS = 12
MAX_ROUNDS = 5
PROJECTS, TASKS = "projects", "tasks"
TASK_IDS = ("t1", "t2", "t3")
REAL_IDS = ("1", "2", "3")
PENDING, SENDING, FAILED, PARKED = "pending", "sending", "failed", "parked"
COALESCING = {
    ("create", "create"): "create",
    ("create", "update"): "create",
    ("create", "delete"): None,
    ("update", "update"): "update",
    ("update", "create"): "update",
    ("update", "delete"): "delete",
    ("delete", "create"): "both",
    ("delete", "delete"): "delete",
}


@dataclass
class Entry:
    """One queued operation, as the model sees it."""

    seq: int
    id: str
    entity: str
    record: str
    operation: str
    data: dict
    turn: int
    links: set = field(default_factory=set)
    state: str = PENDING
    frozen: bool = False
    due: float | None = None
    delay: float | None = None
    retries: int = 0
    stalls: int = 0
    rounds: int = 0
    conflict: int | None = None

    @property
    def place(self):
        return self.entity, self.record

    @property
    def may_meet(self):
        return self.state in (PENDING, FAILED) and not self.frozen

    def refresh(self):
        self.state, self.due, self.delay = PENDING, None, None
        self.retries = self.stalls = self.rounds = 0


class Model:
    """The queue as a list, oldest first."""

    def __init__(self):
        self.entries = []
        self.aliases = {}

    def of(self, entity, record):
        return [each for each in self.entries if each.place == (entity, record)]

    def at(self, seq):
        return next(each for each in self.entries if each.seq == seq)

    def creates(self, record):
        return [each for each in self.of(PROJECTS, record) if each.operation == "create"]

    def waits_for(self, entry):
        """The places of what must leave the queue before this entry may be sent."""
        mates = self.of(*entry.place)
        earlier = {each.seq for each in mates if each.seq < entry.seq}
        under_way = {each.seq for each in mates if each.state == SENDING and each is not entry}
        parents = {
            create.seq
            for link in entry.links
            for create in self.creates(link)
            if create.seq < entry.seq
        }
        return earlier | under_way | parents

    def lane(self, entry):
        if entry.state != PENDING:
            return {SENDING: Lane.SENDING, FAILED: Lane.FAILED, PARKED: Lane.PARKED}[entry.state]
        if self.waits_for(entry):
            return Lane.BLOCKED
        return Lane.READY if entry.due is None else Lane.DELAYED

    def refer(self, entity, data, seq):
        """What this data at this place waits for, and the data with the server's ids in it."""
        value = data.get("project_id") if entity == TASKS else None
        if value is None:
            return set(), data
        value = self.aliases.get(value, value)
        older = any(create.seq < seq for create in self.creates(str(value)))
        return ({str(value)} if older else set()), {**data, "project_id": value}

    def refers_ahead(self, entity, data, seq):
        value = data.get("project_id") if entity == TASKS else None
        return any(create.seq > seq for create in self.creates(str(value)))

    def tidy(self, blocked_before):
        """What was released is sendable, or lost with the parent that it names."""
        for entry in self.entries:
            if entry.state != PENDING:
                continue
            if self.waits_for(entry):
                entry.due = entry.delay = None
            elif entry.seq in blocked_before and any(self._lost(link) for link in entry.links):
                entry.state = FAILED

    def _lost(self, link):
        return is_local(link) and link not in self.aliases and not self.of(PROJECTS, link)

    def blocked(self):
        return {e.seq for e in self.entries if e.state == PENDING and self.waits_for(e)}


class OutboxMachine(RuleBasedStateMachine):
    """Every call and every answer on a few records."""

    def make_storage(self):
        return MemoryStorage()

    def __init__(self):
        super().__init__()
        self.storage = self.make_storage()
        self.model = Model()
        self.now = 1_000_000_000.0
        self.values = 0
        self.given_ids = 0
        self.projects = list(REAL_IDS)
        self.claimed = {}
        self.seen_ids = set()
        self.frozen_as = {}

    @initialize(
        tasks=st.sampled_from(["server-wins", "client-wins", "manual"]),
        projects=st.sampled_from(["server-wins", "manual"]),
    )
    def configure(self, tasks, projects):
        config = SyncConfig(
            base_url="http://nowhere.invalid",
            storage=self.storage,
            entities={
                PROJECTS: EntityConfig("/projects", id_source="server", conflict=projects),
                TASKS: EntityConfig("/tasks", references={"project_id": PROJECTS}, conflict=tasks),
            },
        )
        self.strategies = {PROJECTS: projects, TASKS: tasks}
        self.entities = compile_entities(config)
        self.outbox = Outbox(self.entities)
        self.triage = Triage(self.entities)
        self.resolver = Resolver(self.entities, lambda: 0.0)
        self.claims = Claims(self.entities, self.resolver, MAX_DELAY)
        self.settlement = Settlement(
            self.entities,
            self.resolver,
            Arrivals(self.resolver),
            max_retries=MAX_RETRIES,
            retry_delay=RETRY_DELAY,
            max_retry_delay=MAX_DELAY,
            random=lambda: 0.5,
        )

    def teardown(self):
        self.storage.close()

    # --- running things

    def rows(self):
        return self.storage.read(lambda tx: list(tx.scan(ITEMS)))

    def run(self, work):
        """One transaction; whatever left the queue in it must be accounted for."""
        before = {row.seq for row in self.rows()}

        def transaction(tx):
            effects = Effects()
            return work(tx, effects), effects

        result, effects = self.storage.write(transaction)
        gone = before - {row.seq for row in self.rows()}
        assert gone <= effects.outcomes.keys() | effects.moved.keys()
        assert not (gone & effects.outcomes.keys() & effects.moved.keys())
        return result

    def new_id(self, seq):
        """The id that the store gave to new content: one never seen before."""
        found = self.storage.read(lambda tx: tx.get(ITEMS, seq)).id
        assert found not in self.seen_ids
        self.seen_ids.add(found)
        return found

    def fields(self, names):
        self.values += 1
        return {name: f"{name}{self.values}" for name in names}

    # --- push

    @rule(
        record=st.sampled_from(TASK_IDS),
        operation=st.sampled_from(list(SyncOperation)),
        names=st.sets(st.sampled_from("ab"), min_size=1),
        parent=st.none() | st.integers(0, 9),
    )
    def push_task(self, record, operation, names, parent):
        data = {"id": record}
        if operation is not SyncOperation.DELETE:
            data |= self.fields(names)
            if parent is not None:
                data["project_id"] = self.projects[-1 - parent % len(self.projects)]
        self.push(TASKS, record, operation, data)

    @rule(names=st.sets(st.sampled_from("ab"), min_size=1))
    def create_project(self, names):
        item = self.push(PROJECTS, None, SyncOperation.CREATE, self.fields(names))
        self.projects.append(item.record_id)

    @rule(
        chosen=st.integers(0, 9),
        operation=st.sampled_from(list(SyncOperation)),
        names=st.sets(st.sampled_from("ab"), min_size=1),
    )
    def push_project(self, chosen, operation, names):
        record = self.projects[-1 - chosen % len(self.projects)]
        known = self.model.of(PROJECTS, record) or record in self.model.aliases
        if is_local(record) and not known:
            return  # it was taken back before the server knew it
        given = any(record == str(each) for each in self.model.aliases.values())
        if operation is SyncOperation.CREATE and not (given or is_local(record)):
            return
        data = {"id": record}
        if operation is not SyncOperation.DELETE:
            data |= self.fields(names)
        self.push(PROJECTS, record, operation, data)

    @rule(record=st.sampled_from(TASK_IDS), edited=st.booleans())
    def create_family(self, record, edited):
        """A project, perhaps edited while it is being sent, and a task of it."""
        self.create_project({"a"})
        if edited:
            self.claim(9)
            self.push_project(0, SyncOperation.UPDATE, {"b"})
        verb = SyncOperation.CREATE if record == "t1" else SyncOperation.UPDATE
        if not any(each.operation == "delete" for each in self.model.of(TASKS, record)):
            self.push_task(record, verb, {"a"}, 0)

    def push(self, name, record, operation, data):
        entity = self.entities[name]
        change = Change.of(entity, operation, data, self.now)
        key = change.key
        given = self.model.aliases.get(key, key) if name == PROJECTS else key
        record, plain = str(given), {**change.data, "id": given}
        tail = (self.model.of(name, record) or [None])[-1]
        deleting = tail is not None and tail.operation == "delete" and tail.state != PARKED
        if deleting and operation is SyncOperation.UPDATE:
            with pytest.raises(RecordDeletedError):
                self.run(lambda tx, effects: self.outbox.push(tx, change, effects))
            return None
        blocked = self.model.blocked()
        item = self.run(lambda tx, effects: self.outbox.push(tx, change, effects))
        entry = self.expect_push(name, record, operation.value, plain, tail)
        self.model.tidy(blocked)
        if entry is None:
            assert item is None
            return None
        entry.id = self.new_id(entry.seq)
        assert (item.place, item.id) == (entry.seq, entry.id)
        assert (item.entity, item.record_id, item.operation) == (name, record, entry.operation)
        assert item.data == entry.data
        return item

    def expect_push(self, name, record, operation, data, tail):
        """What becomes of a push by SPEC's coalescing table; the entry that it is part of."""
        model, current, absorbed = self.model, tail, None
        new_operation, new_data = operation, data
        while current is not None and current.may_meet:
            becomes = COALESCING[current.operation, new_operation]
            if becomes is None:
                model.entries = [e for e in model.entries if e not in (current, absorbed)]
                return None
            if becomes == "both":
                break
            merging = new_operation == "update" or becomes == "update"
            merged = {**current.data, **new_data} if merging else new_data
            if model.refers_ahead(name, merged, current.seq):
                break
            new_operation = becomes
            current.links, new_data = model.refer(name, merged, current.seq)
            if absorbed is not None:
                model.entries.remove(absorbed)
            if current.state == FAILED:
                current.refresh()
            current.operation, current.data = new_operation, new_data
            absorbed = current
            earlier = [each for each in model.of(name, record) if each.seq < current.seq]
            if not earlier or earlier[-1].state != FAILED:
                break
            current = earlier[-1]
        return absorbed or self.append(name, record, operation, data)

    def append(self, name, record, operation, data):
        seq = self.storage.read(lambda tx: tx.last_number())
        assert all(each.seq < seq for each in self.model.entries)
        links, data = self.model.refer(name, data, seq)
        entry = Entry(seq, "", name, record, operation, data, seq, links)
        self.model.entries.append(entry)
        return entry

    # --- sending

    @rule(limit=st.integers(1, 4))
    def claim(self, limit):
        self.promote()
        ready = [e for e in self.model.entries if self.model.lane(e) == Lane.READY]
        expected = sorted(ready, key=lambda each: each.turn)[:limit]
        claims = self.run(lambda tx, effects: self.claims.claim(tx, limit, self.now))
        assert [claim.item.seq for claim in claims] == [each.seq for each in expected]
        self.cut_waits()
        for claim, entry in zip(claims, expected, strict=True):
            entry.state = SENDING
            self.claimed[entry.seq] = claim

    def promote(self):
        for entry in self.model.entries:
            if entry.due is not None and entry.due <= self.now:
                entry.due = entry.delay = None

    def cut_waits(self):
        """A clock set back stretches no wait past what was meant and the longest there is."""
        rows = {row.seq: row for row in self.rows()}
        for entry in self.model.entries:
            if entry.due is None:
                continue
            due = rows[entry.seq].due
            bound = max(MAX_DELAY, entry.delay)
            assert due == entry.due or (due == self.now + entry.delay < entry.due)
            assert due - self.now <= bound + SLACK_S
            entry.due = due

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3))
    def give_back(self, chosen):
        entry, claim = self.take_claim(chosen)
        blocked = self.model.blocked()
        self.run(lambda tx, effects: self.claims.unclaim(tx, [claim]))
        entry.state = PENDING
        self.model.tidy(blocked)

    @precondition(lambda self: self.claimed)
    @rule()
    def crash(self):
        """The deliverer dies; the next one takes over."""
        blocked = self.model.blocked()
        count = self.run(lambda tx, effects: self.claims.recover(tx))
        assert count == len(self.claimed)
        for seq in self.claimed:
            entry = self.model.at(seq)
            entry.state, entry.frozen = PENDING, True
        self.claimed.clear()
        self.model.tidy(blocked)

    def take_claim(self, chosen):
        seq = sorted(self.claimed)[chosen % len(self.claimed)]
        return self.model.at(seq), self.claimed.pop(seq)

    def answered(self, chosen, answer, effect):
        """Settles a claim, and lets the model do the same."""
        entry, claim = self.take_claim(chosen)
        blocked = self.model.blocked()
        self.run(
            lambda tx, effects: self.settlement.settle(tx, claim, answer(entry), effects, self.now)
        )
        effect(entry)
        self.model.tidy(blocked)

    @precondition(lambda self: self.model.entries)
    @rule(limit=st.integers(1, 3), first=st.integers(0, 3))
    def deliver_some(self, limit, first):
        self.claim(limit)
        for _ in range(min(limit, len(self.claimed))):
            self.delivered(first)

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3))
    def delivered(self, chosen):
        entry = self.model.at(sorted(self.claimed)[chosen % len(self.claimed)])
        given = None
        if entry.operation == "create" and is_local(entry.record):
            self.given_ids += 1
            given = self.given_ids

        def answer(entry):
            record = None if entry.operation == "delete" else {**entry.data, "id": given}
            return Answer(meaning=Meaning.DELIVERED, status=200, server_id=given, record=record)

        def effect(entry):
            if given is not None:
                self.adopt(entry.record, given)
            self.model.entries.remove(entry)

        self.answered(chosen, answer, effect)

    def adopt(self, local, given):
        key = str(given)
        self.model.aliases[local] = given
        for entry in self.model.of(PROJECTS, key):
            # it waited, for a moment, for the create
            entry.due = entry.delay = None
        for entry in self.model.entries:
            if entry.place == (PROJECTS, local):
                entry.record = key
                entry.data = {**entry.data, "id": given}
            if local in entry.links:
                entry.links = {key if link == local else link for link in entry.links}
                entry.data = {**entry.data, "project_id": given}
        self.projects = [local, *(key if each == local else each for each in self.projects)]

    @precondition(lambda self: self.claimed)
    @rule(
        chosen=st.integers(0, 3),
        meaning=st.sampled_from([Meaning.OFFLINE, Meaning.CREDENTIALS, Meaning.PORTAL]),
    )
    def nothing_reached(self, chosen, meaning):
        proof = meaning is not Meaning.PORTAL

        def effect(entry):
            entry.state = PENDING
            entry.frozen = entry.frozen or not proof
            if meaning is Meaning.PORTAL:
                entry.turn = self.storage.read(lambda tx: tx.last_number())

        self.answered(chosen, lambda _: Answer(meaning=meaning, unprocessed=proof), effect)

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3), status=st.sampled_from([429, 503]))
    def busy(self, chosen, status):
        answer = Answer(meaning=Meaning.BUSY, status=status, unprocessed=status == 429)

        def effect(entry):
            entry.state = PENDING
            entry.frozen = entry.frozen or status != 429
            entry.turn = self.storage.read(lambda tx: tx.last_number())

        self.answered(chosen, lambda _: answer, effect)

    @precondition(lambda self: self.claimed)
    @rule(
        chosen=st.integers(0, 3),
        meaning=st.sampled_from([Meaning.UNKNOWN, Meaning.SERVER_ERROR, Meaning.MAPPING]),
        status=st.sampled_from([425, 500]),
        retry_after=st.none() | st.sampled_from([0.0, 7.0, 3600.0]),
    )
    def trouble(self, chosen, meaning, status, retry_after):
        proof = status == 425
        answer = Answer(meaning=meaning, status=status, unprocessed=proof, retry_after=retry_after)

        def effect(entry):
            entry.frozen = entry.frozen or not proof
            if entry.retries >= MAX_RETRIES:
                entry.state = FAILED
                return
            entry.state = PENDING
            self.delay(entry, entry.retries, retry_after)
            entry.retries += 1

        self.answered(chosen, lambda _: answer, effect)

    def delay(self, entry, spent, floor):
        entry.delay = max(min(MAX_DELAY, RETRY_DELAY * 2**spent) * 0.5, floor or 0.0)
        entry.due = self.now + entry.delay

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3), meaning=st.sampled_from([Meaning.REJECTED, Meaning.REDIRECT]))
    def refused(self, chosen, meaning):
        def effect(entry):
            entry.state, entry.frozen = FAILED, meaning is Meaning.REDIRECT

        proof = meaning is Meaning.REJECTED
        answer = Answer(meaning=meaning, status=422 if proof else 302, unprocessed=proof)
        self.answered(chosen, lambda _: answer, effect)

    # --- conflicts

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3), there=st.booleans())
    def conflict(self, chosen, there):
        """412: somebody changed the record, or (an update's) deleted it."""
        entry = self.model.at(sorted(self.claimed)[chosen % len(self.claimed)])
        if is_local(entry.record):
            return
        self.values += 1
        theirs = {"id": entry.record, "a": self.values, "b": self.values, "project_id": "theirs"}
        remote = theirs if there else None
        version = f"v{self.values}"
        held = self.is_held(entry)

        def answer(entry):
            return Answer(meaning=Meaning.CONFLICT, status=412, record=remote, version=version)

        def effect(entry):
            if entry.operation == "delete" and remote is None:
                self.model.entries.remove(entry)
                return
            entry.frozen = False
            if remote is None and (not held or entry.operation == "create"):
                entry.state = FAILED
                return
            self.resolve(entry, remote)

        self.answered(chosen, answer, effect)

    def is_held(self, entry):
        row = self.storage.read(lambda tx: tx.get(RECORDS, *entry.place))
        return row is not None and row.stamp > 0

    def resolve(self, head, remote):
        head.state = PENDING
        covered = [each for each in self.model.of(*head.place) if each.state != SENDING]
        head = covered[0]
        local = covered[-1].operation != "delete"
        strategy = self.strategies[head.entity]
        if remote is None and not local:
            self.drop(covered)
        elif strategy == "manual" or head.rounds >= MAX_ROUNDS:
            number = self.storage.read(lambda tx: tx.get(ITEMS, head.seq)).conflict
            assert number is not None
            for each in covered:
                each.state, each.conflict = PARKED, number
                each.frozen, each.due, each.delay = False, None, None
        elif strategy == "server-wins":
            self.drop(covered)
        else:
            self.replace(covered, remote, local=local)

    def drop(self, entries):
        self.model.entries = [each for each in self.model.entries if each not in entries]

    def replace(self, covered, remote, *, local):
        """One new operation, with a new key, in the place of the first that the conflict covers;
        in a later one's if the first stands before the create of what it refers to.
        """
        places = [each.seq for each in covered]
        (row,) = [row for row in self.rows() if row.seq in places]
        rounds = covered[0].rounds + 1
        head = covered[places.index(row.seq)]
        self.drop([each for each in covered if each is not head])
        head.operation = "delete" if not local else "create" if remote is None else "update"
        head.data = json.loads(row.data)
        earlier = places[: places.index(row.seq)]
        assert all(self.model.refers_ahead(head.entity, head.data, each) for each in earlier)
        assert str(head.data["id"]) == head.record
        head.refresh()
        head.rounds, head.frozen, head.conflict = rounds, False, None
        head.id = self.new_id(head.seq)
        head.links, expected = self.model.refer(head.entity, head.data, head.seq)
        assert expected == head.data

    @precondition(lambda self: any(each.conflict for each in self.model.entries))
    @rule(chosen=st.integers(0, 3), side=st.sampled_from(["local", "remote"]))
    def decide(self, chosen, side):
        numbers = sorted({each.conflict for each in self.model.entries if each.conflict})
        number = numbers[chosen % len(numbers)]
        covered = [each for each in self.model.entries if each.conflict == number]
        row = self.storage.read(lambda tx: tx.get(CONFLICTS, number))
        blocked = self.model.blocked()
        self.run(lambda tx, effects: self.resolver.resolve(tx, number, side, effects, self.now))
        local = covered[-1].operation != "delete"
        if side == "remote" or (not local and row.remote is None):
            self.drop(covered)
        else:
            self.replace(covered, row.remote, local=local)
        self.model.tidy(blocked)

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3))
    def still_running(self, chosen):
        """A plain 409 without a record: about a frozen item that the first try may be at work."""
        entry = self.model.at(sorted(self.claimed)[chosen % len(self.claimed)])
        if self.is_held(entry):
            return

        def effect(entry):
            if entry.operation == "delete":
                self.model.entries.remove(entry)
            elif not entry.frozen or entry.stalls >= MAX_STALLS:
                entry.state = FAILED
            else:
                entry.state = PENDING
                self.delay(entry, entry.stalls, None)
                entry.stalls += 1

        self.answered(chosen, lambda _: Answer(meaning=Meaning.CONFLICT, status=409), effect)

    # --- a person's calls

    @precondition(lambda self: len(self.model.entries) > 2)
    @rule(chosen=st.integers(0, 30))
    def cancel(self, chosen):
        entry = self.model.entries[chosen % len(self.model.entries)]
        going = self.with_later(entry)
        allowed = entry.may_meet
        if entry.operation == "create" and entry.entity == PROJECTS:
            allowed = allowed and not any(entry.record in e.links for e in self.model.entries)
        blocked = self.model.blocked()
        done = self.run(lambda tx, effects: self.triage.cancel(tx, entry.seq, effects))
        assert done == allowed
        if done:
            self.drop(going)
        self.model.tidy(blocked)

    def with_later(self, entry):
        if entry.operation != "create":
            return [entry]
        mates = self.model.of(*entry.place)
        return [each for each in mates if each.seq >= entry.seq and each.state != SENDING]

    @precondition(lambda self: any(each.state == FAILED for each in self.model.entries))
    @rule()
    def discard_failed(self):
        going = []
        for entry in self.model.entries:
            if entry.state == FAILED:
                going += [each for each in self.with_later(entry) if each not in going]
        blocked = self.model.blocked()
        count = self.run(lambda tx, effects: self.triage.discard_failed(tx, None, effects))
        assert count == len(going)
        self.drop(going)
        self.model.tidy(blocked)

    @precondition(lambda self: any(each.state == FAILED for each in self.model.entries))
    @rule()
    def reprocess_failed(self):
        failed = [each for each in self.model.entries if each.state == FAILED]
        blocked = {*self.model.blocked(), *(each.seq for each in failed)}
        count = self.run(lambda tx, effects: self.triage.reprocess(tx, None, effects, now=self.now))
        assert count == len(failed)
        for entry in failed:
            entry.refresh()
            if not entry.frozen:
                entry.id = self.new_id(entry.seq)
        self.model.tidy(blocked)

    @precondition(lambda self: len(self.model.entries) > 4)
    @rule()
    def clear(self):
        going = [each for each in self.model.entries if each.state == PENDING]
        count = self.run(self.triage.clear)
        assert count == len(going)
        self.drop(going)

    @precondition(lambda self: any(each.due for each in self.model.entries))
    @rule(seconds=st.sampled_from([-100_000.0, -30.0, -0.3, 0.3, 2.0, 30.0, 7200.0]))
    def clock_moves(self, seconds):
        self.now += seconds

    # --- what always holds

    @invariant()
    def the_store_is_as_the_model(self):
        rows = {row.seq: row for row in self.rows()}
        assert rows.keys() == {each.seq for each in self.model.entries}
        for entry in self.model.entries:
            row = rows[entry.seq]
            found = (row.id, row.entity, row.record, row.operation, json.loads(row.data))
            assert found == (entry.id, *entry.place, entry.operation, entry.data)
            assert row.lane == self.model.lane(entry)
            assert (row.retries, row.turn) == (entry.retries, entry.turn)
            assert (row.due, row.delay) == (entry.due, entry.delay)
            assert bool(row.frozen) == entry.frozen
            if row.lane == Lane.BLOCKED:
                assert row.blocker in self.model.waits_for(entry)
            else:
                assert row.blocker is None

    @invariant()
    def records_are_kept_in_order(self):
        rows = self.rows()
        sending = [(row.entity, row.record) for row in rows if row.lane == Lane.SENDING]
        assert len(sending) == len(set(sending)) or self.model.aliases
        heads = {}
        for row in rows:
            head = heads.setdefault((row.entity, row.record), row.seq)
            if row.lane in (Lane.READY, Lane.DELAYED):
                assert row.seq == head
            if row.lane == Lane.BLOCKED:
                blocker = next(each for each in rows if each.seq == row.blocker)
                assert blocker.seq < row.seq or blocker.lane == Lane.SENDING

    @invariant()
    def no_stand_in_id_is_sent_while_its_create_is_queued(self):
        rows = self.rows()
        creating = {r.record for r in rows if (r.entity, r.operation) == (PROJECTS, "create")}
        for row in rows:
            if row.lane in (Lane.READY, Lane.DELAYED, Lane.SENDING) and row.entity == TASKS:
                parent = json.loads(row.data).get("project_id")
                assert not (isinstance(parent, str) and is_local(parent) and parent in creating)

    @invariant()
    def what_is_frozen_never_changes(self):
        frozen = {row.seq: row for row in self.rows() if row.frozen or row.lane == Lane.SENDING}
        for seq, row in frozen.items():
            kept = self.frozen_as.get(seq)
            # a create that the server has named leaves the queue; all else stays to the letter
            assert kept is None or kept == (row.id, row.entity, row.record, row.data)
        self.frozen_as = {
            seq: (row.id, row.entity, row.record, row.data) for seq, row in frozen.items()
        }

    @invariant()
    def counts_are_exact(self):
        rows = self.rows()
        lanes = [row.lane for row in rows]

        def look(tx):
            counts = {key: n for key, n in tx.counts(ITEMS).items() if n}
            return self.outbox.tally(tx), self.outbox.length(tx), counts, tx.count(CONFLICTS, OPEN)

        (queued, failed, conflicts), length, counts, open_ = self.storage.read(look)
        out = {Lane.FAILED, Lane.PARKED}
        assert queued == length == sum(lane not in out for lane in lanes)
        assert failed == lanes.count(Lane.FAILED)
        assert conflicts == open_ == len({row.conflict for row in rows if row.conflict})
        assert counts == {
            key: sum((row.lane, row.entity) == key for row in rows)
            for key in {(row.lane, row.entity) for row in rows}
        }

    @invariant()
    def nothing_strands(self):
        """Follow the blockers of any item: they end at one that moves, or needs a decision."""
        rows = {row.seq: row for row in self.rows()}
        for row in rows.values():
            passed = set()
            while row.lane == Lane.BLOCKED:
                assert row.seq not in passed
                passed.add(row.seq)
                row = rows[row.blocker]  # noqa: PLW2901 - it walks
            assert row.lane != Lane.DELAYED or row.due is not None

        def due(tx):
            return self.claims.next_due(tx, self.now)

        wait = self.storage.read(due)
        delayed = [row for row in rows.values() if row.lane == Lane.DELAYED]
        assert (wait is None) == (not delayed)
        assert wait is None or 0 <= wait <= max(row.delay for row in delayed)

    @invariant()
    def links_belong_to_queued_items(self):
        linked = self.storage.read(lambda tx: [link.seq for link in tx.scan(LINKS)])
        assert set(linked) <= {each.seq for each in self.model.entries}


class SQLiteOutboxMachine(OutboxMachine):
    """The same in a file, which is closed and opened again on the way."""

    def make_storage(self):
        self.directory = tempfile.TemporaryDirectory(prefix="bytelyst-sync-")
        return SQLiteStorage(Path(self.directory.name) / "queue.db", durability="normal")

    def teardown(self):
        super().teardown()
        self.directory.cleanup()

    @rule()
    def reopen(self):
        self.storage.close()


def test_the_queue_in_memory():
    run_state_machine_as_test(
        OutboxMachine,
        settings=settings(
            max_examples=100,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_queue_in_a_file():
    run_state_machine_as_test(
        SQLiteOutboxMachine,
        settings=settings(
            max_examples=10,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
