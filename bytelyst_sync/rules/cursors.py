"""The order of cursors, where they have one."""

from __future__ import annotations

from typing import Any

from bytelyst_sync.rules.times import instant

__all__ = ["rank", "went_back"]


def rank(value: Any) -> tuple[int, float, str]:
    """What orders numbers, strings of digits, times, and other strings, each kind by itself."""
    text = str(value)
    try:
        return (0, float(text), "")
    except ValueError:
        pass
    time = instant(text)
    if time is not None:
        return (1, *time)
    return (2, 0.0, text)


def went_back(old: str | None, new: str | None) -> bool:
    """Whether an orderable cursor is less than before: the server was wiped or restored."""
    if old is None or new is None:
        return False
    texts = [each.strip('"') for each in (old, new)]
    if not all(each.isascii() and each.isdigit() for each in texts):
        return False
    before, now = (each.lstrip("0") for each in texts)
    return (len(now), now) < (len(before), before)
