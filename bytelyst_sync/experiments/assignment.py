"""Which variation a unit gets: the steps of GrowthBook's "run", in their order.

Source: "Build Your Own SDK" of GrowthBook's documentation, section "Running an Experiment".
``run`` is a pure function of the experiment and the context; only the documents of sticky buckets
are changed, if the context has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from bytelyst_sync.experiments.buckets import (
    choose_variation,
    in_namespace,
    in_range,
    query_override,
)
from bytelyst_sync.experiments.conditions import matches
from bytelyst_sync.experiments.format import Context, Experiment
from bytelyst_sync.experiments.hashing import bucket, units_of
from bytelyst_sync.experiments.sticky import assigned_before, remember

__all__ = ["Parent", "Result", "by_hash", "run"]

_FEW_UNITS = 16
Parent = Callable[[str, Context], "tuple[Any, str]"]
"""Evaluates a feature that is a prerequisite: its value and the source of the value."""


class Result(NamedTuple):
    """The outcome for one unit. Outside of the experiment ``variation`` is 0, the baseline.

    ``reason``: the step that decided, such as ``assigned``, ``forced`` or ``condition``.
    ``hashed``: whether the unit's hash chose the variation.
    """

    variation: int
    in_experiment: bool
    reason: str
    hashed: bool = False
    attribute: str = "id"
    value: str = ""
    """The attribute that names the unit, and its value."""
    bucket: float | None = None
    sticky: bool = False


def run(experiment: Experiment, context: Context, parent: Parent | None = None) -> Result:
    """Assigns the unit of this context."""
    attribute = experiment.hash_attribute
    value = context.hash_value(attribute)
    if context.sticky is not None and experiment.sticky:
        return _run_sticky(experiment, context, attribute, value, parent)
    if not value or experiment.special or context.url or context.forced or not context.enabled:
        decided = _without_hash(experiment, context, attribute, value)
        if decided is not None:
            return decided
    if experiment.targeting:
        refusal = _not_targeted(experiment, context, value, parent)
        if refusal is not None:
            return _outside(refusal, attribute, value)
    if context.qa_mode:
        found = by_hash(experiment, attribute, value)
        return _outside("QA mode", attribute, value) if found.hashed else found
    return by_hash(experiment, attribute, value)


def by_hash(experiment: Experiment, attribute: str, value: str) -> Result:
    """Assigns a unit by its hash. It is the whole of ``run`` for an experiment that is ``plain``,
    in a context without sticky buckets and without anything forced.
    """
    place = _place(experiment, value)
    if place is None:
        return _outside("unknown hash version", attribute, value)
    chosen = -1
    for index, (start, end) in enumerate(experiment.ranges):
        if start <= place < end:
            chosen = index
            break
    if chosen < 0 or experiment.overruled:
        return _overruled(experiment, chosen, attribute, value)
    # the constructor of a named tuple costs as much as hashing a short id
    return tuple.__new__(Result, (chosen, True, "assigned", True, attribute, value, place, False))


def _without_hash(
    experiment: Experiment, context: Context, attribute: str, value: str
) -> Result | None:
    """What is decided before the unit is hashed, if anything is."""
    count = len(experiment.variations)
    if count < 2:
        return _outside("too few variations", attribute, value)
    if not context.enabled:
        return _outside("disabled", attribute, value)
    forced = query_override(experiment.key, context.url, count) if context.url else None
    if forced is None:
        forced = context.forced.get(experiment.key)
    if forced is not None:
        return _forced(forced, count, attribute, value)
    if not experiment.active:
        return _outside("inactive", attribute, value)
    return None if value else _outside("no unit", attribute, value)


def _outside(reason: str, attribute: str, value: str) -> Result:
    return Result(0, False, reason, False, attribute, value)


def _forced(variation: int, count: int, attribute: str, value: str) -> Result:
    if 0 <= variation < count:
        return Result(variation, True, "forced", False, attribute, value)
    return _outside("forced to an unknown variation", attribute, value)


def _place(experiment: Experiment, value: str) -> float | None:
    """``hashing.bucket`` with the seed's part calculated ahead, or the unit's."""
    if experiment.hash_version == 2:
        state = _hashed(value.encode() if value.isascii() else units_of(value),
                        experiment.seed_state)  # fmt: skip
        second = 0x811C9DC5
        for unit in b"%d" % state:  # as in ``_hashed``: of ten digits at most
            second = (second ^ unit) * 0x01000193
        return (second & 0xFFFFFFFF) % 10_000 / 10_000
    if experiment.hash_version == 1:
        return _hashed(experiment.seed_units, _hash_of_unit(value)) % 1_000 / 1_000
    return None


def _hashed(units: bytes | memoryview, state: int = 0x811C9DC5) -> int:
    """FNV-1a. Assigning is mostly this loop, so the prime stands in it as a literal. The low 32
    bits of a product depend on those of its factors alone: over a few units it is faster to cut
    the number once.
    """
    if len(units) > _FEW_UNITS:
        for unit in units:
            state = (state ^ unit) * 0x01000193 & 0xFFFFFFFF
        return state
    for unit in units:
        state = (state ^ unit) * 0x01000193
    return state & 0xFFFFFFFF


@lru_cache(maxsize=256)
def _hash_of_unit(value: str) -> int:
    """The same for each experiment of version 1: often one unit is assigned in several of them."""
    return _hashed(units_of(value))


def _run_sticky(
    experiment: Experiment, context: Context, attribute: str, value: str, parent: Parent | None
) -> Result:
    """The same for a unit that may have been assigned before."""
    fallback = experiment.fallback_attribute
    if not value and fallback and context.hash_value(fallback):
        attribute, value = fallback, context.hash_value(fallback)
    decided = _without_hash(experiment, context, attribute, value)
    if decided is not None:
        return decided
    before = assigned_before(experiment, context)
    if before.variation < 0:
        refusal = _not_targeted(experiment, context, value, parent)
        if refusal is not None:
            return _outside(refusal, attribute, value)
    place = _place(experiment, value)
    if place is None:
        return _outside("unknown hash version", attribute, value)
    if before.blocked:
        return _outside("bucket version is blocked", attribute, value)._replace(sticky=True)
    found = before.variation >= 0
    chosen = before.variation if found else choose_variation(place, experiment.ranges)
    if chosen < 0 or experiment.overruled:
        return _overruled(experiment, chosen, attribute, value)
    if context.qa_mode:
        return _outside("QA mode", attribute, value)
    documents = context.sticky
    if documents is not None:
        remember(experiment, documents, attribute, value, chosen)
    reason = "assigned before" if found else "assigned"
    return Result(chosen, True, reason, True, attribute, value, place, found)


def _overruled(experiment: Experiment, chosen: int, attribute: str, value: str) -> Result:
    """The steps after the hash, for a unit that does not get what its hash says."""
    if chosen < 0:
        return _outside("not covered", attribute, value)
    if experiment.force is not None:
        return _forced(experiment.force, len(experiment.variations), attribute, value)
    return _outside("stopped", attribute, value)


def _not_targeted(
    experiment: Experiment, context: Context, value: str, parent: Parent | None
) -> str | None:
    """Why the unit is not one of those that the experiment is for; ``None`` if it is."""
    if experiment.filters:
        if is_filtered_out(experiment.filters, context):
            return "filtered out"
    elif experiment.namespace and not in_namespace(value, experiment.namespace):
        return "outside of the namespace"
    condition = experiment.condition
    if condition is not None and not condition(context.attributes, context.groups):
        return "condition"
    for each in experiment.parents or ():
        found, source = (None, "unknownFeature") if parent is None else parent(each["id"], context)
        if source == "cyclicPrerequisite":
            return "prerequisites form a circle"
        if not matches({"value": found}, each.get("condition") or {}, None):
            return "prerequisite"
    return None


def is_filtered_out(filters: list[Mapping[str, Any]], context: Context) -> bool:
    """Whether any of the filters leaves the unit out."""
    for each in filters:
        value = context.hash_value(each.get("attribute") or "id")
        place = bucket(each["seed"], value, each.get("hashVersion") or 2) if value else None
        if place is None or not any(in_range(place, bounds) for bounds in each["ranges"]):
            return True
    return False
