"""How many requests to have under way at once: as many as waiting pays for, below a ceiling.

On a fast server a second thread only makes the first wait for the interpreter; on a slow one
nearly all of a request is waiting. So the number follows the share of a request's time that this
process did not compute, rises by little and falls by half when the server says it is too much.
(Additive increase, multiplicative decrease: Chiu and Jain, 1989.)
"""

from __future__ import annotations

__all__ = ["Concurrency"]

_SMOOTH = 0.2


class Concurrency:
    """The current limit. Not thread-safe: its owner guards it."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._exact = 1.0
        self._cap = float(ceiling)
        self.typical_s = 0.05
        self._typical_cpu_s = 0.001

    @property
    def limit(self) -> int:
        """Requests that may be under way, from 1 to the ceiling."""
        return max(1, min(self._ceiling, int(self._exact)))

    def learn(self, took_s: float, cpu_s: float, *, busy: bool) -> None:
        """One request took this long, of which so much was computing."""
        if busy:
            self._exact = max(1.0, self._exact / 2)
            self._cap = max(1.0, self._exact)
            return
        self.typical_s += (took_s - self.typical_s) * _SMOOTH
        self._typical_cpu_s += (max(cpu_s, 1e-5) - self._typical_cpu_s) * _SMOOTH
        # a thread that computes a share s of its time leaves room for about 1/s of them
        useful = 0.7 * self.typical_s / self._typical_cpu_s
        self._cap = min(float(self._ceiling), self._cap + 0.02)
        goal = min(useful, self._cap)
        if self._exact < goal:
            self._exact = min(goal, self._exact + 1.0)
        else:
            self._exact += (goal - self._exact) * 0.1
