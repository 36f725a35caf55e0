"""The value of a feature, with the experiments, rollouts and bandits among its rules.

Source: "Build Your Own SDK" of GrowthBook's documentation, section "Evaluating a Feature". A
contextual bandit is an experiment whose weights come from the first of its contexts that fits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from bytelyst_sync.experiments.assignment import Result, is_filtered_out, run
from bytelyst_sync.experiments.buckets import in_range, ranges_of, sound_weights
from bytelyst_sync.experiments.conditions import matches
from bytelyst_sync.experiments.format import Context, Experiment
from bytelyst_sync.experiments.hashing import bucket

__all__ = ["FeatureResult", "evaluate"]

Json = Any
Rule = Mapping[str, Json]
_COPIED = (
    *("coverage", "weights", "hashAttribute", "fallbackAttribute", "disableStickyBucketing"),
    *("bucketVersion", "minBucketVersion", "namespace", "meta", "ranges", "name", "phase"),
    *("seed", "hashVersion", "filters", "condition"),
)
_NO_CONTEXT = -1
"""Stands for the context if none fits; the weights are the rule's own."""


@attrs.frozen
class FeatureResult:
    """A feature's value and where it comes from.

    ``source``: ``unknownFeature``, ``defaultValue``, ``force``, ``experiment``, ``prerequisite`` or
    ``cyclicPrerequisite``. ``experiment`` and ``result`` are those of the rule that decided.
    """

    value: Json
    source: str
    rule: str = ""
    experiment: Experiment | None = None
    result: Result | None = None

    @property
    def on(self) -> bool:
        """Whether the value counts as true."""
        return isinstance(self.value, (list, dict)) or bool(self.value)


def evaluate(key: str, context: Context, above: frozenset[str] = frozenset()) -> FeatureResult:
    """The value of a feature for the unit of this context."""
    if key in above:
        return FeatureResult(None, "cyclicPrerequisite")
    feature = context.features.get(key)
    if feature is None:
        return FeatureResult(None, "unknownFeature")
    above = above | {key}
    for rule in feature.get("rules") or ():
        found = _prerequisites(rule, context, above) or _rule(key, rule, context, above)
        if found is not None and found.source != _SKIPPED:
            return found
    return FeatureResult(feature.get("defaultValue"), "defaultValue")


_SKIPPED = "skipped"


def _prerequisites(rule: Rule, context: Context, above: frozenset[str]) -> FeatureResult | None:
    """What a rule's prerequisites decide: a final value, or to skip the rule; ``None``: use it."""
    for each in rule.get("parentConditions") or ():
        parent = evaluate(each["id"], context, above)
        if parent.source == "cyclicPrerequisite":
            return FeatureResult(None, "cyclicPrerequisite")
        if not matches({"value": parent.value}, each.get("condition") or {}, None):
            return FeatureResult(None, "prerequisite" if each.get("gate") else _SKIPPED)
    return None


def _rule(key: str, rule: Rule, context: Context, above: frozenset[str]) -> FeatureResult | None:
    """What a rule says for this unit; ``None`` if it does not apply."""
    if rule.get("filters") and is_filtered_out(rule["filters"], context):
        return None
    name = rule.get("id") or ""
    if "force" in rule:
        condition = rule.get("condition")
        if condition and not matches(context.attributes, condition, context.groups):
            return None
        return (
            FeatureResult(rule["force"], "force", name) if _rolled_out(key, rule, context) else None
        )
    variations = rule.get("contextualVariations", rule.get("variations"))
    if not variations:
        return None
    source = {"key": rule.get("key") or key, "variations": variations}
    source.update({each: rule[each] for each in _COPIED if each in rule})
    experiment = Experiment.of(source)
    if rule.get("contextualBanditRef"):
        _use_bandit(experiment, source, context.bandits.get(rule["contextualBanditRef"]), context)

    def parent(name: str, inner: Context) -> tuple[Json, str]:
        found = evaluate(name, inner, above)
        return found.value, found.source

    result = run(experiment, context, parent)
    if not result.in_experiment or _passes_through(experiment, result.variation):
        return None
    value = experiment.variations[result.variation]
    return FeatureResult(value, "experiment", name, experiment, result)


def _passes_through(experiment: Experiment, variation: int) -> bool:
    meta = experiment.meta
    return variation < len(meta) and bool(meta[variation].get("passthrough"))


def _rolled_out(key: str, rule: Rule, context: Context) -> bool:
    """Whether the unit is in the part that a forced value is rolled out to."""
    bounds, coverage = rule.get("range"), rule.get("coverage")
    if bounds is None and coverage is None:
        return True
    value = context.hash_value(rule.get("hashAttribute") or "id")
    if not value and context.sticky is not None and rule.get("fallbackAttribute"):
        value = context.hash_value(rule["fallbackAttribute"])
    if not value or (bounds is None and not coverage):
        return False
    place = bucket(rule.get("seed") or key, value, rule.get("hashVersion") or 1)
    if place is None:
        return False
    return in_range(place, bounds) if bounds is not None else place <= float(coverage)  # type: ignore[arg-type]


def _use_bandit(
    experiment: Experiment, source: Mapping[str, Json], bandit: Json, context: Context
) -> None:
    """Gives the experiment the weights of the bandit's context that fits."""
    if not isinstance(bandit, Mapping):
        return
    count = len(experiment.variations)
    chosen = _NO_CONTEXT
    weights: Sequence[float] = sound_weights(count, source.get("weights"))
    for each in bandit.get("contexts") or ():
        if matches(context.attributes, each.get("condition") or {}, context.groups):
            if _is_index(each.get("leafId")) and _are_weights(each.get("weights"), count):
                chosen, weights = each["leafId"], each["weights"]
            break
    experiment.ranges = ranges_of(count, source.get("coverage", 1), weights)
    found: dict[str, Json] = {"leafId": chosen, "variationWeights": list(weights)}
    if _is_index(bandit.get("banditVersion")):
        found["banditVersion"] = bandit["banditVersion"]
    experiment.bandit = found


def _is_index(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_weights(value: Json, count: int) -> bool:
    if not isinstance(value, list) or len(value) != count:
        return False
    if not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in value):
        return False
    return all(math.isfinite(each) and each >= 0 for each in value) and 0.99 <= sum(value) <= 1.01
