"""Texts for people: counts, times, and data without control characters.

Texts from a store or a server may contain characters that control a terminal or change the order of
its text: control characters (C0, DEL, C1), bidirectional marks and other invisible ones. They are
shown as escapes, in JSON too.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

__all__ = ["as_json", "clean", "count_of", "duration", "moment", "short"]

_SHOWN_S = ((86_400 * 2, 86_400, "d"), (7200, 3600, "h"), (120, 60, "min"))


def clean(text: str) -> str:
    """The text with escapes for everything that is not printable."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON, on one line or indented. Characters that ``clean`` escapes become JSON escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
    )


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
    """A time relative to now: ``in 12 s``, ``3 min ago``, ``now``."""
    off = (when - datetime.now(timezone.utc)).total_seconds()
    if abs(off) < 1:
        return "now"
    return f"in {duration(off)}" if off > 0 else f"{duration(-off)} ago"
