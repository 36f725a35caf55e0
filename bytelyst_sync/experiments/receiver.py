"""Processes the events of experiments on the receiving side, in any server.

The rules are those of ``entries.py``. A time after the arrival counts as the arrival, because a
clock that is ahead must not decide which event came first. A time before 1970 counts as 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.experiments.definitions import MOST_VARIATIONS, Definition
from bytelyst_sync.experiments.entries import Entries
from bytelyst_sync.experiments.evaluation import evaluate_phase
from bytelyst_sync.experiments.events import (
    CONVERSION,
    EXPOSURE,
    REPORT,
    day_of,
    is_number,
    time_of,
)
from bytelyst_sync.experiments.ledger import Ledger
from bytelyst_sync.experiments.progress import advance, report
from bytelyst_sync.experiments.results import Results
from bytelyst_sync.experiments.retention import is_due, prune

__all__ = ["Receiver", "checked_record"]

Json = Any


class Receiver:
    """Processes events. ``definitions``: the experiments by key.

    Call it in the transaction that stores the event. No two such transactions may run at once.
    """

    def __init__(self, ledger: Ledger, definitions: Mapping[str, Definition]) -> None:
        self._ledger = ledger
        self._definitions = definitions
        self._entries = Entries(ledger, definitions)

    def receive(self, record: Mapping[str, Json], now: float) -> bool:
        """Processes one record; true if it was new. ``now``: the time of arrival.

        Raises ``InvalidDataError`` for a wrong record, which changes nothing.
        """
        checked = checked_record(record, now)
        if checked["type"] == REPORT:
            report(self._ledger, checked["device"], checked["number"], checked["complete"])
            return True
        new = self._entries.enter(checked)
        if checked["number"]:
            advance(self._ledger, checked["device"], checked["number"])
        if is_due(checked["id"]):
            self.prune(now)
        return new

    def prune(self, now: float) -> int:
        """Deletes some rows that are no longer needed (``retention.py``); returns how many.

        ``receive`` does so after one record in a hundred. A server may also call it regularly.
        """
        return prune(self._ledger, self._definitions, now)

    def results(self, key: str, now: float, phase: str | None = None) -> Results:
        """Results over the units of all devices; ``phase``: the definition's, if not given."""
        definition = self._definitions.get(key)
        if definition is None:
            raise InvalidDataError(
                f"experiment {key!r} is not among the definitions of this Receiver: add it there"
            )
        return evaluate_phase(self._ledger, definition, phase or definition.phase, now, whole=True)


_LARGEST = 2**63 - 1
_FIELDS: dict[str, tuple[str, ...]] = {
    EXPOSURE: ("id", "experiment", "phase", "unit", "device"),
    CONVERSION: ("id", "event", "unit", "device"),
    REPORT: ("id", "device"),
}


def checked_record(record: Mapping[str, Json], now: float) -> dict[str, Json]:
    """Checks a record, and returns the fields that the rules use; raises ``InvalidDataError``.

    ``now``: the time of arrival.
    """
    kind = record.get("type")
    if kind not in _FIELDS:
        raise InvalidDataError(
            f"type is {kind!r}; allowed: {', '.join(map(repr, _FIELDS))}", path="$.type"
        )
    texts = {name: record.get(name) for name in _FIELDS[kind]}
    whole = {"seq": record.get("seq", 0), "number": record.get("number", 0)}
    if kind == EXPOSURE:
        whole["variation"] = record.get("variation")
    unfit = [name for name, each in texts.items() if not isinstance(each, str) or not each]
    unfit += [n for n, each in whole.items() if type(each) is not int or not 0 <= each <= _LARGEST]
    if unfit:
        raise _unfit(record, unfit[0])
    if whole.get("variation", 0) >= MOST_VARIATIONS:
        raise InvalidDataError(
            f"variation is too large; allowed: whole numbers from 0 to {MOST_VARIATIONS - 1}",
            path="$.variation",
        )
    value = record.get("value", 1)
    if not is_number(value):
        raise _unfit(record, "value")
    try:
        at = max(0.0, min(time_of(record.get("at")), now))
        complete = time_of(record["complete"]) if kind == REPORT else 0.0
    except (ValueError, KeyError) as error:
        raise InvalidDataError(f"{kind}: {error}", path="$.at") from None
    segment = record.get("segment") or {}
    if not isinstance(segment, Mapping):
        raise _unfit(record, "segment")
    return {
        "type": kind,
        **texts,
        **whole,
        "value": value,
        "at": at,
        "complete": complete,
        "arrived": day_of(now),
        "segment": {str(name): str(each) for name, each in segment.items()},
    }


def _unfit(record: Mapping[str, Json], name: str) -> InvalidDataError:
    return InvalidDataError(
        f"{record['type']} {record.get('id')!r:.80}: {name} is missing, of the wrong type or too"
        " large; send each record as it was queued",
        path=f"$.{name}",
    )
