"""Results of a phase from its ledger: one look, and the checks that can block a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from bytelyst_sync.experiments.analysis import compare, frozen_plan, take_look, too_early
from bytelyst_sync.experiments.definitions import Definition, Metric
from bytelyst_sync.experiments.entries import recalculate
from bytelyst_sync.experiments.events import EXPOSURE, day_of, time_text
from bytelyst_sync.experiments.ledger import Ledger, LedgerReader, joined
from bytelyst_sync.experiments.mismatch import sequential
from bytelyst_sync.experiments.observations import Observations, observe
from bytelyst_sync.experiments.planning import make_plan, spread_of
from bytelyst_sync.experiments.power import power_of_sequence
from bytelyst_sync.experiments.progress import Silence
from bytelyst_sync.experiments.results import PHASE_ENDED, Results, SegmentRow, Variant, Verdict
from bytelyst_sync.experiments.retention import closed_since, is_closed, silent_units
from bytelyst_sync.experiments.sequences import interval
from bytelyst_sync.experiments.suggestions import suggest

__all__ = ["MISMATCH_ALPHA", "MOST_SILENT", "evaluate_phase", "phases_of"]

Json = Any
MISMATCH_ALPHA = 0.01
MOST_SILENT = 0.05
UNKNOWN_SHARES = "allocation: the shares of this phase are not known here"
ENDED = f"ended: {PHASE_ENDED}"
LOCAL_ONLY = "this store only: the receiving side has the units of all devices"


def phases_of(ledger: LedgerReader, key: str) -> list[str]:
    """The phases of an experiment in which units were exposed, oldest first."""
    return [phase for phase, _ in sorted(ledger.scan("phase", key), key=lambda each: each[1])]


def evaluate_phase(
    ledger: Ledger, definition: Definition, phase: str, now: float, *, whole: bool
) -> Results:
    """Takes one look at a phase, and stores its state in the ledger.

    ``whole``: the ledger has the events of all devices. Otherwise it has those of one device, which
    are complete only with ``unit: "device"``.
    """
    scope = joined(definition.key, phase)
    shares = _shares_of(ledger, definition, phase, scope)
    if shares is not None:
        definition = attrs.evolve(definition, shares=shares)
    definition = _keep_sums_complete(ledger, definition, phase, scope)
    today = day_of(now)
    seen = observe(ledger, scope, today, definition.window_days)
    state: dict[str, Json] = dict(ledger.get("analysis", scope, "") or {})
    counts = [seen.units(index) for index in range(len(definition.shares))]
    mismatch = 1.0
    if seen.days and shares is not None:
        mismatch = sequential([n for n, _ in counts], shares)
    state["mismatch"] = min(mismatch, state.get("mismatch", 1.0))
    silent = _silent(ledger, scope, definition, seen) if whole else [0] * len(counts)
    state["silent"] = min(_silent_differs(silent, counts), state.get("silent", 1.0))
    blocked = _blocked(definition, state, silent, counts, whole=whole)
    if shares is None:
        blocked.append(UNKNOWN_SHARES)
    closed = closed_since(ledger, scope)
    if closed is not None and phase == definition.phase and definition.status == "running":
        blocked.append(ENDED.format(phase=phase, day=closed))
    look = take_look(definition, seen, state, deciding=not blocked, now=time_text(now))
    verdicts = tuple(
        attrs.evolve(each, invalid=_invalid(ledger, scope, look.state, blocked, each))
        for each in look.verdicts
    )
    if look.state != ledger.get("analysis", scope, ""):
        ledger.put("analysis", scope, "", look.state)
    variants = tuple(
        Variant(
            index=index,
            name=definition.variant_name(index),
            share=None if shares is None else share,
            units=counts[index][0],
            maturing=counts[index][1],
            silent=silent[index] / counts[index][0] if counts[index][0] else 0.0,
        )
        for index, share in enumerate(definition.shares)
    )
    days_left, power = _outlook(definition, counts, len(seen.days))
    results = Results(
        key=definition.key,
        phase=phase,
        status=definition.status,
        alpha=look.state["plan"]["alpha"],
        day=seen.days[-1] if seen.days else None,
        variants=variants,
        comparisons=tuple(look.comparisons),
        verdicts=verdicts,
        mismatch=look.state["mismatch"],
        silent=sum(silent) / max(1, sum(n for n, _ in counts)),
        excluded=_count(ledger, "excluded", scope),
        blocked=tuple(blocked),
        days_left=days_left,
        power=power,
        segments=tuple(_rows(definition, seen, look.state["plan"], seen.segments)),
        days=tuple(_rows_by_day(definition, seen, look.state["plan"])),
        phases=tuple(phases_of(ledger, definition.key)),
        closed=closed,
    )
    return attrs.evolve(results, suggestions=tuple(suggest(definition, results)))


def _shares_of(
    ledger: Ledger, definition: Definition, phase: str, scope: str
) -> tuple[float, ...] | None:
    """The shares of the variations in this phase, which may differ from the present definition's;
    ``None`` if the definition of this phase was never known here.
    """
    stored = ledger.get("shares", scope, "")
    if stored is not None:
        return tuple(stored)
    if phase != definition.phase:
        return None
    ledger.put("shares", scope, "", list(definition.shares))
    return definition.shares


def _keep_sums_complete(
    ledger: Ledger, definition: Definition, phase: str, scope: str
) -> Definition:
    """Calculates the sums again if the metrics were changed. The units of a closed phase are
    deleted, so for it the definition is returned with those metrics only that have sums.
    """
    measured = [*map(_measured, definition.metrics), definition.window_days]
    known = ledger.get("measured", scope, "")
    if is_closed(ledger, scope):
        kept = measured if known is None else known
        return attrs.evolve(
            definition,
            goals=tuple(each for each in definition.goals if _measured(each) in kept),
            guardrails=tuple(each for each in definition.guardrails if _measured(each) in kept),
        )
    if known != measured:
        if known is not None or definition.metrics:
            recalculate(ledger, definition, phase)
        ledger.put("measured", scope, "", measured)
    return definition


def _measured(metric: Metric) -> list[Json]:
    """What the sums of a metric depend on."""
    return list(attrs.astuple(metric)[:7])


def _silent(ledger: Ledger, scope: str, definition: Definition, seen: Observations) -> list[int]:
    """Units by variation whose window is over, and whose device has not reported up to its end."""
    silence = Silence(ledger, definition.window_days)
    found = silent_units(ledger, scope, len(definition.shares))
    for _, row in ledger.scan(EXPOSURE, scope):
        if seen.counts(day_of(row["at"])) and row["variation"] < len(found):
            found[row["variation"]] += silence.of(row)
    return found


def _silent_differs(silent: list[int], counts: list[tuple[int, int]]) -> float:
    """The p-value of the hypothesis that silence is as frequent in each variant."""
    units = [n for n, _ in counts]
    if not sum(silent) or not all(units):
        return 1.0
    return sequential(silent, [n / sum(units) for n in units])


def _blocked(
    definition: Definition,
    state: Mapping[str, Json],
    silent: list[int],
    counts: list[tuple[int, int]],
    *,
    whole: bool,
) -> list[str]:
    """Why no verdict may be reached now."""
    reasons = []
    if not whole and definition.unit != "device":
        reasons.append(LOCAL_ONLY)
    if not definition.goals:
        reasons.append("no goal: the definition names nothing to decide by")
    if state["mismatch"] <= MISMATCH_ALPHA:
        reasons.append("mismatch")
    units = sum(n for n, _ in counts)
    too_many = units > 0 and sum(silent) / units > MOST_SILENT
    if too_many or state["silent"] <= MISMATCH_ALPHA:
        reasons.append("incomplete")
    return reasons


def _invalid(
    ledger: Ledger, scope: str, state: dict[str, Json], blocked: list[str], verdict: Verdict
) -> tuple[str, ...]:
    """Why a verdict must not be relied on."""
    reasons = [each for each in blocked if each in ("mismatch", "incomplete")]
    corrections = sum(_count(ledger, kind, scope, verdict.day) for kind in ("excluded", "moved"))
    at_verdict = state.setdefault("corrections", {})
    known = at_verdict.setdefault(f"{verdict.metric}|{verdict.variation}", corrections)
    if corrections > known:
        reasons.append("corrected")
    return tuple(reasons)


def _count(ledger: Ledger, kind: str, scope: str, upto: str = "9") -> int:
    """Units that were excluded or moved, of exposure days up to this one."""
    return sum(count for day, count in ledger.scan(kind, scope) if day <= upto)


def _outlook(
    definition: Definition, counts: list[tuple[int, int]], days: int
) -> tuple[int | None, float | None]:
    """The days until the plan has its units, and the power with the present number."""
    metric = next((each for each in definition.goals if each.mde and each.baseline), None)
    if metric is None or metric.baseline is None or metric.mde is None:
        return None, None
    spread = spread_of(metric, metric.baseline, metric.mde)
    if spread is None:
        return None, None
    plan = make_plan(definition, metric)
    units = sum(n for n, _ in counts)
    smallest = min(n for n, _ in counts)
    power = power_of_sequence(spread, metric.mde, plan.alpha, smallest)
    daily = definition.units_per_day or (units / days if days else None)
    missing = max(0, plan.total - units)
    return (math.ceil(missing / daily) if daily else None), power


def _rows(
    definition: Definition, seen: Observations, plan: Mapping[str, Json], segments: list[str]
) -> list[SegmentRow]:
    return [
        _row(definition, seen, plan, metric, index, segment, None)
        for segment in segments
        for metric in definition.goals
        for index in range(1, len(definition.shares))
    ]


def _rows_by_day(
    definition: Definition, seen: Observations, plan: Mapping[str, Json]
) -> list[SegmentRow]:
    return [
        _row(definition, seen, plan, metric, index, "", day)
        for metric in definition.goals[:1]
        for index in range(1, len(definition.shares))
        for day in seen.days
    ]


def _row(
    definition: Definition,
    seen: Observations,
    plan: Mapping[str, Json],
    metric: Metric,
    index: int,
    segment: str,
    upto: str | None,
) -> SegmentRow:
    sums = [seen.sums(metric.key, each, segment, upto) for each in (0, index)]
    name, units = upto or segment, sums[0].n + sums[1].n
    if too_early(metric, *sums) is not None:
        return SegmentRow(name, metric.key, index, units, None, None, None)
    estimate = compare(metric, *sums)
    plan = plan or frozen_plan(definition)
    low, high = interval(estimate, plan["rho"][metric.key], plan["alpha"])
    return SegmentRow(name, metric.key, index, units, estimate.difference, low, high)
