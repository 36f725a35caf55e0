"""The queue against a plain model: a list of entries, and the documented tables applied to it.

The model knows no lanes and no blockers. It keeps what was pushed and what came of it, and derives
from that where every item must stand. After each step the store is compared with it row by row.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

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

from bytelyst_sync import (
    EntityConfig,
    InvalidDataError,
    RecordDeletedError,
    Storage,
    SyncConfig,
    SyncItem,
)
from bytelyst_sync.config.entity import compile_entities
from bytelyst_sync.model import ConflictName, Json, SyncOperation
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim, Claims
from bytelyst_sync.queue.control import QueueControl
from bytelyst_sync.queue.expiry import expire_due
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.queue.settle import Settlement
from bytelyst_sync.replica.conflicts import Resolver
from bytelyst_sync.replica.remote_changes import RemoteChanges
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.rules.outage import ORIGIN, Health, after_answer
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage import LmdbStorage, MemoryStorage, SQLiteStorage
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import CONFLICTS, ITEMS, LINKS, OPEN, RECORDS, Lane
from tests.typed import present

MAX_RETRIES = 2
RETRY_DELAY = 1.0
MAX_DELAY = 60.0
SLACK_S = 1.0
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
    data: dict[str, Any]
    turn: int
    links: set[Any] = field(default_factory=set)
    state: str = PENDING
    frozen: bool = False
    due: float | None = None
    delay: float | None = None
    retries: int = 0
    attempted: int | None = None
    """The number of its last attempt without a real answer, in the model's count of answers."""
    in_progress_retries: int = 0
    rounds: int = 0
    conflict: int | None = None
    was_create: bool = False
    key: str | None = None
    expires: float | None = None
    expired: bool = False

    @property
    def place(self) -> tuple[str, str]:
        return self.entity, self.record

    @property
    def may_change(self) -> bool:
        return self.state in (PENDING, FAILED) and not self.frozen

    def merges_with(self, key: str | None, expires: float | None) -> bool:
        return self.may_change and self.key is None is key and self.expires == expires

    def refresh(self) -> None:
        self.state, self.due, self.delay = PENDING, None, None
        self.retries = self.in_progress_retries = self.rounds = 0
        self.attempted = None


class Model:
    """The queue as a list, oldest first."""

    def __init__(self, server_state: Callable[..., Json | None]) -> None:
        self.entries: list[Any] = []
        self.aliases: dict[Any, Any] = {}
        self.server_state = server_state

    def of(self, entity: str, record: str) -> list[Entry]:
        here = [each for each in self.entries if each.place == (entity, record)]
        return [each for each in here if not each.expired]

    def at(self, seq: int) -> Entry:
        found: Entry = next(each for each in self.entries if each.seq == seq)
        return found

    def creates(self, record: str) -> list[Entry]:
        return [each for each in self.of(PROJECTS, record) if each.operation == "create"]

    def waits_for(self, entry: Entry) -> set[Any]:
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
        if entry.operation == "delete":
            parents |= {each.seq for each in self.referrers(entry) if each.seq < entry.seq}
        return earlier | under_way | parents

    def referrers(self, entry: Entry) -> list[Entry]:
        """The other records' entries whose record refers, or referred, to this one's."""
        if entry.entity != PROJECTS:
            return []
        return [each for each in self.entries if entry.record in each.links]

    def lane(self, entry: Entry) -> Lane:
        if entry.state != PENDING:
            return {SENDING: Lane.SENDING, FAILED: Lane.FAILED, PARKED: Lane.PARKED}[entry.state]
        if self.waits_for(entry):
            return Lane.BLOCKED
        return Lane.READY if entry.due is None else Lane.DELAYED

    def refer(self, entity: str, data: Json, seq: int) -> tuple[set[str], Json]:
        """The projects that an entry with this data at this place has to do with, and the data
        with the server's ids in it.
        """
        if entity != TASKS:
            return set(), data
        links = set()
        if data.get("project_id") is not None:
            value = self.aliases.get(data["project_id"], data["project_id"])
            data = {**data, "project_id": value}
            links.add(str(value))
        state = self.server_state(entity, data["id"]) or {}
        if state.get("project_id") is not None:
            links.add(str(state["project_id"]))
        for entry in self.of(entity, data["id"]):
            if entry.seq < seq:
                links |= entry.links
        return links, data

    def refers_ahead(self, entity: str, data: Json, seq: int) -> bool:
        value = data.get("project_id") if entity == TASKS else None
        # an expired create may be queued again in its place
        here = [each for each in self.entries if each.place == (PROJECTS, str(value))]
        later = [each for each in here if each.seq > seq]
        return any(each.operation in ("create", "delete") for each in later)

    def stands_apart(self, entry: Entry) -> bool:
        """Whether an entry that was pushed after this one refers to its record."""
        return any(each.seq > entry.seq for each in self.referrers(entry))

    def expire(self, now: float) -> None:
        due = [each for each in self.entries if 0 < (each.expires or 0) <= now]
        for entry in sorted(due, key=lambda each: (each.expires, each.seq)):
            if entry.state == SENDING or (entry.expires or 0) <= 0:
                continue
            if entry.state != PENDING:
                entry.expires = -entry.expires
                continue
            entry.expires = None
            entry.state, entry.due, entry.delay = FAILED, None, None
            if entry.frozen:
                continue
            later = [each for each in self.of(*entry.place) if each.seq > entry.seq]
            going = later if entry.operation == "create" else []
            for each in [entry, *(each for each in going if each.state == PENDING)]:
                each.state, each.due, each.delay = FAILED, None, None
                if (each.expires or 0) <= now:
                    each.expires = None
                each.expired, each.links = True, set()
            self.fail_children(entry)

    def fail_children(self, create: Entry) -> None:
        """The create of a project left the queue unsent."""
        if create.operation != "create":
            return
        for each in self.referrers(create):
            if each.seq > create.seq and each.state == PENDING and not each.frozen:
                each.state, each.due, each.delay = FAILED, None, None

    def tidy(self, blocked_before: set[Any]) -> None:
        """What was released is sendable, or lost with the parent that it names."""
        for entry in self.entries:
            if entry.state != PENDING:
                continue
            if self.waits_for(entry):
                entry.due = entry.delay = None
            elif entry.seq in blocked_before and any(self.lost(link) for link in entry.links):
                entry.state = FAILED

    def lost(self, link: str) -> bool:
        return is_local(link) and link not in self.aliases and not self.of(PROJECTS, link)

    def sendable(self, limit: int) -> list[Entry]:
        """The first ready entries; those that name a lost project are held back."""
        while True:
            ready = [each for each in self.entries if self.lane(each) == Lane.READY]
            first = sorted(ready, key=lambda each: each.turn)[:limit]
            for each in first:
                if not each.frozen and self.lost(str(each.data.get("project_id"))):
                    each.state = FAILED
            kept = [each for each in first if each.state != FAILED]
            if kept or not first:
                return kept

    def blocked(self) -> set[Any]:
        return {e.seq for e in self.entries if e.state == PENDING and self.waits_for(e)}


T = TypeVar("T")


class OutboxMachine(RuleBasedStateMachine):
    """Every call and every answer on a few records."""

    def make_storage(self) -> Storage:
        return MemoryStorage()

    def __init__(self) -> None:
        super().__init__()
        self.storage = self.make_storage()
        self.model = Model(self.server_state)
        self.now = 1_000_000_000.0
        self.outages: dict[Any, Any] = {}
        self.answers = 0
        self.answered_records: dict[Any, Any] = {PROJECTS: {}, TASKS: {}}
        self.failures = {PROJECTS: 0, TASKS: 0}
        self.origin_is_down = False
        self.values = self.keys = 0
        self.given_ids = 0
        self.projects = list(REAL_IDS)
        self.claimed: dict[Any, Any] = {}
        self.seen_ids: set[Any] = set()
        self.frozen_as: dict[Any, Any] = {}

    @initialize(
        tasks=st.sampled_from(["server-wins", "client-wins", "manual"]),
        projects=st.sampled_from(["server-wins", "client-wins", "manual"]),
        id_source=st.sampled_from(["server", "client"]),
    )
    def configure(
        self, tasks: ConflictName, projects: ConflictName, id_source: Literal["client", "server"]
    ) -> None:
        config = SyncConfig(
            base_url="http://nowhere.invalid",
            storage=self.storage,
            entities={
                PROJECTS: EntityConfig("/projects", id_source=id_source, conflict=projects),
                TASKS: EntityConfig("/tasks", references={"project_id": PROJECTS}, conflict=tasks),
            },
        )
        self.strategies = {PROJECTS: projects, TASKS: tasks}
        self.entities = compile_entities(config)
        self.outbox = Outbox(self.entities)
        self.control = QueueControl(self.entities)
        self.resolver = Resolver(self.entities, lambda: 0.0)
        self.claims = Claims(self.entities, self.resolver, MAX_DELAY)
        self.settlement = Settlement(
            self.entities,
            self.resolver,
            RemoteChanges(self.resolver),
            RetryPolicy(
                max_retries=MAX_RETRIES,
                retry_delay=RETRY_DELAY,
                max_retry_delay=MAX_DELAY,
                give_up_after=86_400.0,
                random=lambda: 0.5,
            ),
        )

    def teardown(self) -> None:
        self.storage.close()

    # --- running things

    def rows(self) -> list[Any]:
        return self.storage.read(lambda tx: list(tx.scan(ITEMS)))

    def server_state(self, entity: str, record: str) -> Json | None:
        row = self.storage.read(lambda tx: tx.get(RECORDS, entity, record))
        return None if row is None or row.state is None else json.loads(row.state)

    def run(self, work: Callable[[UnitOfWork], T]) -> T:
        """One transaction; whatever left the queue in it must be accounted for."""
        before = {row.seq for row in self.rows()}

        def transaction(tx: Transaction) -> tuple[T, CommitEffects]:
            effects = CommitEffects()
            return work(UnitOfWork(tx, effects, self.now, self.entities)), effects

        result, effects = self.storage.write(transaction)
        gone = before - {row.seq for row in self.rows()}
        assert gone <= effects.outcomes.keys() | effects.moved.keys()
        assert not (gone & effects.outcomes.keys() & effects.moved.keys())
        return result

    def new_id(self, seq: int) -> str:
        """The id that the store gave to new content: one never seen before."""
        found = present(self.storage.read(lambda tx: tx.get(ITEMS, seq))).id
        assert found not in self.seen_ids
        self.seen_ids.add(found)
        return found

    def fields(self, names: set[str]) -> Json:
        self.values += 1
        return {name: f"{name}{self.values}" for name in names}

    # --- push

    @rule(
        record=st.sampled_from(TASK_IDS),
        operation=st.sampled_from(list(SyncOperation)),
        names=st.sets(st.sampled_from("ab"), min_size=1),
        parent=st.none() | st.integers(0, 9),
        keyed=st.booleans(),
        expires=st.none() | st.sampled_from([5.0, 40.0]),
    )
    def push_task_once_or_in_time(
        self,
        record: str,
        operation: SyncOperation,
        names: set[str],
        parent: int | None,
        keyed: bool,
        expires: float | None,
    ) -> None:
        self.push_task(record, operation, names, parent, keyed=keyed, expires=expires)

    @rule(
        record=st.sampled_from(TASK_IDS),
        operation=st.sampled_from(list(SyncOperation)),
        names=st.sets(st.sampled_from("ab"), min_size=1),
        parent=st.none() | st.integers(0, 9),
    )
    def push_task(
        self,
        record: str,
        operation: SyncOperation,
        names: set[str],
        parent: int | None,
        *,
        keyed: bool = False,
        expires: float | None = None,
    ) -> None:
        data = {"id": record}
        if operation is not SyncOperation.DELETE:
            data |= self.fields(names)
            if parent is not None:
                named = self.projects[-1 - parent % len(self.projects)]
                data["project_id"] = named
                if self.model.lost(named):
                    change = PushRequest.of(self.entities[TASKS], operation, data, self.now)
                    with pytest.raises(InvalidDataError):
                        self.run(lambda work: self.outbox.push(work, [change]))
                    return
        self.push(TASKS, record, operation, data, keyed=keyed, expires=expires)

    @rule(
        names=st.sets(st.sampled_from("ab"), min_size=1),
        expires=st.none() | st.sampled_from([5.0, 40.0]),
    )
    def create_project(self, names: set[str], expires: float | None = None) -> None:
        fields = self.fields(names)
        item = present(self.push(PROJECTS, None, SyncOperation.CREATE, fields, expires=expires))
        self.projects.append(item.record_id)

    @rule(
        chosen=st.integers(0, 9),
        operation=st.sampled_from(list(SyncOperation)),
        names=st.sets(st.sampled_from("ab"), min_size=1),
    )
    def push_project(self, chosen: int, operation: SyncOperation, names: set[str]) -> None:
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
    def create_family(self, record: str, edited: bool) -> None:
        """A project, perhaps edited while it is being sent, and a task of it."""
        self.create_project({"a"})
        if edited:
            self.claim(9)
            self.push_project(0, SyncOperation.UPDATE, {"b"})
        verb = SyncOperation.CREATE if record == "t1" else SyncOperation.UPDATE
        if not any(each.operation == "delete" for each in self.model.of(TASKS, record)):
            self.push_task(record, verb, {"a"}, 0)

    def push(
        self,
        name: str,
        record: str | None,
        operation: SyncOperation,
        data: Json,
        *,
        keyed: bool = False,
        expires: float | None = None,
    ) -> SyncItem | None:
        entity = self.entities[name]
        self.keys += keyed
        key = f"key {self.keys}" if keyed else None
        expires = None if expires is None else self.now + expires
        change = PushRequest.of(entity, operation, data, self.now)
        change = change._replace(key=key, expires=expires)
        record = change.record
        given = self.model.aliases.get(record, record) if name == PROJECTS else record
        record, plain = str(given), {**change.data, "id": given}
        queued = self.model.of(name, record)
        tail = queued[-1] if queued else None
        deleting = tail is not None and tail.operation == "delete" and tail.state != PARKED
        if deleting and operation is SyncOperation.UPDATE:
            with pytest.raises(RecordDeletedError):
                self.run(lambda work: self.outbox.push(work, [change])[0])
            return None
        blocked = self.model.blocked()
        known = self.server_state(name, record) is not None
        item = self.run(lambda work: self.outbox.push(work, [change])[0])
        entry = self.expect_push(
            name, record, operation.value, plain, tail, known=known, key=key, expires=expires
        )
        self.model.tidy(blocked - {entry.seq} if entry else blocked)
        if entry is None:
            assert item is None
            return None
        assert item is not None
        entry.id = self.new_id(entry.seq)
        assert (item.seq, item.id) == (entry.seq, entry.id)
        assert (item.entity, item.record_id, item.operation) == (name, record, entry.operation)
        assert item.data == entry.data
        return item

    def expect_push(
        self,
        name: str,
        record: str,
        operation: str,
        data: Json,
        tail: Entry | None,
        *,
        known: bool,
        key: str | None,
        expires: float | None,
    ) -> Entry | None:
        """What becomes of a push by the coalescing table; the entry that it is part of."""
        model, current, absorbed = self.model, tail, None
        new_operation, new_data, created = operation, data, operation == "create"
        while (
            current is not None
            and current.merges_with(key, expires)
            and not model.stands_apart(current)
        ):
            new_data = {**new_data, "id": current.data["id"]}
            becomes = COALESCING[current.operation, new_operation]
            if becomes is None and not known:
                model.entries = [e for e in model.entries if e not in (current, absorbed)]
                return None
            if becomes in (None, "both"):
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
            created = created or current.was_create
            current.was_create = created and becomes == "update"
            absorbed = current
            earlier = [each for each in model.of(name, record) if each.seq < current.seq]
            if not earlier or earlier[-1].state != FAILED:
                break
            current = earlier[-1]
        if absorbed is not None:
            return absorbed
        entry = self.append(name, record, operation, data, tail, known=known)
        entry.key, entry.expires = key, expires
        return entry

    def append(
        self, name: str, record: str, operation: str, data: Json, tail: Entry | None, *, known: bool
    ) -> Entry:
        seq = self.storage.read(lambda tx: tx.last_number())
        assert all(each.seq < seq for each in self.model.entries)
        links, data = self.model.refer(name, data, seq)
        updated = tail is not None and tail.operation == "update"
        turned = operation == "create" and (updated or (tail is None and known))
        held = self.server_state(name, record)
        if (
            held is not None
            and str(held["id"]) == record
            and (tail is None or operation != "create")
        ):
            data = {**data, "id": held["id"]}
        operation = "update" if turned else operation
        entry = Entry(seq, "", name, record, operation, data, seq, links, was_create=turned)
        self.model.entries.append(entry)
        return entry

    # --- sending

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        blocked = self.model.blocked()
        self.promote()
        self.model.expire(self.now)
        self.model.tidy(blocked)
        expected = self.model.sendable(limit)
        claims = self.run(lambda work: self.claims.claim(work, limit))
        assert [claim.item.seq for claim in claims] == [each.seq for each in expected]
        self.cut_waits()
        for claim, entry in zip(claims, expected, strict=True):
            entry.state = SENDING
            self.claimed[entry.seq] = claim

    @precondition(lambda self: any(each.expires for each in self.model.entries))
    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        """The worker fails what may no longer be sent."""
        self.now += seconds
        blocked = self.model.blocked()
        self.run(expire_due)
        self.model.expire(self.now)
        self.model.tidy(blocked)

    def promote(self) -> None:
        for entry in self.model.entries:
            if entry.due is not None and entry.due <= self.now:
                entry.due = entry.delay = None

    def cut_waits(self) -> None:
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
    def give_back(self, chosen: int) -> None:
        entry, claim = self.take_claim(chosen)
        blocked = self.model.blocked()
        self.run(lambda work: self.claims.unclaim(work.tx, [claim]))
        entry.state = PENDING
        self.model.tidy(blocked)

    @precondition(lambda self: self.claimed)
    @rule()
    def crash(self) -> None:
        """The deliverer dies; the next one takes over."""
        blocked = self.model.blocked()
        count = self.run(self.claims.recover)
        assert count == len(self.claimed)
        for seq in self.claimed:
            entry = self.model.at(seq)
            entry.state, entry.frozen = PENDING, True
        self.claimed.clear()
        self.model.tidy(blocked)

    def take_claim(self, chosen: int) -> tuple[Entry, Claim]:
        seq = sorted(self.claimed)[chosen % len(self.claimed)]
        return self.model.at(seq), self.claimed.pop(seq)

    def recovered(self, name: str) -> None:
        """An outage is over: what waited for its end goes at once."""
        for entry in self.model.entries:
            waits = entry.state == PENDING and entry.due is not None
            attempted = entry.attempted is not None
            if entry.entity == name and waits and attempted and not entry.retries:
                entry.due = entry.delay = None

    def answered(
        self,
        chosen: int,
        answer: Callable[..., object],
        effect: Callable[..., None],
        *,
        real: bool = True,
    ) -> None:
        """Settles a claim, and lets the model do the same. ``real``: the API itself answered."""
        entry, claim = self.take_claim(chosen)
        name, record = entry.place
        blocked = self.model.blocked()
        was_down = [name] if self.failures[name] > 1 else []
        if self.origin_is_down:
            was_down = [PROJECTS, TASKS]
        sent: list[Any] = [(claim, answer(entry))]
        self.run(lambda work: self.settlement.settle_all(work, sent, self.outages))
        if real:
            self.write_answered(name, record)
        effect(entry)
        for each in was_down if real else ():
            self.recovered(each)
        self.model.tidy(blocked)

    def write_answered(self, name: str, record: str) -> None:
        self.answers += 1
        self.answered_records[name][record] = self.answers
        self.failures[name] = 0
        self.origin_is_down = False

    def another_answered(self, entry: Entry) -> bool:
        """Whether another record was answered since the entry's last attempt."""
        if entry.attempted is None:
            return False
        answers = self.answered_records[entry.entity].items()
        return any(n > entry.attempted for record, n in answers if record != entry.record)

    def attempted(self, entry: Entry) -> None:
        self.answers += 1
        entry.attempted = self.answers

    @precondition(lambda self: self.model.entries)
    @rule(limit=st.integers(1, 3), first=st.integers(0, 3))
    def deliver_some(self, limit: int, first: int) -> None:
        self.claim(limit)
        for _ in range(min(limit, len(self.claimed))):
            self.delivered(first)

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3))
    def delivered(self, chosen: int) -> None:
        entry = self.model.at(sorted(self.claimed)[chosen % len(self.claimed)])
        given = None
        if entry.operation == "create" and is_local(entry.record):
            self.given_ids += 1
            given = self.given_ids

        def answer(entry: Entry) -> AttemptResult:
            record = None if entry.operation == "delete" else {**entry.data, "id": given}
            return AttemptResult(
                meaning=Verdict.DELIVERED, status=200, server_id=given, record=record
            )

        def effect(entry: Entry) -> None:
            if given is not None:
                self.adopt(entry.record, given)
            self.model.entries.remove(entry)
            following = next(iter(self.model.of(*entry.place)), None)
            if following is None or following.frozen or following.state == SENDING:
                return
            if following.operation == "create" and self.server_state(*entry.place) is not None:
                following.operation, following.was_create = "update", True

        self.answered(chosen, answer, effect)

    def adopt(self, local: str, given: int) -> None:
        key = str(given)
        self.model.aliases[local] = given
        for entry in self.model.of(PROJECTS, key):
            # it waited, for a moment, for the create
            entry.due = entry.delay = None
        for entry in self.model.entries:
            if entry.place == (PROJECTS, local):
                entry.record = key
                entry.data = {**entry.data, "id": given}
            if local not in entry.links:
                continue  # an expired item is given the id when it is queued again
            entry.links = {key if link == local else link for link in entry.links}
            if entry.entity == TASKS and entry.data.get("project_id") == local:
                entry.data = {**entry.data, "project_id": given}
        self.projects = [local, *(key if each == local else each for each in self.projects)]

    @precondition(lambda self: self.claimed)
    @rule(
        chosen=st.integers(0, 3),
        meaning=st.sampled_from([Verdict.OFFLINE, Verdict.CREDENTIALS, Verdict.PORTAL]),
    )
    def nothing_reached(self, chosen: int, meaning: Verdict) -> None:
        proof = meaning is not Verdict.PORTAL
        real = meaning is Verdict.CREDENTIALS

        def effect(entry: Entry) -> None:
            entry.state = PENDING
            entry.frozen = entry.frozen or not proof
            if meaning is Verdict.PORTAL:
                self.attempted(entry)
                entry.turn = self.storage.read(lambda tx: tx.last_number())

        answer = AttemptResult(meaning=meaning, unprocessed=proof)
        self.answered(chosen, lambda _: answer, effect, real=real)

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3), status=st.sampled_from([429, 503]))
    def busy(self, chosen: int, status: int) -> None:
        answer = AttemptResult(meaning=Verdict.BUSY, status=status, unprocessed=status == 429)

        def effect(entry: Entry) -> None:
            entry.state = PENDING
            entry.frozen = entry.frozen or status != 429
            entry.turn = self.storage.read(lambda tx: tx.last_number())

        self.answered(chosen, lambda _: answer, effect, real=False)

    @precondition(lambda self: self.claimed)
    @rule(
        chosen=st.integers(0, 3),
        meaning=st.sampled_from(
            [Verdict.UNKNOWN, Verdict.OUTAGE, Verdict.SERVER_ERROR, Verdict.MAPPING]
        ),
        status=st.sampled_from([425, 500]),
        retry_after=st.none() | st.sampled_from([0.0, 7.0, 3600.0]),
        others=st.booleans(),
        page=st.booleans(),
    )
    def trouble(
        self,
        chosen: int,
        meaning: Verdict,
        status: int,
        retry_after: float | None,
        others: bool,
        page: bool = False,
    ) -> None:
        """``others``: a record that is not queued any more was answered just before. ``page``: the
        answer that does not fit is no JSON, so it may be that of a gateway.
        """
        proof = status == 425
        name = self.model.at(sorted(self.claimed)[chosen % len(self.claimed)]).entity
        if others:
            number = self.run(lambda work: work.tx.next_number())
            for scope in (name, ORIGIN):
                self.outages[scope] = after_answer(self.outages.get(scope) or Health(), "-", number)
            self.write_answered(name, "-")
        answer = AttemptResult(
            meaning=meaning,
            status=status,
            unprocessed=proof,
            retry_after=retry_after,
            from_api=not page,
        )
        mapping = meaning is Verdict.MAPPING

        def effect(entry: Entry) -> None:
            entry.frozen = entry.frozen or not proof
            spends = mapping or self.another_answered(entry)
            if not mapping:
                self.attempted(entry)
            if spends and entry.retries >= MAX_RETRIES:
                entry.state = FAILED
                return
            entry.state = PENDING
            if spends:
                self.delay(entry, entry.retries, retry_after)
                entry.retries += 1
                return
            entry.turn = self.storage.read(lambda tx: tx.last_number())
            self.delay(entry, self.failures[name], retry_after)
            self.failures[name] += 1
            self.origin_is_down = self.origin_is_down or meaning is Verdict.OUTAGE

        self.answered(chosen, lambda _: answer, effect, real=mapping and not page)

    def delay(self, entry: Entry, spent: int, floor: float | None) -> None:
        entry.delay = max(min(MAX_DELAY, RETRY_DELAY * 2**spent) * 0.5, floor or 0.0)
        entry.due = self.now + entry.delay

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3), meaning=st.sampled_from([Verdict.REJECTED, Verdict.REDIRECT]))
    def refused(self, chosen: int, meaning: Verdict) -> None:
        def effect(entry: Entry) -> None:
            entry.state = FAILED
            entry.frozen = entry.frozen or meaning is Verdict.REDIRECT

        proof = meaning is Verdict.REJECTED
        answer = AttemptResult(meaning=meaning, status=422 if proof else 302, unprocessed=proof)
        self.answered(chosen, lambda _: answer, effect)

    # --- conflicts

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3), there=st.booleans(), gone=st.booleans())
    def conflict(self, chosen: int, there: bool, gone: bool = False) -> None:
        """412: somebody changed the record, or (an update's) deleted it. An update may get a 404
        (``gone``) instead.
        """
        entry = self.model.at(sorted(self.claimed)[chosen % len(self.claimed)])
        if is_local(entry.record):
            return
        self.values += 1
        theirs = dict.fromkeys(("a", "b", "project_id"), f"theirs {self.values}")
        theirs["id"] = entry.record
        remote = theirs if there else None
        version = f"v{self.values}"
        held = self.is_held(entry)
        gone = gone and not there and entry.operation == "update"

        def answer(entry: Entry) -> AttemptResult:
            if gone:
                return AttemptResult(meaning=Verdict.GONE, status=404)
            return AttemptResult(
                meaning=Verdict.CONFLICT, status=412, record=remote, version=version
            )

        def effect(entry: Entry) -> None:
            if entry.operation == "delete" and remote is None:
                self.model.entries.remove(entry)
                return
            entry.frozen = False
            if gone and entry.was_create:
                self.create_instead(entry)
                return
            if remote is None and (not held or entry.operation == "create"):
                entry.state = FAILED
                return
            self.resolve(entry, remote)

        self.answered(chosen, answer, effect)

    def is_held(self, entry: Entry) -> bool:
        row = self.storage.read(lambda tx: tx.get(RECORDS, *entry.place))
        return row is not None and row.changed_seq > 0

    def resolve(self, head: Entry, remote: Json | None) -> None:
        head.state = PENDING
        covered = [each for each in self.model.of(*head.place) if each.state != SENDING]
        head = covered[0]
        local = covered[-1].operation != "delete"
        strategy = self.strategies[head.entity]
        if remote is None and head.was_create:
            self.create_instead(head)
        elif remote is None and not local:
            self.drop(covered)
        elif strategy == "manual" or head.rounds >= MAX_ROUNDS:
            number = present(self.storage.read(lambda tx: tx.get(ITEMS, head.seq))).conflict
            assert number is not None
            for each in covered:
                each.state, each.conflict = PARKED, number
                each.frozen, each.due, each.delay = False, None, None
        elif strategy == "server-wins":
            self.drop(covered)
        else:
            self.replace(covered, remote, local=local)

    def create_instead(self, entry: Any) -> None:
        """The create that was queued as an update is the create that it was."""
        failed = entry.state == FAILED
        entry.operation, entry.was_create = "create", False
        entry.state, entry.frozen = FAILED if failed else PENDING, False
        entry.attempted = None
        entry.id = self.new_id(entry.seq)

    def drop(self, entries: list[Entry]) -> None:
        self.model.entries = [each for each in self.model.entries if each not in entries]

    def replace(self, covered: list[Entry], remote: Json | str | None, *, local: bool) -> None:
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
        times = [each.expires for each in covered]
        head.expires = None if None in times else max(abs(present(each)) for each in times)
        head.refresh()
        head.rounds, head.frozen, head.conflict = rounds, False, None
        head.was_create = False
        head.id = self.new_id(head.seq)
        head.links, expected = self.model.refer(head.entity, head.data, head.seq)
        assert expected == head.data

    @precondition(lambda self: any(each.conflict for each in self.model.entries))
    @rule(chosen=st.integers(0, 3), side=st.sampled_from(["local", "remote"]))
    def decide(self, chosen: int, side: str) -> None:
        numbers = sorted({each.conflict for each in self.model.entries if each.conflict})
        number = numbers[chosen % len(numbers)]
        covered = [each for each in self.model.entries if each.conflict == number]
        row = present(self.storage.read(lambda tx: tx.get(CONFLICTS, number)))
        blocked = self.model.blocked()
        self.run(lambda work: self.resolver.resolve(work, number, side))
        local = covered[-1].operation != "delete"
        if side == "remote" or (not local and row.remote is None):
            self.drop(covered)
        else:
            self.replace(covered, row.remote, local=local)
        self.model.tidy(blocked)

    @precondition(lambda self: self.claimed)
    @rule(chosen=st.integers(0, 3))
    def still_running(self, chosen: int) -> None:
        """A plain 409 without a record: about a frozen item that the first try may be at work."""
        entry = self.model.at(sorted(self.claimed)[chosen % len(self.claimed)])
        if self.is_held(entry):
            return

        def effect(entry: Entry) -> None:
            if entry.operation == "delete":
                self.model.entries.remove(entry)
            elif not entry.frozen:
                entry.state = FAILED
            else:
                entry.state = PENDING
                self.delay(entry, entry.in_progress_retries, None)
                entry.in_progress_retries += 1

        self.answered(chosen, lambda _: AttemptResult(meaning=Verdict.CONFLICT, status=409), effect)

    # --- a person's calls

    @precondition(lambda self: len(self.model.entries) > 2)
    @rule(chosen=st.integers(0, 30))
    def cancel(self, chosen: int) -> None:
        entry = self.model.entries[chosen % len(self.model.entries)]
        going = self.with_later(entry)
        allowed = entry.may_change
        if entry.operation == "create":
            allowed = allowed and not self.model.referrers(entry)
        blocked = self.model.blocked()
        done = self.run(lambda work: self.control.cancel(work, entry.seq))
        assert done == allowed
        if done:
            self.drop(going)
        self.model.tidy(blocked)

    def with_later(self, entry: Entry) -> list[Entry]:
        if entry.operation != "create":
            return [entry]
        mates = self.model.of(*entry.place)
        later = [each for each in mates if each.seq > entry.seq and each.state != SENDING]
        return [entry, *later]

    @precondition(lambda self: any(each.state == FAILED for each in self.model.entries))
    @rule()
    def discard_failed(self) -> None:
        going = []
        for entry in self.model.entries:
            if entry.state == FAILED:
                going += [each for each in self.with_later(entry) if each not in going]
        dropped = [each for each in self.model.entries if each.state == FAILED]
        blocked = self.model.blocked()
        count = self.run(lambda work: self.control.discard_failed(work, None))
        assert count == len(going)
        self.drop(going)
        for entry in dropped:
            self.model.fail_children(entry)
        self.model.tidy(blocked)

    @precondition(lambda self: any(each.state == FAILED for each in self.model.entries))
    @rule()
    def reprocess_failed(self) -> None:
        failed = [each for each in self.model.entries if each.state == FAILED]
        blocked = {*self.model.blocked(), *(each.seq for each in failed)}
        last = self.storage.read(lambda tx: tx.last_number())
        count = self.run(lambda work: self.control.reprocess(work, None))
        assert count == len(failed)
        for entry in failed:
            lost_place = (
                entry.operation != "create"
                or self.model.of(*entry.place)
                or self.server_state(*entry.place) is not None
            )
            passed = entry.expired and (entry.expires or 0) <= 0
            entry.expires = None if passed or entry.expires is None else abs(entry.expires)
            expired, entry.expired = entry.expired, False
            entry.refresh()
            if expired and lost_place:
                last += 1
                entry.seq = entry.turn = last
                self.model.entries.sort(key=lambda each: each.seq)
            if expired:
                entry.links, entry.data = self.model.refer(entry.entity, entry.data, entry.seq)
            if not entry.frozen and not (expired and entry.key):
                entry.id = self.new_id(entry.seq)
        self.model.tidy(blocked)

    @precondition(lambda self: len(self.model.entries) > 4)
    @rule()
    def clear(self) -> None:
        going = []
        for entry in reversed(self.model.entries):
            if entry.state == PENDING:
                going += [each for each in self.with_later(entry) if each not in going]
        count = self.run(self.control.clear)
        assert count == len(going)
        self.drop(going)
        for entry in going:
            self.model.fail_children(entry)

    @precondition(lambda self: any(each.due for each in self.model.entries))
    @rule(seconds=st.sampled_from([-100_000.0, -30.0, -0.3, 0.3, 2.0, 30.0, 7200.0]))
    def clock_moves(self, seconds: float) -> None:
        self.now += seconds

    # --- what always holds

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        rows = {row.seq: row for row in self.rows()}
        assert rows.keys() == {each.seq for each in self.model.entries}
        for entry in self.model.entries:
            row = rows[entry.seq]
            found = (row.id, row.entity, row.record, row.operation, json.loads(row.data))
            assert found == (entry.id, *entry.place, entry.operation, entry.data)
            assert row.lane == self.model.lane(entry)
            assert (row.retries, row.position) == (entry.retries, entry.turn)
            assert (row.due, row.delay) == (entry.due, entry.delay)
            assert bool(row.frozen) == entry.frozen
            assert bool(row.was_create) == entry.was_create
            assert (row.expires, bool(row.expired)) == (entry.expires, entry.expired)
            if row.lane == Lane.BLOCKED:
                assert row.blocker in self.model.waits_for(entry)
            else:
                assert row.blocker is None

    @invariant()
    def records_are_kept_in_order(self) -> None:
        rows = self.rows()
        sending = [(row.entity, row.record) for row in rows if row.lane == Lane.SENDING]
        assert len(sending) == len(set(sending)) or self.model.aliases
        heads: dict[Any, Any] = {}
        for row in rows:
            if row.expired:
                continue
            head = heads.setdefault((row.entity, row.record), row.seq)
            if row.lane in (Lane.READY, Lane.DELAYED):
                assert row.seq == head
            if row.lane == Lane.BLOCKED:
                blocker = next(each for each in rows if each.seq == row.blocker)
                assert blocker.seq < row.seq or blocker.lane == Lane.SENDING

    @invariant()
    def no_stand_in_id_is_sent_while_its_create_is_queued(self) -> None:
        rows = self.rows()
        creates = [r for r in rows if (r.entity, r.operation) == (PROJECTS, "create")]
        creating = {row.record for row in creates if not row.expired}
        for row in rows:
            if row.lane in (Lane.READY, Lane.DELAYED, Lane.SENDING) and row.entity == TASKS:
                parent = json.loads(row.data).get("project_id")
                assert not (isinstance(parent, str) and is_local(parent) and parent in creating)

    @invariant()
    def what_is_frozen_never_changes(self) -> None:
        frozen = {row.seq: row for row in self.rows() if row.frozen or row.lane == Lane.SENDING}
        for seq, row in frozen.items():
            kept = self.frozen_as.get(seq)
            # a create that the server has named leaves the queue; all else stays to the letter
            assert kept is None or kept == (row.id, row.entity, row.record, row.data)
        self.frozen_as = {
            seq: (row.id, row.entity, row.record, row.data) for seq, row in frozen.items()
        }

    @invariant()
    def counts_are_exact(self) -> None:
        rows = self.rows()
        lanes = [row.lane for row in rows]

        def look(
            tx: Reader,
        ) -> tuple[tuple[int, int, int], int, dict[tuple[int | Lane, str], int], int]:
            counts = {key: n for key, n in tx.counts(ITEMS).items() if n}
            return self.outbox.counts(tx), self.outbox.length(tx), counts, tx.count(CONFLICTS, OPEN)

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
    def nothing_strands(self) -> None:
        """Follow the blockers of any item: they end at one that moves, or needs a decision."""
        rows = {row.seq: row for row in self.rows()}
        for row in rows.values():
            passed = set()
            while row.lane == Lane.BLOCKED:
                assert row.seq not in passed
                passed.add(row.seq)
                row = rows[row.blocker]  # noqa: PLW2901 - it walks
            assert row.lane != Lane.DELAYED or row.due is not None

        def due(tx: Reader) -> float | None:
            return self.claims.next_due(tx, self.now)

        wait = self.storage.read(due)
        delayed = [row for row in rows.values() if row.lane == Lane.DELAYED]
        assert (wait is None) == (not delayed)
        assert wait is None or 0 <= wait <= max(row.delay for row in delayed)

    @invariant()
    def links_belong_to_queued_items(self) -> None:
        linked = self.storage.read(lambda tx: [link.seq for link in tx.scan(LINKS)])
        assert set(linked) <= {each.seq for each in self.model.entries}


class FileOutboxMachine(OutboxMachine):
    """The same in a file, which is closed and opened again on the way."""

    kind: Callable[..., Storage]

    def make_storage(self) -> Storage:
        self.directory = tempfile.TemporaryDirectory(prefix="bytelyst-sync-")
        return self.kind(Path(self.directory.name) / "queue", durability="normal")

    def teardown(self) -> None:
        super().teardown()
        self.directory.cleanup()

    @rule()
    def reopen(self) -> None:
        self.storage.close()


class SQLiteOutboxMachine(FileOutboxMachine):
    kind = SQLiteStorage


class LmdbOutboxMachine(FileOutboxMachine):
    kind = LmdbStorage


def test_the_queue_in_memory() -> None:
    run_state_machine_as_test(
        OutboxMachine,
        settings=settings(
            max_examples=100,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("machine", [SQLiteOutboxMachine, LmdbOutboxMachine])
def test_the_queue_in_a_file(machine: type[SQLiteOutboxMachine] | type[LmdbOutboxMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
