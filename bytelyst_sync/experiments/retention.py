"""Deletes the units of phases that have ended, and old events.

=====================  ============================================================================
row                    is kept
=====================  ============================================================================
exposure of a unit     while its phase runs, then for the window and 30 days
conversion, event id   60 days longer than the start of the oldest phase that is not closed, and 30
                       days after its arrival at least
sums, verdicts         always
=====================  ============================================================================

A phase has ended when its definition is in another phase, is stopped, or gives everybody one
variation. The time counts from the day on which this store notices it. A phase whose definition is
not known here is kept for half a year, because the definition may be missing for a while only. Then
the phase is closed: its units are deleted, its sums stay, and late exposures change nothing.

An event before an exposure counts for 30 days, so a deleted event is not a part of any sum that may
still change. If it arrives again, it changes no sum either.

A pass examines a few hundred rows, and the next one continues where it ended.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from bytelyst_sync.experiments.definitions import Definition
from bytelyst_sync.experiments.events import CONVERSION, EXPOSURE, day_after, day_of
from bytelyst_sync.experiments.ledger import Ledger, LedgerReader, joined, parted
from bytelyst_sync.experiments.progress import Silence

__all__ = ["LOOKBACK_DAYS", "closed_since", "is_closed", "is_due", "prune", "silent_units"]

Json = Any
LOOKBACK_DAYS = 30
"""Events of so many days before an exposure are the covariate."""
ROWS = 400
"""How many rows of each kind a pass examines."""
_GRACE_DAYS = 30
_UNKNOWN_DAYS = 180
_EVERY = 100
_DAY_S = 86_400.0
_START = ("", "")
_STATE = "retention"


def is_due(record_id: str) -> bool:
    """Whether a pass is due after this record: after one record in a hundred."""
    return zlib.crc32(record_id.encode("utf-8", "surrogatepass")) % _EVERY == 0


def is_closed(ledger: LedgerReader, scope: str) -> bool:
    """Whether the units of a phase are deleted, or are being deleted."""
    return ledger.get("closed", scope, "") is not None


def closed_since(ledger: LedgerReader, scope: str) -> str | None:
    """The day on which a phase was closed."""
    found = ledger.get("closed", scope, "")
    return None if found is None else str(found["since"])


def prune(ledger: Ledger, definitions: Mapping[str, Definition], now: float) -> int:
    """One pass; returns how many rows were deleted."""
    state: dict[str, Json] = dict(ledger.get(_STATE, "", "") or {})
    deleted = _prune_phases(ledger, definitions, day_of(now), state, now)
    deleted += _prune_events(ledger, day_of(now), state)
    if state != ledger.get(_STATE, "", ""):
        ledger.put(_STATE, "", "", state)
    return deleted


# --- phases


def _prune_phases(
    ledger: Ledger,
    definitions: Mapping[str, Definition],
    today: str,
    state: dict[str, Json],
    now: float,
) -> int:
    after = state.get("phase") or _START
    rows = ledger.page("phase", (after[0], after[1]), ROWS)
    oldest = state.get("oldest", now) if after != _START else now
    left = ROWS
    for key, phase, start in rows:
        scope = joined(key, phase)
        if _closes(ledger, definitions.get(key), scope, phase, today):
            left -= _delete_units(ledger, scope, definitions.get(key), left)
        else:
            oldest = min(oldest, start)
    if len(rows) == ROWS:
        state.update(phase=list(rows[-1][:2]), oldest=oldest)
    else:
        state.pop("phase", None)
        state.pop("oldest", None)
        state["horizon"] = day_of(oldest - 2 * LOOKBACK_DAYS * _DAY_S)
    return ROWS - left


def _closes(
    ledger: Ledger, definition: Definition | None, scope: str, phase: str, today: str
) -> bool:
    """Whether the phase is closed. Stores when it ended, and closes it when the time is over."""
    if is_closed(ledger, scope):
        return True
    ended = ledger.get("ended", scope, "")
    if not _has_ended(definition, phase):
        if ended is not None:  # it was stopped, and runs again
            ledger.delete("ended", scope, "")
        return False
    if ended is None:
        ledger.put("ended", scope, "", today)
        return False
    days = _UNKNOWN_DAYS if definition is None else definition.window_days + _GRACE_DAYS
    if today <= day_after(ended, days):
        return False
    ledger.delete("ended", scope, "")
    ledger.put("closed", scope, "", {"since": today, "silent": {}, "done": False})
    return True


def _has_ended(definition: Definition | None, phase: str) -> bool:
    if definition is None:
        return True
    over = definition.status == "stopped" or definition.experiment.force is not None
    return over or definition.phase != phase


def _delete_units(ledger: Ledger, scope: str, definition: Definition | None, most: int) -> int:
    """Deletes units of a closed phase; those of silent devices stay counted."""
    closed: dict[str, Json] = dict(ledger.get("closed", scope, "") or {})
    if closed["done"] or most <= 0:
        return 0
    found = ledger.page(EXPOSURE, (scope, ""), most)
    rows = [(unit, row) for row_scope, unit, row in found if row_scope == scope]
    silent: dict[str, int] = dict(closed["silent"])
    silence = Silence(ledger, 0 if definition is None else definition.window_days)
    for unit, row in rows:
        if silence.of(row):
            variation = str(row["variation"])  # a key of a JSON object
            silent[variation] = silent.get(variation, 0) + 1
        ledger.delete(EXPOSURE, scope, unit)
    ledger.put("closed", scope, "", {**closed, "silent": silent, "done": len(rows) < most})
    return len(rows)


def silent_units(ledger: LedgerReader, scope: str, variations: int) -> list[int]:
    """How many units of each variation were silent when they were deleted."""
    found = ledger.get("closed", scope, "")
    known = {} if found is None else found["silent"]
    return [known.get(str(index), 0) for index in range(variations)]


# --- events


def _prune_events(ledger: Ledger, today: str, state: dict[str, Json]) -> int:
    horizon = state.get("horizon")
    if horizon is None:
        return 0
    after = state.get("event") or _START
    rows = ledger.page(CONVERSION, (after[0], after[1]), ROWS)
    arrived_by = day_after(today, -_GRACE_DAYS)
    deleted = 0
    for unit, name, row in rows:
        event_id = parted(name)[1]
        if day_of(row["at"]) >= horizon:
            continue
        if str(ledger.get("event", event_id, "") or "") < arrived_by:
            ledger.delete("event", event_id, "")
            ledger.delete(CONVERSION, unit, name)
            deleted += 1
    if len(rows) == ROWS:
        state["event"] = list(rows[-1][:2])
    else:
        state.pop("event", None)
    return deleted
