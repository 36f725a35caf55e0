"""The table and the plots of the documentation, from the rows that the suites wrote."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.plot import bars, curves

__all__ = ["write"]

TABLE = "bench.csv"
TITLES = ("suite", "what", "beside", "median", "least", "most", "bound", "held")

Row = dict[str, Any]


def write(rows_file: Path, folder: Path) -> None:
    """Writes ``bench.csv`` and ``bench-*.svg``; what was not measured now stays as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    told = [json.loads(line) for line in rows_file.read_text("utf-8").splitlines()]
    rows = [each for each in told if each["kind"] == "row"]
    absent = [each for each in told if each["kind"] == "absent"]
    _write_table(rows, absent, folder / TABLE)
    for suite in dict.fromkeys(each["suite"] for each in rows):
        picture = bars(suite, [each for each in rows if each["suite"] == suite])
        (folder / f"bench-{suite}.svg").write_text(picture, "utf-8")
    for each in told:
        if each["kind"] == "curve":
            name = each["race"].replace(" ", "-")
            picture = curves(each["race"], each["x"], each["y"], each["points"])
            (folder / f"bench-{name}.svg").write_text(picture, "utf-8")


def _write_table(rows: Sequence[Row], absent: Sequence[Row], path: Path) -> None:
    measured = [_line(row) for row in rows]
    measured += [_absent_line(row) for row in absent]
    suites = {line[0] for line in measured}
    kept: list[list[str]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = [line for line in list(csv.reader(file))[1:] if line[0] not in suites]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TITLES)
        lines: list[list[str]] = sorted(kept + measured, key=_suite_of)
        writer.writerows(lines)


def _suite_of(line: list[str]) -> str:
    return line[0]


def _absent_line(row: Row) -> list[str]:
    beside = f"{row['peer']}: not compared, {row['reason']}"
    return [row["suite"], row["race"], beside, *[""] * 5]


def _line(row: Row) -> list[str]:
    median, least, most = (f"{each:.2f}" for each in row["ratio"])
    bound, held = "", ""
    if row["bound"] is not None:
        sign, limit = row["bound"]
        bound = f"{sign} {limit:g}"
        held = (
            "yes"
            if (row["ratio"][0] <= limit if sign == "≤" else row["ratio"][0] >= limit)
            else "no"
        )
    ours, theirs = row["figures"]
    what = f"{row['race']}: {ours:,.4g} {row['unit']}"
    return [
        row["suite"],
        what,
        f"{row['against']}: {theirs:,.4g}",
        median,
        least,
        most,
        bound,
        held,
    ]
