"""The sums of a phase for an analysis: of the units that count, up to a day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from bytelyst_sync.experiments.entries import ALL_UNITS, UNITS, sums_of
from bytelyst_sync.experiments.events import day_after
from bytelyst_sync.experiments.ledger import LedgerReader, parted
from bytelyst_sync.experiments.sums import NOTHING, Sums

__all__ = ["Observations", "observe", "sum_rows"]

Cell = tuple[str, int, str, str]
"""A day, a variation, a segment, a metric."""


class Observations:
    """Sums by day, variation, segment and metric. ``sums`` omits days after ``day``."""

    def __init__(self, cells: Iterable[tuple[Cell, Sums]], day: str | None) -> None:
        self.day = day
        self._cells = list(cells)
        self._by_end: dict[str | None, dict[tuple[str, int, str], Sums]] = {}

    @property
    def days(self) -> list[str]:
        """The exposure days that count."""
        return sorted({day for (day, *_), _ in self._cells if self.counts(day)})

    @property
    def segments(self) -> list[str]:
        """The segments, without the one of all units."""
        return sorted({segment for (_, _, segment, _), _ in self._cells if segment != ALL_UNITS})

    def counts(self, day: str, upto: str | None = None) -> bool:
        """Whether units that were exposed on this day count."""
        last = self.day if upto is None else upto
        return last is not None and day <= last

    def sums(
        self, metric: str, variation: int, segment: str = ALL_UNITS, upto: str | None = None
    ) -> Sums:
        """The sums of a metric over the units that count."""
        units = self._total(UNITS, variation, segment, upto)
        return self._total(metric, variation, segment, upto)._replace(n=units.n)

    def units(self, variation: int) -> tuple[int, int]:
        """The units that count, and those whose window is not over."""
        whole = sum(
            sums.n
            for (_, index, segment, metric), sums in self._cells
            if (index, segment, metric) == (variation, ALL_UNITS, UNITS)
        )
        counted = self._total(UNITS, variation, ALL_UNITS, None).n
        return counted, whole - counted

    def _total(self, metric: str, variation: int, segment: str, upto: str | None) -> Sums:
        if upto not in self._by_end:
            found: dict[tuple[str, int, str], Sums] = defaultdict(lambda: NOTHING)
            for (day, index, part, name), sums in self._cells:
                if self.counts(day, upto):
                    found[name, index, part] = found[name, index, part].plus(sums)
            self._by_end[upto] = dict(found)
        return self._by_end[upto].get((metric, variation, segment), NOTHING)


def observe(ledger: LedgerReader, scope: str, today: str, window_days: int) -> Observations:
    """The sums of a phase. Units count whose window was over before ``today``."""
    cells = []
    for name, sums in sums_of(ledger, scope):
        day, variation, segment, metric = parted(name)
        cells.append(((day, int(variation), segment, metric), sums))
    return Observations(cells, day_after(today, -window_days - 1))


def sum_rows(ledger: LedgerReader, scope: str) -> Iterator[dict[str, Any]]:
    """The sums of a phase as objects, without those that are 0."""
    for name, sums in sums_of(ledger, scope):
        day, variation, segment, metric = parted(name)
        if any(sums):
            yield {
                "day": day,
                "variation": int(variation),
                "segment": segment,
                "metric": metric,
                **sums._asdict(),
            }
