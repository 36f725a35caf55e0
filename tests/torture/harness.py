"""Scenarios: named, seeded, bounded, each with figures for the table.

A scenario is a function of a ``Trial``. It returns what it counted, and raises ``BrokenPromise``
where a promise did not hold. It is run in a process of its own, so that one that hangs, or takes
the interpreter with it, fails alone.
"""

import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs

__all__ = [
    "SCENARIOS",
    "BrokenPromise",
    "Scenario",
    "Stopwatch",
    "Trial",
    "check",
    "factor",
    "scenario",
]

_PRESSURE = ("cpu", "io")
_MOST_WITHHELD = 0.75


class BrokenPromise(AssertionError):  # noqa: N818 - it is not the trial that erred
    """A promise did not hold."""


def check(holds: object, promise: str) -> None:
    """Raises ``BrokenPromise`` unless it holds; ``promise`` says what should have been."""
    if not holds:
        raise BrokenPromise(promise)


def factor() -> int:
    """By how much the long forms are longer: BYTELYST_SYNC_TORTURE, for runs overnight."""
    return max(1, int(os.environ.get("BYTELYST_SYNC_TORTURE", "1")))


def _withheld_s() -> float:
    """For how long, since its start, the machine had no CPU or no disk for who wanted it."""
    total = 0.0
    for name in _PRESSURE:
        with suppress(OSError, ValueError, IndexError):
            first = Path(f"/proc/pressure/{name}").read_text().splitlines()[0]
            total += int(first.rpartition("total=")[2]) / 1e6
    return total


class Stopwatch:
    """Takes time for bounds that were made for a machine that has nothing else to do.

    ``fair_s`` is what passed, less what the machine withheld meanwhile, as the kernel counts it
    (Linux's pressure stall information; nothing elsewhere); a quarter is always left, so that
    what hangs is over its bound sooner or later.
    """

    def __init__(self) -> None:
        self._began, self._withheld = time.monotonic(), _withheld_s()

    @property
    def seconds(self) -> float:
        """What passed."""
        return time.monotonic() - self._began

    @property
    def fair_s(self) -> float:
        """The same, on a machine that has nothing else to do."""
        seconds = self.seconds
        return seconds - min(_withheld_s() - self._withheld, _MOST_WITHHELD * seconds)


@attrs.frozen
class Trial:
    """One run of a scenario. ``folder`` is empty and its own; ``short`` is the form for the suite.

    ``random`` is seeded: all that a scenario draws comes from it.
    """

    seed: int
    short: bool
    folder: Path
    random: random.Random
    began: float = attrs.field(factory=time.monotonic)

    def rounds(self, short: int, full: int) -> int:
        """How many rounds to go, in the one form and in the other."""
        return short if self.short else full * factor()


@attrs.frozen
class Scenario:
    """A named trial. ``tools`` are programs that it needs, ``packages`` where Debian has them."""

    name: str
    area: str
    promise: str
    run: Callable[[Trial], dict[str, object]]
    tools: tuple[str, ...] = ()
    limit_s: float = 300.0
    missing: Callable[[], str | None] = lambda: None
    """Another reason why it cannot run here; ``None`` if it can."""

    def obstacle(self) -> str | None:
        """Why it cannot run here; ``None`` if it can."""
        for tool in self.tools:
            if shutil.which(tool) is None:
                return f"{self.name} needs {tool}, which is not on PATH"
        return self.missing()


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    area: str,
    promise: str,
    *,
    tools: tuple[str, ...] = (),
    limit_s: float = 300.0,
    missing: Callable[[], str | None] = lambda: None,
) -> Callable[[Callable[[Trial], dict[str, object]]], Callable[[Trial], dict[str, object]]]:
    """Makes a function a scenario under its own name.

    ``promise`` is one line for the table. The function returns figures by name, in the order in
    which they are to be shown.
    """

    def register(run: Callable[[Trial], dict[str, object]]) -> Callable[[Trial], dict[str, object]]:
        name = run.__name__
        assert name not in SCENARIOS, f"two scenarios are named {name}"
        SCENARIOS[name] = Scenario(name, area, promise, run, tools, limit_s, missing)
        return run

    return register
