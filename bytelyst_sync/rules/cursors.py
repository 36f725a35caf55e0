"""Compares cursors that have an order, and detects implausible ones."""

from __future__ import annotations

import re
from collections import Counter
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from bytelyst_sync.rules.times import UTC, epoch_seconds, instant

__all__ = ["LargestCursor", "is_far_future", "is_of_another_kind", "rank", "went_back"]

NUMBER, TIME, TEXT = 0, 1, 2
_NUMERIC = re.compile(r"[+-]?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,3})?", re.ASCII)
_DAY_S = 86_400.0
_MINUTE_S = 60
_HOUR_S = 3600
Rank = tuple[int, "int | Decimal", str]


def rank(value: Any, zone: tzinfo = UTC) -> Rank:
    """A sort key for numbers, strings of digits, times, and other strings, each kind separately."""
    text = str(getattr(value, "text", value))
    if _NUMERIC.fullmatch(text):
        return (NUMBER, Decimal(text), "")
    time = instant(text, zone)
    return (TEXT, 0, text) if time is None else (TIME, *time)


def is_far_future(
    value: Any, now: float | None, zone: tzinfo = UTC, *, epoch: bool = False
) -> bool:
    """Whether this is a time of more than a day after ``now`` (epoch seconds; ``None``: unknown).

    ``epoch``: numbers are times, too.
    """
    if now is None:
        return False
    kind, amount, _ = rank(value, zone)
    if kind == NUMBER and epoch:
        seconds = epoch_seconds(float(amount))
        return seconds is not None and seconds > now + _DAY_S
    return kind == TIME and amount > now + _DAY_S


def is_of_another_kind(old: str | None, new: str | None, zone: tzinfo = UTC) -> bool:
    """Whether one of two cursors of a server is a time, and the other is none.

    Numbers and other strings are one kind here: a token may happen to have digits only.
    """
    if old is None or new is None:
        return False
    return (rank(old, zone)[0] == TIME) is not (rank(new, zone)[0] == TIME)


class LargestCursor:
    """Finds the largest plausible value of a field in the rows of a page.

    A value is implausible if it is of another kind than ``earlier``, the cursor so far (or than
    most of the others, if there is none), or far in the future (see ``is_far_future``).
    """

    def __init__(
        self, earlier: str | None, now: float | None, zone: tzinfo = UTC, *, epoch: bool = False
    ) -> None:
        self._earlier = earlier
        self._now = now
        self._zone = zone
        self._epoch = epoch
        self._best: dict[int, tuple[Rank, str]] = {}
        self._seen: Counter[int] = Counter()
        self._too_late = 0
        self._last: Rank | None = None
        self._repeated_hour = False
        self.is_ordered = True
        """Whether each number or time was at least as large as the one before it."""

    def look(self, value: Any) -> None:
        """Adds the value of one row; a value that is no number or text is ignored."""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
            return
        order = rank(value, self._zone)
        if is_far_future(value, self._now, self._zone, epoch=self._epoch):
            self._too_late += 1
            return
        kind = order[0]
        self._seen[kind] += 1
        self._compare(order)
        if kind not in self._best or order > self._best[kind][0]:
            self._best[kind] = (order, str(getattr(value, "text", value)))

    def _compare(self, order: Rank) -> None:
        last, self._last = self._last, order
        if last is None or last[0] != order[0] or order[0] == TEXT or order >= last:
            return
        # times without a zone repeat an hour when summer time ends
        in_zone = order[0] == TIME and self._zone is not UTC
        if in_zone and last[1] - order[1] <= _HOUR_S and not self._repeated_hour:
            self._repeated_hour = True
        else:
            self.is_ordered = False

    def result(self) -> tuple[str | None, int]:
        """The next cursor, and how many values were implausible."""
        earlier = None if self._earlier is None else rank(self._earlier, self._zone)
        most = max(self._seen, key=lambda kind: (self._seen[kind], kind == TIME), default=None)
        kind = most if earlier is None else earlier[0]
        others = self._seen.total() - self._seen[kind] if kind is not None else 0
        best = None if kind is None else self._best.get(kind)
        if best is None or (earlier is not None and best[0] < earlier):
            return self._earlier, others + self._too_late
        return best[1], others + self._too_late


def went_back(old: str | None, new: str | None, zone: tzinfo = UTC) -> bool:
    """Whether an orderable cursor is less than before: the server was wiped or restored.

    Times may go back by a minute: servers behind one address have their own clocks.
    """
    if old is None or new is None:
        return False
    before, now = (rank(each.strip('"'), zone) for each in (old, new))
    if before[0] != now[0] or before[0] == TEXT:
        return False
    return now < before if before[0] == NUMBER else now[1] < before[1] - _MINUTE_S
