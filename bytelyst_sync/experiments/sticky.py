"""Sticky buckets: a unit keeps its variation when the definition changes.

Source: "Build Your Own SDK" of GrowthBook's documentation, section "Sticky Bucketing". A document
holds the assignments of one attribute's value, by ``<experiment>__<bucket version>``.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, NamedTuple

from bytelyst_sync.experiments.format import Context, Experiment

__all__ = ["StickyChoice", "assigned_before", "remember"]

Documents = MutableMapping[str, dict[str, Any]]


class StickyChoice(NamedTuple):
    """The variation of a unit in the documents (-1: none), or that the unit is excluded."""

    variation: int = -1
    blocked: bool = False


def assigned_before(experiment: Experiment, context: Context) -> StickyChoice:
    """The variation that this unit was given earlier."""
    assignments = _assignments(experiment, context)
    for version in range(experiment.min_bucket_version):
        if f"{experiment.key}__{version}" in assignments:
            return StickyChoice(blocked=True)
    name = assignments.get(experiment.sticky_name)
    if name is None:
        return StickyChoice()
    keys = [each.get("key") for each in experiment.meta]
    return StickyChoice(keys.index(name) if name in keys else -1)


def _assignments(experiment: Experiment, context: Context) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in (experiment.fallback_attribute, experiment.hash_attribute):
        if attribute:
            document = (context.sticky or {}).get(_name(attribute, context.hash_value(attribute)))
            found.update(document.get("assignments", {}) if document else {})
    return found


def remember(
    experiment: Experiment, documents: Documents, attribute: str, value: str, variation: int
) -> str:
    """Writes an assignment into the documents; returns the name of the one that changed."""
    name = _name(attribute, value)
    document = documents.get(name)
    assignments = {
        **(document.get("assignments", {}) if document else {}),
        experiment.sticky_name: experiment.variation_key(variation),
    }
    documents[name] = {
        "attributeName": attribute,
        "attributeValue": value,
        "assignments": assignments,
    }
    return name


def _name(attribute: str, value: str) -> str:
    return f"{attribute}||{value}"
