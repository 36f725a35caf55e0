"""Two kinds of plot, drawn as SVG: ratios as bars, and curves on logarithmic scales.

Each has a ground of its own and two sets of colours: it follows the page's colour scheme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["bars", "curves"]

INK, PALE, LINE, GRID = "#1f2933", "#5b6672", "#7b8794", "#dde3ea"
GOOD, BAD, PLAIN = "#3b9a63", "#c0392b", "#3b7dd8"
COLOURS = (PLAIN, "#b7791f", "#7250c4", "#c0392b", "#2f855a", "#5b6672")
GROUND, FRAME = "#f8fafc", "#cbd5e0"
DARK = {
    INK: "#e6edf3",
    PALE: "#a3adb8",
    LINE: "#8b97a3",
    GRID: "#323a43",
    GROUND: "#171b20",
    FRAME: "#3a424b",
    GOOD: "#4bb27f",
    BAD: "#e8695c",
    PLAIN: "#5c9ded",
    "#b7791f": "#d9a03f",
    "#7250c4": "#a58be8",
    "#2f855a": "#4bb27f",
}
"""The colours on a dark page."""
STYLE = "".join(
    f'[{name}="{light}"]{{{name}:{dark}}}'
    for light, dark in DARK.items()
    for name in ("fill", "stroke")
)
FONT = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"
WIDTH, LABELS, MARGIN, STEP = 900, 430, 24, 30


class _Picture:
    def __init__(self, width: float, height: float, title: str) -> None:
        name = escape(title, {'"': "&quot;"})
        self._parts = [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
                f'font-family="{FONT}" font-size="13" role="img" aria-label="{name}">'
            ),
            f"<title>{name}</title>",
            f"<style>@media (prefers-color-scheme:dark){{{STYLE}}}</style>",
            (
                f'<rect x="1" y="1" width="{width - 2:g}" height="{height - 2:g}" rx="12" '
                f'fill="{GROUND}" stroke="{FRAME}"/>'
            ),
        ]

    def text(self, x: float, y: float, text: str, anchor: str = "start", fill: str = INK) -> None:
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">'
            f"{escape(text)}</text>"
        )

    def rect(self, x: float, y: float, w: float, h: float, fill: str) -> None:
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="2" fill="{fill}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], stroke: str, width: float = 1.5) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}"/>'
        )

    def dot(self, x: float, y: float, fill: str) -> None:
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{fill}"/>')

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])


def bars(suite: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The median of each row's ratio, its spread, and a stroke where its bound is."""
    height = MARGIN * 2 + STEP * len(rows) + 14
    picture = _Picture(WIDTH, height, f"{suite}: ratios, median and spread")
    picture.text(
        MARGIN,
        MARGIN + 6,
        f"{suite}: a bar is the median ratio, a thin line its spread, a stroke the bound",
        fill=PALE,
    )
    limits = [row["bound"][1] for row in rows if row["bound"]]
    most = max([1.0, *(min(row["ratio"][2], row["ratio"][0] * 2) for row in rows), *limits])
    unit = (WIDTH - LABELS - MARGIN * 3) / most
    for number, row in enumerate(rows):
        median, least, greatest = row["ratio"]
        top = MARGIN + 20 + number * STEP
        middle = top + STEP / 2
        colour = PLAIN
        if row["bound"]:
            sign, limit = row["bound"]
            colour = GOOD if (median <= limit if sign == "≤" else median >= limit) else BAD
        picture.text(LABELS, middle + 4, f"{row['race']} ÷ {row['against']}", "end")
        picture.rect(LABELS + 10, top + 6, median * unit, STEP - 12, colour)
        ends = [LABELS + 10 + min(each, most) * unit for each in (least, greatest)]
        picture.line([(ends[0], middle), (ends[1], middle)], INK, 1)
        if row["bound"]:
            at = LABELS + 10 + row["bound"][1] * unit
            picture.line([(at, top + 2), (at, top + STEP - 2)], INK, 2)
        picture.text(WIDTH - MARGIN, middle + 4, f"{median:.2f}", "end")
    return str(picture)


def curves(title: str, x: str, y: str, points: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """One line per name, on two logarithmic scales."""
    width, height = WIDTH, 420
    left, top, right, bottom = 80, 40, width - 230, height - 60
    picture = _Picture(width, height, title)
    every = [point for each in points.values() for point in each]
    across = _decades([point[0] for point in every])
    upwards = _decades([point[1] for point in every])

    def place(point: Sequence[float]) -> tuple[float, float]:
        fractions = [
            (math.log10(value) - low) / (high - low)
            for value, (low, high) in zip(point, (across, upwards), strict=True)
        ]
        return left + fractions[0] * (right - left), bottom - fractions[1] * (bottom - top)

    for power in range(across[0], across[1] + 1):
        at, _ = place((10.0**power, 10.0 ** upwards[0]))
        picture.line([(at, top), (at, bottom)], GRID, 1)
        picture.text(
            at, bottom + 18, f"{10**power:,}" if power >= 0 else f"{10.0**power:g}", "middle", PALE
        )
    for power in range(upwards[0], upwards[1] + 1):
        _, at = place((10.0 ** across[0], 10.0**power))
        picture.line([(left, at), (right, at)], GRID, 1)
        picture.text(
            left - 8, at + 4, f"{10**power:,}" if power >= 0 else f"{10.0**power:g}", "end", PALE
        )
    picture.text((left + right) / 2, height - 16, x, "middle")
    picture.text(MARGIN, top - 14, y)
    for number, (name, each) in enumerate(points.items()):
        colour = COLOURS[number % len(COLOURS)]
        picture.line([place(point) for point in each], colour, 2)
        for point in each:
            picture.dot(*place(point), colour)
        picture.rect(right + 20, top + number * 22, 12, 12, colour)
        picture.text(right + 40, top + 10 + number * 22, name)
    return str(picture)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)
