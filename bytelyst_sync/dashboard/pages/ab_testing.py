"""A/B tests: the list, the performance of an experiment's variants, and start, stop and ship."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from bytelyst_sync.dashboard.components.parts import Badge, Column, Table
from bytelyst_sync.dashboard.components.text import plain, value
from bytelyst_sync.dashboard.http import Response, redirect
from bytelyst_sync.dashboard.interval_plot import Interval, interval_plot
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.errors import ConfigError, InvalidDataError
from bytelyst_sync.experiments import Experiments
from bytelyst_sync.experiments.definitions import Definition
from bytelyst_sync.experiments.events import day_of
from bytelyst_sync.experiments.ledger import joined
from bytelyst_sync.experiments.results import Comparison, Results, SegmentRow, ended_note
from bytelyst_sync.experiments.retention import is_closed
from bytelyst_sync.experiments.store_ledger import StoreReader
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["change", "show", "variants"]

logger = SafeLogger("bytelyst_sync.dashboard")
_ENTITY = "experiments"
_TONES: dict[str, Any] = {"running": "good", "draft": "neutral", "stopped": "warn"}
_LIST = (
    Column("Experiment"),
    Column("State"),
    Column("Units", number=True),
    Column("Of the plan", number=True, wide=True),
    Column("Verdicts"),
)
_COMPARISONS = (
    Column("Metric"),
    Column("Variant"),
    Column("Control", number=True, wide=True),
    Column("Treatment", number=True, wide=True),
    Column("Difference", number=True),
    Column("Interval", number=True),
    Column("p", number=True, wide=True),
)
_PARTS = (
    Column("Part"),
    Column("Metric"),
    Column("Variant"),
    Column("Units", number=True),
    Column("Difference", number=True),
    Column("Interval", number=True),
)


def _opened(context: Context) -> Experiments | None:
    """``None`` where the engine has no entities of experiments."""
    try:
        return Experiments(context.source.engine)
    except ConfigError:
        return None


# --- the list


def show(context: Context) -> Response:
    """The experiments that are known here."""
    ab = _opened(context)
    found = {} if ab is None else ab.definitions()
    problems = {} if ab is None else ab.problems()
    rows = [] if ab is None else [_row(context, ab, found[key]) for key in sorted(found)]
    return context.page(
        "ab_testing.html",
        "A/B tests",
        live=True,
        configured=ab is not None,
        problems=[(key, problems[key]) for key in sorted(problems)],
        number=len(rows),
        table=Table("A/B tests", _LIST, rows, row_heading=0),
    )


def _row(context: Context, ab: Experiments, definition: Definition) -> tuple[str, list[object]]:
    results = ab.results(definition.key)
    link = Markup('<a href="{}">{}</a>').format(
        context.request.url(f"ab-testing/{definition.key}"), value(definition.key)
    )
    planned = _planned(ab, definition)
    progress = "" if planned is None else f"{min(1.0, results.units / planned):.0%}"
    return (
        f"experiment-{definition.key}",
        [link, _state(results), f"{results.units:,}", progress, _verdicts(definition, results)],
    )


def _planned(ab: Experiments, definition: Definition) -> int | None:
    """The planned number of units; ``None`` if the definition is not sufficient for a plan."""
    try:
        return ab.plan(definition.key).total
    except InvalidDataError:
        return None


def _state(results: Results) -> Markup:
    return Badge(results.status, _TONES.get(results.status, "neutral"))


def _verdicts(definition: Definition, results: Results) -> Markup:
    badges = [
        Badge(
            f"{definition.variant_name(each.variation)}: {each.verdict}"
            + (" (invalid)" if each.invalid else ""),
            "bad" if each.invalid else "good" if each.verdict == "winner" else "info",
        )
        for each in results.verdicts
    ]
    return Markup(" ").join(badges)


# --- one experiment


def variants(context: Context) -> Response:
    """The performance of an experiment's variants."""
    ab, key = _opened(context), context.params["key"]
    definition = None if ab is None else ab.definitions().get(key)
    if ab is None or definition is None:
        return context.page(
            "not_found.html",
            "Not found",
            status=404,
            message=f"No experiment {key} is known here.",
            back_url=context.request.url("ab-testing"),
        )
    phases = ab.results(key).phases
    asked = context.query.get("phase")
    results = ab.results(key, asked if asked in phases else None)
    elsewhere = _record_id(context, definition) is None
    return context.page(
        "experiment.html",
        definition.name or key,
        live=True,
        current="ab-testing",
        definition=definition,
        results=results,
        state=_state(results),
        ended=ended_note(results),
        phases=[(each, context.request.here(phase=each)) for each in results.phases],
        units=_units(results),
        comparisons=Table(
            "Differences from the control",
            _COMPARISONS,
            [_comparison(definition, each) for each in results.comparisons],
            row_heading=0,
        ),
        plots=_plots(definition, results),
        days=_parts("Differences up to each day", definition, results.days),
        segments=_parts("Differences by segment", definition, results.segments),
        verdicts=_verdicts(definition, results),
        names=[definition.variant_name(index) for index in range(len(definition.shares))],
        seen=_seen(definition),
        writable=context.may("operate") and not elsewhere,
        elsewhere=elsewhere,
    )


def _units(results: Results) -> Markup:
    columns = [
        Column("Variant"),
        Column("Share", number=True),
        Column("Units", number=True),
        Column("Maturing", number=True),
        Column("Silent", number=True, wide=True),
    ]
    rows = [
        (
            f"variant-{each.index}",
            [plain(each.name), each.share_text, f"{each.units:,}", f"{each.maturing:,}",
             f"{each.silent:.1%}"],
        )
        for each in results.variants
    ]  # fmt: skip
    return Table("Units by variant", columns, rows, row_heading=0)


def _comparison(definition: Definition, each: Comparison) -> tuple[str, list[object]]:
    name = f"{each.metric} (guardrail)" if each.guardrail else each.metric
    cells: list[object] = [plain(name), plain(definition.variant_name(each.variation))]
    if each.difference is None or each.low is None or each.high is None:
        cells += ["", "", "", each.waiting or "", ""]
    else:
        cells += [f"{each.control:.4g}", f"{each.treatment:.4g}", f"{each.difference:+.4g}"]
        cells += [f"{each.low:+.4g} to {each.high:+.4g}", "" if each.guardrail else f"{each.p:.2g}"]
    return f"row-{each.metric}-{each.variation}", cells


def _plots(definition: Definition, results: Results) -> list[tuple[str, Markup]]:
    """A plot for each metric: the scales differ."""
    found = []
    for metric in definition.metrics:
        rows = [
            Interval(definition.variant_name(each.variation), each.difference, each.low, each.high)
            for each in results.comparisons
            if each.metric == metric.key
            and each.difference is not None
            and each.low is not None
            and each.high is not None
        ]
        found.append((metric.key, interval_plot(f"Difference in {metric.key}", rows)))
    return found


def _parts(caption: str, definition: Definition, rows: Sequence[SegmentRow]) -> Markup | None:
    if not rows:
        return None
    shown = []
    for number, each in enumerate(rows):
        interval = ""
        if each.low is not None and each.high is not None:
            interval = f"{each.low:+.4g} to {each.high:+.4g}"
        difference = "" if each.difference is None else f"{each.difference:+.4g}"
        variant = plain(definition.variant_name(each.variation))
        cells = [plain(each.name), plain(each.metric), variant, f"{each.units:,}"]
        cells += [difference, interval]
        shown.append((f"{caption}-{number}".replace(" ", "-"), cells))
    return Table(caption, _PARTS, shown, row_heading=0)


# --- start, stop, ship


def change(context: Context) -> Response:
    """Starts, stops or ships: updates the definition, on condition of its version."""
    ab, key = _opened(context), context.params["key"]
    definition = None if ab is None else ab.definitions().get(key)
    if definition is None:
        raise InvalidDataError(
            f"no experiment {key!r} is known here: pull its definition", path="$.key"
        )
    if context.form.get("seen") != _seen(definition):
        return redirect(context.request.url(f"ab-testing/{key}", done="not-changed"))
    action = context.form.get("action")
    fields: dict[str, Any]
    if action == "ship":
        index = context.form.number("variation")
        if index is None or index >= len(definition.shares):
            raise InvalidDataError("choose the variation to ship", path="$.variation")
        fields = {"force": index, "coverage": 1, "status": "running"}
    elif action in ("start", "stop"):
        fields = {"status": "running" if action == "start" else "stopped"}
        if action == "start" and _is_closed(context, definition):
            # the units of this phase were deleted, so new units need a new phase
            fields["phase"] = day_of(context.source.core.clock.wall())
    else:
        raise InvalidDataError(
            f"action is {action!r}; allowed: 'start', 'stop', 'ship'", path="$.action"
        )
    record_id = _record_id(context, definition)
    if record_id is None:
        raise InvalidDataError(
            f"the definition of {key!r} is part of another record: change it at its source",
            path="$.key",
        )
    context.source.engine.update(_ENTITY, record_id, fields)
    logger.info("%s: %s of experiment %s", context.actor.name, action, key)
    return redirect(context.request.url(f"ab-testing/{key}", done="experiment"))


def _is_closed(context: Context, definition: Definition) -> bool:
    scope = joined(definition.key, definition.phase)
    return context.source.read(lambda tx: is_closed(StoreReader(tx), scope))


def _record_id(context: Context, definition: Definition) -> str | None:
    """The record that can be updated; ``None`` if the definition is a part of another record, such
    as GrowthBook's payload.
    """
    record_id = str(definition.source.get("id") or definition.key)
    found = context.source.engine.get(_ENTITY, record_id)
    own = found is not None and str(found.get("key") or record_id) == definition.key
    return record_id if own else None


def _seen(definition: Definition) -> str:
    """A hash of what the page shows, so that a form applies only to what was seen."""
    return f"{definition.phase} {definition.status} {definition.experiment.force}"
