"""Operations pages: each page with a million queued beside a thousand, and pushes beside tabs."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.growth import filled
from benchmarks.harness import OURS, Bench, main, record
from benchmarks.peers import engine
from bytelyst_sync import SQLiteStorage, SyncEngine
from bytelyst_sync.dashboard import Actor, OpsApp, ops_app

LENGTHS = (1_000, 1_000_000)
PAGES = (
    *("/", "/workers", "/fleet", "/queue", "/items/1", "/failed", "/conflicts"),
    *("/conflicts/settled", "/ab-testing", "/doctor", "/metrics", "/components"),
)
REQUESTS = 40
"""Requests of a round, from which its p95 is taken."""
TABS = 5
PUSH_S = 4.0
"""How long a round pushes: each tab polls twice."""

POLLING = """
import sys, threading, time, urllib.request

def tab():
    tag = None
    while True:
        request = urllib.request.Request(sys.argv[1] + "/", headers={"If-None-Match": tag or ""})
        try:
            with urllib.request.urlopen(request) as answer:
                answer.read()
                tag = answer.headers["ETag"]
        except urllib.error.HTTPError as error:
            assert error.code == 304
        time.sleep(2)

for number in range(int(sys.argv[2])):
    threading.Thread(target=tab, daemon=True).start()
    time.sleep(2 / int(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
"""


def run(bench: Bench) -> None:
    """A page costs the same however much is queued; tabs cost a push next to nothing."""
    engines = {
        length: engine(filled(SQLiteStorage(bench.path(), durability="normal"), length), "normal")
        for length in LENGTHS
    }
    apps = {length: _app(each) for length, each in engines.items()}
    for page in PAGES:
        paging(bench, apps, page)
    for each in engines.values():
        each.close()
    pushing(bench)


def _app(made: SyncEngine) -> OpsApp:
    return ops_app(made, authorize=lambda _: Actor("bench", ["view"]))


def paging(bench: Bench, apps: dict[int, OpsApp], page: str) -> None:
    """The p95 of one page in milliseconds."""

    def contender(app: OpsApp) -> Callable[[], float]:
        def turn() -> float:
            took = []
            for _ in range(REQUESTS):
                began = time.perf_counter()
                _get(app, page)
                took.append((time.perf_counter() - began) * 1e3)
            return statistics.quantiles(took, n=20)[18]

        return turn

    names = {length: f"{length:,} queued" for length in apps}
    race = bench.race(
        f"page {page}: p95", {names[length]: contender(app) for length, app in apps.items()},
        unit="ms",
    )  # fmt: skip
    race.compare(names[LENGTHS[0]], names[LENGTHS[1]], at_most=1.3)


def _get(app: OpsApp, page: str) -> None:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": page,
        "QUERY_STRING": "",
        "HTTP_HOST": "localhost",
        "wsgi.url_scheme": "http",
    }
    answered: list[str] = []
    body = b"".join(app(environ, lambda status, _: answered.append(status)))
    assert answered == ["200 OK"], (page, answered, body[:200])


def pushing(bench: Bench) -> None:
    """The p50 of synced pushes, without tabs and while five of them ask for changes."""
    made = engine(bench.path(), "full")
    numbers = itertools.count()

    def p50_us() -> float:
        took = []
        end = time.perf_counter() + PUSH_S
        while time.perf_counter() < end:
            began = time.perf_counter()
            made.push("notes", record(next(numbers)))
            took.append((time.perf_counter() - began) * 1e6)
        return statistics.median(took)

    with served(_app(made)) as url:

        def with_tabs() -> float:
            with open_tabs(url):
                return p50_us()

        race = bench.race(
            f"push with {TABS} tabs open: p50", {OURS: with_tabs, "no tab": p50_us},
            unit="µs", rounds=5,
        )  # fmt: skip
    race.compare("no tab", at_most=1.1)
    made.close()


@contextmanager
def served(app: OpsApp) -> Iterator[str]:
    """The pages behind a socket, by threads of this process; their address."""
    import waitress  # noqa: PLC0415 - an extra that no other suite needs

    server: Any = waitress.create_server(app, host="127.0.0.1", port=0, threads=4)
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.task_dispatcher.shutdown()
    server.close()


@contextmanager
def open_tabs(url: str) -> Iterator[None]:
    """A process that polls the overview as so many tabs do."""
    command = [sys.executable, "-c", POLLING, url, str(TABS)]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    yield
    process.terminate()
    process.communicate(timeout=10)


if __name__ == "__main__":
    main("ops", run)
