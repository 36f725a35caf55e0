"""Fetching and applying a large collection, beside fetching it and inserting it raw."""

from __future__ import annotations

import json
import time

import requests

from benchmarks.harness import OURS, Bench, loopback_server, main
from benchmarks.peers import raw_connection
from bytelyst_sync import create_sync_engine

RECORDS = 100_000


def run(bench: Bench) -> None:
    """Pages of a thousand, a commit for each."""
    with loopback_server(0, "benchmarks.fast_server", "--records", str(RECORDS)) as url:
        race = bench.race(
            f"pull of {RECORDS:,} records",
            {OURS: lambda: ours(bench, url), "requests and sqlite3": lambda: raw(bench, url)},
            unit="s",
            rounds=5,
        )
        race.compare("requests and sqlite3", at_most=2.0)


def ours(bench: Bench, url: str) -> float:
    """Seconds: applied to the local view, each page with its cursor."""
    engine = create_sync_engine(
        base_url=url, entities={"notes": "/notes"}, storage=bench.path(), probe=None
    )
    with engine:
        began = time.perf_counter()
        result = engine.pull()
        took = time.perf_counter() - began
    if result.pulled != RECORDS:
        raise SystemExit(f"the pull did not get through: {result}")
    return took


def raw(bench: Bench, url: str) -> float:
    """Seconds: parsed, and each record inserted as its JSON text."""
    connection = raw_connection(bench.path(), "full")
    connection.execute("CREATE TABLE records (id TEXT PRIMARY KEY, state TEXT, version)")
    session = requests.Session()
    began = time.perf_counter()
    query: dict[str, str] = {}
    more = True
    while more:
        page = session.get(f"{url}/notes", params=query, timeout=30).json()
        rows = [(each["id"], json.dumps(each), each["version"]) for each in page["items"]]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
        query, more = {"since": page["cursor"]}, page["has_more"]
    took = time.perf_counter() - began
    connection.close()
    return took


if __name__ == "__main__":
    main("pull", run)
