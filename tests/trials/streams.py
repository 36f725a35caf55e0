"""Streams of sums, simulated fast, and looks of the package at them.

numpy draws the data and calculates the p-values of all runs at once, as a sieve. The package itself
then looks, day by day, at each run that comes near a verdict, and at a sample of the others: what
is counted is what the package decides, and where both calculated a p-value they must agree.
"""

import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from numpy.random._generator import Generator
from numpy.typing import NDArray

from bytelyst_sync.experiments.analysis import LEAST_EVENTS, LEAST_UNITS, frozen_plan, take_look
from bytelyst_sync.experiments.definitions import Definition, read_definition
from bytelyst_sync.experiments.events import day_after
from bytelyst_sync.experiments.observations import Observations
from bytelyst_sync.experiments.sequences import rho_for
from bytelyst_sync.experiments.sums import Sums

__all__ = [
    "Streams",
    "Trial",
    "decided",
    "fixed_share",
    "log_p",
    "naive_share",
    "rates",
    "split",
    "values",
]

FIRST_DAY = "2026-01-01"
NEAR = math.log(1.3)
"""How near to alpha, in log p, a run must come to be looked at by the package."""
SAMPLE = 20
"""How many other runs the package looks at as well."""


@attrs.frozen
class Streams:
    """Running totals of (n, Σy, Σy²): runs × days × variations × 3."""

    kind: str
    sums: NDArray[Any]

    @property
    def parts(self) -> list[tuple[NDArray[Any], ...]]:
        """n, Σy, Σy² of each variation."""
        return [tuple(self.sums[:, :, index, part] for part in range(3)) for index in (0, 1)]


def rates(
    generator: np.random.Generator, runs: int, daily: NDArray[Any], p: tuple[float, float]
) -> Streams:
    """Units with an event: ``daily`` has runs × days × variations units."""
    events = np.stack([generator.binomial(daily[:, :, i], p[i]) for i in (0, 1)], axis=2)
    n, y = (np.cumsum(each, axis=1).astype(float) for each in (daily, events))
    return Streams("rate", np.stack([n, y, y], axis=3))


def split(
    generator: np.random.Generator, runs: int, days: int, units: int, share: float
) -> NDArray[Any]:
    """Units by day and variation, each of them assigned at random."""
    treated = generator.binomial(units, share, size=(runs, days))
    return np.stack([units - treated, treated], axis=2)


def values(generator: Generator, daily: NDArray[Any], draw: Callable[..., NDArray[Any]]) -> Streams:
    """Values of units; ``draw(generator, variation, size)`` gives them."""
    runs, days, _ = daily.shape
    sums = np.zeros((runs, days, 2, 3))
    most = daily.max()
    for day in range(days):
        for index in (0, 1):
            drawn = draw(generator, index, (runs, most))
            drawn *= np.arange(most)[None, :] < daily[:, day, index][:, None]
            sums[:, day, index] = np.stack(
                [daily[:, day, index], drawn.sum(1), (drawn * drawn).sum(1)], axis=1
            )
    return Streams("mean", np.cumsum(sums, axis=1))


# --- the sieve


def variances(streams: Streams) -> tuple[NDArray[Any], NDArray[Any]]:
    """The separate and the pooled variance of the difference."""
    (n0, y0, q0), (n1, y1, q1) = streams.parts
    both, y, q = n0 + n1, y0 + y1, q0 + q1
    with np.errstate(all="ignore"):
        if streams.kind == "rate":
            separate = sum(y / n * (1 - y / n) / n for n, y in ((n0, y0), (n1, y1)))
            return separate, y / both * (1 - y / both) * (1 / n0 + 1 / n1)
        separate = sum((q - y * y / n) / (n - 1) / n for n, y, q in ((n0, y0, q0), (n1, y1, q1)))
        return separate, (q - y * y / both) / (both - 1) * (1 / n0 + 1 / n1)


def eligible(streams: Streams) -> NDArray[Any]:
    """Whether it is not too early to look."""
    found = np.ones(streams.sums.shape[:2], dtype=bool)
    for n, y, _ in streams.parts:
        found &= n >= LEAST_UNITS
        if streams.kind == "rate":
            found &= (y >= LEAST_EVENTS) & (n - y >= LEAST_EVENTS)
    return found


def differences(streams: Streams) -> NDArray[Any]:
    (n0, y0, _), (n1, y1, _) = streams.parts
    with np.errstate(all="ignore"):
        found: NDArray[Any] = y1 / n1 - y0 / n0
        return found


def log_p(streams: Streams, rho: float, *, naive: bool = False) -> NDArray[Any]:
    """log p at each look; ``naive``: with the separate variance, from the first unit on."""
    separate, pooled = variances(streams)
    variance = separate if naive else np.maximum(separate, pooled)
    w = streams.sums[:, :, :, 0].sum(axis=2) * rho * rho
    with np.errstate(all="ignore"):
        found = 0.5 * np.log1p(w) - 0.5 * differences(streams) ** 2 / variance * w / (w + 1)
    found[~np.isfinite(found)] = 0.0
    if not naive:
        found[~eligible(streams)] = 0.0
    result: NDArray[Any] = np.minimum(found, 0.0)
    return result


def naive_share(streams: Streams, rho: float, alpha: float = 0.05) -> float:
    """Runs that the sequence calls different without this package's rules for looks."""
    return float((log_p(streams, rho, naive=True).min(axis=1) < math.log(alpha)).mean())


def fixed_share(streams: Streams) -> float:
    """Runs that a test with a fixed end, read every day, calls different at some look."""
    separate, _ = variances(streams)
    with np.errstate(all="ignore"):
        z = np.abs(differences(streams)) / np.sqrt(separate)
    z[~np.isfinite(z) | ~eligible(streams)] = 0.0
    return float((z.max(axis=1) > 1.959964).mean())


# --- the package's own looks


@attrs.frozen
class Trial:
    """A definition whose one goal is planned for so many units in all."""

    definition: Definition
    rho: float

    @classmethod
    def of(cls, kind: str, planned: int) -> "Trial":
        goal = {"key": "y", "event": "y", "kind": kind}
        source = {"key": "trial", "variations": [0, 1], "unit": "device", "goals": [goal]}
        return cls(read_definition(source), rho_for(planned, 0.05))

    def verdict(self, stream: NDArray[Any]) -> tuple[str | None, list[float]]:
        """The verdict on one run, looked at every day, and the p-values of the looks."""
        state = {"plan": {**frozen_plan(self.definition), "rho": {"y": self.rho}}}
        smallest = []
        for day, sums in enumerate(stream):
            label = day_after(FIRST_DAY, day)
            cells = []
            for index, (n, y, q) in enumerate(sums.tolist()):
                cells.append(((label, index, "", ""), Sums(int(n))))
                cells.append(((label, index, "", "y"), Sums(0, y, q)))
            seen = Observations(cells, label)
            look = take_look(self.definition, seen, state, deciding=True, now=label)
            state = look.state
            smallest.append(look.comparisons[0].p)
            if look.verdicts:
                return look.verdicts[0].verdict, smallest
        return None, smallest


def decided(streams: Streams, planned: int, alpha: float = 0.05) -> int:
    """In how many runs the package reaches a verdict."""
    trial = Trial.of(streams.kind, planned)
    sieve = np.minimum.accumulate(log_p(streams, trial.rho), axis=1)
    near = sieve[:, -1] < math.log(alpha) + NEAR
    others = np.flatnonzero(~near)[:SAMPLE]
    found = 0
    for run in [*np.flatnonzero(near), *others]:
        verdict, smallest = trial.verdict(streams.sums[run])
        expected = np.exp(sieve[run, : len(smallest)])
        np.testing.assert_allclose(smallest, expected, rtol=1e-6, atol=1e-12)
        assert verdict is None or near[run], "the sieve lets every verdict through"
        found += verdict is not None
    return found
