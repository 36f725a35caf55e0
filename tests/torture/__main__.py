"""``python -m tests.torture [--seed N] [--short] [--list] [NAME...]``: the scenarios, and a table.

A NAME is a scenario's, or an area's for all of its scenarios. ``--without AREA`` leaves an area out
that is not named. The exit status is 1 if a promise
broke, and in CI (``CI=true``) also if a scenario could not run. ``--write FILE`` writes the table
for the documentation.
"""

import argparse
import os
import platform
import secrets
import shutil
import sqlite3
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.torture.harness import Scenario
from tests.torture.runner import Outcome, discover, run, seed_of

MOST_AT_ONCE = 4
WORDS = {"ok": "ok", "broken": "BROKEN", "cannot run": "cannot run"}


def figures_of(outcome: Outcome) -> str:
    """The figures in a line, or the reason why there are none."""
    if outcome.verdict != "ok":
        return outcome.reason
    return ", ".join(f"{name} {format_figure(value)}" for name, value in outcome.figures.items())


def format_figure(value: object) -> str:
    """A figure with few digits."""
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(done: list[tuple[Scenario, Outcome]]) -> list[str]:
    """One line for each scenario, in columns."""
    head = ("area", "scenario", "promise", "seconds", "", "figures")
    rows = [
        (
            scenario.area,
            scenario.name,
            scenario.promise,
            f"{outcome.seconds:.1f}",
            WORDS[outcome.verdict],
            figures_of(outcome).partition("\n")[0],
        )
        for scenario, outcome in done
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows)]


def page(done: list[tuple[Scenario, Outcome]], seed: int, minutes: float) -> str:
    """The table for the documentation."""
    rows = []
    for area in dict.fromkeys(scenario.area for scenario, _ in done):
        rows += ["", f".. list-table:: {area[0].upper()}{area[1:]}"]
        rows += ["   :header-rows: 1", "   :widths: 35 15 50", ""]
        rows += ["   * - Promise", "     - Scenario", "     - Figures"]
        for scenario, outcome in done:
            if scenario.area == area:
                rows += [f"   * - {scenario.promise[0].upper()}{scenario.promise[1:]}."]
                rows += [f"     - ``{scenario.name}``", f"     - {figures_of(outcome)}"]
    about = (
        f"Printed by ``python -m tests.torture --seed {seed}`` in {minutes:.0f} minutes, with"
        f" CPython {platform.python_version()} and SQLite {sqlite3.sqlite_version} on"
        f" {platform.system()} with {os.cpu_count()} cores."
    )
    return "\n".join([about, *rows, ""])


def select(
    names: list[str], scenarios: "dict[str, Scenario]", without: list[str]
) -> list[Scenario]:
    """The scenarios of these names and areas; without names, all but those of ``without``."""
    known = {*scenarios, *(each.area for each in scenarios.values())}
    unknown = [name for name in [*names, *without] if name not in known]
    if unknown:
        raise SystemExit(f"no scenario or area is named {', '.join(unknown)}; --list names them")
    if not names:
        return [each for each in scenarios.values() if each.area not in without]
    return [each for each in scenarios.values() if {each.name, each.area} & {*names}]


def rerun_command(scenario: Scenario, seed: int, *, short: bool) -> str:
    """The command that runs exactly this again."""
    factor = os.environ.get("BYTELYST_SYNC_TORTURE")
    return "".join(
        [
            f"BYTELYST_SYNC_TORTURE={factor} " if factor else "",
            f"{Path(sys.executable).name} -m tests.torture --seed {seed} ",
            "--short " if short else "",
            scenario.name,
        ]
    )


def print_line(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)  # noqa: T201 - it is a program


def run_one(scenario: Scenario, seed: int, folder: Path, *, short: bool) -> Outcome:
    """Runs it and prints its outcome; its folder is kept only if it broke."""
    print_line(f"   ... {scenario.name}")
    outcome = run(
        scenario, seed_of(seed, scenario.name), folder, short=short, limit_s=scenario.limit_s
    )
    word = WORDS[outcome.verdict]
    print_line(f"{word:>6} {scenario.name} {outcome.seconds:.1f} s: {figures_of(outcome)}")
    if outcome.verdict == "broken":
        print_line(outcome.output.rstrip())
        print_line(f"promised: {scenario.promise}")
        print_line(f"files: {folder}")
        print_line(f"run it again: {rerun_command(scenario, seed, short=short)}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def main() -> int:
    """Reads the arguments; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a scenario or an area")
    parser.add_argument("--without", action="append", default=[], metavar="AREA", help="leave out")
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat it")
    parser.add_argument("--short", action="store_true", help="the form that the suite runs")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, MOST_AT_ONCE))
    parser.add_argument("--write", type=Path, metavar="FILE", help="the table, as reStructuredText")
    parser.add_argument("--list", action="store_true", help="name the scenarios, and run none")
    options = parser.parse_args()
    scenarios, broken_modules = discover()
    for module, why in broken_modules.items():
        print_line(f"tests/torture/{module}.py cannot be imported:\n{why}")
    selected = select(options.names, scenarios, options.without)
    if options.list:
        for each in selected:
            obstacle = each.obstacle()
            print_line(f"{each.area:12} {each.name:34} {each.promise}")
            if obstacle is not None:
                print_line(f"{'':12} cannot run: {obstacle}")
        return bool(broken_modules)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print_line(f"seed {seed}")
    place = Path(tempfile.mkdtemp(prefix="bytelyst-torture-"))
    began = time.monotonic()

    def one(each: Scenario) -> tuple[Scenario, Outcome]:
        return each, run_one(each, seed, place / each.name, short=options.short)

    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        done = list(pool.map(one, selected))
    minutes = (time.monotonic() - began) / 60
    verdicts = [outcome.verdict for _, outcome in done]
    if "broken" not in verdicts:
        shutil.rmtree(place, ignore_errors=True)
    print_line(f"\nseed {seed}, {minutes:.1f} minutes\n" + "\n".join(table(done)))
    if options.write is not None:
        options.write.write_text(page(done, seed, minutes))
    in_ci = os.environ.get("CI") == "true"
    bad = "broken" in verdicts or (in_ci and "cannot run" in verdicts)
    return bool(bad or broken_modules)


if __name__ == "__main__":
    sys.exit(main())
