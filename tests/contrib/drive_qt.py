"""Uses the Qt bridge as a program does, in a process of its own: drive_qt.py BINDING STORE."""

import os
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

QtCore = import_module(f"{sys.argv[1]}.QtCore")
QtWidgets = import_module(f"{sys.argv[1]}.QtWidgets")

from bytelyst_sync import SyncEngine, create_sync_engine  # noqa: E402 - the binding is imported before
from bytelyst_sync.contrib.qt import EngineSignals, RecordsModel, StatusBadge  # noqa: E402
from bytelyst_sync.contrib.qt import binding as chosen  # noqa: E402
from bytelyst_sync.testing import Reply, SyncServer  # noqa: E402

PATIENCE_S = 20.0
Role = QtCore.Qt.ItemDataRole


def until(app: Any, condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        app.processEvents()
        if time.monotonic() > deadline:
            raise SystemExit(f"never: {what}")
        time.sleep(0.005)


def titles(model: RecordsModel) -> list[Any]:
    return [model.data(model.index(row, 0)) for row in range(model.rowCount())]


def play(app: Any, engine: SyncEngine, server: SyncServer) -> None:
    main = threading.get_ident()
    model = RecordsModel(
        engine, "notes", {"title": "Title", "n": "Number"}, {"done": False}, "n", editable=True
    )
    view = QtWidgets.QTableView()
    view.setModel(model)
    view.show()
    badge = StatusBadge(engine)
    signals = EngineSignals(engine)
    seen: list[Any] = []
    threads: list[int] = []
    signals.changed.connect(lambda change: seen.append(change.record_id))
    signals.changed.connect(lambda _: threads.append(threading.get_ident()))
    steps = []
    for name in ("rowsInserted", "rowsRemoved", "rowsMoved", "dataChanged", "modelReset"):
        getattr(model, name).connect(lambda *_, name=name: steps.append(name))

    # what is pushed and what is pulled comes in, in order, on this thread
    engine.push_many(
        "notes", [{"id": str(n), "title": f"t{n}", "n": n, "done": False} for n in (3, 1)]
    )
    until(app, lambda: titles(model) == ["t1", "t3"], "the pushed rows")
    server.put("notes", {"id": "2", "title": "t2", "n": 2, "done": False})
    signals.run(lambda: engine.full_sync(timeout=PATIENCE_S), seen.append)
    until(app, lambda: titles(model) == ["t1", "t2", "t3"], "the pulled row")
    until(app, lambda: any(not isinstance(each, str) for each in seen), "the result of run()")
    assert set(threads) == {main}
    assert model.headerData(1, QtCore.Qt.Orientation.Horizontal) == "Number"
    assert "modelReset" not in steps

    # a selection follows its record
    view.selectRow(2)
    engine.update("notes", "3", {"n": 0})
    until(app, lambda: titles(model) == ["t3", "t1", "t2"], "the moved row")
    assert [index.row() for index in view.selectionModel().selectedRows()] == [0]
    engine.update("notes", "3", {"n": 9})
    until(app, lambda: titles(model) == ["t1", "t2", "t3"], "the row moved down")
    engine.update("notes", "1", {"done": True})
    until(app, lambda: titles(model) == ["t2", "t3"], "the row that left the query")
    assert model.row_of("3") == 1
    assert model.row_of("1") is None

    # an edited cell is pushed; offline it waits, and the badge says so
    until(app, lambda: engine.queue_length == 0, "all delivered")
    until(app, lambda: badge.text() == "online", "the badge")
    server.stop()
    assert model.setData(model.index(0, 0), "edited")
    assert titles(model)[0] == "edited"
    until(app, lambda: badge.text() == "offline, 1 waiting", f"the badge, {badge.text()}")
    assert model.data(model.index(0, 0), RecordsModel.StateRole) in ("pending", "sending")
    assert model.data(model.index(0, 0), RecordsModel.RecordRole)["title"] == "edited"
    server.start()
    until(app, lambda: badge.text() == "online", "the badge online again")
    until(app, lambda: model.data(model.index(0, 0), RecordsModel.StateRole) == "synced", "synced")
    assert not model.flags(model.index(5, 5)) & QtCore.Qt.ItemFlag.ItemIsEditable

    # refused
    server.reject = lambda each: Reply(422, {"error": "no"}) if each.body else None
    engine.update("notes", "2", {"title": "refused"})
    until(app, lambda: "1 refused" in badge.text(), "the refusal in the badge")
    until(app, lambda: model.data(model.index(0, 0), RecordsModel.StateRole) == "failed", "failed")
    engine.discard_failed()
    until(app, lambda: titles(model)[0] == "edited", "the discarded edit")

    # many at once are one new table, and are not drawn one by one
    engine.push_many(
        "notes", [{"id": f"m{n}", "title": "m", "n": n, "done": False} for n in range(2000)]
    )
    until(app, lambda: model.rowCount() == 2002, "two thousand rows")
    model.set_query({"title": "m"}, "-n", 3)
    assert [model.record(row)["n"] for row in range(model.rowCount())] == [1999, 1998, 1997]

    # errors of the background are handed over
    caught: list[BaseException] = []
    signals.run(lambda: 1 / 0, failed=caught.append)
    until(app, lambda: caught, "the error of run()")
    assert isinstance(caught[0], ZeroDivisionError)

    # what is gone hears nothing more
    before = len(engine._core.board.change_subscribers.callbacks)
    deferred = QtCore.QEvent.Type.DeferredDelete
    model.deleteLater()
    app.sendPostedEvents(
        None,
        getattr(deferred, "value", deferred),
    )
    app.processEvents()
    until(
        app,
        lambda: len(engine._core.board.change_subscribers.callbacks) == before - 1,
        "unsubscribed",
    )
    engine.close()
    until(app, lambda: badge.text().startswith("closed"), "the closed engine")


def main() -> None:
    app = QtWidgets.QApplication([])
    errors = []

    def keep(*error: Any) -> None:
        errors.append(error)
        sys.__excepthook__(*error)

    sys.excepthook = keep
    assert sys.argv[1] == chosen._NAME
    with SyncServer() as server:
        engine = create_sync_engine(
            base_url=server.url,
            entities={"notes": "/notes"},
            storage=sys.argv[2],
            durability="normal",
            retry_delay=0.05,
            probe_interval=0.1,
        )
        with engine:
            play(app, engine, server)
    assert not errors
    sys.stdout.write("played\n")
    sys.stdout.flush()
    # The order in which an interpreter destroys Qt's objects at its end is not what is tried here.
    os._exit(0)


main()
