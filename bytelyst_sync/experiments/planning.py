"""The plan of a test: how many units it needs, for how long, and the rho of its intervals."""

from __future__ import annotations

import math

import attrs

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.experiments.definitions import Definition, Metric
from bytelyst_sync.experiments.power import fixed_size, looked_at_daily, mean_spread, rate_spread
from bytelyst_sync.experiments.sequences import rho_for

__all__ = ["DEFAULT_UNITS", "Plan", "make_plan", "planned_rho", "spread_of"]

DEFAULT_UNITS = 10_000
"""The units of two variants together for which the interval is narrowest, if nothing is planned."""
_RHO_ALPHA = 0.05


@attrs.frozen
class Plan:
    """What a test needs to see an effect of ``mde`` with the given power.

    ``per_variant``: units if results are looked at every day, as here. ``fixed_per_variant``: units
    if they were looked at once, at the end. ``days``: until there are so many units and their
    windows are over; ``None`` without ``unitsPerDay``.
    """

    metric: str
    baseline: float
    mde: float
    alpha: float
    power: float
    per_variant: int
    fixed_per_variant: int
    total: int
    days: int | None
    rho: float


def spread_of(metric: Metric, baseline: float, mde: float) -> tuple[float, float] | None:
    """The standard deviations for planning; ``None`` if the metric needs ``deviation``."""
    if metric.kind == "rate":
        return rate_spread(baseline, mde)
    return None if metric.deviation is None else mean_spread(metric.deviation)


def make_plan(definition: Definition, metric: Metric, power: float = 0.8) -> Plan:
    """The plan for one metric, with its ``baseline`` and ``mde``; ``InvalidDataError`` otherwise.

    The smallest variant decides: with unequal shares the test needs more units in all.
    """
    baseline, mde = metric.baseline, metric.mde
    _check(metric, baseline, mde, power)
    assert baseline is not None  # noqa: S101 - checked, and so is the next
    assert mde is not None  # noqa: S101
    spread = spread_of(metric, baseline, mde)
    if spread is None:
        raise InvalidDataError(
            f"metric {metric.key!r} is a {metric.kind}: planning needs its standard deviation"
            " between units (deviation)",
            path="$.deviation",
        )
    comparisons = (len(definition.shares) - 1) * max(1, len(definition.goals))
    alpha = definition.alpha / comparisons
    per_variant = looked_at_daily(spread, mde, alpha, power)
    total = math.ceil(per_variant / min(each for each in definition.shares if each > 0))
    daily = definition.units_per_day
    return Plan(
        metric=metric.key,
        baseline=baseline,
        mde=mde,
        alpha=alpha,
        power=power,
        per_variant=per_variant,
        fixed_per_variant=fixed_size(spread, mde, alpha, power),
        total=total,
        days=math.ceil(total / daily) + definition.window_days if daily else None,
        rho=rho_for(2 * per_variant, _RHO_ALPHA),
    )


def _check(metric: Metric, baseline: float | None, mde: float | None, power: float) -> None:
    if baseline is None or mde is None or mde <= 0:
        raise InvalidDataError(
            f"metric {metric.key!r}: planning needs baseline, its value today, and mde, the"
            f" smallest difference that matters, above 0; given {baseline!r} and {mde!r}",
            path="$.mde",
        )
    if metric.kind == "rate" and not (0 < baseline < 1 and mde < max(baseline, 1 - baseline)):
        raise InvalidDataError(
            f"metric {metric.key!r} is a rate: baseline {baseline!r} must be between 0 and 1, and"
            f" mde {mde!r} a difference to it that stays there; 5 points are 0.05",
            path="$.baseline",
        )
    if not 0.5 <= power < 1:
        raise InvalidDataError(f"power is {power!r}; allowed: from 0.5 to below 1", path="power")


def planned_rho(definition: Definition, metric: Metric) -> float:
    """The rho of a metric's intervals: of its plan, or of a usual size if there is no plan."""
    try:
        return make_plan(definition, metric).rho
    except InvalidDataError:
        return rho_for(DEFAULT_UNITS, _RHO_ALPHA)
