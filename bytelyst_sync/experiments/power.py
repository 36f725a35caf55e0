"""How many units a test needs, and which effect it can show with a number of units.

Sources: two rates: Evan Miller's calculator (evanmiller.org/ab-testing/sample-size.html), which is
Fleiss, Levin, Paik, "Statistical Methods for Rates and Proportions" (2003), equation 4.14 without
continuity correction. Two means: the same with a common standard deviation.

A test that is looked at every day needs more units than one with a fixed end. Its interval at the
planned end is ``sqrt(w + 1)`` standard errors wide (`sequences.best_width`) instead of z. The
calculation ignores that it may end earlier, so the real power is a little higher.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from bytelyst_sync.experiments.sequences import best_width

__all__ = [
    "detectable",
    "fixed_size",
    "looked_at_daily",
    "mean_spread",
    "power_of_sequence",
    "rate_spread",
]

_NORMAL = NormalDist()


def rate_spread(baseline: float, effect: float) -> tuple[float, float]:
    """The standard deviations of a difference of rates for one unit in each variant: if there is
    no effect, and if there is.
    """
    lower = baseline if baseline <= 0.5 else 1 - baseline
    other = lower + abs(effect)
    without = math.sqrt(2 * lower * (1 - lower))
    return without, math.sqrt(lower * (1 - lower) + max(0.0, other * (1 - other)))


def mean_spread(deviation: float) -> tuple[float, float]:
    """The same for means with this standard deviation between units."""
    return math.sqrt(2) * deviation, math.sqrt(2) * deviation


def fixed_size(spread: tuple[float, float], effect: float, alpha: float, power: float) -> int:
    """Units for each variant in a test that is looked at once, at the end."""
    without, with_effect = spread
    z = _NORMAL.inv_cdf(1 - alpha / 2) * without + _NORMAL.inv_cdf(power) * with_effect
    return round((z / effect) ** 2) or 1


def looked_at_daily(spread: tuple[float, float], effect: float, alpha: float, power: float) -> int:
    """Units for each variant in a test that may be looked at every day."""
    without, with_effect = spread
    z = math.sqrt(best_width(alpha) + 1) * without + _NORMAL.inv_cdf(power) * with_effect
    return math.ceil((z / effect) ** 2)


def power_of_sequence(
    spread: tuple[float, float], effect: float, alpha: float, per_variant: float
) -> float:
    """The least probability of seeing this effect with so many units for each variant."""
    without, with_effect = spread
    z = abs(effect) * math.sqrt(per_variant) - math.sqrt(best_width(alpha) + 1) * without
    return _NORMAL.cdf(z / with_effect)


def detectable(
    spread: tuple[float, float], alpha: float, power: float, per_variant: float
) -> float:
    """The smallest effect that is seen with this probability."""
    without, with_effect = spread
    z = math.sqrt(best_width(alpha) + 1) * without + _NORMAL.inv_cdf(power) * with_effect
    return z / math.sqrt(per_variant)
