"""An experiment and a context of GrowthBook's format.

Source: "Build Your Own SDK" of GrowthBook's documentation, sections "Experiment" and "Context".
An ``Experiment`` is read once, calculates what it can ahead, and is used for every unit.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

import attrs

from bytelyst_sync.experiments.buckets import Range, ranges_of
from bytelyst_sync.experiments.conditions import Condition, compile_condition, path_value
from bytelyst_sync.experiments.hashing import BASIS, fnv1a32, units_of
from bytelyst_sync.rules.json_text import dumps

__all__ = ["Context", "Experiment", "as_text"]

Json = Any
_EMPTY: Mapping[str, Any] = MappingProxyType({})


def as_text(value: Json) -> str:
    """A hash attribute's value as text; empty for ``None``, false and zero, which are no ids."""
    if isinstance(value, str):
        return value
    return dumps(value) if value else ""


@attrs.define(slots=True)
class Context:
    """The unit, and what else its assignment depends on.

    ``attributes`` of the unit. ``features`` and ``groups`` come from the server, ``forced`` are
    variations by experiment, ``sticky`` the documents of sticky buckets (``None``: not in use).
    """

    attributes: Mapping[str, Json] = _EMPTY
    features: Mapping[str, Json] = _EMPTY
    groups: Mapping[str, Json] = _EMPTY
    bandits: Mapping[str, Json] = _EMPTY
    forced: Mapping[str, int] = _EMPTY
    sticky: MutableMapping[str, dict[str, Json]] | None = None
    url: str = ""
    enabled: bool = True
    qa_mode: bool = False

    def hash_value(self, attribute: str) -> str:
        """The text by which a unit is hashed; empty if it has none."""
        attributes = self.attributes
        if attribute in attributes:
            value = attributes[attribute]
            return value if isinstance(value, str) else as_text(value)
        return as_text(path_value(attributes, attribute)) if "." in attribute else ""


@attrs.define(slots=True)
class Experiment:
    """One experiment, ready to assign."""

    key: str
    variations: list[Json]
    ranges: list[Range]
    seed: str
    hash_version: int = 1
    seed_state: int = 0
    """The hash of the seed, for version 2, which begins with the seed."""
    seed_units: bytes | memoryview = b""
    """The code units of the seed, for version 1, which ends with the seed."""
    hash_attribute: str = "id"
    fallback_attribute: str | None = None
    special: bool = False
    """Whether it may be decided before the unit is hashed: too few variations, or not active."""
    overruled: bool = False
    """Whether the hash does not decide alone: a variation is forced, or it is stopped."""
    targeting: bool = False
    """Whether it has filters, a namespace, a condition or parents."""
    filters: list[Mapping[str, Json]] | None = None
    namespace: list[Json] | None = None
    condition: Condition | None = None
    parents: list[Mapping[str, Json]] | None = None
    active: bool = True
    stopped: bool = False
    force: int | None = None
    meta: list[Mapping[str, Json]] = attrs.field(factory=list)
    sticky: bool = True
    bucket_version: int = 0
    min_bucket_version: int = 0
    bandit: Mapping[str, Json] | None = None
    """The context that a contextual bandit chose."""

    @property
    def plain(self) -> bool:
        """Whether a unit's hash alone decides."""
        return not (self.special or self.targeting or self.remembers)

    @property
    def remembers(self) -> bool:
        """Whether units keep their variations (sticky buckets): if the definition names bucket
        versions or a second attribute.
        """
        return self.sticky and bool(
            self.fallback_attribute or self.bucket_version or self.min_bucket_version
        )

    @property
    def sticky_name(self) -> str:
        """Its name in the documents of sticky buckets."""
        return f"{self.key}__{self.bucket_version}"

    def variation_key(self, variation: int) -> str:
        """The key by which a variation is remembered."""
        meta = self.meta[variation] if variation < len(self.meta) else {}
        return str(meta.get("key") or variation)

    @classmethod
    def of(cls, source: Mapping[str, Json]) -> Experiment:
        """Reads an experiment of the format; ignores unknown fields."""
        key = source["key"]
        variations = list(source["variations"])
        ranges = source.get("ranges")
        seed = source.get("seed") or key
        coverage = source.get("coverage")
        targets = [source.get(name) for name in _TARGETING]
        filters, namespace, condition, parents = targets
        version = source.get("hashVersion") or 1
        active = source.get("active", True) is not False and source.get("status") != "draft"
        return cls(
            key=key,
            variations=variations,
            ranges=[(each[0], each[1]) for each in ranges]
            if ranges
            else ranges_of(
                len(variations), 1 if coverage is None else coverage, source.get("weights")
            ),
            seed=seed,
            hash_version=version,
            seed_state=fnv1a32(seed) if version == 2 else BASIS,
            seed_units=units_of(seed),
            hash_attribute=source.get("hashAttribute") or "id",
            fallback_attribute=source.get("fallbackAttribute"),
            special=not active or len(variations) < 2,
            overruled=source.get("force") is not None or source.get("status") == "stopped",
            targeting=any(targets),
            filters=filters,
            namespace=namespace,
            condition=compile_condition(condition) if condition else None,
            parents=parents,
            active=active,
            stopped=source.get("status") == "stopped",
            force=source.get("force"),
            meta=list(source.get("meta") or ()),
            sticky=not source.get("disableStickyBucketing"),
            bucket_version=source.get("bucketVersion") or 0,
            min_bucket_version=source.get("minBucketVersion") or 0,
        )


_TARGETING = ("filters", "namespace", "condition", "parentConditions")
