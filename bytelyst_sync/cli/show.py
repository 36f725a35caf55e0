"""What is shown and how: tables and colour on a terminal, plain lines elsewhere, JSON if asked for.

Whatever came from a store or a server is cleaned of control characters before a terminal sees it,
and never read as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any, TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["Screen", "as_json", "clean", "count_of", "duration", "moment", "short"]

_SHOWN_S = ((86_400 * 2, 86_400, "d"), (7200, 3600, "h"), (120, 60, "min"))


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
        """Whether results are for the eyes of a person at a terminal."""
        return self.out.is_terminal and not self.json

    def say(self, text: str, style: str | None = None) -> None:
        """A line of a result, for people; nothing with ``--json``."""
        if self.json:
            return
        if self.out.is_terminal:
            self.out.print(Text(clean(text), style=style or ""), soft_wrap=True)
        else:
            _line(sys.stdout, clean(text))

    def note(self, text: str, style: str | None = None) -> None:
        """A line beside the result; nothing with ``--quiet``."""
        if not self.quiet:
            self.warn(text, style)

    def warn(self, text: str, style: str | None = "yellow") -> None:
        """A line beside the result that is shown in any case."""
        if self.err.is_terminal:
            self.err.print(Text(clean(text), style=style or ""), soft_wrap=True)
        else:
            _line(sys.stderr, clean(text))

    def show(self, thing: RenderableType) -> None:
        """A table or panel, on a terminal."""
        self.out.print(thing)

    def flush(self) -> None:
        """Hands on what was written, for whoever reads along."""
        sys.stdout.flush()

    def document(self, value: Any) -> None:
        """One JSON document."""
        _line(sys.stdout, json.dumps(value, ensure_ascii=False, indent=2))

    def record(self, value: Any) -> None:
        """One of a stream of JSON lines."""
        _line(sys.stdout, as_json(value))

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table; elsewhere than on a terminal one line a row, its cells between tabs."""
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
    """Programs want to know when, and people how long ago."""
    return value.isoformat() if isinstance(value, datetime) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return clean(moment(value) if isinstance(value, datetime) else str(value))


def _styled(value: Any) -> Text:
    text = _cell(value)
    return Text(text, style="dim" if value in (None, 0) else _STYLES.get(text, ""))


def clean(text: str) -> str:
    """The text with everything visible that would steer a terminal or mislead a reader."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def as_json(value: Any) -> str:
    """JSON on one line."""
    return json.dumps(value, ensure_ascii=False)


def short(value: Any, width: int = 60) -> str:
    """A value as JSON, cut to a width."""
    text = value if value == "" else as_json(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def count_of(number: int, thing: str, things: str = "") -> str:
    """``1 item``, ``2 items``."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"


def duration(seconds: float) -> str:
    """A length of time in one unit."""
    for least, unit, name in _SHOWN_S:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def moment(when: datetime) -> str:
    """How far off a time is: ``in 12 s``, ``3 min ago``, ``now``."""
    off = (when - datetime.now(timezone.utc)).total_seconds()
    if abs(off) < 1:
        return "now"
    return f"in {duration(off)}" if off > 0 else f"{duration(-off)} ago"
