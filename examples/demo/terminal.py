"""What the demo shows: steps, bars and tables; in colour, and in place, only on a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import TextIO

BOLD, DIM, RED, GREEN, CYAN = "1", "2", "31", "32", "36"
GAP = 2
NARROW = 24


class Screen:
    """Writes to a stream; not for several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        reconfigure = getattr(self._stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
        terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._in_place = terminal
        self._colours = terminal and not os.environ.get("NO_COLOR")
        self._began = time.monotonic()
        self._open_bar = False
        self._quarters = 0

    def title(self, text: str) -> None:
        """Say what this is."""
        self._line(self._paint(text, BOLD))

    def act(self, number: int, text: str) -> None:
        """Begin an act, and its clock."""
        self._began = time.monotonic()
        self._quarters = 0
        self._line("")
        self._line(self._paint(f"Act {number}: {text}", BOLD, CYAN))

    def step(self, text: str) -> None:
        """Say what has just happened, and when."""
        elapsed = f"{time.monotonic() - self._began:6.1f} s"
        self._line(f"  {self._paint(elapsed, DIM)}  {text}")

    def bar(self, label: str, done: int, total: int) -> None:
        """Show progress: in place on a terminal, elsewhere a line for each quarter."""
        done = max(0, min(done, total))
        share = done / total if total else 1.0
        if not self._in_place:
            if int(share * 4) > self._quarters:
                self._quarters = int(share * 4)
                self.step(f"{label}: {share:.0%}")
            return
        width = max(10, min(40, shutil.get_terminal_size().columns - len(label) - 30))
        filled = round(share * width)
        cells = self._paint("█" * filled, GREEN) + self._paint("░" * (width - filled), DIM)
        self._stream.write(f"\r\x1b[K            {label} {cells} {share:4.0%}")
        self._stream.flush()
        self._open_bar = True

    def table(self, rows: Iterable[tuple[str, object]]) -> None:
        """Show names and figures."""
        shown = [(name, str(value)) for name, value in rows]
        left = max(len(name) for name, _ in shown)
        right = max(len(value) for _, value in shown)
        self._line("")
        for name, value in shown:
            dots = self._paint("." * (left - len(name) + 3), DIM)
            self._line(f"  {name} {dots} {self._paint(value.rjust(right), BOLD)}")

    def say(self, text: str) -> None:
        """Say something that has no time."""
        self._line("")
        self._line(f"  {self._paint(text, BOLD)}")

    def grid(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show columns; the last is wrapped, and goes below the others where it has no room."""
        listed = [tuple(row) for row in rows]
        widths = [max(map(len, cells)) for cells in zip(head, *listed, strict=True)][:-1]
        indent = 2 + sum(widths) + GAP * len(widths)
        columns = shutil.get_terminal_size((120, 24)).columns
        below = columns - indent < NARROW
        if below:
            indent = 6
        self._line("")
        for number, (*cells, last) in enumerate([head, *listed]):
            padded = (cell.ljust(width + GAP) for cell, width in zip(cells, widths, strict=True))
            start = "  " + "".join(padded)
            codes = (BOLD,) if number == 0 else ()
            room = max(NARROW, columns - indent - 1)
            lines = textwrap.wrap(last, room, break_on_hyphens=False)
            if below:
                self._line(self._paint(start.rstrip(), *codes))
            else:
                self._line(self._paint(start, *codes) + self._paint(lines.pop(0), *codes or (DIM,)))
            for line in lines:
                self._line(" " * indent + self._paint(line, *codes or (DIM,)))

    def differences(self, lines: Iterable[str]) -> None:
        """Show what is not as it should be."""
        for line in lines:
            self._line(f"  {self._paint('differs:', RED)} {line}")

    def verdict(self, text: str, *, good: bool) -> None:
        """Say how it ended."""
        self._line("")
        self._line(self._paint(f"VERDICT: {text}", BOLD, GREEN if good else RED))

    def _paint(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes and self._colours else text

    def _line(self, text: str) -> None:
        self._close_bar()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def _close_bar(self) -> None:
        if self._open_bar:
            self._open_bar = False
            self._stream.write("\r\x1b[K")
