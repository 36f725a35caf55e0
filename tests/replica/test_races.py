"""Threads that push, flush and pull the same records while somebody else changes them at the real
server and answers get lost: at the end the view is the server's state, nothing was applied twice,
and no edit that only one side made is lost.
"""

import contextlib
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.model import Json, OperationName
from bytelyst_sync.testing import Drop, DropAnswer, Seen, SyncServer
from tests.conftest import Wire
from tests.typed import NewEngine, present

RECORDS = [str(number) for number in range(6)]
MINE, THEIRS = ("a0", "a1", "a2"), ("b0", "b1")
"""The fields that each side writes alone; ``shared`` is written by both."""
ROUNDS = 60
PATIENCE_S = 30


class Ledger:
    """The last value that was written to each field that one thread or one side owns."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}

    def write(self, key: str, field: str, value: str | int) -> None:
        self.values[key, field] = value


def run_all(jobs: list[Callable[..., None]]) -> None:
    """Runs all at once; raises what any of them raised."""
    errors, barrier = [], threading.Barrier(len(jobs))

    def guarded(job: Callable[..., None]) -> None:
        try:
            barrier.wait(PATIENCE_S)
            job()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def faults(server: SyncServer, seed: int, share: float) -> None:
    """A seeded share of the writes loses its answer, or its connection before it is processed."""
    rng, lock = random.Random(seed), threading.Lock()

    def chosen(seen: Seen) -> bool:
        with lock:
            return seen.method in ("POST", "PATCH", "DELETE") and rng.random() < share

    server.always(DropAnswer(), match=chosen)
    server.always(Drop(), match=chosen)


def come_to_rest(engine: SyncEngine) -> None:
    for _ in range(50):
        result = engine.full_sync(timeout=PATIENCE_S)
        busy = result.pulled or result.pushed or result.conflicts or result.remaining
        if result.success and not busy:
            return
    pytest.fail(f"it never came to rest: {engine.status}")


def check(engine: SyncEngine, server: SyncServer, ledgers: list[Ledger]) -> None:
    records = server.records("notes")
    assert {record["id"]: record for record in engine.records("notes")} == records
    assert (list(engine.failed()), list(engine.conflicts())) == ([], [])
    for ledger in ledgers:
        for (key, field), value in ledger.values.items():
            assert records[key].get(field) == value, f"{field} of {key} was lost"
    keys = [effect.key for effect in server.journal if effect.by == "http"]
    assert len(set(keys)) == len(keys), "something was applied twice"


@pytest.mark.parametrize("share", [0.0, 0.15], ids=["all answers come", "answers get lost"])
@pytest.mark.parametrize("storage", [":memory:", "file"])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pushes_flushes_and_pulls_of_the_same_records_lose_nothing(
    new_engine: NewEngine, tmp_path: Path, seed: int, workers: int, storage: str, share: float
) -> None:
    with SyncServer(page_size=3) as server:
        engine = new_engine(
            server.url,
            storage=tmp_path / "app.db" if storage == "file" else storage,
            durability="normal",
            workers=workers,
            conflict="merge",
            max_retries=1000,
            auto_flush=seed % 2 == 0,
        )
        for key in RECORDS:
            server.put("notes", {"id": key, "shared": "base"})
        assert engine.pull().pulled == len(RECORDS)
        faults(server, seed, share)
        ledgers = [Ledger() for _ in range(len(MINE) + 1)]

        def pusher(number: int) -> None:
            rng, field = random.Random(f"{seed} {number}"), MINE[number]
            for turn in range(ROUNDS):
                key, value = rng.choice(RECORDS), f"{field} {turn}"
                data = {"id": key, field: value}
                if rng.random() < 0.3:
                    data["shared"] = value
                engine.push("notes", data, "update")
                assert present(engine.get("notes", key))[field] == value, "a push is seen at once"
                ledgers[number].write(key, field, value)

        def other() -> None:
            rng = random.Random(f"{seed} other")
            for turn in range(ROUNDS):
                key, field = rng.choice(RECORDS), rng.choice(THEIRS)
                change = {field: f"{field} {turn}"}
                ledgers[-1].write(key, field, change[field])
                if rng.random() < 0.3:
                    change["shared"] = f"theirs {turn}"
                server.patch("notes", key, change)

        def repeat(call: Callable[..., object]) -> None:
            for _ in range(ROUNDS // 4):
                call(timeout=PATIENCE_S)

        run_all(
            [
                *(lambda number=number: pusher(number) for number in range(len(MINE))),
                other,
                lambda: repeat(engine.flush),
                lambda: repeat(engine.pull),
                lambda: repeat(engine.pull),
            ]
        )
        server.clear_script()
        come_to_rest(engine)
        check(engine, server, ledgers)
        engine.close()


@pytest.mark.parametrize("strategy", ["server-wins", "client-wins", "last-write-wins", "merge"])
@pytest.mark.parametrize("seed", [11, 12])
def test_creates_deletes_and_edits_of_both_sides_end_in_agreement(
    new_engine: NewEngine, strategy: str, seed: int
) -> None:
    with SyncServer(page_size=2) as server:
        engine = new_engine(server.url, conflict=strategy, max_retries=1000, auto_flush=seed == 12)
        faults(server, seed, 0.15)

        def mine() -> None:
            rng = random.Random(f"{seed} mine")
            for turn in range(ROUNDS):
                key = rng.choice(RECORDS)
                operation: OperationName = "update" if engine.get("notes", key) else "create"
                if operation == "update" and rng.random() < 0.3:
                    engine.delete("notes", key)
                else:
                    # a pull may have brought just now that it is gone, or there
                    data = {"id": key, "title": f"mine {turn}", "extra": turn}
                    engine.push("notes", data, operation)

        def theirs() -> None:
            rng = random.Random(f"{seed} theirs")
            for turn in range(ROUNDS):
                key = rng.choice(RECORDS)
                if rng.random() < 0.3:
                    with contextlib.suppress(KeyError):
                        server.remove("notes", key)
                else:
                    server.put("notes", {"id": key, "title": f"theirs {turn}", "body": turn})

        def repeat(call: Callable[..., object]) -> None:
            for _ in range(ROUNDS // 4):
                call(timeout=PATIENCE_S)

        run_all(
            [mine, theirs, lambda: repeat(engine.flush), lambda: repeat(engine.pull)],
        )
        server.clear_script()
        come_to_rest(engine)
        check(engine, server, [])
        engine.close()


@pytest.mark.parametrize("seed", [21, 22, 23])
def test_two_engines_on_one_file_and_another_client_lose_nothing(
    new_engine: NewEngine, tmp_path: Path, seed: int
) -> None:
    with SyncServer(page_size=3) as server:
        engines = [
            new_engine(
                server.url,
                storage=tmp_path / "app.db",
                durability="normal",
                conflict="merge",
                max_retries=1000,
            )
            for _ in range(2)
        ]
        for key in RECORDS:
            server.put("notes", {"id": key})
        engines[0].pull()
        faults(server, seed, 0.1)
        ledgers = [Ledger() for _ in range(3)]

        def work(number: int) -> None:
            rng, engine, field = random.Random(f"{seed} {number}"), engines[number], MINE[number]
            for turn in range(ROUNDS):
                key, value = rng.choice(RECORDS), f"{field} {turn}"
                engine.push("notes", {"id": key, field: value}, "update")
                ledgers[number].write(key, field, value)
                if rng.random() < 0.2:
                    rng.choice((engine.pull, engine.flush))(timeout=PATIENCE_S)

        def other() -> None:
            rng = random.Random(f"{seed} other")
            for turn in range(ROUNDS):
                key, field = rng.choice(RECORDS), rng.choice(THEIRS)
                ledgers[2].write(key, field, turn)
                server.patch("notes", key, {field: turn})

        run_all([lambda: work(0), lambda: work(1), other])
        server.clear_script()
        for engine in (*engines, *engines):
            come_to_rest(engine)
        for engine in engines:
            check(engine, server, ledgers)
            engine.close()


def test_the_same_record_pulled_delivered_and_pushed_in_every_order(
    new_engine: NewEngine, wire: Wire
) -> None:
    """With the other's edits in between, and things that happen between a request and its answer;
    in process, so that a seed says which.
    """
    for seed in range(150):
        rng = random.Random(seed)
        key = f"r{seed}"
        wire.store.change("notes", "create", {"id": key, "mine": 0, "theirs": 0})
        wire.after = lambda seen: None
        engine = new_engine(transport=wire, conflict="merge")
        engine.pull()
        counts = {"mine": 0, "theirs": 0}
        depth = [0]

        def push(engine: SyncEngine = engine, counts: Json = counts, key: str = key) -> None:
            counts["mine"] += 1
            engine.push("notes", {"id": key, "mine": counts["mine"]}, "update")

        def edit(counts: Json = counts, key: str = key) -> None:
            counts["theirs"] += 1
            wire.store.change("notes", "update", {"id": key, "theirs": counts["theirs"]})

        def meddle(
            seen: Seen,
            rng: random.Random = rng,
            depth: list[int] = depth,
            push: Callable[..., None] = push,
            edit: Callable[..., None] = edit,
        ) -> None:
            """Between a request's processing and its answer."""
            if depth[0] < 3 and rng.random() < 0.6:
                depth[0] += 1
                rng.choice((push, edit))()
                depth[0] -= 1

        wire.after = meddle
        for _ in range(rng.randint(2, 6)):
            rng.choice((push, edit, engine.flush, engine.pull, engine.full_sync))()
        wire.after = lambda seen: None
        come_to_rest(engine)
        record = wire.store.records("notes")[key]
        assert (record["mine"], record["theirs"]) == (counts["mine"], counts["theirs"]), seed
        assert engine.get("notes", key) == record, seed
        engine.close()
