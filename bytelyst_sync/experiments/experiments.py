"""``Experiments``: assigns, records exposures and conversions, and shows results.

Who owns what: an ``Experiments`` may be used from any thread and, with an engine of its own, from
any process. ``_exposed`` is a cache of committed exposures: adding to it and clearing it are single
steps. All other state is in the store. Each call writes in one transaction, in which the queued
event and the sums change together.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from bytelyst_sync.config.settings import EntityConfig
from bytelyst_sync.engine import SyncEngine, core_of
from bytelyst_sync.errors import ConfigError, InvalidDataError
from bytelyst_sync.experiments.assigner import Assigner, Assignment
from bytelyst_sync.experiments.assignment import Result
from bytelyst_sync.experiments.catalog import Catalog, definitions_in
from bytelyst_sync.experiments.definitions import Definition, Metric
from bytelyst_sync.experiments.entries import Entries
from bytelyst_sync.experiments.evaluation import evaluate_phase, phases_of
from bytelyst_sync.experiments.events import (
    CONVERSION,
    EXPOSURE,
    conversion_id,
    exposure_id,
    is_number,
)
from bytelyst_sync.experiments.ledger import joined
from bytelyst_sync.experiments.observations import sum_rows
from bytelyst_sync.experiments.planning import Plan, make_plan
from bytelyst_sync.experiments.receiver import checked_record
from bytelyst_sync.experiments.recorder import Recorder
from bytelyst_sync.experiments.results import PHASE_ENDED, Results
from bytelyst_sync.experiments.retention import closed_since, is_due, prune
from bytelyst_sync.experiments.sticky import remember
from bytelyst_sync.experiments.store_ledger import StoreLedger, StoreReader
from bytelyst_sync.experiments.suggestions import BEGIN_ANEW
from bytelyst_sync.queue.transactions import open_transaction
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader

__all__ = ["Assignment", "Experiments", "experiment_entities"]

Json = Any
logger = SafeLogger("bytelyst_sync.experiments")
DEFINITIONS, EVENTS = "experiments", "experiment_events"
_MOST_REMEMBERED = 100_000
_DAY_S = 86_400


def experiment_entities(
    definitions: str = "/experiments", events: str = "/experiment-events"
) -> dict[str, EntityConfig]:
    """The entities that experiments need, for ``entities={..., **experiment_entities()}``: the
    definitions, which are pulled, and the events, which are pushed. The arguments are endpoints.
    """
    return {
        DEFINITIONS: EntityConfig(definitions),
        EVENTS: EntityConfig(events, dedup="none", replica=False),
    }


def _prune_if_due(
    ledger: StoreLedger, definitions: Mapping[str, Definition], record_id: str, now: float
) -> None:
    if is_due(record_id):
        prune(ledger, definitions, now)


def _remember(ledger: StoreLedger, definition: Definition, result: Result) -> None:
    """Keeps the variation of a unit for experiments with sticky buckets."""
    name = f"{result.attribute}||{result.value}"
    documents = {name: ledger.get("sticky", name, "") or {}}
    remember(definition.experiment, documents, result.attribute, result.value, result.variation)
    ledger.put("sticky", name, "", documents[name])


class Experiments:
    """A/B tests on an engine's queue and store.

    ``definitions``: ``None`` for the engine's entity ``experiments``, else the path of a JSON file
    or a list. The engine needs the entities of ``experiment_entities()``. Raises ``ConfigError`` if
    one of them is missing, or a definition in a file or list is wrong.
    """

    def __init__(
        self,
        engine: SyncEngine,
        definitions: str | Iterable[Mapping[str, Json]] | None = None,
    ) -> None:
        needed = (EVENTS,) if definitions is not None else (DEFINITIONS, EVENTS)
        for name in needed:
            if name not in engine.config.entities:
                raise ConfigError(
                    f"experiments need the entity {name!r}: create the engine with"
                    " entities={..., **experiment_entities()}"
                )
        self._engine = engine
        self._core = core_of(engine)
        if definitions is None:
            self._catalog = Catalog(
                lambda: engine.records(DEFINITIONS), self._core.clock.monotonic, fixed=False
            )
        else:
            given = definitions_in(definitions)
            self._catalog = Catalog(lambda: given, self._core.clock.monotonic, fixed=True)
        self._assigner = Assigner(self._catalog, lambda: self.device, self._core.running)
        self._exposed: set[tuple[str, str, str]] = set()
        self._recorder = Recorder(EVENTS)
        self._device: str | None = None
        self._reported_day = -1
        self._ended: set[str] = set()
        """Ended phases that were logged already."""

    # --- assignment

    def assign(
        self,
        key: str,
        unit: str | None = None,
        attributes: Mapping[str, Json] | None = None,
        default: Json = None,
    ) -> Assignment:
        """Assigns a unit, and records nothing. Never sends a request.

        ``attributes`` are for targeting. ``unit`` may be omitted if the definition has
        ``unit: "device"``. ``default`` is the value for a unit that is not in the experiment, in
        place of the first variation, and for every unit while the definition is not known here.
        """
        return self._assigner.assign(key, unit, attributes, default)[0]

    def variant(
        self,
        key: str,
        unit: str | None = None,
        attributes: Mapping[str, Json] | None = None,
        default: Json = None,
    ) -> Assignment:
        """Assigns a unit as ``assign`` does, and records its exposure. The exposure is durable when
        this returns, and recorded once for each phase, whichever process or thread calls.

        Raises ``QueueFullError`` and ``StorageError`` as ``push`` does.
        """
        found, definition, result = self._assigner.assign(key, unit, attributes, default)
        if definition is None or result is None or not (result.in_experiment and result.hashed):
            return found
        exposed = (definition.key, definition.phase, result.value)
        if exposed not in self._exposed:
            self._expose(definition, result, attributes or {})
            if open_transaction(self._core) is None:
                if len(self._exposed) >= _MOST_REMEMBERED:
                    self._exposed.clear()
                self._exposed.add(exposed)
        return found

    # --- events

    def track(
        self, event: str, unit: str | None = None, value: float = 1.0, event_id: str | None = None
    ) -> bool:
        """Records a conversion, durable when this returns; false if it was recorded before.

        ``value`` is what means and ratios add up. ``event_id`` is the caller's own id of the event,
        such as an order's number: an event counts once, whoever tracks it. Without it, each call
        counts. Without ``unit`` the event is of this device.
        """
        if not isinstance(event, str) or not event:
            raise InvalidDataError(f"event is {event!r}; give its name, a text", path="event")
        if not is_number(value):
            raise InvalidDataError(
                f"value of {event!r} is {value!r:.40}; give a number from -1e100 to 1e100",
                path="value",
            )
        given = uuid.uuid4().hex if event_id is None else str(event_id)
        definitions = self._catalog.contents().definitions

        def rule(work: UnitOfWork, run_: Runtime) -> list[bool]:
            with StoreLedger(work.tx) as ledger:
                known = conversion_id(event, given)
                if ledger.get("event", known, "") is not None:
                    return [False]
                device = self._recorder.device(ledger)
                record = {
                    "id": known,
                    "type": CONVERSION,
                    "event": event,
                    "event_id": given,
                    "unit": device if unit is None else str(unit),
                    "value": value,
                }
                self._recorder.push(work, run_, ledger, record)
                Entries(ledger, definitions).enter(checked_record(record, work.now))
                _prune_if_due(ledger, definitions, known, work.now)
                return [True]

        self._report_daily()
        return self._core.write(rule)[0]

    def _expose(
        self, definition: Definition, result: Result, attributes: Mapping[str, Json]
    ) -> None:
        definitions = self._catalog.contents().definitions
        if definitions.get(definition.key) is not definition:  # read anew since it was assigned
            definitions = {**definitions, definition.key: definition}
        scope = joined(definition.key, definition.phase)
        record = {
            "id": exposure_id(definition.key, definition.phase, result.value),
            "type": EXPOSURE,
            "experiment": definition.key,
            "phase": definition.phase,
            "unit": result.value,
            "variation": result.variation,
        }
        segment = {
            name: str(attributes[name])
            for name in definition.segments
            if attributes.get(name) is not None
        }
        if segment:
            record["segment"] = segment

        def rule(work: UnitOfWork, run_: Runtime) -> str | None:
            """Returns the day on which the phase was closed, if it was."""
            with StoreLedger(work.tx) as ledger:
                closed = closed_since(ledger, scope)
                if closed is not None:
                    return closed
                known = ledger.get(EXPOSURE, scope, result.value)
                if known is not None and (
                    known.get("excluded") or known["variation"] == result.variation
                ):
                    return None
                sent = dict(record)
                self._recorder.push(work, run_, ledger, sent)
                Entries(ledger, definitions).enter(checked_record(sent, work.now))
                if definition.experiment.remembers:
                    _remember(ledger, definition, result)
                _prune_if_due(ledger, definitions, str(sent["id"]), work.now)
                return None

        self._report_daily()
        closed = self._core.write(rule)
        if closed is not None and scope not in self._ended:
            self._ended.add(scope)
            text = PHASE_ENDED.format(phase=definition.phase, day=closed)
            logger.warning("experiment %s: %s %s", definition.key, text, BEGIN_ANEW)

    @property
    def device(self) -> str:
        """The id of this store. It is made at first use; a new installation gets another one."""
        if self._device is None:

            def rule(work: UnitOfWork, _: Runtime) -> str:
                with StoreLedger(work.tx) as ledger:
                    return self._recorder.device(ledger)

            self._device = self._core.write(rule)
        return self._device

    def report(self) -> None:
        """Queues a report of how many events this device has recorded until now. It tells the
        receiving side up to when it has all of them. ``variant`` and ``track`` do so once a day.
        """

        def rule(work: UnitOfWork, run_: Runtime) -> None:
            with StoreLedger(work.tx) as ledger:
                self._recorder.report(work, run_, ledger)

        self._core.write(rule)

    def _report_daily(self) -> None:
        today = int(self._core.clock.wall() // _DAY_S)
        if today == self._reported_day:
            return
        definitions = self._catalog.contents().definitions

        def rule(work: UnitOfWork, run_: Runtime) -> None:
            with StoreLedger(work.tx) as ledger:
                if self._recorder.last_report(ledger) != today:
                    self._recorder.report(work, run_, ledger)
                    prune(ledger, definitions, work.now)

        self._core.write(rule)
        if open_transaction(self._core) is None:
            self._reported_day = today

    # --- results

    def results(self, key: str, phase: str | None = None) -> Results:
        """Results of an experiment, with verdicts and suggestions. May be called at any time; each
        verdict is stored when it is reached.

        The results are of this store's units. If the definition has ``unit: "device"``, these are
        all units. Otherwise there is no verdict here, but on the receiving side (``Receiver``).
        ``phase``: by default the definition's. Raises ``InvalidDataError`` for an unknown key.
        """
        definition = self._known(key)

        def rule(work: UnitOfWork, _: Runtime) -> Results:
            chosen = phase or definition.phase
            with StoreLedger(work.tx) as ledger:
                return evaluate_phase(ledger, definition, chosen, work.now, whole=False)

        return self._core.write(rule)

    def plan(
        self,
        key: str,
        baseline: float | None = None,
        mde: float | None = None,
        *,
        metric: str | None = None,
        power: float = 0.8,
        deviation: float | None = None,
    ) -> Plan:
        """How many units the experiment needs to see a difference of ``mde`` with this power.

        ``baseline`` is the metric's value today, ``mde`` the smallest difference that matters, both
        in the metric's own unit: from 20 % to 25 % is ``baseline=0.2, mde=0.05``. The definition
        gives what you omit. ``metric``: by default the first goal. A mean also needs
        ``deviation``, its standard deviation between units. Raises ``InvalidDataError``.
        """
        definition = self._known(key)
        goals = {each.key: each for each in definition.metrics}
        first = next(iter(goals.values()), Metric("goal", "goal"))
        if metric is not None and metric not in goals:
            raise InvalidDataError(
                f"experiment {key!r} has no metric {metric!r}; it has {', '.join(goals) or 'none'}"
            )
        chosen = first if metric is None else goals[metric]
        planned = attrs.evolve(
            chosen,
            baseline=chosen.baseline if baseline is None else baseline,
            mde=chosen.mde if mde is None else mde,
            deviation=chosen.deviation if deviation is None else deviation,
        )
        return make_plan(definition, planned, power)

    def sums(self, key: str) -> list[dict[str, Json]]:
        """The sums over units, of all phases: n, Σy, Σy², Σx, Σx² and Σxy (``Sums``), by
        phase, exposure day (UTC), variation, segment and metric; the metric ``""`` counts units.
        """
        self._known(key)

        def read(tx: Reader) -> list[dict[str, Json]]:
            ledger = StoreReader(tx)
            return [
                {"experiment": key, "phase": phase, **row}
                for phase in phases_of(ledger, key)
                for row in sum_rows(ledger, joined(key, phase))
            ]

        return self._core.running().storage.read(read)

    def _known(self, key: str) -> Definition:
        definition = self._catalog.find(key)
        if definition is None:
            raise InvalidDataError(self._assigner.unknown(key), entity=DEFINITIONS, record_id=key)
        return definition

    # --- definitions

    def definitions(self) -> dict[str, Definition]:
        """The known experiments by key."""
        return dict(self._catalog.contents(fresh=True).definitions)

    def problems(self) -> dict[str, str]:
        """Definitions that cannot be used, by key, with the reason."""
        return dict(self._catalog.contents(fresh=True).problems)
