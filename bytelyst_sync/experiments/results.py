"""The values in results, for pages, commands and programs."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = [
    "PHASE_ENDED",
    "Comparison",
    "Results",
    "SegmentRow",
    "Suggestion",
    "Variant",
    "Verdict",
    "ended_note",
]

Json = Any
WINNER, LOSER, NO_EFFECT = "winner", "loser", "no effect"
PHASE_ENDED = (
    "Phase {phase} ended; its units were deleted on {day}. Nothing more is recorded in it."
)


@attrs.frozen
class Variant:
    """One variation: ``units`` that count, those still ``maturing``, and the share of its matured
    units whose device is ``silent``.
    """

    index: int
    name: str
    share: float | None
    """Of the units in the experiment; ``None`` if the shares of the phase are not known here."""
    units: int
    maturing: int
    silent: float = 0.0

    @property
    def share_text(self) -> str:
        """The share for people; empty if it is not known."""
        return "" if self.share is None else f"{self.share:.0%}"


@attrs.frozen
class Verdict:
    """A decision. It is stored when it is reached, and later data never withdraw it.

    ``verdict``: ``winner``, ``loser`` or ``no effect`` of this variation against the control.
    ``day``: the last exposure day that it includes. ``invalid``: why it must not be relied on.
    """

    metric: str
    variation: int
    verdict: str
    at: str
    day: str
    difference: float
    low: float
    high: float
    p: float
    invalid: tuple[str, ...] = ()


@attrs.frozen
class Comparison:
    """A variation compared with the control, for one metric.

    ``low`` and ``high``: the interval of the difference at level 1 − alpha/m, for m comparisons of
    goals; it holds at every look. ``p``: the smallest of all looks, adjusted for their
    number (Holm). ``waiting``: why it is too early to look, if it is.
    """

    metric: str
    variation: int
    guardrail: bool
    control: float | None = None
    treatment: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float = 1.0
    better: bool | None = None
    """Whether the difference is in the metric's better direction."""
    harmed: bool = False
    """Of a guardrail: whether the whole interval is worse than its margin."""
    reduction: float = 0.0
    waiting: str | None = None


@attrs.frozen
class SegmentRow:
    """A comparison within a segment or up to a day. It decides nothing."""

    name: str
    metric: str
    variation: int
    units: int
    difference: float | None
    low: float | None
    high: float | None


@attrs.frozen
class Suggestion:
    """What to do next. ``code`` names the rule; ``numbers`` are those in the text.

    ``reworded`` is the text of a language model, if one was asked and its answer was accepted;
    ``rejected`` says why not. ``text`` is always the original.
    """

    code: str
    text: str
    next_step: str
    numbers: dict[str, Json] = attrs.field(factory=dict)
    reworded: str | None = None
    rejected: str | None = None


@attrs.frozen
class Results:
    """An experiment's results at one look.

    ``blocked``: why no verdict may be reached now. ``day``: the last exposure day that counts.
    ``mismatch``: the p-value of the variants' shares. ``excluded``: units seen in two variations.
    """

    key: str
    phase: str
    status: str
    alpha: float
    day: str | None
    variants: tuple[Variant, ...]
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    mismatch: float
    silent: float
    excluded: int
    blocked: tuple[str, ...]
    days_left: int | None
    power: float | None
    segments: tuple[SegmentRow, ...] = ()
    days: tuple[SegmentRow, ...] = ()
    phases: tuple[str, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    closed: str | None = None
    """The day on which the phase was closed: since then only its sums are kept."""

    @property
    def units(self) -> int:
        """The units that count."""
        return sum(each.units for each in self.variants)

    def verdict(self, metric: str, variation: int = 1) -> Verdict | None:
        """The verdict on this metric and variation, if there is one."""
        for each in self.verdicts:
            if (each.metric, each.variation) == (metric, variation):
                return each
        return None

    def as_json(self) -> dict[str, Json]:
        """All of it as JSON."""
        return {**attrs.asdict(self), "units": self.units}


def ended_note(results: Results) -> str | None:
    """The note that the phase ended; ``None`` if it did not, or if a suggestion says so."""
    if results.closed is None or any(each.code == "ended" for each in results.suggestions):
        return None
    return PHASE_ENDED.format(phase=results.phase, day=results.closed)
