"""The statistics, against statsmodels and against published numbers."""

import math
import random
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies._internal.random import ArtificialRandom
from numpy.typing import NDArray
from scipy import integrate, stats
from statsmodels.api import OLS, add_constant
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportions_ztest
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from bytelyst_sync.experiments.estimates import (
    adjusted_difference,
    mean_difference,
    rate_difference,
    ratio_difference,
)
from bytelyst_sync.experiments.mismatch import (
    CONCENTRATION,
    chi_square,
    chi_square_tail,
    sequential,
)
from bytelyst_sync.experiments.power import (
    fixed_size,
    looked_at_daily,
    mean_spread,
    power_of_sequence,
    rate_spread,
)
from bytelyst_sync.experiments.sequences import (
    best_width,
    half_width,
    holm,
    interval,
    p_value,
    rho_for,
)
from bytelyst_sync.experiments.sums import NOTHING, Sums, of_unit, total

WITHIN = 1e-5


def sums_of(y: NDArray[Any], x: NDArray[Any] | None = None) -> Sums:
    given = np.zeros(len(y)) if x is None else x
    return total(of_unit(float(a), float(b)) for a, b in zip(y, given, strict=True))


def near(value: np.float64 | float) -> Any:
    return pytest.approx(value, rel=WITHIN, abs=WITHIN)


@pytest.fixture
def values() -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """A metric of two groups of units, and what each of them did before."""
    generator = np.random.default_rng(7)
    x = [generator.lognormal(1, 0.8, n) for n in (900, 700)]
    y = [2.0 + 0.7 * each + generator.normal(0, 1, len(each)) for each in x]
    y[1] += 0.2
    return x, y


# --- differences


def test_a_difference_of_means_is_that_of_statsmodels(
    values: tuple[list[NDArray[Any]], list[NDArray[Any]]],
) -> None:
    x, y = values
    found = mean_difference(sums_of(y[0], x[0]), sums_of(y[1], x[1]))
    means = CompareMeans(DescrStatsW(y[1]), DescrStatsW(y[0]))
    assert found.difference == near(y[1].mean() - y[0].mean())
    assert math.sqrt(found.separate) == near(means.std_meandiff_separatevar)
    everything = np.concatenate(y).var(ddof=1)
    assert found.pooled == near(everything * (1 / len(y[0]) + 1 / len(y[1])))
    assert found.variance == max(found.separate, found.pooled)


def test_a_difference_of_rates_is_that_of_statsmodels() -> None:
    found = rate_difference(Sums(1000, 200, 200), Sums(1100, 260, 260))
    z, _ = proportions_ztest([260, 200], [1100, 1000])
    assert found.difference / math.sqrt(found.pooled) == near(z)
    z, _ = proportions_ztest([260, 200], [1100, 1000], prop_var=False)
    a, b = 0.2, 260 / 1100
    assert found.separate == near(a * (1 - a) / 1000 + b * (1 - b) / 1100)


def test_cuped_is_the_analysis_of_covariance_of_statsmodels(
    values: tuple[list[NDArray[Any]], list[NDArray[Any]]],
) -> None:
    x, y = values
    found = adjusted_difference(sums_of(y[0], x[0]), sums_of(y[1], x[1]))
    treated = np.repeat([0.0, 1.0], [len(y[0]), len(y[1])])
    model = OLS(
        np.concatenate(y), add_constant(np.column_stack([treated, np.concatenate(x)]))
    ).fit()
    assert found.difference == near(model.params[1])
    theta = model.params[2]
    adjusted = [a - theta * b for a, b in zip(y, x, strict=True)]
    means = CompareMeans(DescrStatsW(adjusted[1]), DescrStatsW(adjusted[0]))
    assert math.sqrt(found.separate) == near(means.std_meandiff_separatevar)
    plain = mean_difference(sums_of(y[0]), sums_of(y[1]))
    assert found.reduction == near(1 - found.variance / plain.variance)
    assert found.reduction > 0.3


def test_cuped_without_a_past_is_the_plain_difference(
    values: tuple[list[NDArray[Any]], list[NDArray[Any]]],
) -> None:
    _, y = values
    sums = [sums_of(each) for each in y]
    assert adjusted_difference(*sums) == mean_difference(*sums)


def test_a_ratio_has_the_standard_error_of_a_regression_with_clusters() -> None:
    generator = np.random.default_rng(3)
    groups, errors = [], []
    for rate in (0.3, 0.35):
        visits = generator.poisson(3, 400) + 1
        paid = generator.binomial(visits, generator.beta(20 * rate, 20 * (1 - rate), 400))
        groups.append(sums_of(paid, visits))
        each = np.concatenate(
            [np.repeat([1, 0], [a, b - a]) for a, b in zip(paid, visits, strict=True)]
        )
        units = np.repeat(np.arange(400), visits)
        model = OLS(each, np.ones(len(each))).fit(
            cov_type="cluster",
            cov_kwds={"groups": units, "use_correction": False},
        )
        errors.append(model.bse[0] ** 2 * 400 / 399)
        assert groups[-1].y / groups[-1].x == near(model.params[0])
    assert ratio_difference(*groups).separate == near(sum(errors))


# --- sequences


def test_the_p_value_is_the_mixture_that_the_paper_integrates() -> None:
    # the boundary is that of a normal mixture with variance rho^2: integrate it instead
    for n, z in ((400, 2.5), (2_000, 3.3), (10_000, 4.0)):
        estimate = mean_difference(Sums(n // 2, 0, n // 2), Sums(n // 2, 0, n // 2))
        error = estimate.error
        found = attrs.evolve(estimate, treatment=z * error)
        rho = rho_for(2_000, 0.05)
        score = z * math.sqrt(n)  # of n values with variance 1

        def integrand(
            mean: float, score: float = score, n: int = n, rho: float = rho
        ) -> np.float64:
            found: np.float64 = math.exp(score * mean - n * mean * mean / 2) * stats.norm.pdf(
                mean, 0, rho
            )
            return found

        mixture, _ = integrate.quad(integrand, -10 * rho, 10 * rho, limit=500, epsabs=1e-12)
        assert p_value(found, rho) == near(min(1.0, 1 / mixture))


@given(st.floats(1e-4, 0.2), st.integers(200, 10**6), st.floats(0.001, 3), st.floats(100, 10**6))
def test_the_interval_at_level_p_ends_at_zero(
    alpha: float, n: int, error: float, planned: float
) -> None:
    rho = rho_for(planned, 0.05)
    half = half_width(error, n, rho, alpha)
    base = mean_difference(Sums(n - n // 2, 0, 0), Sums(n // 2, 0, 0))
    found = attrs.evolve(base, treatment=half, separate=error * error)
    assert p_value(found, rho) == pytest.approx(alpha, rel=1e-6)
    assert interval(found, rho, alpha)[0] == pytest.approx(0, abs=half * 1e-9)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
def test_rho_makes_the_interval_narrowest_at_the_planned_size(alpha: float) -> None:
    best = half_width(1.0, 5_000, rho_for(5_000, alpha), alpha)
    assert best == pytest.approx(math.sqrt(best_width(alpha) + 1))
    for other in (3_000, 4_500, 5_500, 9_000):
        assert half_width(1.0, 5_000, rho_for(other, alpha), alpha) > best


@pytest.mark.parametrize("count", range(1, 8))
def test_holm_is_that_of_statsmodels(count: int) -> None:
    p_values = [round(each, 3) for each in np.random.default_rng(count).random(count) ** 3]
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


# --- mismatch


def test_the_published_mismatch() -> None:
    # Kohavi, Tang, Xu, "Trustworthy Online Controlled Experiments" (2020), chapter 3:
    # 821,588 and 815,482 users where the same number was meant have p = 1.8e-6
    assert chi_square([821_588, 815_482], [0.5, 0.5]) == pytest.approx(1.8e-6, rel=0.02)
    assert sequential([821_588, 815_482], [0.5, 0.5]) < 0.01


@given(st.floats(0, 200), st.integers(1, 30))
def test_the_tail_of_chi_square_is_that_of_scipy(statistic: float, degrees: int) -> None:
    assert chi_square_tail(statistic, degrees) == pytest.approx(
        float(stats.chi2.sf(statistic, degrees)), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize(
    ("counts", "shares"), [((30, 70), (0.5, 0.5)), ((900, 150, 148), (0.8, 0.1, 0.1))]
)
def test_the_odds_of_a_mismatch_are_those_of_scipy(
    counts: tuple[int, ...], shares: tuple[float, ...]
) -> None:
    prior = [CONCENTRATION * share for share in shares]
    found = stats.dirichlet_multinomial.logpmf(counts, prior, sum(counts))
    expected = found - stats.multinomial.logpmf(counts, sum(counts), shares)
    assert sequential(counts, shares) == near(min(1.0, math.exp(-expected)))


def test_units_in_a_variation_without_a_share_are_a_mismatch() -> None:
    assert sequential([10, 1], [1.0, 0.0]) == 0.0
    assert sequential([10, 0], [1.0, 0.0]) == 1.0


# --- sizes


def test_the_published_sample_size() -> None:
    # Evan Miller's calculator: 20 % against 25 %, 5 % significance, 80 % power: 1,030 a variation
    assert fixed_size(rate_spread(0.2, 0.05), 0.05, 0.05, 0.8) == 1_030


def test_a_sample_size_of_means_is_that_of_statsmodels() -> None:
    expected = NormalIndPower().solve_power(0.5 / 2.0, alpha=0.05, power=0.9)
    found = fixed_size(mean_spread(2.0), 0.5, 0.05, 0.9)
    assert found == pytest.approx(float(np.squeeze(expected)), abs=0.6)


def test_a_test_looked_at_daily_needs_more_units_and_then_has_its_power() -> None:
    spread = rate_spread(0.2, 0.05)
    needed = looked_at_daily(spread, 0.05, 0.05, 0.8)
    assert 1_030 < needed < 3 * 1_030
    assert power_of_sequence(spread, 0.05, 0.05, needed) == pytest.approx(0.8, abs=0.001)


# --- sums


UNITS = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=40)


@given(UNITS, st.randoms(use_true_random=False))
def test_sums_add_in_any_order_and_can_be_taken_apart(
    units: list[tuple[int, int]], order: ArtificialRandom
) -> None:
    whole = total(of_unit(y, x) for y, x in units)
    shuffled = list(units)
    order.shuffle(shuffled)
    cut = random.Random(len(units)).randrange(len(units))
    parts = [total(of_unit(y, x) for y, x in part) for part in (shuffled[:cut], shuffled[cut:])]
    assert total(parts) == whole
    assert whole.plus(parts[0], -1) == parts[1]
    assert whole.plus(whole, -1) == NOTHING
    y, x = np.array(units, dtype=float).T
    assert whole.mean == pytest.approx(y.mean())
    assert whole.variance == pytest.approx(y.var(ddof=1))
    assert whole.covariance == pytest.approx(np.cov(x, y)[0, 1])
