"""The result of a pull."""

from __future__ import annotations

import attrs

from bytelyst_sync.model import Problem
from bytelyst_sync.protocol.page_rows import SkippedRow
from bytelyst_sync.state.commit_effects import CommitEffects

__all__ = ["PullResult"]

_MOST_PROBLEMS = 20


@attrs.define
class PullResult:
    """The result of a pull. Owned by the thread that pulls."""

    pulled: int = 0
    conflicts: int = 0
    errors: int = 0
    offline: bool = False
    remaining: list[str] = attrs.field(factory=list)
    """Entities whose pull was interrupted; the next pull continues."""
    sighted: int = 0
    """The number of records that a listing of everything brought for the first time."""
    skipped: dict[str, int] = attrs.field(factory=dict)
    """The number of rows that the latest pass skipped, by entity."""
    mismatches: dict[str, int] = attrs.field(factory=dict)
    """The number of them that do not fit the dialect."""
    reasons: dict[str, str] = attrs.field(factory=dict)
    """Why the first of them was skipped."""
    taken: dict[str, int] = attrs.field(factory=dict)
    """The number of rows that were applied, by entity."""
    failed: set[str] = attrs.field(factory=set)
    """Entities without a usable answer of the server."""
    problems: list[Problem] = attrs.field(factory=list)

    def count(self, effects: CommitEffects) -> None:
        """Adds the effects of a commit."""
        self.pulled += effects.pulled
        self.conflicts += effects.conflicts
        self.sighted += effects.sighted
        for entity, message in effects.id_problems.items():
            self._add_problem(entity, message, None)

    def fail(self, entity: str, message: str, status: int | None = None) -> None:
        """Adds an error of a whole entity."""
        self.errors += 1
        self._add_problem(entity, message, status)

    def _add_problem(self, entity: str, message: str, status: int | None) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(entity, None, status, message))

    def skip(self, entity: str, row: SkippedRow) -> None:
        """Adds a row that was skipped."""
        self.skipped[entity] = self.skipped.get(entity, 0) + 1
        self.mismatches[entity] = self.mismatches.get(entity, 0) + row.mismatch
        self.reasons.setdefault(entity, row.reason)

    def begin_pass(self, entity: str) -> None:
        """Resets the skipped rows, because the entity's pages are read once more."""
        self.skipped.pop(entity, None)
        self.mismatches.pop(entity, None)

    def take(self, entity: str, count: int) -> None:
        """Adds rows that were applied."""
        self.taken[entity] = self.taken.get(entity, 0) + count
