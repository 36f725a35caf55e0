"""Suggestions, as a table of rules. Each rule has a code, a text with numbers, and a next step.

The rules are ordered: first those about invalid results, then those about their meaning.
A rule's function takes the definition and the results, and yields the numbers of each suggestion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bytelyst_sync.experiments.definitions import Definition
from bytelyst_sync.experiments.results import (
    LOSER,
    NO_EFFECT,
    PHASE_ENDED,
    WINNER,
    Results,
    Suggestion,
)

__all__ = ["BEGIN_ANEW", "RULES", "suggest"]

Numbers = dict[str, Any]
BEGIN_ANEW = "Begin a new phase: give the definition another value in its field phase."
Rule = tuple[str, Callable[[Definition, Results], Iterator[Numbers]], str, str]


def _mismatch(_: Definition, results: Results) -> Iterator[Numbers]:
    if "mismatch" in results.blocked:
        units = " : ".join(f"{each.units:,}" for each in results.variants)
        shares = " : ".join(each.share_text for each in results.variants)
        yield {"units": units, "shares": shares, "p": f"{results.mismatch:.2g}"}


def _incomplete(_: Definition, results: Results) -> Iterator[Numbers]:
    if "incomplete" in results.blocked:
        each = " : ".join(f"{variant.silent:.1%}" for variant in results.variants)
        yield {"silent": f"{results.silent:.1%}", "by_variant": each}


def _corrected(_: Definition, results: Results) -> Iterator[Numbers]:
    for verdict in results.verdicts:
        if "corrected" in verdict.invalid:
            yield {"metric": verdict.metric, "verdict": verdict.verdict, "day": verdict.day}


def _excluded(_: Definition, results: Results) -> Iterator[Numbers]:
    units = results.units + results.excluded
    if results.excluded and results.excluded / units > 0.01:
        yield {"excluded": f"{results.excluded:,}", "share": f"{results.excluded / units:.1%}"}


def _guardrail(definition: Definition, results: Results) -> Iterator[Numbers]:
    for each in results.comparisons:
        if each.harmed:
            yield _numbers(definition, results, each.metric, each.variation)


def _local(_: Definition, results: Results) -> Iterator[Numbers]:
    if any(each.startswith("this store only") for each in results.blocked):
        yield {"units": f"{results.units:,}"}


def _no_goal(_: Definition, results: Results) -> Iterator[Numbers]:
    if any(each.startswith("no goal") for each in results.blocked):
        yield {"units": f"{results.units:,}"}


def _allocation(_: Definition, results: Results) -> Iterator[Numbers]:
    if any(each.startswith("allocation") for each in results.blocked):
        yield {"phase": results.phase, "units": f"{results.units:,}"}


def _ended(_: Definition, results: Results) -> Iterator[Numbers]:
    if any(each.startswith("ended") for each in results.blocked):
        yield {"phase": results.phase, "day": results.closed or ""}


def _verdict(kind: str) -> Callable[[Definition, Results], Iterator[Numbers]]:
    def rule(definition: Definition, results: Results) -> Iterator[Numbers]:
        for each in results.verdicts:
            if each.verdict == kind and not each.invalid:
                yield {
                    "variant": definition.variant_name(each.variation),
                    "metric": each.metric,
                    "difference": f"{each.difference:+.4g}",
                    "low": f"{each.low:+.4g}",
                    "high": f"{each.high:+.4g}",
                    "p": f"{each.p:.2g}",
                    "level": f"{1 - results.alpha:.0%}",
                }

    return rule


def _underpowered(_: Definition, results: Results) -> Iterator[Numbers]:
    if results.power is not None and results.power < 0.8 and not results.verdicts:
        left = results.days_left
        yield {
            "power": f"{max(0.0, results.power):.0%}",
            "units": f"{results.units:,}",
            "days": "an unknown number of" if left is None else f"{left:,}",
        }


def _early(_: Definition, results: Results) -> Iterator[Numbers]:
    waiting = [each.waiting for each in results.comparisons if each.waiting]
    if waiting and not results.verdicts:
        maturing = sum(each.maturing for each in results.variants)
        yield {"waiting": waiting[0], "units": f"{results.units:,}", "maturing": f"{maturing:,}"}


def _numbers(definition: Definition, results: Results, metric: str, index: int) -> Numbers:
    for each in results.comparisons:
        if (each.metric, each.variation) == (metric, index) and each.difference is not None:
            return {
                "variant": definition.variant_name(index),
                "metric": metric,
                "difference": f"{each.difference:+.4g}",
                "low": f"{each.low:+.4g}",
                "high": f"{each.high:+.4g}",
            }
    return {"variant": definition.variant_name(index), "metric": metric}


RULES: tuple[Rule, ...] = (
    (
        "ended",
        _ended,
        PHASE_ENDED,
        BEGIN_ANEW,
    ),
    (
        "mismatch",
        _mismatch,
        "The variants have {units} units where {shares} was meant (p = {p}): mismatch.",
        "Do not use these results: find what loses units in a variant, and begin a new phase.",
    ),
    (
        "incomplete",
        _incomplete,
        "The devices of {silent} of the units are silent ({by_variant} by variant): incomplete.",
        "Wait until they have been online, or find out why one variant's devices are silent.",
    ),
    (
        "corrected",
        _corrected,
        "The data under the verdict '{verdict}' on {metric} were corrected after {day}.",
        "Do not rely on that verdict; begin a new phase to decide again.",
    ),
    (
        "excluded",
        _excluded,
        "{excluded} units ({share}) were seen in two variants and are excluded.",
        "Check that every device assigns by the same attribute and the same definition.",
    ),
    (
        "guardrail",
        _guardrail,
        "{variant} harms the guardrail {metric}: {difference} ({low} to {high}).",
        "Stop the experiment, or decide that the goal matters more.",
    ),
    (
        "local",
        _local,
        "These are the {units} units of this store only.",
        "Look at the results on the receiving side, which has the units of all devices.",
    ),
    (
        "allocation",
        _allocation,
        "The shares of phase {phase} are not known here, so its {units} units decide nothing.",
        "Look at the current phase, or at a store that had the definition of this one.",
    ),
    (
        "no-goal",
        _no_goal,
        "The definition names no goal, so {units} units decide nothing.",
        "Add goals to the definition and begin a new phase.",
    ),
    (
        "winner",
        _verdict(WINNER),
        "{variant} is the winner on {metric}: {difference} ({low} to {high}, p = {p}).",
        "Ship it.",
    ),
    (
        "loser",
        _verdict(LOSER),
        "{variant} is the loser on {metric}: {difference} ({low} to {high}, p = {p}).",
        "Keep the control.",
    ),
    (
        "no-effect",
        _verdict(NO_EFFECT),
        "{variant} has no effect that matters on {metric}: {low} to {high}.",
        "Keep the variation that costs less, and test a larger change.",
    ),
    (
        "too-early",
        _early,
        "Too early to look: {waiting}; {units} units count, {maturing} are still maturing.",
        "Let it run.",
    ),
    (
        "underpowered",
        _underpowered,
        "With {units} units the planned effect would be seen with {power} probability.",
        "Let it run for {days} more days.",
    ),
)


def suggest(definition: Definition, results: Results) -> list[Suggestion]:
    """The suggestions for these results, in the order of the rules."""
    return [
        Suggestion(code, text.format(**numbers), step.format(**numbers), numbers)
        for code, rule, text, step in RULES
        for numbers in rule(definition, results)
    ]
