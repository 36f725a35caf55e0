"""Measuring in turns, and what is told of it.

A *contender* is a callable that does its work once and returns one figure: seconds per push, items
per second. A *race* runs all of its contenders in every round, in an order drawn anew, so that
a machine that slows down slows all of them. What is told is the ratio of two contenders in the
same round: the median, the least and the most of the rounds.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import attrs

__all__ = ["LMDB", "OURS", "Bench", "Race", "Row", "body", "loopback_server", "main", "record"]

OURS = "bytelyst_sync"
"""The name under which the package itself races."""
LMDB = "LmdbStorage"
"""The same with a store of LMDB."""

Contender = Callable[[], float]


def body(number: int) -> str:
    """About two hundred bytes of JSON: what a record is in every benchmark."""
    return json.dumps(record(number), separators=(",", ":"))


def record(number: int) -> dict[str, Any]:
    """The record that ``body`` is the text of."""
    return {"id": f"{number:08x}", "number": number, "text": "x" * 160}


@attrs.frozen
class Row:
    """One line of the table. ``ratio`` is of the contender's figure to that of ``against``."""

    suite: str
    race: str
    contender: str
    against: str
    ratio: tuple[float, float, float]
    """The median, the least and the most of the rounds."""
    figures: tuple[float, float]
    """The contender's own median, and that of ``against``."""
    unit: str
    bound: tuple[str, float] | None
    """``("≤", 1.4)`` or ``("≥", 2.0)``: what the median ratio should be."""

    @property
    def holds(self) -> bool | None:
        """Whether the bound holds; ``None`` if there is none."""
        if self.bound is None:
            return None
        sign, limit = self.bound
        return self.ratio[0] <= limit if sign == "≤" else self.ratio[0] >= limit

    def __str__(self) -> str:
        told = "" if self.bound is None else f"{self.bound[0]} {self.bound[1]:g}"
        verdict = {None: "", True: "ok", False: "missed"}[self.holds]
        ratios = "".join(f"{each:8.2f}" for each in self.ratio)
        return f"{self.race:<44} ÷ {self.against:<30}{ratios}  {told:<8}{verdict}"


class Race:
    """What a race measured: the figures of each contender, round by round."""

    def __init__(self, bench: Bench, name: str, unit: str, figures: dict[str, list[float]]) -> None:
        self._bench = bench
        self._name = name
        self._unit = unit
        self.figures = figures

    def compare(
        self,
        against: str,
        contender: str = OURS,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Row | None:
        """Tells the ratio of two contenders, and whether it keeps its bound; ``None`` if the race
        had to do without one of them.
        """
        if not {contender, against} <= self.figures.keys():
            return None
        ours, theirs = self.figures[contender], self.figures[against]
        bound = None
        if at_most is not None:
            bound = ("≤", at_most)
        elif at_least is not None:
            bound = ("≥", at_least)
        return self._bench.tell(
            self._name,
            contender,
            against,
            [mine / other for mine, other in zip(ours, theirs, strict=True)],
            (statistics.median(ours), statistics.median(theirs)),
            unit=self._unit,
            bound=bound,
        )


class Bench:
    """What a suite is given: a folder to work in, races to run, and somebody to tell.

    ``scale`` is 1 unless the whole is to be shorter, or longer: ``bench.rounds(9)``.
    """

    def __init__(self, suite: str, folder: Path, scale: float, out: TextIO | None) -> None:
        self.suite = suite
        self.folder = folder
        self.scale = scale
        self._out = out
        self._paths = itertools.count()

    def path(self, suffix: str = ".db") -> Path:
        """The path of a file that is not there yet."""
        return self.folder / f"{next(self._paths)}{suffix}"

    def rounds(self, usual: int) -> int:
        """So many rounds, or fewer; at least three, if that many are usual."""
        return max(min(3, usual), round(usual * self.scale))

    def race(
        self,
        name: str,
        contenders: Mapping[str, Contender],
        *,
        peers: Mapping[str, Callable[[], Contender]] | None = None,
        unit: str,
        rounds: int = 9,
        warm: bool = True,
    ) -> Race:
        """Runs all contenders in turns; ``warm`` first once, which does not count.

        ``peers`` open contenders of other packages. One that is not installed, or has changed so
        that it fails, is told as a line of its own; the race does without it.
        """
        opened = dict(contenders)
        for each, open_peer in (peers or {}).items():
            with self._or_absent(name, each):
                opened[each] = open_peer()
        figures: dict[str, list[float]] = {each: [] for each in opened}
        for number in range(-1 if warm else 0, self.rounds(rounds)):
            # a sync also writes what the one before it left in the file system's journal
            for each in random.Random(number).sample(sorted(figures), len(figures)):
                if each in contenders:
                    figure = opened[each]()
                else:
                    figure = math.nan
                    with self._or_absent(name, each):
                        figure = opened[each]()
                if math.isnan(figure):
                    del figures[each]
                elif number >= 0:
                    figures[each].append(figure)
        return Race(self, name, unit, figures)

    @contextmanager
    def _or_absent(self, race: str, peer: str) -> Iterator[None]:
        """Tells that a peer cannot be compared if it raises."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a peer raises, the race goes on
            reason = f"{type(error).__name__}: {error}"
            print(f"{race:<44} ÷ {peer:<30} not compared: {reason}", flush=True)
            self._write(
                {
                    "kind": "absent",
                    "suite": self.suite,
                    "race": race,
                    "peer": peer,
                    "reason": reason,
                }
            )

    def tell(
        self,
        race: str,
        contender: str,
        against: str,
        ratios: list[float],
        figures: tuple[float, float],
        *,
        unit: str,
        bound: tuple[str, float] | None = None,
    ) -> Row:
        """Tells one line: prints it, and writes it down."""
        if contender != OURS:
            race = f"{race}, {contender.removeprefix(f'{OURS}, ')}"
        ratio = (statistics.median(ratios), min(ratios), max(ratios))
        row = Row(self.suite, race, contender, against, ratio, figures, unit, bound)
        print(row, flush=True)
        self._write({"kind": "row", **attrs.asdict(row)})
        return row

    def curve(self, name: str, x: str, y: str, points: Mapping[str, list[list[float]]]) -> None:
        """Writes down curves for a plot, each a list of ``[x, y]``."""
        self._write(
            {
                "kind": "curve",
                "suite": self.suite,
                "race": name,
                "x": x,
                "y": y,
                "points": dict(points),
            }
        )

    def _write(self, value: dict[str, Any]) -> None:
        if self._out is not None:
            self._out.write(json.dumps(value, ensure_ascii=False) + "\n")
            self._out.flush()


@contextmanager
def loopback_server(
    latency_ms: float = 0, module: str = "bytelyst_sync.testing.server", *arguments: str
) -> Iterator[str]:
    """A server in a process of its own; its URL. It ends with the block."""
    command = [sys.executable, "-m", module, "--port", "0", *arguments]
    if latency_ms:
        command += ["--latency-ms", f"{latency_ms:g}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=10)


def main(suite: str, run: Callable[[Bench], None]) -> None:
    """The command line of one suite: ``--scale`` (rounds) and ``--out`` (JSON lines)."""
    parser = ArgumentParser(description=f"The suite {suite}.")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the usual rounds")
    parser.add_argument("--out", type=Path, help="a file that result rows are added to")
    chosen = parser.parse_args()
    titles = "".join(f"{each:>8}" for each in ("median", "least", "most"))
    print(f"{suite:<44}   {'':<30}{titles}  bound")
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        out = chosen.out.open("a", encoding="utf-8") if chosen.out else None
        try:
            run(Bench(suite, Path(folder), chosen.scale, out))
        finally:
            if out is not None:
                out.close()
