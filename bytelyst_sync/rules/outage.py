"""Tracks from the answers to writes whether an entity's server is down. Pure functions.

A failed attempt spends a retry only if, since the item's last attempt, a write of another record of
the entity got a real answer of the API. Otherwise the server is the more likely cause: the entity
is *down*, or after a gateway's answer the whole origin. It then pauses with backoff, sends one item
at a time, and no item fails before the outage has lasted for ``give_up_after`` seconds.

Numbers are the store's, which only increase; times are wall-clock seconds.
"""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["ORIGIN", "Health", "after_answer", "after_failure", "another_answered"]

ORIGIN = ""
"""The name under which the health of the whole origin is stored, beside those of entities."""


@attrs.frozen(kw_only=True)
class Health:
    """The health of one entity, or of the whole origin.

    ``failures`` counts writes in a row that got no real answer (0: it is up); ``record`` is the
    one that failed last. ``outage_s`` adds up the time between failures, each gap bounded, and
    ``failed_at`` is when the last one was. ``answered`` names the last two records whose writes
    got a real answer, with the store's number then. ``gave_up``: items failed because of the
    outage. ``pause_s`` is how long nothing is sent after ``failed_at``; ``asked``: the server
    asked for that pause.
    """

    failures: int = 0
    record: str | None = None
    outage_s: float = 0.0
    failed_at: float | None = None
    answered: tuple[tuple[str, int], ...] = ()
    gave_up: bool = False
    pause_s: float = 0.0
    asked: bool = False

    def as_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as they are stored."""
        return attrs.asdict(self, filter=lambda field, value: value != field.default)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Health:
        """The inverse of ``as_json``."""
        answered = tuple((record, number) for record, number in stored.get("answered", ()))
        return cls(**{**stored, "answered": answered})


def another_answered(health: Health, record: str, attempted: int | None) -> bool:
    """Whether a write of another record got a real answer after the attempt with this number."""
    if attempted is None:
        return False
    return any(number > attempted for other, number in health.answered if other != record)


def after_failure(health: Health, record: str, now: float, *, longest_gap_s: float) -> Health:
    """The health after a write got no real answer. A gap since the last failure counts as at most
    ``longest_gap_s``: the machine may have been asleep.
    """
    gap_s = 0.0 if health.failed_at is None else max(0.0, now - health.failed_at)
    return attrs.evolve(
        health,
        failures=health.failures + 1,
        record=record,
        outage_s=health.outage_s + min(gap_s, longest_gap_s),
        failed_at=now,
    )


def after_answer(health: Health, record: str, number: int) -> Health:
    """The health after a write got a real answer: the server is up."""
    others = tuple(each for each in health.answered if each[0] != record)[:1]
    return attrs.evolve(
        health,
        failures=0,
        record=None,
        pause_s=0.0,
        asked=False,
        answered=((record, number), *others),
    )
