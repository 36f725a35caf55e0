"""Charts as SVG, made on the server, with the numbers as a table beside them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from bytelyst_sync.dashboard.components.parts import Column, Table
from bytelyst_sync.dashboard.components.text import moment

__all__ = ["line_chart"]

_WIDTH, _HEIGHT = 340, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 6, 8, 20
_ROWS = 12
"""How many rows the table has; they are spread evenly over the samples."""

Point = tuple[datetime, float]


def line_chart(chart_id: str, title: str, unit: str, points: Sequence[Point]) -> Markup:
    """A chart of one value over time, and its table."""
    if len(points) < 2:
        return Markup('<p class="bs-muted bs-chart-empty">The first samples are being taken.</p>')
    top = _ceiling(max(value for _, value in points))
    began, ended = points[0][0], points[-1][0]
    span = (ended - began).total_seconds() or 1.0
    places = [
        (
            _LEFT + (when - began).total_seconds() / span * (_WIDTH - _LEFT - _RIGHT),
            _TOP + (1 - value / top) * (_HEIGHT - _TOP - _BOTTOM),
        )
        for when, value in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    floor = _HEIGHT - _BOTTOM
    area = f"{places[0][0]:.1f},{floor} {line} {places[-1][0]:.1f},{floor}"
    latest, highest = points[-1][1], max(value for _, value in points)
    label = f"{title}: now {_short(latest)} {unit}, at most {_short(highest)}"
    grid = Markup("").join(
        Markup(
            '<line class="bs-grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>'
            '<text class="bs-tick" x="{}" y="{ty}" text-anchor="end">{}</text>'
        ).format(
            _LEFT, _WIDTH - _RIGHT, _LEFT - 8, _short(top * share),
            y=f"{_TOP + (1 - share) * (floor - _TOP):.1f}",
            ty=f"{_TOP + (1 - share) * (floor - _TOP) + 4:.1f}",
        )
        for share in (0.0, 0.5, 1.0)
    )  # fmt: skip
    svg = Markup(
        '<svg class="bs-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        '<polygon class="bs-area" points="{}"/><polyline class="bs-line" points="{}"/>'
        '<circle class="bs-dot" cx="{:.1f}" cy="{:.1f}" r="3.5"/>'
        '<text class="bs-tick" x="{}" y="{}">{}</text>'
        '<text class="bs-tick" x="{}" y="{}" text-anchor="end">{} UTC</text></svg>'
    ).format(
        _WIDTH, _HEIGHT, label, grid, area, line, *places[-1],
        _LEFT, _HEIGHT - 5, f"{began:%H:%M:%S}", _WIDTH - _RIGHT, _HEIGHT - 5, f"{ended:%H:%M:%S}",
    )  # fmt: skip
    return Markup(
        '{}<details class="bs-numbers" id="{}-table"><summary>{}, as a table</summary>{}</details>'
    ).format(svg, chart_id, title, _table(chart_id, title, unit, points))


def _table(chart_id: str, title: str, unit: str, points: Sequence[Point]) -> Markup:
    step = max(1, len(points) // _ROWS)
    chosen = list(points)[::-step][:_ROWS]
    rows = [
        (f"{chart_id}-{n}", [moment(when), _short(value)]) for n, (when, value) in enumerate(chosen)
    ]
    return Table(title, [Column("time"), Column(unit, number=True)], rows)


def _ceiling(value: float) -> float:
    """The next round number at or above the value."""
    size = 1.0
    while True:
        for step in (1, 2, 5):
            if value <= size * step:
                return max(2.0, size * step)
        size *= 10


def _short(value: float) -> str:
    for least, letter in ((1e6, "M"), (1e3, "k")):
        if value >= least:
            return f"{value / least:.1f}".rstrip("0").rstrip(".") + letter
    return f"{value:.1f}".rstrip("0").rstrip(".")
