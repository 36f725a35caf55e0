"""Meter readings: a script for cellars without a network.

    python meter_readings.py read METER VALUE      record a reading; saved when the command ends
    python meter_readings.py correct METER VALUE   correct one
    python meter_readings.py list                  all readings, and which of them still wait
    python meter_readings.py sync                  deliver, and fetch what others read

``--url`` says where the API is and ``--store`` where the readings are kept; both may come from the
environment, as METER_URL and METER_STORE. Exits with 0 if all went well, 1 if something is left.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime, timezone

from bytelyst_sync import EntityConfig, SyncEngine, SyncItem, create_sync_engine

READINGS = "readings"


def open_engine(url: str, store: str) -> SyncEngine:
    """The engine: one kind of record, and a colleague's correction of another field survives."""
    return create_sync_engine(
        base_url=url,
        entities={READINGS: EntityConfig("/readings", conflict="merge")},
        storage=store,
        auto_flush=False,  # a command ends at once; "sync" delivers
    )


def read(engine: SyncEngine, meter: str, value: float) -> int:
    """Record a reading, whether or not there is a network."""
    reading = {"id": meter, "value": value, "read_at": datetime.now(timezone.utc)}
    known = engine.get(READINGS, meter) is not None
    engine.push(READINGS, reading, "update" if known else "create")
    print(f"{meter}: {value:g} saved")
    return 0


def correct(engine: SyncEngine, meter: str, value: float) -> int:
    """Correct the value of a reading; it is merged with one that still waits."""
    if engine.get(READINGS, meter) is None:
        print(f"{meter}: there is no reading to correct", file=sys.stderr)
        return 1
    engine.push(READINGS, {"id": meter, "value": value}, "update")
    print(f"{meter}: corrected to {value:g}")
    return 0


def show(engine: SyncEngine) -> int:
    """List the readings; those that the server does not have yet are marked."""
    waiting = {item.record_id for item in engine.queue()}
    for reading in engine.records(READINGS):
        mark = "waits" if reading["id"] in waiting else ""
        print(f"{reading['id']:<12}{reading['value']:>12g}  {mark}".rstrip())
    for item in engine.failed():
        print(f"{item.record_id}: refused: {item.last_error}", file=sys.stderr)
    return 0


def sync(engine: SyncEngine) -> int:
    """Deliver and fetch, and say what became of it."""
    engine.on_failure(refused)
    result = engine.full_sync(timeout=60)
    if result.offline:
        print(f"no network; {result.remaining} readings wait for the next time")
        return 1
    print(f"{result.pushed} delivered, {result.pulled} fetched, {result.remaining} still wait")
    if not result.success:
        print(engine.status.last_error or "some need a decision", file=sys.stderr)
    return 0 if result.success else 1


def refused(item: SyncItem) -> None:
    """A failure callback: runs on a thread of the engine."""
    print(f"{item.record_id}: refused: {item.last_error}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description="Meter readings, also without a network.")
    parser.add_argument("--url", default=os.environ.get("METER_URL"))
    parser.add_argument("--store", default=os.environ.get("METER_STORE", "readings.db"))
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("read", "correct"):
        command = verbs.add_parser(verb)
        command.add_argument("meter")
        command.add_argument("value", type=float)
    verbs.add_parser("list")
    verbs.add_parser("sync")
    options = parser.parse_args(arguments)
    if not options.url:
        parser.error("say where the API is: --url, or METER_URL in the environment")
    with open_engine(options.url, options.store) as engine:
        if options.verb == "list":
            return show(engine)
        if options.verb == "sync":
            return sync(engine)
        return {"read": read, "correct": correct}[options.verb](
            engine, options.meter, options.value
        )


if __name__ == "__main__":
    sys.exit(main())
