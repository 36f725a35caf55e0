"""Sample-ratio mismatch: a test of whether each variant has its intended share of the units.

``sequential`` may be calculated every day: Lindon, Malek, "Anytime-Valid Inference for Multinomial
Count Data" (NeurIPS 2022). It is the posterior odds of a Dirichlet prior around the intended shares
against these shares, and its reciprocal is a p-value that holds at every look at once.
``chi_square`` is Pearson's test, for one look: Fabijan and others, "Diagnosing Sample Ratio
Mismatch in Online Controlled Experiments" (KDD 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["CONCENTRATION", "chi_square", "chi_square_tail", "sequential"]

CONCENTRATION = 1_000.0
"""How strongly the prior expects the intended shares: as if so many units had been seen."""
_TERMS = 10_000
_TINY = 1e-300


def sequential(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value of these counts, at most 1. Keep the smallest one of all looks."""
    log_odds = math.lgamma(CONCENTRATION) - math.lgamma(CONCENTRATION + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        if share <= 0:
            if count:
                return 0.0
            continue
        prior = CONCENTRATION * share
        log_odds += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return math.exp(min(0.0, -log_odds))


def chi_square(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Pearson's p-value of these counts, for one look at a size that was fixed before."""
    total = sum(counts)
    statistic = sum(
        (count - total * share) ** 2 / (total * share)
        for count, share in zip(counts, shares, strict=True)
    )
    return chi_square_tail(statistic, len(counts) - 1)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """The probability that chi-square with these degrees of freedom is larger.

    Source: NIST Digital Library of Mathematical Functions, 8.7.1 (series) and 8.9.2 (continued
    fraction) of the incomplete gamma function.
    """
    a, x = degrees / 2, statistic / 2
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for step in range(1, _TERMS):
            term *= x / (a + step)
            total += term
            if term < total * 1e-16:
                break
        return 1 - scale * total
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    fraction = d
    for step in range(1, _TERMS):
        factor = -step * (step - a)
        b += 2
        d = 1 / _sound(factor * d + b)
        c = _sound(b + factor / c)
        fraction *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return scale * fraction


def _sound(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
