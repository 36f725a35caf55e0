"""Up to when the events of each device have arrived: its reports, and which events are missing.

A device numbers its events 1, 2, 3 and so on. Its report says how many it had at which time. The
device is complete up to that time when all of these numbers have arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bytelyst_sync.experiments.events import day_after, day_of, time_of
from bytelyst_sync.experiments.ledger import Ledger, LedgerReader

__all__ = ["Silence", "advance", "complete_up_to", "report"]

_DEVICE = "device"
_MOST_REPORTS = 100
"""Most reports of one device that wait for events."""


def advance(ledger: Ledger, device: str, number: int) -> None:
    """An event with this number has arrived."""
    row = _row(ledger, device)
    arrived, beyond = row["arrived"], set(row["beyond"])
    if number <= arrived:
        return
    beyond.add(number)
    while arrived + 1 in beyond:
        arrived += 1
        beyond.remove(arrived)
    _keep(ledger, device, {**row, "arrived": arrived, "beyond": sorted(beyond)})


def report(ledger: Ledger, device: str, number: int, moment: float) -> None:
    """The device had so many events up to this time."""
    row = _row(ledger, device)
    waiting = [*row["reports"], [number, moment]][-_MOST_REPORTS:]
    _keep(ledger, device, {**row, "reports": waiting})


def complete_up_to(ledger: LedgerReader, device: str) -> float:
    """The time up to which all events of the device have arrived; 0: unknown."""
    return float(_row(ledger, device)["complete"])


class Silence:
    """Which units have a device that has not reported up to the end of the unit's window.

    Each device is read once, so use it within one transaction.
    """

    def __init__(self, ledger: LedgerReader, window_days: int) -> None:
        self._ledger = ledger
        self._window_days = window_days
        self._complete: dict[str, float] = {}

    def of(self, row: Mapping[str, Any]) -> bool:
        """Whether the unit of this exposure is silent. An excluded one never is."""
        if row.get("excluded"):
            return False
        device = row["device"]
        if device not in self._complete:
            self._complete[device] = complete_up_to(self._ledger, device)
        end = time_of(day_after(day_of(row["at"]), self._window_days + 1) + "T00:00:00Z")
        return self._complete[device] < end


def _row(ledger: LedgerReader, device: str) -> dict[str, Any]:
    found = ledger.get(_DEVICE, device, "")
    return found or {"arrived": 0, "beyond": [], "reports": [], "complete": 0.0}


def _keep(ledger: Ledger, device: str, row: dict[str, Any]) -> None:
    reached = [moment for number, moment in row["reports"] if number <= row["arrived"]]
    row["complete"] = max([row["complete"], *reached])
    row["reports"] = [each for each in row["reports"] if each[0] > row["arrived"]]
    ledger.put(_DEVICE, device, "", row)
