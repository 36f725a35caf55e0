"""Shows the status: once, or live on a terminal until Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from typing import Any, NoReturn

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.session import exists, opened_store
from bytelyst_sync.cli.show import Screen
from bytelyst_sync.errors import StorageError
from bytelyst_sync.inspection.settings import Settings
from bytelyst_sync.inspection.snapshot import Numbers, Snapshot, take_snapshot
from bytelyst_sync.inspection.text import clean, moment
from bytelyst_sync.storage import Storage

__all__ = ["describe", "watch"]

Shape = Callable[[Settings, Snapshot, "bool | None", "str | None"], dict[str, Any]]
_COLUMNS = ("waiting", "sending", "retrying", "blocked", "failed", "conflicts")
_STYLES = {"failed": "red", "conflicts": "magenta", "retrying": "yellow", "sending": "cyan"}
_PROBE_EVERY_S = 5.0
_REASONS = {
    "deliverer": "the deliverer gives no sign of life; another process takes over if it stays so",
    "blocked": 'an item waits for a decision, and nothing overtakes it (order="strict")',
}


def describe(
    screen: Screen, settings: Settings, snapshot: Snapshot, online: bool | None = None
) -> None:
    """Shows it once."""
    if screen.rich:
        screen.show(_panel(settings, snapshot, online))
        return
    screen.say(f"server: {settings.config.base_url}{_answering(online)}")
    screen.say(f"store: {settings.store}")
    screen.say(f"all: {_words(snapshot.total, snapshot.conflicts)}")
    for name, numbers in snapshot.entities.items():
        screen.say(f"{name}: {_words(numbers, numbers.parked)}{_unknown_mark(settings, name)}")
    for text in _notes(snapshot):
        screen.say(text)


def _answering(online: bool | None) -> str:
    return {None: "", True: " (answers)", False: " (no answer)"}[online]


def _unknown_mark(settings: Settings, name: str) -> str:
    return "" if name in settings.config.entities else " (not configured here)"


def _words(numbers: Numbers, conflicts: int) -> str:
    counts = {**numbers.as_json(), "conflicts": conflicts}
    return ", ".join(f"{name} {counts[name]}" for name in _COLUMNS)


def _notes(snapshot: Snapshot) -> list[str]:
    notes = []
    if snapshot.oldest is not None:
        notes.append(f"oldest: queued {moment(snapshot.oldest)}")
    if snapshot.next_retry is not None:
        due = snapshot.next_retry <= datetime.now(timezone.utc)
        notes.append(f"next retry: {'due' if due else moment(snapshot.next_retry)}")
    if snapshot.trouble is not None:
        notes.append(f"last error: {snapshot.trouble}")
    if snapshot.deliverer is not None:
        notes.append(f"deliverer: {snapshot.deliverer}")
    if snapshot.reason is not None:
        notes.append(f"held up: {_REASONS[snapshot.reason]}")
    return notes


def _panel(
    settings: Settings, snapshot: Snapshot, online: bool | None, footer: str = ""
) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    table.add_column("")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    names = list(dict.fromkeys((*settings.config.entities, *snapshot.entities)))
    for name in names:
        numbers = snapshot.entities.get(name, Numbers())
        table.add_row(
            Text(clean(name) + _unknown_mark(settings, name)), *_counts(numbers, numbers.parked)
        )
    if len(names) > 1:
        table.add_row(Text("all", style="bold"), *_counts(snapshot.total, snapshot.conflicts))
    dot = {None: Text(""), True: Text("● ", "green"), False: Text("● ", "red")}[online]
    head = Text.assemble(
        dot, (clean(settings.config.base_url), "bold"), (_answering(online), "dim"), "   ",
        (clean(str(settings.store)), "dim"),
    )  # fmt: skip
    notes = [
        Text(clean(text), style="yellow" if "error" in text else "") for text in _notes(snapshot)
    ]
    parts: list[RenderableType] = [head, Text(""), table]
    if notes:
        parts += [Text(""), *notes]
    return Panel(
        Group(*parts),
        title=_headline(snapshot),
        title_align="left",
        subtitle=Text(clean(footer)) if footer else None,
    )


def _headline(snapshot: Snapshot) -> Text:
    total = snapshot.total
    if total.failed or snapshot.conflicts:
        return Text(" needs a decision ", style="bold red")
    if total.sending:
        return Text(" sending ", style="bold cyan")
    if total.waiting:
        return Text(f" {total.waiting} waiting ", style="bold yellow")
    return Text(" all delivered " if snapshot.exists else " empty ", style="bold green")


def _counts(numbers: Numbers, conflicts: int) -> list[Text]:
    counts = {**numbers.as_json(), "conflicts": conflicts}
    return [
        Text(str(counts[name]), style=_STYLES.get(name, "bold") if counts[name] else "dim")
        for name in _COLUMNS
    ]


# --- watching


class _Prober:
    """Probes the server every few seconds, on a separate thread: a probe may take seconds."""

    def __init__(self, ask: Callable[[], bool] | None) -> None:
        self._ask = ask
        self._stop = threading.Event()
        self.online: bool | None = None
        self._thread = threading.Thread(target=self._run, name="cli-probe", daemon=True)
        if ask is not None:
            self._thread.start()

    def _run(self) -> None:
        while self._ask is not None:
            self.online = self._ask()
            if self._stop.wait(_PROBE_EVERY_S):
                return

    def close(self) -> None:
        self._stop.set()


def watch(
    settings: Settings,
    screen: Screen,
    interval: float,
    ask: Callable[[], bool] | None,
    shape: Shape,
) -> int:
    """Shows the status until Ctrl-C. If the output is no terminal, prints a line at each change."""
    prober, reader = _Prober(ask), _StoreReader(settings)
    try:
        if screen.rich:
            _watch_live(settings, screen, interval, prober, reader)
        else:
            _watch_lines(settings, screen, interval, prober, reader, shape)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED  # the usual way out: nothing to say
    finally:
        prober.close()
        reader.close()


class _StoreReader:
    """Reads snapshots; keeps the store open in between, once it exists."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = ExitStack()
        self._store: Storage | None = None

    def __call__(self) -> tuple[Snapshot, str | None]:
        if self._store is None and not exists(self._settings):
            return Snapshot(exists=False), None
        if self._store is None:
            self._store = self._open.enter_context(opened_store(self._settings))
        snapshot = self._store.read(partial(take_snapshot, settings=self._settings))
        return snapshot, self._store.notice

    def close(self) -> None:
        self._open.close()


def _watch_live(
    settings: Settings, screen: Screen, interval: float, prober: _Prober, reader: _StoreReader
) -> NoReturn:
    with Live(console=screen.out, auto_refresh=False, transient=False) as live:
        while True:
            try:
                snapshot, notice = reader()
                footer = notice or f"{datetime.now().astimezone():%H:%M:%S} · Ctrl-C ends"
                live.update(_panel(settings, snapshot, prober.online, footer), refresh=True)
            except StorageError as error:
                live.update(Panel(Text(clean(str(error)), style="red")), refresh=True)
            time.sleep(interval)


def _watch_lines(
    settings: Settings,
    screen: Screen,
    interval: float,
    prober: _Prober,
    reader: _StoreReader,
    shape: Shape,
) -> NoReturn:
    last: object = None
    while True:
        snapshot, notice = reader()
        now = (snapshot, prober.online, notice)
        if now != last:
            last = now
            if screen.json:
                screen.record(shape(settings, snapshot, prober.online, notice))
            else:
                words = _words(snapshot.total, snapshot.conflicts)
                screen.say(
                    f"{datetime.now().astimezone():%H:%M:%S} {words}{_answering(prober.online)}"
                )
            screen.flush()
        time.sleep(interval)
