"""Intervals as SVG, made on the server: one line for each, with a mark at its estimate and at 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from bytelyst_sync.dashboard.components.text import plain

__all__ = ["Interval", "interval_plot"]

_WIDTH, _ROW = 340, 34
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 6, 20
_MARK = 50
"""The width of a number below the plot."""


class Interval(NamedTuple):
    """A name, an estimate, and the ends of its interval."""

    name: str
    estimate: float
    low: float
    high: float


def interval_plot(title: str, rows: Sequence[Interval]) -> Markup:
    """The intervals below each other on one scale; the numbers belong in a table beside it."""
    if not rows:
        return Markup('<p class="bs-muted bs-chart-empty">It is too early for an interval.</p>')
    low = min(0.0, *(each.low for each in rows))
    high = max(0.0, *(each.high for each in rows))
    span = (high - low) or 1.0
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def place(value: float) -> float:
        return _LEFT + (value - low) / span * (_WIDTH - _LEFT - _RIGHT)

    zero, floor = place(0.0), height - _BOTTOM
    lines = Markup("").join(
        Markup(
            '<text class="bs-tick" x="{}" y="{}">{}</text>'
            '<line class="bs-line" x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}"/>'
            '<circle class="bs-dot" cx="{:.1f}" cy="{y}" r="3.5"/>'
        ).format(
            _LEFT, _TOP + _ROW * number + 10, plain(each.name),
            place(each.low), place(each.high), place(each.estimate),
            y=_TOP + _ROW * number + 20,
        )
        for number, each in enumerate(rows)
    )  # fmt: skip
    # zero has no number where it would cover the number of an end
    ends = (_LEFT, _WIDTH - _RIGHT)
    zero_mark = Markup("")
    if min(abs(zero - end) for end in ends) > _MARK:
        zero_mark = Markup(
            '<text class="bs-tick" x="{:.1f}" y="{}" text-anchor="middle">0</text>'
        ).format(zero, height - 5)
    label = "; ".join(
        f"{each.name}: {each.estimate:+.3g}, from {each.low:+.3g} to {each.high:+.3g}"
        for each in rows
    )
    return Markup(
        '<svg class="bs-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">'
        '<line class="bs-grid" x1="{z:.1f}" x2="{z:.1f}" y1="{}" y2="{}"/>{}'
        '<text class="bs-tick" x="{}" y="{}">{}</text>{zero_mark}'
        '<text class="bs-tick" x="{}" y="{}" text-anchor="end">{}</text></svg>'
    ).format(
        _WIDTH, height, f"{title}: {label}", _TOP, floor, lines,
        _LEFT, height - 5, _tick(low), _WIDTH - _RIGHT, height - 5, _tick(high),
        z=zero, zero_mark=zero_mark,
    )  # fmt: skip


def _tick(value: float) -> str:
    return f"{value:+.3g}" if value else "0"
