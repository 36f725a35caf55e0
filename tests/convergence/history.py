"""Three clients edit the same records apart and meet again: whatever the strategy and the server,
all views and the server end up the same, and under ``merge`` no edit that only one side made is
lost.

Each history is made from a seed, which a failure prints with all of its steps.
"""

import collections
import itertools
import random
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from bytelyst_sync import Conflict, EntityConfig, SyncResult, create_sync_engine
from bytelyst_sync.config.settings import OnConflict
from bytelyst_sync.model import ConflictName, Json
from tests.convergence.server import Server, Wire, World
from tests.typed import present

STRATEGIES = ("server-wins", "client-wins", "last-write-wins", "merge", "manual")
RECORDS = ("1", "2", "3")
FIELDS = ("title", "body", "done")
MEETINGS = 90
COUNTS = ("pushed", "pulled", "conflicts", "errors", "remaining")
HOUR_S = 3600.0
DECADES_S = 30 * 365 * 24 * HOUR_S


class Diverged(AssertionError):  # noqa: N818 - a finding
    """The clients and the server do not agree."""


def decide_by_content(conflict: Conflict) -> Any:
    """A callback that does not depend on which side asks."""
    if conflict.local is None or conflict.remote is None:
        return conflict.local or conflict.remote or "remote"
    return min(conflict.local, conflict.remote, key=lambda record: str(sorted(record.items())))


def fields_by_content(conflict: Conflict) -> Json:
    """The same for the fields that both sides changed, unless one has deleted the record since."""
    sides = (conflict.local, conflict.remote)
    if None in sides:
        found: Json = decide_by_content(conflict)
        return found
    return {name: max(str(present(side).get(name)) for side in sides) for name in conflict.fields}


class Clock:
    """A device's clock, which may be set."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, skew_s: float) -> None:
        self.skew_s = skew_s

    def wall(self) -> float:
        return time.time() + self.skew_s


class Client:
    """One engine on its wire."""

    def __init__(
        self,
        name: str,
        server: Server,
        rng: random.Random,
        strategy: ConflictName,
        callback: OnConflict | None,
    ) -> None:
        self.name = name
        self.wire = Wire(server, rng)
        self.clock = Clock(rng.choice((0.0, 0.0, HOUR_S, -HOUR_S)))
        entity = EntityConfig("/notes", id_source=server.world.id_source)
        self.engine = create_sync_engine(
            base_url="http://server.invalid",
            entities={"notes": entity},
            storage=":memory:",
            transport=self.wire,
            clock=self.clock,
            auto_flush=False,
            probe=None,
            retry_delay=1e-5,
            max_retry_delay=1e-5,
            max_retries=100,
            max_vanish=1.0,
            conflict=strategy,
            on_conflict=callback,
        )

    def view(self) -> Json:
        return {str(record["id"]): record for record in self.engine.records("notes")}


def world_of(rng: random.Random) -> World:
    """Most servers are ordinary; each of the oddities is met often enough."""
    normalises = rng.random() < 0.25
    return World(
        page_size=rng.choice((1, 2, 100)),
        gone=rng.choice((410, 410, 404, 412, 200)),
        refusal=rng.choice((412, 412, 409)),
        current=rng.choice(("current", "body", "read")),
        keys=rng.random() < 0.75,
        normalises=normalises,
        whole_seconds=rng.random() < 0.3,
        empty_answers=rng.random() < 0.2,
    )


class History:
    """A random history of three clients, and what it must lead to."""

    def __init__(self, seed: int, strategy: ConflictName) -> None:
        self.rng = random.Random(seed)
        self.strategy = strategy
        self.world = self.make_world()
        self.server = Server(self.world)
        callback = decide_by_content if strategy == "manual" else None
        if strategy == "merge" and self.rng.random() < 0.3:
            callback = fields_by_content
        self.asks = callback is not None
        self.clients = [
            Client(name, self.server, self.rng, strategy, callback) for name in ("A", "B", "C")
        ]
        self.keys = RECORDS[: self.rng.randint(1, len(RECORDS))]
        for client in self.clients:
            client.wire.trouble = self.rng.choice((0.0, 0.0, 0.4, 0.7))
            client.wire.html = self.rng.random() < 0.5
        self.steps: list[object] = [self.world]
        self.values = itertools.count(1)
        self.writes: dict[Any, Any] = {}
        """(record, field): the last write of each client, and what it saw there before."""
        self.deleted: set[Any] = set()
        """Values that were there when somebody deleted their record."""
        self.held: set[Any] = set()
        self.made_anew: set[Any] = set()
        """Records that were created again after a delete: what the new one lacks was removed."""
        self.uncertain: set[Any] = set()
        """Records whose create may have been lost on the way to a server without keys: such a
        create, met again, may be somebody else's.
        """
        self.sent_again: set[Any] = set()
        """(record, value) of edits whose answer may have been lost at a server without keys: sent
        again, such an edit meets what others wrote after having seen it, and the time decides.
        """
        self.conflicts = self.one_sided = 0

    def make_world(self) -> World:
        return world_of(self.rng)

    def note(self, *step: Any) -> None:
        self.steps.append(step)

    def run(self) -> None:
        try:
            self.begin()
            for _ in range(self.rng.randint(8, 24)):
                self.step()
            self.meet()
            self.check()
        finally:
            for client in self.clients:
                client.engine.close()

    # --- what clients do

    def begin(self) -> None:
        """Most begin with something in common."""
        if self.rng.random() < 0.8:
            self.edit(self.clients[0])
            self.edit(self.clients[0])
            for client in self.clients:
                self.full_sync(client)

    def step(self) -> None:
        client = self.rng.choice(self.clients)
        kinds = self.kinds()
        (kind,) = self.rng.choices(list(kinds), list(kinds.values()))
        kind(client)

    def kinds(self) -> dict[Callable[..., None], float]:
        """What may happen next, and how often."""
        return {
            self.edit: 10,
            self.delete: 2,
            self.flush: 4,
            self.pull: 4,
            self.full_sync: 2,
            self.offline: 2,
            self.trouble: 1,
            self.crossing: 1,
            self.set_clock: 1,
            self.expire_cursors: 0.3,
        }

    def value(self, client: Client) -> str | Decimal:
        text = f"{client.name}{next(self.values)}"
        if not self.world.normalises:
            return text
        return self.rng.choice((f" {text} ", text, Decimal(f"{next(self.values)}.50")))

    def edit(self, client: Client, *, loses: bool = False) -> None:
        """``loses``: the answer will be lost."""
        key = self.rng.choice(self.keys)
        before = client.engine.get("notes", key)
        fields = self.rng.sample(FIELDS, self.rng.randint(1, 2))
        data = {name: self.value(client) for name in fields}
        if before is None and ((client.name, key) in self.held or self.was_deleted(key)):
            self.made_anew.add(key)
        if (client.wire.trouble or loses) and not self.world.keys:
            self.sent_again |= {(key, value) for value in data.values()}
            if before is None:
                self.uncertain.add(key)
        for name, value in data.items():
            writes = self.writes.setdefault((key, name), {})
            writes[client.name] = (value, (before or {}).get(name))
        self.held.add((client.name, key))
        self.note(client.name, "update" if before else "create", key, data)
        client.engine.push("notes", {"id": key, **data}, "update" if before else "create")

    def was_deleted(self, key: str) -> bool:
        """Whether any client has deleted it, whether or not the others have heard of that."""
        return any(each == key for each, _ in self.deleted)

    def delete(self, client: Client) -> None:
        key = self.rng.choice(self.keys)
        before = client.engine.get("notes", key)
        if before is None:
            return
        self.deleted |= {(key, str(before.get(name))) for name in FIELDS}
        self.held.add((client.name, key))
        self.note(client.name, "delete", key)
        client.engine.delete("notes", key)

    def flush(self, client: Client) -> None:
        self.sync(client, "flush")

    def pull(self, client: Client) -> None:
        self.sync(client, "pull")

    def full_sync(self, client: Client) -> None:
        self.sync(client, "full_sync")

    def sync(self, client: Client, call: str) -> SyncResult:
        result = getattr(client.engine, call)(timeout=10)
        counts = {name: getattr(result, name) for name in COUNTS}
        self.conflicts += result.conflicts
        self.note(client.name, call, {name: each for name, each in counts.items() if each})
        found: SyncResult = result
        return found

    def offline(self, client: Client) -> None:
        client.wire.online = not client.wire.online
        self.note(client.name, "online" if client.wire.online else "offline")

    def trouble(self, client: Client) -> None:
        client.wire.trouble = self.rng.choice((0.0, 0.6))
        self.note(client.name, "trouble", client.wire.trouble)

    def set_clock(self, client: Client) -> None:
        client.clock.skew_s = self.rng.choice((0.0, HOUR_S, -HOUR_S, DECADES_S, -DECADES_S))
        self.note(client.name, "sets the clock", client.clock.skew_s)

    def expire_cursors(self, client: Client) -> None:
        self.note("cursors expire")
        self.server.expire_cursors()

    def crossing(self, client: Client) -> None:
        """An answer is lost, another goes on from what had arrived, and a pull brings both."""
        other = self.rng.choice([each for each in self.clients if each is not client])
        self.edit(client, loses=True)
        client.wire.losing = 1
        self.flush(client)
        self.full_sync(other)
        self.edit(other)
        self.full_sync(other)
        self.pull(client)

    # --- what comes of it

    def meet(self) -> None:
        for client in self.clients:
            client.wire.online, client.wire.trouble, client.wire.losing = True, 0.0, 0
        quiet = 0
        for meeting in range(MEETINGS):
            client = self.clients[meeting % len(self.clients)]
            result = self.sync(client, "full_sync")
            busy = result.pushed or result.pulled or result.conflicts or result.remaining
            quiet = 0 if busy or not result.success else quiet + 1
            if quiet == 2 * len(self.clients):
                return
        left = [repr(item) for client in self.clients for item in client.engine.failed()]
        left += [repr(item) for client in self.clients for item in client.engine.queue()]
        raise Diverged(f"they never came to rest: {left}")

    def check(self) -> None:
        server = self.server.live()
        for client in self.clients:
            view = client.view()
            if view != server:
                raise Diverged(f"{client.name}'s view is not the server's: {view}")
            if any(client.engine.conflicts()) or any(client.engine.failed()):
                raise Diverged(f"{client.name} has conflicts or failed items left")
        self.check_nothing_lost(server)

    def check_nothing_lost(self, server: Json) -> None:
        """An edit stands unless another client wrote the same field without having been seen, or
        somebody deleted the record with this edit in it.
        """
        if self.strategy != "merge" or self.world.normalises:
            return
        for (key, name), writes in self.writes.items():
            if key in self.made_anew | self.uncertain:
                continue
            for client, (value, seen) in writes.items():
                others = {written for who, (written, _) in writes.items() if who != client}
                one_sided = not others or others == {seen}
                if (key, seen) in self.sent_again:
                    continue
                if one_sided and (key, value) not in self.deleted:
                    self.one_sided += 1
                    found = server.get(key, {}).get(name)
                    if found != value:
                        raise Diverged(f"{client}'s {name}={value} of {key} was lost: {found}")


class HistoryWithServerIds(History):
    """The server gives the ids, so that every create is a record of its own, called by ``name``."""

    def make_world(self) -> World:
        world = world_of(self.rng)
        return World(
            id_source="server",
            page_size=world.page_size,
            gone=world.gone,
            refusal=world.refusal,
            current=world.current,
            whole_seconds=world.whole_seconds,
        )

    def edit(self, client: Client, *, loses: bool = False) -> None:
        name = f"{client.name}{next(self.values)}"
        key = self.choose(client)
        if key is None or self.rng.random() < 0.3:
            self.note(client.name, "create", name)
            client.engine.push("notes", {"name": name, "title": "new"})
        else:
            self.note(client.name, "update", key, name)
            client.engine.push("notes", {"id": key, "title": name}, "update")

    def delete(self, client: Client) -> None:
        key = self.choose(client)
        if key is not None:
            self.note(client.name, "delete", key)
            client.engine.delete("notes", key)

    def choose(self, client: Client) -> str | None:
        """One of its records, whatever ids they have by now."""
        view = client.view().items()
        names = {record["name"]: key for key, record in view if "name" in record}
        return names[self.rng.choice(sorted(names))] if names else None

    def check_nothing_lost(self, server: Json) -> None:
        """Only several clients, which each make a deleted record anew, can make several of it."""
        names = collections.Counter(record.get("name") for record in server.values())
        for name, count in names.items():
            makers = sum(name in client.wire.created for client in self.clients)
            if count > makers:
                raise Diverged(f"{name} was doubled")


class HistoryWithOthers(History):
    """Somebody else writes at the server too, other records as well, and some of them have ids that
    no URL carries as they are.
    """

    FOREIGN = ("9", "a/b", "caf\u00e9 ?#", "-7")

    def kinds(self) -> dict[Callable[..., None], float]:
        return {**super().kinds(), self.others: 3}

    def others(self, _client: Client) -> None:
        key = self.rng.choice([*self.keys, *self.FOREIGN])
        before = self.server.live().get(key)
        if before is not None and self.rng.random() < 0.3:
            self.deleted |= {(key, str(before.get(name))) for name in FIELDS}
            self.note("others delete", key)
            self.server.change(key, None)
            return
        value = f"S{next(self.values)}"
        name = self.rng.choice(FIELDS)
        if before is None and key in self.keys:
            self.made_anew.add(key)
        writes = self.writes.setdefault((key, name), {})
        writes["S"] = (value, (before or {}).get(name))
        self.note("others write", key, name, value)
        self.server.change(key, {name: value})


class HistoryWithRestores(History):
    """The server is restored from a backup. All clients pull just before and soon after it: they
    notice it by their cursors, which must be beyond that of the backup.
    """

    def begin(self) -> None:
        super().begin()
        self.saved = self.server.backup()

    def kinds(self) -> dict[Callable[..., None], float]:
        return {**super().kinds(), self.back_up: 1, self.restore: 1}

    def back_up(self, _client: Client) -> None:
        self.note("backup")
        self.saved = self.server.backup()

    def restore(self, _client: Client) -> None:
        self.pull_all()
        self.note("restore")
        self.server.restore(self.saved)
        self.pull_all()

    def pull_all(self) -> None:
        for client in self.clients:
            wire = client.wire
            kept = wire.online, wire.trouble, wire.losing
            wire.online, wire.trouble, wire.losing = True, 0.0, 0
            self.pull(client)
            wire.online, wire.trouble, wire.losing = kept

    def check_nothing_lost(self, server: Json) -> None:
        """A restored server has lost edits, whoever made them."""


class HistoryWithUniqueNames(HistoryWithServerIds):
    """No two records may have one name, and clients create records of the same few names."""

    NAMES = ("x", "y", "z")

    def make_world(self) -> World:
        return replace(super().make_world(), unique="name")

    def edit(self, client: Client, *, loses: bool = False) -> None:
        key = self.choose(client)
        if key is None or self.rng.random() < 0.4:
            name = self.rng.choice(self.NAMES)
            if all(record.get("name") != name for record in client.view().values()):
                self.note(client.name, "create", name)
                client.engine.push("notes", {"name": name, "title": f"{next(self.values)}"})
            return
        title = f"{client.name}{next(self.values)}"
        self.note(client.name, "update", key, title)
        client.engine.push("notes", {"id": key, "title": title}, "update")

    def check_nothing_lost(self, server: Json) -> None:
        names = collections.Counter(record.get("name") for record in server.values())
        if names and max(names.values()) > 1:
            raise Diverged(f"names are not unique: {names}")


KINDS = (
    History,
    HistoryWithServerIds,
    HistoryWithOthers,
    HistoryWithRestores,
    HistoryWithUniqueNames,
)


def live_through(
    kind: type[History],
    strategy: ConflictName,
    numbers: range,
) -> tuple[int, int]:
    """All of these histories; returns how many conflicts and one-sided edits were in them."""
    conflicts = edits = 0
    for number in numbers:
        seed = zlib.crc32(f"{kind.__name__} {strategy} {number}".encode())
        history = kind(seed, strategy)
        try:
            history.run()
        except Exception as error:
            steps = "\n".join(map(repr, history.steps))
            raise Diverged(
                f"{kind.__name__}, {strategy}, history {number}: {error!r}\n{steps}\n"
                f"server: {history.server.live()}"
            ) from error
        conflicts += history.conflicts
        edits += history.one_sided
    return conflicts, edits
