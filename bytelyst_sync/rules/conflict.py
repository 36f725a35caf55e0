"""Who wins where both sides changed a record: the table of SPEC §5 as pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from bytelyst_sync.model import ConflictStrategy
from bytelyst_sync.rules.merge import Merged, same_value, three_way

__all__ = ["Decision", "Sides", "decide", "real_conflicts"]

Json = dict[str, Any]


@attrs.frozen(kw_only=True)
class Sides:
    """Both sides of a conflict. ``None`` stands for a deleted record; times are seconds since the
    epoch, ``local_time`` already corrected to the server's clock.

    ``base`` is what both started from (``None``: unknown, or it was not there). ``local`` is the
    record as this program sees it, ``edits`` the fields that the queued operations set, and
    ``rebased`` those operations on top of ``remote``.
    """

    base: Json | None
    local: Json | None
    remote: Json | None
    edits: Json
    rebased: Json | None
    local_time: float
    remote_time: float | None
    ignore: frozenset[str] = frozenset()

    @property
    def local_is_later(self) -> bool:
        """A tie or a missing time goes to the server."""
        return self.remote_time is not None and self.local_time > self.remote_time


@attrs.frozen
class Decision:
    """``side`` is ``remote``, ``local`` or ``merged``; ``record`` what is to stand at the server
    (``None``: nothing).
    """

    side: str
    record: Json | None


def _server_wins(sides: Sides) -> Decision:
    return Decision("remote", sides.remote)


def _client_wins(sides: Sides) -> Decision:
    if sides.local is None or sides.remote is None:
        return Decision("local", sides.local)
    return Decision("local", sides.rebased)


def _last_write_wins(sides: Sides) -> Decision:
    return _client_wins(sides) if sides.local_is_later else _server_wins(sides)


def _merge(sides: Sides) -> Decision:
    if sides.remote is None:
        return Decision("local", sides.local)
    if sides.local is None:
        return Decision("remote", sides.remote)
    return Decision("merged", _merged(sides, sides.local, sides.remote).record)


def _merged(sides: Sides, local: Json, remote: Json) -> Merged:
    if sides.base is not None:
        return three_way(
            sides.base,
            local,
            remote,
            local_is_later=sides.local_is_later,
            ignore=sides.ignore,
        )
    edits = {name: each for name, each in sides.edits.items() if name not in sides.ignore}
    differing = tuple(
        name for name in edits if name in remote and not same_value(edits[name], remote[name])
    )
    return Merged(sides.rebased or {**remote, **edits}, differing)


_STRATEGIES: dict[ConflictStrategy, Callable[[Sides], Decision]] = {
    ConflictStrategy.SERVER_WINS: _server_wins,
    ConflictStrategy.CLIENT_WINS: _client_wins,
    ConflictStrategy.LAST_WRITE_WINS: _last_write_wins,
    ConflictStrategy.MERGE: _merge,
}


def decide(strategy: ConflictStrategy, sides: Sides) -> Decision:
    """What the strategy makes of it; ``manual`` is a person's or a callback's to decide."""
    return _STRATEGIES[strategy](sides)


def real_conflicts(sides: Sides) -> tuple[str, ...]:
    """The fields that both sides changed to different values."""
    if sides.local is None or sides.remote is None:
        return ()
    return _merged(sides, sides.local, sides.remote).fields
