"""Uses the Tk bridge as a program does, in a process of its own: drive_tk.py STORE."""

import sys
import threading
import time
import tkinter as tk
from collections.abc import Callable
from typing import Any

from bytelyst_sync import RecordChange, SyncEngine, SyncItem, SyncStatusInfo, create_sync_engine
from bytelyst_sync.contrib.tk import StatusBadge, TkBridge
from bytelyst_sync.testing import Reply, SyncServer

PATIENCE_S = 20.0


def until(root: tk.Tk, condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        root.update()
        if time.monotonic() > deadline:
            raise SystemExit(f"never: {what}")
        time.sleep(0.005)


def play(root: tk.Tk, engine: SyncEngine, server: SyncServer) -> None:
    main = threading.get_ident()
    bridge = TkBridge(root, engine, interval_ms=10)
    badge = StatusBadge(root, bridge)
    changes: list[RecordChange] = []
    statuses: list[SyncStatusInfo] = []
    failures: list[SyncItem] = []
    refreshes: list[int] = []
    threads: list[int] = []

    def note_change(change: RecordChange) -> None:
        changes.append(change)
        threads.append(threading.get_ident())

    def note_refresh() -> None:
        refreshes.append(1)
        threads.append(threading.get_ident())

    bridge.on_change(note_change)
    only_tasks: list[RecordChange] = []
    bridge.on_change(only_tasks.append, "tasks")
    bridge.on_status_change(statuses.append)
    bridge.on_failure(failures.append)
    bridge.on_any(note_refresh)

    engine.push_many("notes", [{"id": str(number)} for number in range(500)])
    until(root, lambda: len(changes) >= 500, "500 changes")
    assert len(refreshes) < 100, "many events are one call"
    assert not only_tasks
    until(root, lambda: badge["text"] == "online", "the badge")
    assert statuses

    # what waits for the network runs elsewhere; results and errors come here
    results: list[Any] = []
    bridge.run(
        lambda: (threading.get_ident(), engine.full_sync(timeout=PATIENCE_S)), results.append
    )
    until(root, lambda: results, "the result")
    assert results[0][0] != main
    assert results[0][1].success
    bridge.run(lambda: 1 / 0, failed=results.append)
    until(root, lambda: len(results) == 2, "the error")
    assert isinstance(results[1], ZeroDivisionError)

    # a callback that raises is reported as those of widgets are, and the rest go on
    reported = []
    root.report_callback_exception = lambda kind, *_: reported.append(kind)
    bridge.on_change(lambda _: 1 / 0)
    server.reject = lambda seen: Reply(422) if seen.body else None
    engine.update("notes", "1", {"title": "refused"})
    until(root, lambda: failures, "the failure")
    until(root, lambda: "1 refused" in badge["text"], "the refusal in the badge")
    assert ZeroDivisionError in reported
    assert set(threads) == {main}

    # what is destroyed hears nothing more
    board = engine._core.board
    badge.destroy()
    root.update()
    before = len(changes)
    root.destroy()
    bridge.close()
    assert not board.change_subscribers.callbacks
    assert not board.status_subscribers.callbacks
    engine.push("notes", {"id": "last"})
    assert len(changes) == before


def main() -> None:
    root = tk.Tk()
    with SyncServer() as server:
        engine = create_sync_engine(
            base_url=server.url,
            entities={"notes": "/notes", "tasks": "/tasks"},
            storage=sys.argv[1],
            durability="normal",
        )
        with engine:
            play(root, engine, server)
    sys.stdout.write("played\n")


main()
