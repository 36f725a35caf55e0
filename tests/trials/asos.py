"""Streams of 78 real experiments, replayed day by day through the package's looks.

The data are the ASOS Digital Experiments Dataset by Liu, Cardoso, Couturier and McCoy (CC BY 4.0),
which is read from beside the checkout. What is asked of them is that no verdict is withdrawn.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bytelyst_sync.experiments.analysis import take_look
from bytelyst_sync.experiments.definitions import read_definition
from bytelyst_sync.experiments.observations import Observations
from bytelyst_sync.experiments.sums import Sums

__all__ = ["ATTRIBUTION", "replay", "streams_of"]

ATTRIBUTION = (
    "ASOS Digital Experiments Dataset, C. H. Bryan Liu, Angelo Cardoso, Paul Couturier, Emma J."
    " McCoy, CC BY 4.0"
)
_COLUMNS = ("count", "mean", "variance")
Look = tuple[str, Sums, Sums]


def streams_of(path: Path) -> dict[tuple[str, str, str], list[Look]]:
    """By experiment, variant and metric: the running totals of control and treatment, in order.
    Metrics without a variance are left out.
    """
    streams: defaultdict[tuple[str, str, str], list[tuple[float, Sums, Sums]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            sides = [
                _sums(*(float(row[f"{name}_{side}"] or "nan") for name in _COLUMNS))
                for side in "ct"
            ]
            control, treatment = sides
            if control is not None and treatment is not None:
                key = row["experiment_id"], row["variant_id"], row["metric_id"]
                streams[key].append((float(row["time_since_start"]), control, treatment))
    return {
        key: [(f"day {when:09.3f}", one, two) for when, one, two in sorted(looks)]
        for key, looks in streams.items()
    }


def _sums(count: float, mean: float, variance: float) -> Sums | None:
    if not (count >= 2 and variance >= 0 and mean == mean):
        return None
    n = int(count)
    return Sums(n, n * mean, variance * (n - 1) + n * mean * mean)


def replay(path: Path) -> Iterator[tuple[tuple[str, str, str], int, list[str], int]]:
    """For each stream: the looks, its verdicts at the end, and how many were withdrawn."""
    definition = read_definition(
        {
            "key": "asos",
            "variations": [0, 1],
            "unit": "device",
            "goals": [{"key": "y", "event": "y", "kind": "mean"}],
        }
    )
    for key, looks in streams_of(path).items():
        state: dict[Any, Any] = {}
        before: list[Any] = []
        withdrawn = 0
        for when, control, treatment in looks:
            cells = [
                ((when, index, "", metric), sums)
                for index, each in enumerate((control, treatment))
                for metric, sums in (("", Sums(each.n)), ("y", each._replace(n=0)))
            ]
            look = take_look(definition, Observations(cells, when), state, deciding=True, now=when)
            state = look.state
            withdrawn += any(each not in look.verdicts for each in before)
            before = look.verdicts
        yield key, len(looks), [each.verdict for each in before], withdrawn
