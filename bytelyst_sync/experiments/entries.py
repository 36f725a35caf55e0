"""The rules by which exposures and conversions change a ledger.

An exposure or conversion whose id is known changes nothing, with two exceptions: of two exposures
of a unit the earlier one stands, and a unit that was seen in two variations is excluded and
counted. Events of one device are ordered by its sequence, not by its clock; between devices the
times decide. A conversion counts for a unit if it comes after the unit's exposure, and until the
end of the window; events of the 30 days before the exposure are the covariate. A phase that is
closed (``retention.py``) takes no exposures. Each record changes the sums by what it changes in the
values of its unit, so the sums do not depend on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bytelyst_sync.experiments.definitions import Definition, Metric
from bytelyst_sync.experiments.events import CONVERSION, EXPOSURE, day_after, day_of
from bytelyst_sync.experiments.ledger import Ledger, LedgerReader, joined, parted
from bytelyst_sync.experiments.retention import LOOKBACK_DAYS, is_closed
from bytelyst_sync.experiments.sums import NOTHING, Sums, of_unit

__all__ = ["ALL_UNITS", "UNITS", "Entries", "metric_value", "recalculate", "sums_of"]

Json = Any
Tallies = dict[str, list[float]]
"""By event: the number and the sum of values after the exposure, and the same before it."""
ALL_UNITS = ""
"""The segment that every unit is in."""
UNITS = ""
"""The metric under which units are counted."""
_WINDOW_DAYS = 7
"""The window of an experiment whose definition is not known."""


class Entries:
    """Enters exposures and conversions into a ledger. ``definitions``: by key."""

    def __init__(self, ledger: Ledger, definitions: Mapping[str, Definition]) -> None:
        self._ledger = ledger
        self._definitions = definitions

    def enter(self, record: Mapping[str, Json]) -> bool:
        """Enters a checked record; true if it was new."""
        if record["type"] == EXPOSURE:
            return self._exposure(record)
        return self._conversion(record)

    # --- exposures

    def _exposure(self, new: Mapping[str, Json]) -> bool:
        ledger, scope = self._ledger, joined(new["experiment"], new["phase"])
        if is_closed(ledger, scope):
            return False
        known = ledger.get(EXPOSURE, scope, new["unit"])
        if known is None:
            if ledger.get("phase", new["experiment"], new["phase"]) is None:
                ledger.put("phase", new["experiment"], new["phase"], new["at"])
                found = self._definitions.get(new["experiment"])
                if found is not None and found.phase == new["phase"]:
                    ledger.put("shares", scope, "", list(found.shares))
            return self._place(scope, new)
        if known.get("excluded"):
            return False
        if known["variation"] != new["variation"]:
            self.count(scope, new["experiment"], known, -1)
            ledger.put(EXPOSURE, scope, new["unit"], {**known, "excluded": True})
            _count_up(ledger, "excluded", scope, known)
            return False
        if _before(new, known):
            self.count(scope, new["experiment"], known, -1)
            self._place(scope, new)
            _count_up(ledger, "moved", scope, known)
        return False

    def _place(self, scope: str, new: Mapping[str, Json]) -> bool:
        """Enters an exposure, with the events of the unit that arrived before it."""
        row = {name: new[name] for name in ("variation", "device", "seq", "at", "segment")}
        window = self._window(new["experiment"])
        tallies: Tallies = {}
        for name, event in self._ledger.scan(CONVERSION, new["unit"]):
            _tally(tallies, parted(name)[0], event, row, window)
        row["tallies"] = tallies
        self._ledger.put(EXPOSURE, scope, new["unit"], row)
        self.count(scope, new["experiment"], row, 1)
        return True

    def _window(self, experiment: str) -> int:
        found = self._definitions.get(experiment)
        return _WINDOW_DAYS if found is None else found.window_days

    # --- conversions

    def _conversion(self, new: Mapping[str, Json]) -> bool:
        ledger = self._ledger
        if ledger.get("event", new["id"], "") is not None:
            return False
        ledger.put("event", new["id"], "", new["arrived"])
        event = {name: new[name] for name in ("value", "device", "seq", "at")}
        ledger.put(CONVERSION, new["unit"], joined(new["event"], new["id"]), event)
        for definition in self._definitions.values():
            if any(new["event"] in metric.events for metric in definition.metrics):
                self._add(definition, new["unit"], new["event"], event)
        return True

    def _add(self, definition: Definition, unit: str, name: str, event: Json) -> None:
        for phase, _ in list(self._ledger.scan("phase", definition.key)):
            scope = joined(definition.key, phase)
            row = self._ledger.get(EXPOSURE, scope, unit)
            if row is None or row.get("excluded"):
                continue
            tallies = {each: list(values) for each, values in row["tallies"].items()}
            _tally(tallies, name, event, row, definition.window_days)
            changed = {**row, "tallies": tallies}
            self._ledger.put(EXPOSURE, scope, unit, changed)
            for metric in definition.metrics:
                if name in metric.events:
                    difference = _unit(metric, changed).plus(_unit(metric, row), -1)
                    _change(self._ledger, scope, row, metric.key, difference)

    # --- sums

    def count(self, scope: str, experiment: str, row: Json, sign: int) -> None:
        """Adds a unit to the sums (``sign`` 1), or removes it (-1)."""
        _change(self._ledger, scope, row, UNITS, Sums(sign))
        definition = self._definitions.get(experiment)
        for metric in definition.metrics if definition else ():
            value = _unit(metric, row)
            if value != NOTHING:
                _change(self._ledger, scope, row, metric.key, NOTHING.plus(value, sign))


def metric_value(metric: Metric, tallies: Tallies) -> tuple[float, float]:
    """The value y of a unit's metric, and the second value x (``Sums``)."""
    count, value, count_before, value_before = tallies.get(metric.event, (0, 0, 0, 0))
    if metric.kind == "rate":
        return float(count > 0), float(count_before > 0)
    y, x = (count, count_before) if metric.count else (value, value_before)
    if metric.denominator is not None:
        below = tallies.get(metric.denominator, (0, 0, 0, 0))
        x = below[0] if metric.count else below[1]
    return float(y), float(x)


def _unit(metric: Metric, row: Json) -> Sums:
    """What a unit adds to the sums of a metric; units are counted elsewhere."""
    return of_unit(*metric_value(metric, row["tallies"]))._replace(n=0)


def _change(ledger: Ledger, scope: str, row: Json, metric: str, difference: Sums) -> None:
    day = day_of(row["at"])
    segments = [ALL_UNITS, *(f"{name}={value}" for name, value in row["segment"].items())]
    for segment in segments:
        name = joined(day, str(row["variation"]), segment, metric)
        before = ledger.get("sums", scope, name)
        after = (Sums(*before) if before else NOTHING).plus(difference)
        ledger.put("sums", scope, name, list(after))


def _tally(tallies: Tallies, name: str, event: Json, exposure: Json, window: int) -> None:
    """Adds an event to a unit's tallies: before or after its exposure."""
    if _before(event, exposure):
        if day_of(event["at"]) < day_after(day_of(exposure["at"]), -LOOKBACK_DAYS):
            return
        side = 2
    elif day_of(event["at"]) <= day_after(day_of(exposure["at"]), window):
        side = 0
    else:
        return
    counts = tallies.setdefault(name, [0, 0.0, 0, 0.0])
    counts[side] += 1
    counts[side + 1] += event["value"]


def _count_up(ledger: Ledger, kind: str, scope: str, row: Json) -> None:
    day = day_of(row["at"])
    ledger.put(kind, scope, day, (ledger.get(kind, scope, day) or 0) + 1)


def _before(one: Mapping[str, Json], other: Mapping[str, Json]) -> bool:
    """Whether one event is earlier: by the sequence of their device, or by time between devices."""
    if one["device"] == other["device"]:
        return bool(one["seq"] < other["seq"])
    return bool((one["at"], one["device"]) < (other["at"], other["device"]))


def sums_of(ledger: LedgerReader, scope: str) -> Iterator[tuple[str, Sums]]:
    """All sums of a phase, by their joined name: day, variation, segment, metric."""
    for name, values in ledger.scan("sums", scope):
        yield name, Sums(*values)


def recalculate(ledger: Ledger, definition: Definition, phase: str) -> None:
    """Calculates the sums of a phase again from its units, after the metrics were changed."""
    scope = joined(definition.key, phase)
    for name, _ in list(ledger.scan("sums", scope)):
        ledger.put("sums", scope, name, list(NOTHING))
    entries = Entries(ledger, {definition.key: definition})
    for _, row in list(ledger.scan(EXPOSURE, scope)):
        if not row.get("excluded"):
            entries.count(scope, definition.key, row, 1)
