"""Chooses a variation by a unit's place, its hash as a number between 0 and 1.

Source: "Build Your Own SDK" of GrowthBook's documentation, sections "inRange", "inNamespace",
"getEqualWeights", "getBucketRanges", "chooseVariation" and "getQueryStringOverride".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bytelyst_sync.experiments.hashing import bucket

__all__ = [
    "Range",
    "choose_variation",
    "equal_weights",
    "in_namespace",
    "in_range",
    "query_override",
    "ranges_of",
    "sound_weights",
]

Range = tuple[float, float]
_LEADING_INTEGER = re.compile(r"\s*([+-]?\d+)")


def in_range(place: float, bounds: Range) -> bool:
    """Whether a place is in a range. The end of a range is not in it."""
    return bounds[0] <= place < bounds[1]


def in_namespace(value: str, namespace: Sequence[object]) -> bool:
    """Whether a unit is in this part of a namespace: ``[name, from, to]``."""
    name, start, end = namespace
    place = bucket(f"__{name}", value, 1)
    return place is not None and float(start) <= place < float(end)  # type: ignore[arg-type]


def equal_weights(count: int) -> list[float]:
    """The same weight for each variation."""
    return [1 / count] * count if count > 0 else []


def sound_weights(count: int, weights: Sequence[float] | None) -> list[float]:
    """These weights; equal ones if there is not one for each, or if they do not add up to 1."""
    if weights is None or len(weights) != count or not 0.99 <= sum(weights) <= 1.01:
        return equal_weights(count)
    return list(weights)


def ranges_of(count: int, coverage: float, weights: Sequence[float] | None) -> list[Range]:
    """The range of each variation. The end of each range is the part without
    ``coverage``, so a unit keeps its variation when the coverage grows.
    """
    covered = min(1.0, max(0.0, coverage))
    ranges: list[Range] = []
    start = 0.0
    for weight in sound_weights(count, weights):
        ranges.append((start, start + covered * weight))
        start += weight
    return ranges


def choose_variation(place: float, ranges: Sequence[Range]) -> int:
    """The variation whose range contains the place, or -1."""
    for index, (start, end) in enumerate(ranges):
        if start <= place < end:
            return index
    return -1


def query_override(key: str, url: str, count: int) -> int | None:
    """The variation that a URL's query forces, such as ``?checkout=1``; ``None`` if it has none."""
    _, _, rest = url.partition("?")
    for pair in rest.split("?")[0].split("#")[0].split("&"):
        name, _, text = pair.partition("=")
        if name != key:
            continue
        number = _LEADING_INTEGER.match(text)
        found = int(number[1]) if number else -1
        return found if 0 <= found < count else None
    return None
