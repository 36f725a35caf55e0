"""The simulations: false winners, power, mismatch. Each returns figures and checks its promise."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import gammaln

from bytelyst_sync.experiments.evaluation import MISMATCH_ALPHA
from bytelyst_sync.experiments.mismatch import CONCENTRATION, sequential
from bytelyst_sync.experiments.power import fixed_size, rate_spread
from bytelyst_sync.experiments.sequences import rho_for
from tests.trials.streams import (
    Streams,
    Trial,
    decided,
    fixed_share,
    log_p,
    naive_share,
    rates,
    split,
    values,
)

DAYS = 60
MOST_FALSE = 0.05
CHUNK = 2_000
Figures = dict[str, Any]


def upper(found: int, runs: int, level: float = 0.99) -> float:
    """The upper bound of a share, after Clopper and Pearson."""
    return float(stats.beta.ppf(level, found + 1, runs - found)) if found < runs else 1.0


# --- false winners


def lognormal(sigma: float) -> Callable[..., NDArray[Any]]:
    return lambda generator, _, size: generator.lognormal(0, sigma, size)


def unequal(deviations: tuple[float, float]) -> Callable[..., NDArray[Any]]:
    """The same mean, another spread: lognormal control, normal treatment, or the reverse."""
    return lambda generator, index, size: generator.normal(10, deviations[index], size)


RATES = [
    (p, share, units)
    for p in (0.01, 0.05, 0.2, 0.5)
    for share in (0.5, 0.1)
    for units in (5, 50, 500)
]
VALUES = [
    ("lognormal 1", lognormal(1.0), 0.5, 100),
    ("lognormal 1", lognormal(1.0), 0.1, 100),
    ("lognormal 1.5", lognormal(1.5), 0.5, 50),
    ("lognormal 1.5", lognormal(1.5), 0.1, 50),
    ("deviations 1 and 5", unequal((1.0, 5.0)), 0.1, 100),
    ("deviations 5 and 1", unequal((5.0, 1.0)), 0.1, 100),
    ("deviations 5 and 1", unequal((5.0, 1.0)), 0.5, 20),
]
PLANS = (1_000, 10_000)
"""For how many units the interval is narrowest."""


def false_winners(seed: int, runs: int, days: int = DAYS) -> Iterator[tuple[str, Figures]]:
    """A/A: no variation is different. Shares of runs with a verdict, looked at every day."""
    generator = np.random.default_rng(seed)
    for p, share, units in RATES:
        name = f"rate {p:g}, {100 - share * 100:.0f}:{share * 100:.0f}, {units} units a day"
        chunk = split(generator, runs, days, units, share)
        yield name, _false(rates(generator, runs, chunk, (p, p)))
    for name, draw, share, units in VALUES:
        label = f"{name}, {100 - share * 100:.0f}:{share * 100:.0f}, {units} units a day"
        size = min(CHUNK, runs)
        parts = [
            values(generator, split(generator, size, days, units, share), draw).sums
            for _ in range(max(1, runs // size))
        ]
        yield label, _false(Streams("mean", np.concatenate(parts)))


def _false(streams: Streams) -> Figures:
    runs = len(streams.sums)
    found = {planned: decided(streams, planned) for planned in PLANS}
    bound = max(upper(each, runs) for each in found.values())
    return {
        "false winners": max(found.values()) / runs,
        "upper bound": bound,
        "naive": naive_share(streams, rho_for(PLANS[0], 0.05)),
        "fixed test daily": fixed_share(streams),
        "holds": bound <= MOST_FALSE,
    }


# --- power


def power(seed: int, runs: int, days: int = DAYS) -> Iterator[tuple[str, Figures]]:
    """A/B: with as many units as a test with a fixed end needs for 95 % power."""
    generator = np.random.default_rng(seed)
    for baseline, effect in ((0.05, 0.01), (0.2, 0.02), (0.5, 0.02)):
        size = fixed_size(pooled_spread(baseline, effect), effect, 0.05, 0.95)
        daily = np.full((runs, days, 2), math.ceil(size / days))
        streams = rates(generator, runs, daily, (baseline, baseline + effect))
        last = Streams("rate", streams.sums[:, -1:])
        fixed = fixed_share(last)
        found = decided_all(streams, 2 * size)
        yield (
            f"{baseline:g} against {baseline + effect:g}, {size:,} units each",
            {"fixed": fixed, "power": found, "ratio": found / fixed, "holds": found >= 0.8 * 0.95},
        )


def pooled_spread(baseline: float, effect: float) -> tuple[float, float]:
    """``rate_spread``, with the error that the test itself has without an effect: that of both
    variants together. With the control's own, a test for 95 % has a power of about 94.4 %.
    """
    both = baseline + effect / 2
    return math.sqrt(2 * both * (1 - both)), rate_spread(baseline, effect)[1]


def decided_all(streams: Streams, planned: int, sample: int = 300) -> float:
    """The share of runs with a verdict: of all by the sieve, of a sample by the package."""
    trial = Trial.of(streams.kind, planned)
    by_sieve = log_p(streams, trial.rho).min(axis=1) <= math.log(0.05)
    for run in range(min(sample, len(by_sieve))):
        verdict, _ = trial.verdict(streams.sums[run])
        assert (verdict is not None) == by_sieve[run]
    return float(by_sieve.mean())


# --- mismatch


def mismatch(seed: int, runs: int, days: int = DAYS) -> Iterator[tuple[str, Figures]]:
    """Shares of runs that are called a mismatch at some of the daily looks. The line without a
    promise shows how much smaller a mismatch of 2 % is found with half as many units.
    """
    generator = np.random.default_rng(seed)
    for units, share, promise in (
        (3_000, 0.5, "at most 2.5 %"),
        (60_000, 0.5, "at most 2.5 %"),
        (120_000, 0.5, "at most 2.5 %"),
        (60_000, 0.49, None),
        (120_000, 0.49, "at least 95 %"),
    ):
        found = _mismatched(generator, runs, days, units, share)
        holds = {"at most 2.5 %": found <= 0.025, "at least 95 %": found >= 0.95}
        name = f"{share * 100:.0f}:{100 - share * 100:.0f}, {units // 2:,} units in each variant"
        figures: Figures = {"called a mismatch": found}
        yield name, figures if promise is None else {**figures, "holds": holds[promise]}


def _mismatched(
    generator: np.random.Generator, runs: int, days: int, units: int, share: float
) -> float:
    daily = units // days
    first = np.cumsum(generator.binomial(daily, share, size=(runs, days)), axis=1)
    n = daily * np.arange(1, days + 1)
    second, prior = n - first, CONCENTRATION / 2
    log_odds = (
        gammaln(CONCENTRATION)
        - gammaln(CONCENTRATION + n)
        + gammaln(prior + first)
        + gammaln(prior + second)
        - 2 * gammaln(prior)
        + n * math.log(2)
    )
    p = np.exp(np.minimum(0.0, -log_odds)).min(axis=1)
    for run in range(20):
        looks = zip(first[run].tolist(), second[run].tolist(), strict=True)
        own = min(sequential(counts, (0.5, 0.5)) for counts in looks)
        np.testing.assert_allclose(own, p[run], rtol=1e-6)
    return float((p <= MISMATCH_ALPHA).mean())
