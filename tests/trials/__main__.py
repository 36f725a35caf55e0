"""``python -m tests.trials [--seed N] [--runs N] [--list] [NAME...]``: trials of experiments.

The exit status is 1 if a promise broke, or if data that a trial needs are not there.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.experiments.vectors import vector_file
from tests.trials import asos, kills, simulations
from tests.trials import controls as compared

RUNS = 10_000
LIFE_S = 1.0
"""The other SDKs are killed at a quarter of the rate: at the full one hardly anything arrives."""
Figures = dict[str, Any]
Rows = Iterator[tuple[str, Figures]]


def false_winners(seed: int, runs: int) -> Rows:
    return simulations.false_winners(seed, runs)


def power(seed: int, runs: int) -> Rows:
    return simulations.power(seed, runs)


def mismatch(seed: int, runs: int) -> Rows:
    return simulations.mismatch(seed, runs)


def streams(seed: int, runs: int) -> Rows:
    """Real experiments, replayed."""
    path = vector_file("asos-experiments-cc-by-4.0.csv")
    if path is None:
        yield "the data are not beside the checkout", {"holds": False}
        return
    found = list(asos.replay(path))
    yield (
        f"{len({key[0] for key, *_ in found})} experiments ({asos.ATTRIBUTION})",
        {
            "streams": len(found),
            "looks": sum(looks for _, looks, *_ in found),
            "verdicts": sum(len(verdicts) for _, _, verdicts, _ in found),
            "withdrawn": (withdrawn := sum(each[-1] for each in found)),
            "holds": withdrawn == 0,
        },
    )


def killed(seed: int, runs: int) -> Rows:
    """Processes that are killed, on a network with faults: as many times as a tenth of the runs."""
    size = kills.Size(seed=seed)
    if runs < RUNS:
        size = kills.Size(3, 2, max(30, runs), max(3, runs // 10), seed)
    with tempfile.TemporaryDirectory() as folder:
        row = f"{size.processes} processes, {size.threads} threads each"
        yield row, kills.run(Path(folder), size)


def controls(seed: int, runs: int) -> Rows:
    """The same with other SDKs: they lose events, or the trial proves nothing."""
    size = kills.Size(seed=seed, longest_life_s=LIFE_S)
    if runs < RUNS:
        size = kills.Size(3, 2, max(60, runs), 0, seed, LIFE_S)
    for name, module in (("growthbook", "growthbook"), ("posthog", "posthog")):
        if importlib.util.find_spec(module) is None:
            yield name, {"not compared": f"{module} is not installed"}
            continue
        with tempfile.TemporaryDirectory() as folder:
            figures = compared.run(name, Path(folder), size)
        yield name, {**figures, "holds": figures["lost"] != 0}


TRIALS: dict[str, Callable[[int, int], Rows]] = {
    "kills": killed,
    "controls": controls,
    "false-winners": false_winners,
    "power": power,
    "mismatch": mismatch,
    "streams": streams,
}


def main() -> int:
    """Runs the trials and prints a line for each row of figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.trials")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each simulation")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--write", type=Path, help="a file for the documentation's table")
    options = parser.parse_args()
    unknown = set(options.names) - set(TRIALS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(TRIALS)}")
    if options.list:
        sys.stdout.write("\n".join([*TRIALS, ""]))
        return 0
    broken = 0
    rows: list[tuple[str, str, str]] = []
    for name, trial in TRIALS.items():
        if options.names and name not in options.names:
            continue
        started = time.monotonic()
        for row, figures in trial(options.seed, options.runs):
            broken += figures.get("holds") is False
            rows.append((name, row, shown(figures)))
            say(f"{name:14} {row}: {shown(figures)}")
        say(f"{name:14} {time.monotonic() - started:.0f} s")
    if options.write is not None:
        options.write.write_text(page(rows), "utf-8")
    return 1 if broken else 0


def page(rows: list[tuple[str, str, str]]) -> str:
    """The table for the documentation."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 15 40 45", ""]
    for cells in [("Trial", "Setting", "Figures"), *rows]:
        lines += [f"   {mark} - {cell}" for mark, cell in zip("*  ", cells, strict=True)]
    return "\n".join([*lines, ""])


def say(line: str) -> None:
    """A line of the report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def shown(figures: Figures) -> str:
    """The figures in a line."""
    parts = []
    for name, value in figures.items():
        if name == "holds":
            parts.append("holds" if value else "BROKEN")
        elif isinstance(value, float):
            parts.append(f"{name} {value:.2%}" if value <= 1 else f"{name} {value:.3g}")
        else:
            parts.append(f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
