"""From sums to results: one look at an experiment.

A look may be taken at any time. The first look fixes what must not change during the phase: rho,
the goals and the comparisons. Each look stores what later looks need: the smallest p-values and the
verdicts.

Rules. A comparison is not looked at before each of its variants has 100 units and, for a rate, 10
with and 10 without the event: with fewer, the normal approximation is wrong, and so would be the
p-value. A verdict needs the p-value, adjusted by Holm's method over all goals and variations,
to be at most alpha; "no effect" needs the interval at level 1 − alpha/m to lie within ±mde.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from bytelyst_sync.experiments.definitions import Definition, Metric
from bytelyst_sync.experiments.estimates import (
    Estimate,
    adjusted_difference,
    mean_difference,
    rate_difference,
    ratio_difference,
)
from bytelyst_sync.experiments.observations import Observations
from bytelyst_sync.experiments.planning import planned_rho
from bytelyst_sync.experiments.results import LOSER, NO_EFFECT, WINNER, Comparison, Verdict
from bytelyst_sync.experiments.sequences import holm, interval, p_value
from bytelyst_sync.experiments.sums import Sums

__all__ = ["Look", "compare", "frozen_plan", "take_look"]

Json = Any
LEAST_UNITS = 100
LEAST_EVENTS = 10


def frozen_plan(definition: Definition) -> dict[str, Json]:
    """The values that are fixed for the whole phase."""
    return {
        "alpha": definition.alpha,
        "goals": [each.key for each in definition.goals],
        "comparisons": list(range(1, len(definition.shares))),
        "rho": {each.key: planned_rho(definition, each) for each in definition.metrics},
        "mde": {each.key: each.mde for each in definition.metrics},
    }


def too_early(metric: Metric, control: Sums, treatment: Sums) -> str | None:
    """Why these sums are too few to look at; ``None`` if they are enough."""
    for sums in (control, treatment):
        if sums.n < LEAST_UNITS:
            return f"{sums.n} of {LEAST_UNITS} units in one variant"
        if metric.kind == "rate" and min(sums.y, sums.n - sums.y) < LEAST_EVENTS:
            return f"fewer than {LEAST_EVENTS} units with and without the event in one variant"
        if metric.kind == "ratio" and sums.x <= 0:
            return f"no {metric.denominator} in one variant"
    return None


def compare(metric: Metric, control: Sums, treatment: Sums) -> Estimate:
    """The difference of a metric between two variants."""
    if metric.kind == "ratio":
        return ratio_difference(control, treatment)
    if metric.cuped:
        return adjusted_difference(control, treatment)
    if metric.kind == "rate":
        return rate_difference(control, treatment)
    return mean_difference(control, treatment)


@attrs.define
class Look:
    """The new state of a phase's analysis, with the comparisons and verdicts of this look."""

    state: dict[str, Json]
    comparisons: list[Comparison]
    verdicts: list[Verdict]


def take_look(
    definition: Definition,
    observations: Observations,
    state: Mapping[str, Json],
    *,
    deciding: bool,
    now: str,
) -> Look:
    """Takes one look. ``state`` is the state that the previous look stored; ``deciding``: whether
    verdicts may be reached now.
    """
    plan = state.get("plan") or frozen_plan(definition)
    minima: dict[str, list[Json]] = dict(state.get("minima") or {})
    metrics = {each.key: each for each in definition.metrics}
    pairs = [(key, index) for key in plan["goals"] for index in plan["comparisons"]]
    level = plan["alpha"] / max(1, len(pairs))
    found: dict[tuple[str, int], tuple[Metric, Estimate]] = {}
    comparisons: list[Comparison] = []
    for key, index in [
        *pairs,
        *((each.key, i) for each in definition.guardrails for i in plan["comparisons"]),
    ]:
        metric = metrics.get(key)
        if metric is None or index >= len(definition.shares):
            continue
        is_goal = (key, index) in pairs
        sums = observations.sums(key, 0), observations.sums(key, index)
        waiting = too_early(metric, *sums)
        if waiting is not None:
            comparisons.append(Comparison(key, index, not is_goal, waiting=waiting))
            continue
        estimate = compare(metric, *sums)
        rho = plan["rho"].get(key) or planned_rho(definition, metric)
        comparisons.append(
            _shown(metric, index, estimate, rho, level if is_goal else plan["alpha"], is_goal)
        )
        if is_goal:
            found[key, index] = metric, estimate
            if deciding:
                _keep_smallest(minima, f"{key}|{index}", p_value(estimate, rho), estimate)
    adjusted = holm([minima.get(f"{key}|{index}", [1.0])[0] for key, index in pairs])
    by_pair = dict(zip(pairs, adjusted, strict=True))
    comparisons = [
        each
        if each.guardrail
        else attrs.evolve(each, p=by_pair.get((each.metric, each.variation), 1.0))
        for each in comparisons
    ]
    verdicts = [Verdict(**{**each, "invalid": ()}) for each in state.get("verdicts") or ()]
    if deciding:
        decided = {(each.metric, each.variation) for each in verdicts}
        for each in comparisons:
            pair = (each.metric, each.variation)
            if pair in found and pair not in decided:
                verdicts += _decide(each, found[pair], minima, plan, observations.day, now)
    kept = [{**attrs.asdict(each), "invalid": []} for each in verdicts]
    new = {**state, "plan": plan, "minima": minima, "verdicts": kept}
    return Look(new, comparisons, verdicts)


def _shown(
    metric: Metric, index: int, estimate: Estimate, rho: float, level: float, is_goal: bool
) -> Comparison:
    low, high = interval(estimate, rho, level)
    sign = 1 if metric.direction == "increase" else -1
    best = high if sign > 0 else -low
    return Comparison(
        metric=metric.key,
        variation=index,
        guardrail=not is_goal,
        control=estimate.control,
        treatment=estimate.treatment,
        difference=estimate.difference,
        low=low,
        high=high,
        better=sign * estimate.difference > 0 if estimate.difference else None,
        harmed=not is_goal and best < -metric.margin,
        reduction=estimate.reduction,
    )


def _keep_smallest(minima: dict[str, list[Json]], name: str, p: float, estimate: Estimate) -> None:
    before = minima.get(name)
    if before is None or p < before[0]:
        minima[name] = [p, estimate.difference]


def _decide(
    shown: Comparison,
    found: tuple[Metric, Estimate],
    minima: Mapping[str, list[Json]],
    plan: Mapping[str, Json],
    day: str | None,
    now: str,
) -> list[Verdict]:
    """The verdict on one comparison, if it is reached now."""
    metric, _ = found
    assert shown.low is not None  # noqa: S101 - ``found`` has no comparison without values
    assert shown.high is not None  # noqa: S101
    assert shown.difference is not None  # noqa: S101
    mde = plan["mde"].get(metric.key)
    if shown.p <= plan["alpha"]:
        seen = minima[f"{metric.key}|{shown.variation}"][1]
        good = (seen > 0) == (metric.direction == "increase")
        verdict = WINNER if good else LOSER
    elif mde is not None and shown.low > -mde and shown.high < mde:
        verdict = NO_EFFECT
    else:
        return []
    return [
        Verdict(
            metric=metric.key,
            variation=shown.variation,
            verdict=verdict,
            at=now,
            day=day or "",
            difference=shown.difference,
            low=shown.low,
            high=shown.high,
            p=shown.p,
        )
    ]
