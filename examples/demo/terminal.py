"""What the demo shows: steps, bars and tables, as wide as the terminal.

Colours, and bars that are drawn in place, are for terminals only.
"""

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
INDENT_OF_STEPS = 12


def _columns() -> int:
    """The width of the terminal, or ``COLUMNS``."""
    return shutil.get_terminal_size((100, 24)).columns


def _wrap(text: str, indent: int) -> list[str]:
    """The lines of a text beside this indent; no word is broken."""
    room = max(NARROW, _columns() - indent)
    return textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False)


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
        self._wrapped(text, BOLD)

    def act(self, number: int, text: str) -> None:
        """Begin an act, and its clock."""
        self._began = time.monotonic()
        self._quarters = 0
        self._line("")
        self._wrapped(f"Act {number}: {text}", BOLD, CYAN)

    def step(self, text: str) -> None:
        """Say what has just happened, and when."""
        elapsed = f"{time.monotonic() - self._began:6.1f} s"
        first, *others = _wrap(text, INDENT_OF_STEPS)
        self._line(f"  {self._paint(elapsed, DIM)}  {first}")
        for line in others:
            self._line(" " * INDENT_OF_STEPS + line)

    def bar(self, label: str, done: int, total: int) -> None:
        """Show progress: in place on a terminal, elsewhere a line for each quarter."""
        done = max(0, min(done, total))
        share = done / total if total else 1.0
        if not self._in_place:
            if int(share * 4) > self._quarters:
                self._quarters = int(share * 4)
                self.step(f"{label}: {share:.0%}")
            return
        width = max(10, min(40, _columns() - len(label) - INDENT_OF_STEPS - 7))
        filled = round(share * width)
        cells = self._paint("█" * filled, GREEN) + self._paint("░" * (width - filled), DIM)
        self._stream.write(f"\r\x1b[K            {label} {cells} {share:4.0%}")
        self._stream.flush()
        self._open_bar = True

    def table(self, rows: Iterable[tuple[str, object]]) -> None:
        """Show names and figures."""
        shown = [(name, str(value)) for name, value in rows]
        right = max(len(value) for _, value in shown)
        room = max(NARROW, _columns() - right - 8)
        left = min(room, max(len(name) for name, _ in shown))
        self._line("")
        for name, value in shown:
            indent = len(name) - len(name.lstrip())
            *others, last = textwrap.wrap(
                name, left, break_on_hyphens=False, subsequent_indent=" " * (indent + 2)
            )
            for line in others:
                self._line(f"  {line}")
            dots = self._paint("." * (left - len(last) + 3), DIM)
            self._line(f"  {last} {dots} {self._paint(value.rjust(right), BOLD)}")

    def say(self, text: str) -> None:
        """Say something that has no time."""
        self._line("")
        for line in _wrap(text, 2):
            self._line(f"  {self._paint(line, BOLD)}")

    def grid(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show columns. The last one is wrapped, and goes below the others where it has no room.
        Where the others have no room side by side, each row is a paragraph.
        """
        listed = [tuple(row) for row in rows]
        widths = [max(map(len, cells)) for cells in zip(head, *listed, strict=True)][:-1]
        indent = 2 + sum(widths) + GAP * len(widths)
        columns = _columns()
        if indent - GAP > columns:
            self._paragraphs(head, listed)
            return
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

    def _paragraphs(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show the name of its column before each cell; an empty first cell repeats the last."""
        first = ""
        self._line("")
        for first_cell, *cells in rows:
            first = first_cell or first
            self._line(f"  {self._paint(first, BOLD)}")
            named = zip(head[1:], cells, strict=True)
            for line in _wrap("; ".join(f"{name} {cell}" for name, cell in named), 6):
                self._line(" " * 6 + line)

    def differences(self, lines: Iterable[str]) -> None:
        """Show what is not as it should be."""
        for text in lines:
            first, *others = _wrap(f"differs: {text}", 4)
            self._line(f"  {self._paint('differs:', RED)}{first.removeprefix('differs:')}")
            for line in others:
                self._line(f"    {line}")

    def verdict(self, text: str, *, good: bool) -> None:
        """Say how it ended."""
        self._line("")
        self._wrapped(f"VERDICT: {text}", BOLD, GREEN if good else RED)

    def _wrapped(self, text: str, *codes: str) -> None:
        for line in _wrap(text, 0):
            self._line(self._paint(line, *codes))

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
