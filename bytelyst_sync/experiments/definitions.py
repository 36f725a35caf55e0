"""The definition of an experiment: GrowthBook's format, with fields for goals and decisions.

GrowthBook's own SDKs ignore fields that they do not know. The fields of this package are ``unit``,
``goals``, ``guardrails``, ``segments``, ``windowDays``, ``alpha`` and ``unitsPerDay``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

import attrs

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.experiments.buckets import sound_weights
from bytelyst_sync.experiments.events import is_number
from bytelyst_sync.experiments.format import Experiment
from bytelyst_sync.rules.json_text import canonical

__all__ = ["MOST_VARIATIONS", "Definition", "Metric", "read_definition"]

Json = Any
MOST_VARIATIONS = 1_000
"""How many variations an experiment may have."""
Kind = Literal["rate", "mean", "ratio"]
_KINDS = ("rate", "mean", "ratio")
_STATUSES = ("draft", "running", "stopped")
_UNITS = ("user", "device")
_METRIC_FIELDS = {
    *("key", "event", "kind", "denominator", "count", "direction", "baseline", "mde"),
    *("deviation", "margin", "cuped"),
}


@attrs.frozen
class Metric:
    """A number for each unit, calculated from the events after its exposure.

    ``rate``: 1 if it had the event. ``mean``: the sum of the events' values, or their number if
    ``count``. ``ratio``: that sum divided by the sum of ``denominator``. ``direction``: which
    change is better. ``baseline``, ``deviation`` (of a mean, between units) and ``mde`` (the
    smallest difference that matters) are for planning. ``margin``: how much worse a guardrail may
    get.
    """

    key: str
    event: str
    kind: Kind = "rate"
    denominator: str | None = None
    count: bool = False
    direction: Literal["increase", "decrease"] = "increase"
    baseline: float | None = None
    mde: float | None = None
    deviation: float | None = None
    margin: float = 0.0
    cuped: bool = False
    """Whether the result is adjusted for what the unit did before its exposure."""

    @property
    def events(self) -> tuple[str, ...]:
        """The events that it is calculated from."""
        return (self.event,) if self.denominator is None else (self.event, self.denominator)


@attrs.frozen
class Definition:
    """A checked definition. ``source`` is the definition as it was given."""

    key: str
    experiment: Experiment
    phase: str
    """The declared phase and a hash of the allocation, which never changes during a phase."""
    shares: tuple[float, ...]
    """The share of each variation among the units in the experiment."""
    status: str = "running"
    name: str = ""
    unit: str = "user"
    goals: tuple[Metric, ...] = ()
    guardrails: tuple[Metric, ...] = ()
    segments: tuple[str, ...] = ()
    window_days: int = 7
    """Days after the day of its exposure in which a unit's events count. Then the unit counts."""
    alpha: float = 0.05
    units_per_day: float | None = None
    source: Mapping[str, Json] = attrs.field(factory=dict, repr=False, eq=False)
    plain: bool = attrs.field(init=False, repr=False, eq=False)
    """Whether a unit's hash alone decides."""

    @plain.default
    def _is_plain(self) -> bool:
        return self.experiment.plain

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The goals and the guardrails."""
        return self.goals + self.guardrails

    def variant_name(self, index: int) -> str:
        """The name of a variation."""
        meta = self.experiment.meta
        found = meta[index].get("name") if index < len(meta) else None
        if found:
            return str(found)
        variations = self.experiment.variations
        value = variations[index] if index < len(variations) else None  # of a former phase
        return value if isinstance(value, str) and value else f"variation {index}"


def read_definition(source: Mapping[str, Json]) -> Definition:
    """Checks a definition; raises ``InvalidDataError``, which names the field."""
    if not isinstance(source, Mapping):
        raise InvalidDataError(f"a definition must be an object, not {type(source).__name__}")
    key = source.get("key") or source.get("id")
    if not isinstance(key, str) or not key:
        raise InvalidDataError("a definition needs a key: a text that is not empty", path="$.key")
    source = {**source, "key": key}
    _check_allocation(source)
    status = source.get("status", "running")
    unit = source.get("unit", "user")
    for name, value, allowed in (("status", status, _STATUSES), ("unit", unit, _UNITS)):
        if value not in allowed:
            _refuse(source, name, value, ", ".join(map(repr, allowed)))
    goals = tuple(_metric(source, "goals", each) for each in _list(source, "goals"))
    guardrails = tuple(_metric(source, "guardrails", each) for each in _list(source, "guardrails"))
    names = [each.key for each in (*goals, *guardrails)]
    if len(set(names)) < len(names):
        _refuse(source, "goals", names, "metrics with different keys")
    window = source.get("windowDays", 7)
    if not isinstance(window, int) or isinstance(window, bool) or not 0 <= window <= 365:
        _refuse(source, "windowDays", window, "a whole number of days from 0 to 365")
    alpha = source.get("alpha", 0.05)
    if not is_number(alpha) or not 0 < alpha < 0.5:
        _refuse(source, "alpha", alpha, "a number between 0 and 0.5")
    return Definition(
        key=key,
        experiment=Experiment.of(source),
        phase=_phase(source),
        shares=_shares(source),
        status=status,
        name=str(source.get("name") or ""),
        unit=unit,
        goals=goals,
        guardrails=guardrails,
        segments=tuple(str(each) for each in _list(source, "segments")),
        window_days=window,
        alpha=alpha,
        units_per_day=source.get("unitsPerDay"),
        source=source,
    )


def _refuse(source: Mapping[str, Json], field: str, value: Json, allowed: str) -> NoReturn:
    raise InvalidDataError(
        f"experiment {source['key']!r}: {field} is {value!r}; allowed: {allowed}",
        path=f"$.{field}",
        entity="experiments",
        record_id=source["key"],
    )


def _list(source: Mapping[str, Json], field: str) -> list[Json]:
    found = source.get(field) or []
    if not isinstance(found, list):
        _refuse(source, field, found, "a list")
    return found


def _check_allocation(source: Mapping[str, Json]) -> None:
    variations = source.get("variations")
    allowed = f"a list of 2 to {MOST_VARIATIONS:,} values"
    if not isinstance(variations, list) or len(variations) < 2:
        _refuse(source, "variations", variations, allowed)
    if len(variations) > MOST_VARIATIONS:
        _refuse(source, "variations", f"a list of {len(variations):,}", allowed)
    for field in ("weights", "ranges", "meta"):
        if source.get(field) and len(_list(source, field)) != len(variations):
            _refuse(source, field, source[field], f"one entry for each of {len(variations)}")
    weights = source.get("weights") or ()
    if not all(is_number(each) and each >= 0 for each in weights):
        _refuse(source, "weights", weights, "numbers from 0 to 1")
    if weights and not 0.99 <= sum(weights) <= 1.01:
        _refuse(source, "weights", weights, "numbers that add up to 1")
    coverage = source.get("coverage", 1)
    if not is_number(coverage) or not 0 <= coverage <= 1:
        _refuse(source, "coverage", coverage, "a number from 0 to 1")
    if source.get("hashVersion", 1) not in (1, 2):
        _refuse(source, "hashVersion", source["hashVersion"], "1, 2")
    if source.get("condition") is not None and not isinstance(source["condition"], Mapping):
        _refuse(source, "condition", source["condition"], "an object")


def _metric(source: Mapping[str, Json], field: str, given: Json) -> Metric:
    if isinstance(given, str):
        return Metric(given, given)
    if not isinstance(given, Mapping):
        _refuse(source, field, given, "names of events, or objects")
    unknown = set(given) - _METRIC_FIELDS
    if unknown:
        _refuse(source, field, sorted(unknown), f"the fields {', '.join(sorted(_METRIC_FIELDS))}")
    key = given.get("key") or given.get("event")
    event = given.get("event") or key
    if not isinstance(key, str) or not isinstance(event, str) or not key or "|" in key:
        _refuse(source, field, given, "a key and an event, as texts without '|'")
    kind = given.get("kind", "rate")
    if kind not in _KINDS:
        _refuse(source, field, kind, ", ".join(map(repr, _KINDS)))
    if (kind == "ratio") != bool(given.get("denominator")):
        _refuse(source, field, key, "a denominator (an event) for a ratio, and for nothing else")
    if given.get("direction", "increase") not in ("increase", "decrease"):
        _refuse(source, field, given["direction"], "'increase', 'decrease'")
    for name in ("baseline", "mde", "deviation", "margin"):
        if given.get(name) is not None and not is_number(given[name]):
            _refuse(source, field, given[name], f"a number as {name} of {key!r}")
    return Metric(**{**given, "key": key, "event": event, "kind": kind})


def _phase(source: Mapping[str, Json]) -> str:
    """The phase's name, the same on every device. Another allocation begins another phase, even if
    the definition still names the former one. A larger coverage alone does not, because no unit
    changes its variation.
    """
    fields = ("weights", "ranges", "seed", "hashVersion", "hashAttribute", "namespace", "filters")
    allocation: dict[str, Json] = {name: source[name] for name in fields if source.get(name)}
    allocation["variations"] = len(source["variations"])
    mark = hashlib.sha256(canonical(allocation).encode()).hexdigest()[:8]
    declared = source.get("phase")
    return f"{'0' if declared in (None, '') else declared}.{mark}"


def _shares(source: Mapping[str, Json]) -> tuple[float, ...]:
    ranges = source.get("ranges")
    if ranges:
        widths = [max(0.0, end - start) for start, end in ranges]
    else:
        widths = sound_weights(len(source["variations"]), source.get("weights"))
    whole = sum(widths) or 1.0
    return tuple(each / whole for each in widths)
