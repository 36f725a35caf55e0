"""The engine against a model: whatever a program, another client and the network do, in any
order, the view shows what was pushed, every change is applied once, nothing is lost silently,
and in the end the view is the server's state.

The server is a ``Store`` in process; its journal and its records are the truth to compare with.
"""

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

from bytelyst_sync import TransportError, create_sync_engine
from bytelyst_sync.testing.store import Rules, Store

KEYS = st.sampled_from(("1", "2", "3"))
STRATEGIES = ("server-wins", "client-wins", "last-write-wins", "merge")
RESTING_ROUNDS = 30


class EngineMachine(RuleBasedStateMachine):
    """One engine, and another client that changes the server's records directly.

    ``mine`` and ``theirs`` are fields that one side writes alone, ``shared`` is written by both.
    ``expected`` holds the last value of each one-sided field, as long as nobody who knew of it
    took it away: under ``merge`` it must be there in the end.
    """

    new_wire = None

    @initialize(
        strategy=st.sampled_from(STRATEGIES),
        page_size=st.sampled_from((1, 2, 100)),
        versions=st.booleans(),
    )
    def begin(self, strategy, page_size, versions):
        self.store = Store(Rules(page_size=page_size, versions=versions))
        self.wire = self.new_wire(self.store)
        self.wire.before, self.wire.lose = self.drop_request, self.lose_answer
        self.dropping = self.losing = 0
        self.versions = versions
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
            conflict=strategy,
        )
        self.changes = []
        self.engine.on_change(self.changes.append)
        self.count = 0
        self.expected = {}
        self.deleted_by = {"mine": set(), "theirs": set()}

    def teardown(self):
        if not hasattr(self, "engine"):
            return
        try:
            self.rest()
        finally:
            self.engine.close()

    # --- the network

    def drop_request(self, seen):
        if self.dropping and seen.method != "GET":
            self.dropping -= 1
            raise TransportError("the connection broke")

    def lose_answer(self):
        lost = self.losing > 0
        self.losing -= lost
        return lost

    @rule(online=st.booleans())
    def network(self, online):
        self.wire.online = online

    @rule(number=st.integers(1, 3))
    def answers_get_lost(self, number):
        self.losing = number

    @rule(number=st.integers(1, 3))
    def requests_get_lost(self, number):
        self.dropping = number

    @rule()
    def cursors_expire(self):
        self.store.renew()

    # --- the program

    @rule(key=KEYS, shared=st.booleans())
    def push(self, key, shared):
        before = self.engine.get("notes", key)
        data = self.change(key, "mine", shared)
        if before is None:
            self.made("mine", "theirs", key)
        self.engine.push("notes", {"id": key, **data}, "update" if before else "create")
        after = self.engine.get("notes", key)
        assert after == {**(before or {"id": key}), **data}

    @rule(key=KEYS)
    def delete(self, key):
        known = self.engine.get("notes", key)
        if known is None:
            return
        self.taken_away("mine", "theirs", key, known)
        self.engine.delete("notes", key)
        assert self.engine.get("notes", key) is None

    @rule()
    def flush(self):
        queued = self.engine.queue_length
        result = self.engine.flush(timeout=20)
        assert result.pushed <= queued + result.conflicts
        assert result.success or self.hindered(result), result

    @rule()
    def pull(self):
        before = self.view()
        result = self.engine.pull(timeout=20)
        if not self.wire.online:
            assert (result.offline, result.pulled) == (True, 0)
            assert self.view() == before
        else:
            assert (result.success, result.errors) == (True, 0)

    @rule()
    def full_sync(self):
        result = self.engine.full_sync(timeout=20)
        if result.success and result.remaining == 0 and self.versions:
            assert self.view() == self.store.records("notes")

    @rule()
    def forget_the_queue(self):
        self.engine.clear_queue()
        for item in {name: None for name in self.expected if name[1] == "mine"}:
            del self.expected[item]
        self.deleted_by["mine"].clear()
        self.deleted_by["mine"] |= {"1", "2", "3"}
        assert self.engine.queue_length == 0

    # --- somebody else

    @rule(key=KEYS, shared=st.booleans())
    def other_writes(self, key, shared):
        there = key in self.store.records("notes")
        data = self.change(key, "theirs", shared)
        if not there:
            self.made("theirs", "mine", key)
        self.store.change("notes", "update" if there else "create", {"id": key, **data})

    @rule(key=KEYS)
    def other_deletes(self, key):
        known = self.store.records("notes").get(key)
        if known is not None:
            self.taken_away("theirs", "mine", key, known)
            self.store.change("notes", "delete", {"id": key})

    # --- what is expected

    def change(self, key, field, shared):
        self.count += 1
        self.expected[key, field] = self.count
        return {field: self.count, **({"shared": f"{field} {self.count}"} if shared else {})}

    def made(self, own, others, key):
        """Made anew after an own delete: what the other wrote meanwhile is in real conflict."""
        if key in self.deleted_by[own]:
            self.expected.pop((key, others), None)

    def taken_away(self, own, others, key, known):
        """Deleted with what was known; an edit that was not known beats the delete."""
        self.deleted_by[own].add(key)
        self.expected.pop((key, own), None)
        if known.get(others) == self.expected.get((key, others)):
            self.expected.pop((key, others), None)

    def hindered(self, result):
        return result.offline or result.errors or result.remaining or not self.wire.online

    def view(self):
        return {record["id"]: record for record in self.engine.records("notes")}

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def reading_agrees_with_itself(self):
        view = self.view()
        assert all(self.engine.get("notes", key) == view.get(key) for key in ("1", "2", "3"))
        queued = list(self.engine.queue())
        assert len(queued) == self.engine.queue_length == self.engine.status.queue_length

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def every_change_is_applied_once(self):
        keys = [effect.key for effect in self.store.journal if effect.by == "http"]
        assert len(set(keys)) == len(keys)

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def nothing_is_told_that_changed_nothing(self):
        assert all(change.before != change.after for change in self.changes)

    def rest(self):
        """The network is back for good."""
        self.wire.online, self.losing, self.dropping = True, 0, 0
        for _ in range(RESTING_ROUNDS):
            result = self.engine.full_sync(timeout=20)
            busy = result.pushed or result.pulled or result.conflicts or result.remaining
            if result.success and not busy:
                break
        else:
            pytest.fail(f"it never came to rest: {result}")
        server = self.store.records("notes")
        assert self.view() == server
        assert (list(self.engine.failed()), list(self.engine.conflicts())) == ([], [])
        if self.strategy == "merge" and self.versions:
            for (key, field), value in self.expected.items():
                assert server.get(key, {}).get(field) == value, f"{field} of {key} was lost"


def test_the_engine_keeps_its_promises_whatever_happens(new_wire):
    machine = type("Machine", (EngineMachine,), {"new_wire": staticmethod(new_wire)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
