"""The verbs for experiments: list, show, plan, export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import CliContext
from bytelyst_sync.cli.session import local_engine
from bytelyst_sync.cli.show import Screen
from bytelyst_sync.cli.store_verbs import note_missing
from bytelyst_sync.experiments import Experiments
from bytelyst_sync.experiments.results import Comparison, Results, ended_note
from bytelyst_sync.inspection.settings import Settings

__all__: list[str] = []

Function = Callable[..., Any]


@root.group("experiments")
def experiments() -> None:
    """Look at A/B tests: what runs, what it shows, how long it takes."""


def _definitions(function: Function) -> Function:
    return click.option(
        "--definitions", metavar="FILE", help="A JSON file, in place of the pulled definitions."
    )(function)


@contextmanager
def _opened(settings: Settings, definitions: str | None) -> Iterator[Experiments]:
    with local_engine(settings) as engine:
        yield Experiments(engine, definitions)


# --- list


@verb(experiments, name="list")
@_definitions
def _list(context: CliContext, definitions: str | None) -> int:
    """List the experiments that are known here, with their state."""
    settings, screen = context.settings(), context.screen
    note_missing(screen, settings)
    with _opened(settings, definitions) as ab:
        results = [ab.results(key) for key in sorted(ab.definitions())]
        problems = ab.problems()
    if screen.json:
        for each in results:
            screen.record(_summary(each))
    elif screen.rich and not results:
        screen.say("no experiment is known here; `bytelyst-sync pull experiments` fetches them")
    else:
        columns = ["experiment", "status", "phase", "units", "maturing", "verdicts"]
        screen.rows(columns, ([*_summary(each).values()] for each in results))
    for key, reason in problems.items():
        screen.warn(f"{key}: {reason}")
    return ExitCode.OK


def _summary(results: Results) -> dict[str, Any]:
    return {
        "experiment": results.key,
        "status": results.status,
        "phase": results.phase,
        "units": results.units,
        "maturing": sum(each.maturing for each in results.variants),
        "verdicts": "; ".join(
            f"{each.metric}: {each.verdict}{' (invalid)' if each.invalid else ''}"
            for each in results.verdicts
        ),
    }


# --- show


@verb(experiments, name="show")
@click.argument("key")
@click.option("--phase", help="An earlier phase; the last line of the output names them.")
@_definitions
def _show(context: CliContext, key: str, phase: str | None, definitions: str | None) -> int:
    """Show an experiment's results: variants, intervals, verdicts and what to do next."""
    settings, screen = context.settings(), context.screen
    with _opened(settings, definitions) as ab:
        results = ab.results(key, phase)
    if screen.json:
        screen.document(results.as_json())
        return ExitCode.OK
    screen.say(f"{results.key}, phase {results.phase}, {results.status}")
    note = ended_note(results)
    if note is not None:
        screen.say(note)
    screen.rows(
        ["variant", "share", "units", "maturing"],
        ([v.name, v.share_text, v.units, v.maturing] for v in results.variants),
    )
    if results.comparisons:
        names = {each.index: each.name for each in results.variants}
        columns = ["metric", "variant", "control", "treatment", "difference", "interval", "p"]
        screen.rows(columns, (_row(each, names) for each in results.comparisons))
    for each in results.verdicts:
        invalid = f" (invalid: {', '.join(each.invalid)})" if each.invalid else ""
        screen.say(f"verdict on {each.metric}: {each.verdict}, reached {each.at}{invalid}")
    for advice in results.suggestions:
        screen.say(f"{advice.text} {advice.next_step}")
    if len(results.phases) > 1:
        screen.say(f"phases: {', '.join(results.phases)}")
    return ExitCode.OK


def _row(each: Comparison, names: dict[int, str]) -> list[Any]:
    name = f"{each.metric} (guardrail)" if each.guardrail else each.metric
    if each.difference is None or each.low is None or each.high is None:
        return [name, names[each.variation], None, None, None, each.waiting, None]
    return [
        name,
        names[each.variation],
        f"{each.control:.4g}",
        f"{each.treatment:.4g}",
        f"{each.difference:+.4g}",
        f"{each.low:+.4g} to {each.high:+.4g}",
        None if each.guardrail else f"{each.p:.2g}",
    ]


# --- plan


@verb(experiments, name="plan")
@click.argument("key")
@click.option("--baseline", type=float, help="The metric's value today: 20 % is 0.2.")
@click.option("--mde", type=float, help="The smallest difference that matters: 5 points are 0.05.")
@click.option("--metric", help="Which goal (default: the first).")
@click.option("--deviation", type=float, help="Of a mean: its standard deviation between units.")
@click.option("--power", type=click.FloatRange(0.5, 0.999), default=0.8, show_default=True)
@_definitions
def _plan(context: CliContext, key: str, definitions: str | None, **arguments: Any) -> int:
    """Say how many units an experiment needs. What is not given is in the definition."""
    settings, screen = context.settings(), context.screen
    with _opened(settings, definitions) as ab:
        plan = ab.plan(key, **arguments)
    if screen.json:
        screen.document(attrs.asdict(plan))
        return ExitCode.OK
    _say_plan(screen, attrs.asdict(plan))
    return ExitCode.OK


def _say_plan(screen: Screen, plan: dict[str, Any]) -> None:
    screen.say(
        f"{plan['metric']}: to see {plan['mde']:g} beside {plan['baseline']:g} with"
        f" {plan['power']:.0%} probability (alpha {plan['alpha']:g}):"
    )
    screen.say(f"  {plan['per_variant']:,} units for each variant, {plan['total']:,} in all")
    screen.say(f"  looked at once, at the end, it would be {plan['fixed_per_variant']:,}")
    if plan["days"] is not None:
        screen.say(f"  {plan['days']:,} days, with the window of the last units")


# --- export


@verb(experiments, name="export")
@click.argument("key")
@_definitions
def _export(context: CliContext, key: str, definitions: str | None) -> int:
    """Write the sums over units as JSON lines: one for each phase, day, variation, segment and
    metric. Sums of devices add up where the definition says unit: "device".
    """
    settings, screen = context.settings(), context.screen
    with _opened(settings, definitions) as ab:
        for row in ab.sums(key):
            screen.record(row)
    return ExitCode.OK
