"""Compares a store with a simple model, by Hypothesis.

``check_against_model(make)`` generates transactions, failures and closes, and compares the content
of the store with a dictionary after each step. Needs ``hypothesis`` and ``pytest``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bytelyst_sync.storage.base import Reader, Storage, Table, Transaction
from bytelyst_sync.storage.schema import ITEMS, RECORDS, Item, Lane, Record
from bytelyst_sync.testing.storage_samples import expected_rows, make_item

__all__ = ["check_against_model"]

_SEQS = st.integers(1, 25)
_NAMES = st.sampled_from(["a", "b", "é", "\uffff", "\U0001f600"])
_ITEMS = st.builds(
    make_item,
    _SEQS,
    record=_NAMES,
    entity=_NAMES,
    lane=st.sampled_from([Lane.READY, Lane.DELAYED, Lane.BLOCKED]),
    position=st.integers(0, 5),
    due=st.none() | st.sampled_from([0.5, 1.5, 2.5]),
    blocker=st.none() | _SEQS,
)
_RECORDS = st.builds(
    Record,
    _NAMES,
    _NAMES,
    st.none() | st.just("{}"),
    st.none(),
    _SEQS,
    _SEQS,
    deferred_state=st.none(),
    deferred_version=st.none(),
    needs_refresh=st.none() | st.integers(0, 2),
    lost_state=st.none() | st.just("{}"),
    lost_seq=st.none() | _SEQS,
    folded=st.none() | _NAMES,
)
_STEPS = st.lists(
    st.tuples(st.just(ITEMS), _ITEMS) | st.tuples(st.just(RECORDS), _RECORDS),
    min_size=1,
    max_size=6,
)


class _UndoneError(Exception):
    """Makes a transaction fail."""


class _Machine(RuleBasedStateMachine):
    """Inserts, replaces and removes rows in transactions, some of which fail."""

    make: Callable[[], Storage]

    def __init__(self) -> None:
        super().__init__()
        self.storage = type(self).make()
        self.model: dict[str, dict[Any, Any]] = {ITEMS.name: {}, RECORDS.name: {}}
        self.number = 0

    def teardown(self) -> None:
        """Closes the store."""
        self.storage.close()

    @rule(steps=_STEPS, fails=st.booleans(), numbers=st.integers(0, 2))
    def put(self, steps: list[tuple[Table[Any], Any]], fails: bool, numbers: int) -> None:
        """Inserts each row, or replaces the one with its key."""

        def work(tx: Transaction) -> int:
            for table, row in steps:
                old = tx.get(table, *_key(table, row))
                if old is None:
                    tx.insert(table, row)
                else:
                    tx.replace(table, old, row)
            for _ in range(numbers):
                tx.next_number()
            if fails:
                raise _UndoneError
            return tx.last_number()

        try:
            last = self.storage.write(work)
        except _UndoneError:
            assert fails
            return
        assert last >= self.number + numbers
        self.number = last
        for table, row in steps:
            self.model[table.name][_key(table, row)] = row

    @rule(data=st.data(), fails=st.booleans())
    @precondition(lambda self: self.model[ITEMS.name])
    def remove(self, data: st.DataObject, fails: bool) -> None:
        """Deletes some items and gives another a new key."""
        rows = sorted(self.model[ITEMS.name].values())
        removed: list[Item] = data.draw(st.lists(st.sampled_from(rows), unique=True, max_size=4))
        remaining = [row for row in rows if row not in removed]
        moved = remaining[:1]

        def work(tx: Transaction) -> None:
            for row in removed:
                tx.delete(ITEMS, row)
            for row in moved:
                tx.replace(ITEMS, row, row._replace(seq=row.seq + 100))
            if fails:
                raise _UndoneError

        if moved and (moved[0].seq + 100,) in self.model[ITEMS.name]:
            moved = []
        try:
            self.storage.write(work)
        except _UndoneError:
            assert fails
            return
        for row in (*removed, *moved):
            del self.model[ITEMS.name][row.seq,]
        for row in moved:
            self.model[ITEMS.name][row.seq + 100,] = row._replace(seq=row.seq + 100)

    @rule(
        index=st.sampled_from([None, *ITEMS.indexes]),
        row=_ITEMS,
        other=_ITEMS,
        widths=st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)),
        how=st.fixed_dictionaries(
            {"limit": st.none() | st.integers(0, 30), "reverse": st.booleans()}
        ),
    )
    def look(
        self,
        index: str | None,
        row: Item,
        other: Item,
        widths: tuple[int, int, int],
        how: dict[str, Any],
    ) -> None:
        """Scans with arbitrary bounds."""
        order = ITEMS.order(index)
        prefix, after, upto = (
            tuple(getattr(item, column) for column in order) for item in (row, row, other)
        )
        prefix = prefix[: min(widths[0], len(order) - 1)]
        arguments = dict(how)
        for name, values, width in (("after", after, widths[1]), ("upto", upto, widths[2])):
            bound = values[len(prefix) :][:width]
            if bound and None not in bound:
                arguments[name] = bound
        rows_read = self.storage.read(
            lambda reader: list(reader.scan(ITEMS, index, prefix, **arguments))
        )
        rows = list(self.model[ITEMS.name].values())
        assert rows_read == expected_rows(rows, ITEMS, index, prefix, **arguments)

    @rule()
    def close(self) -> None:
        """Closes the store; the next use opens it again."""
        self.storage.close()

    @invariant()
    def agrees(self) -> None:
        """Rows, counts and the sequence equal the model's."""

        def work(reader: Reader) -> tuple[list[Any], list[Any], dict[Any, int], int, int]:
            return (
                list(reader.scan(ITEMS)),
                list(reader.scan(RECORDS)),
                reader.counts(ITEMS),
                reader.count(ITEMS),
                reader.last_number(),
            )

        items, records, counts, number, last = self.storage.read(work)
        assert items == [row for _, row in sorted(self.model[ITEMS.name].items())]
        assert records == [row for _, row in sorted(self.model[RECORDS.name].items())]
        expected: dict[Any, int] = {}
        for row in items:
            expected[row.lane, row.entity] = expected.get((row.lane, row.entity), 0) + 1
        assert counts == expected
        assert number == len(items)
        assert last >= self.number


def _key(table: Table[Any], row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, column) for column in table.key)


def check_against_model(make: Callable[[], Storage], examples: int = 30) -> None:
    """Raises ``AssertionError``, with the shortest example, if store and model differ.

    ``make`` returns a new, empty store each time. The store is closed after use.
    """
    machine = type("Machine", (_Machine,), {"make": staticmethod(make)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
