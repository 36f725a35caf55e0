"""Random changes pushed into an engine, and what must come of them at the server.

``notes`` merges what waits, as is usual. ``events`` merges nothing: there each push is one change
at the server, under its own key, and that it comes once and in order can be told exactly.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from bytelyst_sync import EntityConfig, SyncEngine, SyncItem
from bytelyst_sync.model import Json
from tests.torture.harness import check

__all__ = ["ENTITIES", "Traffic"]

ENTITIES = {"notes": EntityConfig("/notes"), "events": EntityConfig("/events", dedup="none")}


class Traffic:
    """One thread's pushes. ``expected`` is what each record must be in the end."""

    def __init__(
        self, rng: random.Random, engine: SyncEngine, records: int, prefix: str = ""
    ) -> None:
        self._rng = rng
        self._engine = engine
        self._keys = [f"{prefix}{number}" for number in range(records)]
        self._number = 0
        self.expected: dict[str, dict[str, Json]] = {name: {} for name in ENTITIES}
        self.pushed: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        """Entity and record: the ids of all items pushed, oldest first."""
        self.items: list[SyncItem] = []
        self.operations = 0

    def push(self, count: int) -> None:
        """So many operations."""
        for _ in range(count):
            self._push_one()

    def _push_one(self) -> None:
        name = self._rng.choice(("notes", "events"))
        key = self._rng.choice(self._keys)
        held = self.expected[name]
        self._number += 1
        if key in held and self._rng.random() < 0.15:
            del held[key]
            item = self._engine.delete(name, key)
        elif key in held:
            field = self._rng.choice(("a", "b", "c"))
            data = {"id": key, "n": self._number, field: f"{field}{self._number}"}
            held[key] = {**held[key], **data}
            item = self._engine.push(name, data, "update")
        else:
            data = {"id": key, "n": self._number, "a": "begun", "text": "x" * 40}
            held[key] = data
            item = self._engine.push(name, data)
        self.operations += 1
        if item is not None:
            self.pushed[name, key].append(item.id)
            self.items.append(item)

    # --- what must have come of them

    def check_once_and_in_order(self, journal: Iterable[Sequence[Any]]) -> int:
        """``journal`` is the server's: collection, id, kind, key and number of each change."""
        keys: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        numbers: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for collection, record, kind, key, number in journal:
            keys[collection, record].append(key)
            if kind != "delete":
                numbers[collection, record].append(number)
        for place, applied in keys.items():
            check(len(applied) == len(set(applied)), f"{place}: a change was applied twice")
            unknown = set(applied) - set(self.pushed[place])
            check(not unknown, f"{place}: changes nobody pushed: {sorted(unknown)[:3]}")
        for place, seen in numbers.items():
            check(seen == sorted(set(seen)), f"{place}: applied in the order {seen[:20]}")
        for place, pushed in self.pushed.items():
            if place[0] == "events":
                missing = [key for key in pushed if key not in keys[place]]
                check(not missing, f"{place}: never applied: {missing[:3]} of {len(pushed)}")
                check(keys[place] == pushed, f"{place}: applied in another order than pushed")
        return sum(map(len, keys.values()))

    def check_server(self, name: str, records: dict[str, dict[str, Any]]) -> None:
        """The server holds what was pushed, no less and no more."""
        mine = self.expected[name]
        check(records.keys() == mine.keys(), f"{name}: ids differ: {_first(records, mine)}")
        for key, data in mine.items():
            shown = {field: records[key].get(field) for field in data}
            check(shown == data, f"{name} {key}: the server has {shown}, pushed was {data}")

    def check_view(self, name: str, records: dict[str, dict[str, Any]]) -> None:
        """The local view is the server's state, versions and all."""
        view = {str(record["id"]): record for record in self._engine.records(name)}
        check(view.keys() == records.keys(), f"{name}: the view differs: {_first(view, records)}")
        for key, record in records.items():
            check(view[key] == record, f"{name} {key}: seen is {view[key]}, there is {record}")


def _first(one: Iterable[str], other: Iterable[str]) -> list[str]:
    return sorted(set(one) ^ set(other))[:5]
