"""Finds the definition of a key and assigns a unit by it; gives a reason if there is no variation.

Nothing is recorded here. An ``Assigner`` may be used from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.experiments.assignment import Result, by_hash, run
from bytelyst_sync.experiments.catalog import Catalog
from bytelyst_sync.experiments.definitions import Definition
from bytelyst_sync.experiments.features import evaluate
from bytelyst_sync.experiments.format import Context
from bytelyst_sync.experiments.store_ledger import StoreReader
from bytelyst_sync.runtime import Runtime

__all__ = ["Assigned", "Assigner", "Assignment"]

Json = Any


class Assignment(NamedTuple):
    """The variation of a unit, or the default.

    ``value`` of the variation, or the default. ``index`` of the variation; -1 if the experiment is
    not known. ``reason`` says why the unit is in the experiment, or why not.
    """

    value: Json
    index: int  # type: ignore[assignment]  # a field, in place of the method of tuples
    in_experiment: bool
    reason: str


Assigned = tuple[Assignment, Definition | None, Result | None]
"""An assignment, with the definition and the result that it was made from."""


class Assigner:
    """``device`` returns this store's id, ``running`` the engine's runtime."""

    def __init__(
        self, catalog: Catalog, device: Callable[[], str], running: Callable[[], Runtime]
    ) -> None:
        self._catalog = catalog
        self._device = device
        self._running = running

    def assign(
        self,
        key: str,
        unit: str | None,
        attributes: Mapping[str, Json] | None,
        default: Json,
    ) -> Assigned:
        """Assigns a unit."""
        contents = self._catalog.contents()
        definition = contents.definitions.get(key) or self._catalog.find(key)
        if definition is None:
            return Assignment(default, -1, False, self.unknown(key)), None, None
        experiment = definition.experiment
        name = experiment.hash_attribute
        if unit is None:
            unit = self._unit_of(definition, attributes)
        elif not isinstance(unit, str):
            unit = str(unit)
        if definition.plain and unit:
            result = by_hash(experiment, name, unit)
        else:
            context = Context(
                {**attributes, name: unit} if attributes else {name: unit},
                contents.features,
                contents.groups,
            )
            if experiment.remembers:
                context.sticky = self._documents(definition, context)
            result = run(experiment, context, _parent if experiment.parents else None)
        if result.in_experiment:
            value = experiment.variations[result.variation]
            shown = tuple.__new__(Assignment, (value, result.variation, True, result.reason))
            return shown, definition, result
        value = experiment.variations[0] if default is None else default
        return Assignment(value, 0, False, result.reason), definition, result

    def unknown(self, key: str) -> str:
        """Why there is no experiment with this key."""
        return self._catalog.missing(key)

    def _unit_of(self, definition: Definition, attributes: Mapping[str, Json] | None) -> str:
        if definition.unit == "device":
            return self._device()
        experiment = definition.experiment
        known = attributes or {}
        named = known.get(experiment.hash_attribute)
        if named in (None, "") and experiment.fallback_attribute:
            return "" if known.get(experiment.fallback_attribute) else str(named or "")
        if named in (None, ""):
            raise InvalidDataError(
                f"experiment {definition.key!r} needs a unit: give unit=, the id of the user, or"
                ' define it with unit: "device"',
                entity="experiments",
                record_id=definition.key,
            )
        return str(named)

    def _documents(self, definition: Definition, context: Context) -> dict[str, dict[str, Json]]:
        """The sticky buckets of this unit."""
        experiment = definition.experiment
        attributes = {experiment.hash_attribute, experiment.fallback_attribute or "id"}
        names = [f"{each}||{context.hash_value(each)}" for each in sorted(attributes)]

        def read(tx: Any) -> dict[str, dict[str, Json]]:
            ledger = StoreReader(tx)
            found = {name: ledger.get("sticky", name, "") for name in names}
            return {name: each for name, each in found.items() if each is not None}

        return self._running().storage.read(read)


def _parent(key: str, context: Context) -> tuple[Json, str]:
    found = evaluate(key, context)
    return found.value, found.source
