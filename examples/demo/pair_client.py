"""One of the two programs that edit the same records; it does what it is told, and says so.

    python pair_client.py URL DATABASE

Told by JSON objects on standard input, one a line, each answered by an event:

``{"do": "push", "edits": [[ENTITY, OPERATION, DATA], ...]}``
    pushes these, in one transaction
``{"do": "sync"}``
    `full_sync`, again and again until nothing moves any more
``{"do": "try"}``
    `full_sync`, once
``{"do": "resolve", "id": CONFLICT, "answer": ANSWER}``
    settles a parked conflict
``{"do": "look"}``
    reads the local view and all conflicts, open and settled

It sends nothing by itself (``auto_flush=False``), so that one of the two can be back in coverage
before the other. It ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from shared_records import STRATEGIES

from bytelyst_sync import Conflict, EntityConfig, SyncEngine, create_sync_engine

PATIENCE_S = 20.0
ROUNDS = 20
PAUSE_S = 0.25


def say(event: str, **details: object) -> None:
    """Print one event."""
    os.write(1, json.dumps({"event": event, **details}).encode() + b"\n")


def push(engine: SyncEngine, edits: list[tuple[str, str, dict[str, Any]]]) -> None:
    """Push these changes, all or none."""
    with engine.transaction():
        for entity, operation, data in edits:
            engine.push(entity, data, operation)
    say("pushed", queued=engine.queue_length)


def sync(engine: SyncEngine, rounds: int) -> None:
    """Deliver and fetch until nothing moves any more, waiting out what is to be tried again."""
    pushed = conflicts = errors = 0
    quiet = offline = False
    moved = True
    for _ in range(rounds):
        if offline or not moved:
            time.sleep(PAUSE_S)
        result = engine.full_sync(timeout=PATIENCE_S)
        pushed += result.pushed
        conflicts += result.conflicts
        errors += result.errors
        offline = result.offline
        moved = bool(result.pushed or result.pulled or result.conflicts)
        quiet = not (moved or offline or result.errors or engine.queue_length)
        if quiet:
            break
    status = engine.status
    say(
        "synced",
        quiet=quiet,
        offline=offline,
        pushed=pushed,
        conflicts=conflicts,
        errors=errors,
        queued=status.queue_length,
        failed=status.failed,
        parked=status.conflicts,
    )


def as_json(conflict: Conflict) -> dict[str, Any]:
    """A conflict as the other process reads it; times in seconds since the epoch."""
    remote_time = conflict.remote_time
    return {
        "id": conflict.id,
        "entity": conflict.entity,
        "record_id": conflict.record_id,
        "base": conflict.base,
        "here": conflict.local,
        "there": conflict.remote,
        "here_at": conflict.local_time.timestamp(),
        "there_at": None if remote_time is None else remote_time.timestamp(),
        "fields": conflict.fields,
        "resolution": conflict.resolution,
    }


def look(engine: SyncEngine) -> None:
    """Say what is to be seen here."""
    say(
        "seen",
        view={name: {each["id"]: each for each in engine.records(name)} for name in STRATEGIES},
        parked=[as_json(conflict) for conflict in engine.conflicts()],
        settled=[as_json(conflict) for conflict in engine.conflicts(resolved=True)],
    )


def obey(engine: SyncEngine, command: dict[str, Any]) -> None:
    """Do what one line of the standard input says."""
    if command["do"] == "push":
        push(engine, command["edits"])
    elif command["do"] == "sync":
        sync(engine, ROUNDS)
    elif command["do"] == "try":
        sync(engine, 1)
    elif command["do"] == "resolve":
        item = engine.resolve(command["id"], command["answer"])
        say("resolved", to_send=item is not None)
    else:
        look(engine)


def main(url: str, database: str) -> None:
    """Work until the standard input ends."""
    engine = create_sync_engine(
        base_url=url,
        entities={
            name: EntityConfig(f"/{name}", conflict=strategy)
            for name, strategy in STRATEGIES.items()
        },
        storage=database,
        auto_flush=False,
        retry_delay=0.2,
        max_retry_delay=1.0,
        probe_interval=0.5,
    )
    with engine:
        for line in sys.stdin:
            obey(engine, json.loads(line))


if __name__ == "__main__":
    main(*sys.argv[1:])
