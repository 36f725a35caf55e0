"""Sums over units, from which means, variances and ratios are calculated.

A sum holds units, not events: a unit that paid 10 on Monday and 20 on Friday adds 30 to Σy and 900
to Σy². Sums of disjoint sets of units add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["NOTHING", "Sums", "of_unit", "total"]


class Sums(NamedTuple):
    """Sums over ``n`` units: Σy and Σy² of the metric, Σx, Σx² and Σxy with a second value x.

    x is the covariate, which is what the unit did before its exposure, or a ratio's denominator.
    """

    n: int = 0
    y: float = 0.0
    yy: float = 0.0
    x: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def plus(self, other: Sums, sign: int = 1) -> Sums:
        """The sums with the units of ``other``, or without them (``sign=-1``)."""
        return Sums(
            self.n + sign * other.n,
            self.y + sign * other.y,
            self.yy + sign * other.yy,
            self.x + sign * other.x,
            self.xx + sign * other.xx,
            self.xy + sign * other.xy,
        )

    @property
    def mean(self) -> float:
        """The mean of y."""
        return self.y / self.n

    @property
    def variance(self) -> float:
        """The variance of y between units."""
        return _spread(self.n, self.y, self.y, self.yy)

    @property
    def variance_x(self) -> float:
        """The variance of x between units."""
        return _spread(self.n, self.x, self.x, self.xx)

    @property
    def covariance(self) -> float:
        """The covariance of x and y between units."""
        return _spread(self.n, self.x, self.y, self.xy)


def _spread(n: int, a: float, b: float, ab: float) -> float:
    return (ab - a * b / n) / (n - 1) if n > 1 else 0.0


def of_unit(y: float, x: float = 0.0) -> Sums:
    """The sums of one unit."""
    return Sums(1, y, y * y, x, x * x, x * y)


NOTHING = Sums()


def total(parts: Iterable[Sums]) -> Sums:
    """The sums of all units of the parts."""
    result = NOTHING
    for part in parts:
        result = result.plus(part)
    return result
