"""Notes in a Qt table that does not care whether there is a network.

    python examples/notes_qt.py                          with a practice server inside
    python examples/notes_qt.py https://api.example.com  with your API, which has /notes

Needs PySide6 or PyQt6: pip install "bytelyst-sync[qt]".
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.contrib.qt import EngineSignals, RecordsModel, StatusBadge
from bytelyst_sync.testing import SyncServer

QtWidgets = import_module(f"{'PySide6' if find_spec('PySide6') else 'PyQt6'}.QtWidgets")
COLUMNS = {"title": "Title", "place": "Place"}
SYNC_S = 30


class Window(QtWidgets.QWidget):
    """A table that can be edited, a badge, and two buttons."""

    def __init__(self, engine: SyncEngine) -> None:
        super().__init__(windowTitle="Notes")
        self.engine = engine
        self.model = RecordsModel(
            engine, "notes", COLUMNS, order_by="title", editable=True, parent=self
        )
        self.signals = EngineSignals(engine, parent=self)
        self.signals.failed.connect(self.show_refusal)
        self.table = QtWidgets.QTableView()
        self.table.setModel(self.model)
        self.message = QtWidgets.QLabel()
        self.sync_button = QtWidgets.QPushButton("Sync now", clicked=self.sync)
        new_button = QtWidgets.QPushButton("New", clicked=self.new)
        layout = QtWidgets.QGridLayout(self)
        layout.addWidget(new_button, 0, 0)
        layout.addWidget(self.sync_button, 0, 1)
        layout.addWidget(StatusBadge(engine), 0, 2)
        layout.addWidget(self.table, 1, 0, 1, 3)
        layout.addWidget(self.message, 2, 0, 1, 3)

    def new(self) -> None:
        """It is saved when `create` returns, and the table shows it."""
        self.engine.create("notes", {"title": "New note"})

    def sync(self) -> None:
        """Deliver and fetch: that waits for the network, so not on this thread."""
        self.sync_button.setEnabled(False)
        self.signals.run(lambda: self.engine.full_sync(timeout=SYNC_S), self.show_result)

    def show_result(self, result: object) -> None:
        """Back on the window's thread."""
        self.sync_button.setEnabled(True)
        self.message.setText("" if result.success else repr(result))

    def show_refusal(self, item: object) -> None:
        """The server refused a change: it is kept, and the user decides."""
        self.message.setText(f"{item.record_id}: {item.last_error}")


def main() -> int:
    """Show the window until it is closed."""
    app = QtWidgets.QApplication(sys.argv[:1])
    with ExitStack() as stack:
        url = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(SyncServer()).url
        engine = stack.enter_context(
            create_sync_engine(
                base_url=url, entities={"notes": "/notes"}, storage="notes.db", pull_interval=5.0
            )
        )
        window = Window(engine)
        window.resize(520, 360)
        window.show()
        return app.exec()


if __name__ == "__main__":
    sys.exit(main())
