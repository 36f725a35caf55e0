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
from pathlib import Path

import attrs

__all__ = ["SCENARIOS", "BrokenPromise", "Scenario", "Trial", "check", "factor", "scenario"]


class BrokenPromise(AssertionError):  # noqa: N818 - it is not the trial that erred
    """A promise did not hold."""


def check(holds: object, promise: str) -> None:
    """Raises ``BrokenPromise`` unless it holds; ``promise`` says what should have been."""
    if not holds:
        raise BrokenPromise(promise)


def factor() -> int:
    """By how much the long forms are longer: BYTELYST_SYNC_TORTURE, for runs overnight."""
    return max(1, int(os.environ.get("BYTELYST_SYNC_TORTURE", "1")))


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
