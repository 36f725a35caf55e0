"""The difference between two variants, and its variance, from sums over units.

The variance is the larger of two estimates: the *separate* one adds what each variant's own spread
gives, the *pooled* one uses the spread of all units together, as if there were no difference. Each
of them alone is too small for some data: the separate one where a variant has few units or rare
events, the pooled one where the smaller variant has the larger spread.

Sources: rates and means, e.g. Wasserman, "All of Statistics" (2004), chapters 6 and 10. CUPED:
Deng, Xu, Kohavi, Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing
Pre-Experiment Data" (WSDM 2013). Ratios by the delta method: Deng, Knoblich, Lu, "Applying the
Delta Method in Metric Analytics" (KDD 2018), section 3.
"""

from __future__ import annotations

import math

import attrs

from bytelyst_sync.experiments.sums import Sums

__all__ = [
    "Estimate",
    "adjusted_difference",
    "mean_difference",
    "rate_difference",
    "ratio_difference",
]


@attrs.frozen
class Estimate:
    """A difference, treatment minus control.

    ``control`` and ``treatment`` are the values of the metric; ``n`` units of both together.
    """

    control: float
    treatment: float
    separate: float
    pooled: float
    """The two estimates of the difference's variance."""
    n: int
    reduction: float = 0.0
    """The share of the variance that CUPED removed."""

    @property
    def difference(self) -> float:
        """Treatment minus control."""
        return self.treatment - self.control

    @property
    def variance(self) -> float:
        """The variance of the difference: the larger of the two."""
        return max(self.separate, self.pooled)

    @property
    def error(self) -> float:
        """The standard error of the difference."""
        return math.sqrt(max(0.0, self.variance))


def rate_difference(control: Sums, treatment: Sums) -> Estimate:
    """Of a rate: y is 1 for a unit with the event, else 0."""
    a, b = control.mean, treatment.mean
    both = (control.y + treatment.y) / (control.n + treatment.n)
    return Estimate(
        control=a,
        treatment=b,
        separate=a * (1 - a) / control.n + b * (1 - b) / treatment.n,
        pooled=both * (1 - both) * (1 / control.n + 1 / treatment.n),
        n=control.n + treatment.n,
    )


def mean_difference(control: Sums, treatment: Sums) -> Estimate:
    """Of a mean over units."""
    both = control.plus(treatment)
    return Estimate(
        control=control.mean,
        treatment=treatment.mean,
        separate=control.variance / control.n + treatment.variance / treatment.n,
        pooled=both.variance * (1 / control.n + 1 / treatment.n),
        n=both.n,
    )


def adjusted_difference(control: Sums, treatment: Sums) -> Estimate:
    """Of a mean or rate, without what the covariate explains (CUPED).

    θ is estimated from both variants together, each around its own mean, as in a regression with
    the variant and x as its terms (analysis of covariance).
    """
    within = (control.n - 1) * control.variance_x + (treatment.n - 1) * treatment.variance_x
    plain = mean_difference(control, treatment)
    if within <= 0:
        return plain
    shared = (control.n - 1) * control.covariance + (treatment.n - 1) * treatment.covariance
    theta = shared / within
    center = (control.x + treatment.x) / (control.n + treatment.n)
    found = mean_difference(
        _less_explained(control, theta, center), _less_explained(treatment, theta, center)
    )
    left = found.variance / plain.variance if plain.variance > 0 else 1.0
    return attrs.evolve(found, reduction=1 - left)


def _less_explained(sums: Sums, theta: float, center: float) -> Sums:
    """The sums of z = y − θ(x − center)."""
    n, y, yy, x, xx, xy = sums
    dx = x - n * center
    dxx = xx - 2 * center * x + n * center * center
    dxy = xy - center * y
    return Sums(n, y - theta * dx, yy - 2 * theta * dxy + theta * theta * dxx)


def ratio_difference(control: Sums, treatment: Sums) -> Estimate:
    """Of a ratio Σy/Σx, such as revenue for each visit, where the unit is a user."""
    both = control.plus(treatment)
    common = both.y / both.x
    spread = _spread_of_ratio(both, common)
    parts = [(each, each.x / each.n) for each in (control, treatment)]
    return Estimate(
        control=control.y / control.x,
        treatment=treatment.y / treatment.x,
        separate=sum(
            _spread_of_ratio(each, each.y / each.x) / (each.n * mean * mean) for each, mean in parts
        ),
        pooled=sum(spread / (each.n * mean * mean) for each, mean in parts),
        n=both.n,
    )


def _spread_of_ratio(sums: Sums, ratio: float) -> float:
    """The variance of y − ratio·x between units."""
    return sums.variance - 2 * ratio * sums.covariance + ratio * ratio * sums.variance_x
