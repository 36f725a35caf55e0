"""Confidence sequences: intervals and p-values that hold at every look at once.

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences", Annals of Statistics 52 (2024), equation 9. With n units, the
standard error s of the difference and w = n·rho², sigma² is n·s², and the interval at level
1 − alpha is the difference

    ± s · sqrt( 2(w + 1)/w · log( sqrt(w + 1)/alpha ) ).

The p-value is the alpha at which the interval's end is 0. rho decides for which n the interval is
narrowest; it must not depend on the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bytelyst_sync.experiments.estimates import Estimate

__all__ = ["Interval", "best_width", "half_width", "holm", "interval", "p_value", "rho_for"]

Interval = tuple[float, float]
_STEPS = 60


def best_width(alpha: float) -> float:
    """The w for which the interval is narrowest: the solution of w = log(1 + w) − 2 log alpha.

    The interval is then ``sqrt(w + 1)`` standard errors wide to each side. It is the derivative of
    the width, set to 0; the iteration is a contraction.
    """
    w = -2 * math.log(alpha)
    for _ in range(_STEPS):
        w = math.log1p(w) - 2 * math.log(alpha)
    return w


def rho_for(units: float, alpha: float) -> float:
    """The rho with which the interval at level 1 − alpha is narrowest at so many units."""
    return math.sqrt(best_width(alpha) / units)


def half_width(error: float, n: int, rho: float, alpha: float) -> float:
    """Half the width of the interval; ``error`` is the standard error of the difference."""
    w = n * rho * rho
    return error * math.sqrt(2 * (w + 1) / w * math.log(math.sqrt(w + 1) / alpha))


def interval(estimate: Estimate, rho: float, alpha: float) -> Interval:
    """The interval for the difference at level 1 − alpha."""
    half = half_width(estimate.error, estimate.n, rho, alpha)
    return estimate.difference - half, estimate.difference + half


def p_value(estimate: Estimate, rho: float) -> float:
    """The smallest alpha whose interval does not contain 0, at most 1."""
    if estimate.variance <= 0:
        return 1.0
    w = estimate.n * rho * rho
    z2 = estimate.difference**2 / estimate.variance
    return math.exp(min(0.0, 0.5 * math.log1p(w) - 0.5 * z2 * w / (w + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, adjusted for their number.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6 (1979).
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
