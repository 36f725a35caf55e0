"""Output: tables and colour on a terminal, plain lines elsewhere, JSON with ``--json``.

Texts from a store or a server may contain characters that control a terminal or change the order of
its text: control characters (C0, DEL, C1), bidirectional marks and other invisible ones. They are
shown as escapes, in JSON too, and these texts are never parsed as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from bytelyst_sync.inspection.text import as_json, clean, moment

__all__ = ["Screen"]


class Screen:
    """Where a verb writes: results to standard output, notes and progress to standard error."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        self.json = as_json
        self.quiet = quiet
        self.out = Console(highlight=False, markup=False, emoji=False)
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def rich(self) -> bool:
        """Whether results are shown to a person at a terminal."""
        return self.out.is_terminal and not self.json

    def say(self, text: str, style: str | None = None) -> None:
        """Prints a line of a result for people; nothing with ``--json``."""
        if self.json:
            return
        if self.out.is_terminal:
            self.out.print(Text(clean(text), style=style or ""), soft_wrap=True)
        else:
            _line(sys.stdout, clean(text))

    def note(self, text: str, style: str | None = None) -> None:
        """Prints a line to standard error; nothing with ``--quiet``."""
        if not self.quiet:
            self.warn(text, style)

    def warn(self, text: str, style: str | None = "yellow") -> None:
        """Prints a line to standard error, also with ``--quiet``."""
        if self.err.is_terminal:
            self.err.print(Text(clean(text), style=style or ""), soft_wrap=True)
        else:
            _line(sys.stderr, clean(text))

    def show(self, thing: RenderableType) -> None:
        """Prints a table or panel on a terminal."""
        self.out.print(thing)

    def flush(self) -> None:
        """Flushes the output, for programs that read it line by line."""
        sys.stdout.flush()

    def document(self, value: Any) -> None:
        """Prints one JSON document."""
        _line(sys.stdout, as_json(value, indent=2))

    def record(self, value: Any) -> None:
        """Prints one JSON line of a stream."""
        _line(sys.stdout, as_json(value))

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Prints a table on a terminal, else one line for each row, with tabs between the cells."""
        if not self.rich:
            _line(sys.stdout, "\t".join(columns))
            for row in rows:
                _line(sys.stdout, "\t".join(_cell(_exact(each)) for each in row))
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for column in columns:
            right = column in _NUMBERS
            table.add_column(
                column, justify="right" if right else "left", no_wrap=right, overflow="fold"
            )
        for row in rows:
            table.add_row(*(_styled(each) for each in row))
        self.show(table)


_NUMBERS = frozenset(
    {"no.", "tries", "waiting", "sending", "retrying", "blocked", "failed", "conflicts"}
)
_STYLES = {
    "failed": "red",
    "conflict": "magenta",
    "sending": "cyan",
    "create": "green",
    "delete": "red",
}


def _line(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")


def _exact(value: Any) -> Any:
    """The value for programs: a time itself, not how long ago it was."""
    return value.isoformat() if isinstance(value, datetime) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return clean(moment(value) if isinstance(value, datetime) else str(value))


def _styled(value: Any) -> Text:
    text = _cell(value)
    return Text(text, style="dim" if value in (None, 0) else _STYLES.get(text, ""))
