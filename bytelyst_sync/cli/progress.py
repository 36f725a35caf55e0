"""Shows the progress of a flush or a sync: bars on a terminal, else a line every two seconds.

The call runs on a separate thread, and the main thread shows its progress, so that Ctrl-C ends the
command at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from bytelyst_sync.cli.session import Wire
from bytelyst_sync.cli.show import Screen
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.inspection.text import duration
from bytelyst_sync.model import RecordChange, SyncResult

__all__ = ["run_with_progress"]

_LOOK_S = 0.1
_LINE_S = 2.0


class _Call(threading.Thread):
    """The thread that makes the call."""

    def __init__(self, call: Callable[[], SyncResult]) -> None:
        super().__init__(name="cli-call", daemon=True)
        self._call = call
        self._result: list[SyncResult] = []
        self._error: BaseException | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:
            self.ended.set()

    @property
    def pulled(self) -> int:
        """How many records it fetched, once it has ended."""
        return self._result[0].pulled if self._result else 0

    def result(self) -> SyncResult:
        """The result of the call, or its exception."""
        if self._error is not None:
            raise self._error
        return self._result[0]


class _Meter:
    """Counts delivered items and fetched records. ``total``: how many items waited at the start."""

    def __init__(self, engine: SyncEngine, wire: Wire, *, pushes: bool, pulls: bool) -> None:
        self._engine = engine
        self._wire = wire
        self.pushes, self.pulls = pushes, pulls
        self.total = engine.queue_length if pushes else 0
        self.remaining = self.total
        self.pulled = 0
        if pulls:
            engine.on_change(self._count_change)

    def _count_change(self, change: RecordChange) -> None:
        # the answer to a push changes the record as well
        if change.origin == "remote" and self._wire.fetching:
            self.pulled += 1

    def look(self) -> None:
        """Updates the counts."""
        if self.pushes:
            self.remaining = self._engine.queue_length
            self.total = max(self.total, self.remaining)

    @property
    def delivered(self) -> int:
        """How much has left the queue."""
        return self.total - self.remaining


def run_with_progress(
    engine: SyncEngine,
    wire: Wire,
    screen: Screen,
    call: Callable[[], SyncResult],
    *,
    pushes: bool = False,
    pulls: bool = False,
) -> SyncResult:
    """Runs the call and shows its progress."""
    meter = _Meter(engine, wire, pushes=pushes, pulls=pulls)
    running = _Call(call)
    running.start()
    if screen.quiet:
        while not running.ended.wait(_LOOK_S):
            pass
    elif screen.err.is_terminal:
        _show_bars(screen, running, meter)
    else:
        _show_lines(screen, running, meter)
    return running.result()


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f}/s", style="progress.data.speed")


def _show_bars(screen: Screen, running: _Call, meter: _Meter) -> None:
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=screen.err, refresh_per_second=10) as progress:
        pushing = (
            progress.add_task("delivering", total=None, visible=False) if meter.pushes else None
        )
        pulling = progress.add_task("fetching", total=None) if meter.pulls else None
        ended = False
        while not ended:
            ended = running.ended.wait(_LOOK_S)
            meter.look()
            if pushing is not None:
                progress.update(
                    pushing,
                    total=meter.total,
                    completed=meter.delivered,
                    visible=meter.total > 0,
                )
            if pulling is not None:
                pulled = running.pulled if ended else meter.pulled
                progress.update(pulling, total=pulled if ended else None, completed=pulled)


def _show_lines(screen: Screen, running: _Call, meter: _Meter) -> None:
    began = printed = time.monotonic()
    last = ""
    while not running.ended.wait(_LOOK_S):
        now = time.monotonic()
        if now - printed < _LINE_S:
            continue
        printed = now
        meter.look()
        text = _line(meter, now - began)
        if text != last:
            last = text
            screen.warn(text, style=None)


def _line(meter: _Meter, seconds: float) -> str:
    parts = []
    if meter.pushes and meter.total:
        part = f"{meter.delivered} of {meter.total} delivered"
        rate = meter.delivered / seconds
        if rate > 0 and meter.remaining:
            part += f", {rate:.0f}/s, {duration(meter.remaining / rate)} left"
        parts.append(part)
    if meter.pulls and meter.pulled:
        parts.append(f"{meter.pulled} fetched")
    return "; ".join(parts) or "waiting for the server"
