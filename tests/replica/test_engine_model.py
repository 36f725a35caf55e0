"""The engine against a model: whatever a program, another client and the network do, in any
order, the view shows what was pushed, every change is applied once, nothing is lost silently,
and in the end the view is the server's state.

The server is that of ``tests/convergence``, in process, in one of its worlds; its journal and its
records are the truth to compare with.
"""

import random
import time
from collections import Counter
from typing import Any

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

from bytelyst_sync import SyncResult, create_sync_engine
from bytelyst_sync.model import ConflictName, Json
from tests.convergence.server import Server, Wire, World

KEYS = st.sampled_from(("1", "2", "3"))
STRATEGIES = ("server-wins", "client-wins", "last-write-wins", "merge")
RESTING_ROUNDS = 30


WORLDS = st.builds(
    World,
    page_size=st.sampled_from((1, 2, 100)),
    gone=st.sampled_from((404, 410, 412, 200)),
    refusal=st.sampled_from((409, 412)),
    current=st.sampled_from(("current", "body", "read")),
    keys=st.booleans(),
    normalises=st.booleans(),
    whole_seconds=st.booleans(),
    empty_answers=st.booleans(),
    versions=st.sampled_from((True, True, False)),
)


class CountedWire(Wire):
    """Goes wrong with so many of the next writes, in these ways."""

    def __init__(self, server: Server) -> None:
        super().__init__(server, rng=random.Random(0))
        self.next: dict[Any, Any] = {}

    def fate(self) -> str | None:
        for fate, number in self.next.items():
            if number:
                self.next[fate] -= 1
                found: str | None = fate
                return found
        return None


class EngineMachine(RuleBasedStateMachine):
    """One engine, and another client that changes the server's records directly.

    ``mine`` and ``theirs`` are fields that one side writes alone, ``shared`` is written by both.
    ``expected`` holds the last value of each one-sided field, as long as nobody who knew of it
    took it away: under ``merge`` it must be there in the end.
    """

    @initialize(strategy=st.sampled_from(STRATEGIES), world=WORLDS)
    def begin(self, strategy: ConflictName, world: World) -> None:
        self.world = world
        self.server = Server(world)
        self.wire = CountedWire(self.server)
        self.strategy = strategy
        self.engine = create_sync_engine(
            base_url="http://server.invalid",
            entities={"notes": "/notes"},
            storage=":memory:",
            transport=self.wire,
            auto_flush=False,
            probe=None,
            retry_delay=1e-5,
            max_retry_delay=1e-5,
            max_retries=1000,
            max_vanish=1.0,
            conflict=strategy,
        )
        self.changes: list[Any] = []
        self.engine.on_change(self.changes.append)
        self.count = 0
        self.expected: dict[Any, Any] = {}
        self.deleted_by: Json = {"mine": set(), "theirs": set()}
        self.repeatable: set[Any] = set()

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        try:
            self.rest()
        finally:
            self.engine.close()

    # --- the network

    @rule(online=st.booleans())
    def network(self, online: bool) -> None:
        self.wire.online = online

    @rule(
        fate=st.sampled_from(("answer lost", "lost on the way", "gateway", "gateway after")),
        number=st.integers(1, 3),
    )
    def writes_go_wrong(self, fate: str, number: int) -> None:
        self.wire.next[fate] = number

    @rule()
    def cursors_expire(self) -> None:
        self.server.expire_cursors()

    # --- the program

    @rule(key=KEYS, shared=st.booleans())
    def push(self, key: str, shared: bool) -> None:
        before = self.engine.get("notes", key)
        data = self.change(key, "mine", shared)
        if before is None:
            self.made("mine", "theirs", key)
        item = self.engine.push("notes", {"id": key, **data}, "update" if before else "create")
        after = self.engine.get("notes", key)
        assert after == {**(before or {"id": key}), **data} or not self.is_queued(item)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        known = self.engine.get("notes", key)
        if known is None:
            return
        self.taken_away("mine", "theirs", key, known)
        item = self.engine.delete("notes", key)
        assert self.engine.get("notes", key) is None or not self.is_queued(item)

    def is_queued(self, item: Any) -> Any:
        """Whether it still is: a record that had to be read may bring a conflict at any time."""
        return item is None or item.id in {each.id for each in self.engine.queue()}

    @rule()
    def flush(self) -> None:
        queued = self.engine.queue_length
        result = self.engine.flush(timeout=20)
        assert result.pushed <= queued + result.conflicts
        assert result.success or self.hindered(result), result

    @rule()
    def pull(self) -> None:
        before = self.view()
        result = self.engine.pull(timeout=20)
        if not self.wire.online:
            assert (result.offline, result.pulled) == (True, 0)
            assert self.view() == before
        else:
            assert (result.success, result.errors) == (True, 0)

    @rule()
    def full_sync(self) -> None:
        result = self.engine.full_sync(timeout=20)
        if result.success and result.remaining == 0 and self.world.versions:
            assert self.view() == self.server.live()

    @rule()
    def forget_the_queue(self) -> None:
        self.engine.clear_queue()
        for item in {name: None for name in self.expected if name[1] == "mine"}:
            del self.expected[item]
        self.deleted_by["mine"].clear()
        self.deleted_by["mine"] |= {"1", "2", "3"}
        assert self.engine.queue_length == 0

    # --- somebody else

    @rule(key=KEYS, shared=st.booleans())
    def other_writes(self, key: str, shared: bool) -> None:
        there = key in self.server.live()
        data = self.change(key, "theirs", shared)
        if not there:
            self.made("theirs", "mine", key)
        self.server.change(key, data)

    @rule(key=KEYS)
    def other_deletes(self, key: str) -> None:
        known = self.server.live().get(key)
        if known is not None:
            self.taken_away("theirs", "mine", key, known)
            self.server.change(key, None)
            if not self.world.keys:
                # no version guards a create, so one whose answer was lost is made once more
                queued = [item for item in self.engine.queue() if item.record_id == key]
                self.repeatable |= {each.id for each in queued if each.operation == "create"}

    # --- what is expected

    def change(self, key: str, field: str, shared: bool) -> Json:
        self.count += 1
        self.expected[key, field] = self.count
        return {field: self.count, **({"shared": f" {field} {self.count} "} if shared else {})}

    def made(self, own: str, others: str, key: str) -> None:
        """Made anew after an own delete: what the other wrote meanwhile is in real conflict."""
        if key in self.deleted_by[own]:
            self.expected.pop((key, others), None)

    def taken_away(self, own: str, others: str, key: str, known: Json) -> None:
        """Deleted with what was known; an edit that was not known beats the delete."""
        self.deleted_by[own].add(key)
        self.expected.pop((key, own), None)
        if known.get(others) == self.expected.get((key, others)):
            self.expected.pop((key, others), None)

    def hindered(self, result: SyncResult) -> int:
        return result.offline or result.errors or result.remaining or not self.wire.online

    def view(self) -> Json:
        return {record["id"]: record for record in self.engine.records("notes")}

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def reading_agrees_with_itself(self) -> None:
        """The worker may read a record again, and settle a conflict, between two readings."""
        deadline = time.monotonic() + 20
        while not self.readings_agree():
            assert time.monotonic() < deadline, "the readings of one moment differ"
            time.sleep(0.001)

    def readings_agree(self) -> bool:
        view = self.view()
        queued = list(self.engine.queue())
        return (
            all(self.engine.get("notes", key) == view.get(key) for key in ("1", "2", "3"))
            and len(queued) == self.engine.queue_length == self.engine.status.queue_length
        )

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def every_change_is_applied_once(self) -> None:
        twice = {key for key, times in Counter(self.server.journal).items() if times > 1}
        assert twice <= self.repeatable or not (self.world.keys or self.world.versions)

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def changes_without_effect_are_not_reported(self) -> None:
        assert all(change.before != change.after for change in self.changes)

    def rest(self) -> None:
        """The network is back for good."""
        self.wire.online, self.wire.next = True, {}
        for _ in range(RESTING_ROUNDS):
            result = self.engine.full_sync(timeout=20)
            busy = result.pushed or result.pulled or result.conflicts or result.remaining
            if result.success and not busy:
                break
        else:
            pytest.fail(f"it never came to rest: {self.engine.status}")
        server = self.server.live()
        assert self.view() == server
        assert (list(self.engine.failed()), list(self.engine.conflicts())) == ([], [])
        if self.strategy == "merge" and self.world.versions:
            for (key, field), value in self.expected.items():
                assert server.get(key, {}).get(field) == value, f"{field} of {key} was lost"


def test_the_engine_keeps_its_promises_whatever_happens() -> None:
    run_state_machine_as_test(
        EngineMachine,
        settings=settings(
            max_examples=150,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
