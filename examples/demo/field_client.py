"""The technician's program: pushes the changes of the day, and says what was acknowledged.

    python field_client.py URL DATABASE

Told by lines on standard input, each answered by events on standard output:

``push FROM TO``
    pushes these changes, one by one
``deliver FROM TO``
    pushes these changes at a technician's pace while the queue is delivered, until it is empty
``resume FROM TO``
    the same after a kill: the first one may be saved already, without having been acknowledged
``view``
    reads the local view

It ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import time

from work_orders import ORDERS, TIMES, Change, plan

from bytelyst_sync import SyncEngine, SyncItem, SyncStatusInfo, create_sync_engine

PACE_S = 0.05
PATIENCE_S = 150.0


def say(event: str, **details: object) -> None:
    """Print one event; a single write, so that a kill leaves no half of it."""
    os.write(1, json.dumps({"event": event, **details}).encode() + b"\n")


def push(engine: SyncEngine, change: Change) -> None:
    """Push one change, and acknowledge it when `push` has returned."""
    began = time.perf_counter()
    item = engine.push(change.entity, change.data, change.operation)
    took = time.perf_counter() - began
    say("ack", rev=change.rev, key=item.id if item is not None else None, ms=took * 1000)


def is_saved(engine: SyncEngine, change: Change) -> bool:
    """Whether a change whose push never returned is in the local view all the same."""
    record = engine.get(*change.record)
    if change.operation == "delete":
        return record is None
    return record is not None and record["rev"] == change.rev


def deliver(engine: SyncEngine, changes: list[Change]) -> None:
    """Push these changes while the worker delivers, and wait until nothing is queued."""
    left = -1
    waiting = list(reversed(changes))
    deadline = time.monotonic() + PATIENCE_S
    while (waiting or left) and time.monotonic() < deadline:
        if waiting:
            push(engine, waiting.pop())
        if left != (left := engine.queue_length):
            say("left", left=left + len(waiting))
        time.sleep(PACE_S)
    say("delivered", left=engine.queue_length + len(waiting), failed=engine.status.failed)


def view(engine: SyncEngine) -> None:
    """Say what the technician sees."""
    orders = list(engine.records(ORDERS))
    done = sum(order["status"] == "done" for order in orders)
    say("view", orders=len(orders), done=done, times=sum(1 for _ in engine.records(TIMES)))


def obey(engine: SyncEngine, command: str, first: int, last: int) -> None:
    """Do what one line of the standard input says."""
    changes = list(plan().changes[first:last])
    if command in ("deliver", "resume"):
        if command == "resume" and changes and is_saved(engine, changes[0]):
            say("ack", rev=first, key="unknown", ms=None)
            del changes[0]
        deliver(engine, changes)
    elif command == "push":
        for change in changes:
            push(engine, change)
        say("pushed", queued=engine.queue_length)
    else:
        view(engine)


def report_status(info: SyncStatusInfo) -> None:
    """A status callback: runs on the engine's thread."""
    say("status", status=str(info.status), online=info.online, queued=info.queue_length)


def report_failure(item: SyncItem) -> None:
    """A failure callback: runs on the engine's thread."""
    say("failure", entity=item.entity, record_id=item.record_id, error=item.last_error)


def main(url: str, database: str) -> None:
    """Work until the standard input ends."""
    engine = create_sync_engine(
        base_url=url,
        entities={ORDERS: f"/{ORDERS}", TIMES: f"/{TIMES}"},
        storage=database,
        retry_delay=0.2,
        max_retry_delay=1.0,
        probe_interval=0.5,
    )
    with engine:
        engine.on_status_change(report_status)
        engine.on_failure(report_failure)
        say("ready", queued=engine.queue_length)
        for line in sys.stdin:
            command, *numbers = line.split()
            obey(engine, command, *map(int, numbers or (0, 0)))


if __name__ == "__main__":
    main(*sys.argv[1:])
