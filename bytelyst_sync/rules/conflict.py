"""Conflict strategies: decide what happens if both sides changed a record. Pure functions.

Each strategy is a function from ``Sides`` to a ``Decision``, or to ``None`` if a callback or a
person must decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from bytelyst_sync.model import ConflictStrategy, SyncOperation
from bytelyst_sync.rules.merge import Merged, kept_edits, same, same_value, three_way
from bytelyst_sync.rules.patch import apply_patch, diff
from bytelyst_sync.rules.paths import MISSING

__all__ = [
    "Decision",
    "Sides",
    "are_equal",
    "by_callback",
    "by_person",
    "decide",
    "operation_for",
    "real_conflicts",
    "rebase_answer",
]

Json = dict[str, Any]


@attrs.frozen(kw_only=True)
class Sides:
    """Both sides of a conflict. ``None`` stands for a deleted record; times are seconds since the
    epoch, ``local_time`` already corrected to the server's clock, ``None`` if unknown.

    ``base`` is the record before both changes (``None``: unknown, or it did not exist), ``local``
    the record in the local view, ``edits`` the fields that the queued operations set, ``later``
    those that the operations behind the first one set, and ``rebased`` the operations on top of
    ``remote``. ``ignore``: fields that are not compared. ``server_fields``: fields that are never
    sent. ``decimals``: fields with decimal numbers.
    """

    base: Json | None
    local: Json | None
    remote: Json | None
    edits: Json
    rebased: Json | None
    local_time: float | None
    remote_time: float | None
    later: Json = attrs.field(factory=dict)
    recreated: bool = False
    """Whether the queued operations delete the record and create it again."""
    ignore: frozenset[str] = frozenset()
    server_fields: frozenset[str] = frozenset()
    decimals: frozenset[str] = frozenset()
    patch: str = "shallow"
    asks: bool = False
    """Whether a callback decides the fields that both sides changed."""

    @property
    def nested(self) -> bool:
        """Whether the fields are the leaves of nested objects."""
        return self.patch == "merge-patch"

    @property
    def local_is_later(self) -> bool:
        """Whether the local change is the later one. The server wins a tie, and if a time is
        unknown. If the server's times have whole seconds, the same second is a tie.
        """
        local, remote = self.local_time, self.remote_time
        if local is None or remote is None:
            return False
        return (math.floor(local) if remote.is_integer() else local) > remote


@attrs.frozen
class Decision:
    """``side`` is ``remote``, ``local`` or ``merged``; ``record`` is the record that the server is
    to have in the end (``None``: it is deleted).
    """

    side: str
    record: Json | None


# --- the strategies


def _server_wins(sides: Sides) -> Decision:
    """Drops the first operation, which found the conflict. The later ones keep only the fields that
    the server did not change.
    """
    if sides.remote is None:
        return Decision("remote", None)
    edits = kept_edits(sides.later, sides.base or {}, sides.remote, nested=sides.nested)
    return Decision("remote", apply_patch(sides.remote, edits, sides.patch))


def _client_wins(sides: Sides) -> Decision:
    """Applies the local changes to the server's record; if that is deleted, sends the record."""
    if sides.local is None or sides.remote is None:
        return Decision("local", sides.local)
    return Decision("local", sides.rebased)


def _last_write_wins(sides: Sides) -> Decision:
    return (_client_wins if sides.local_is_later else _server_wins)(sides)


def _merge(sides: Sides) -> Decision | None:
    """Merges by field; an edit wins over a delete. With a callback, it decides the fields that both
    sides changed.
    """
    if sides.remote is None:
        return Decision("local", sides.local)
    if sides.local is None:
        return Decision("remote", sides.remote)
    later = sides.local_is_later or (sides.base is None and sides.remote_time is None)
    merged = _merged(sides, sides.local, sides.remote, local_is_later=later)
    return None if merged.fields and sides.asks else Decision("merged", merged.record)


_STRATEGIES: dict[ConflictStrategy, Callable[[Sides], Decision | None]] = {
    ConflictStrategy.SERVER_WINS: _server_wins,
    ConflictStrategy.CLIENT_WINS: _client_wins,
    ConflictStrategy.LAST_WRITE_WINS: _last_write_wins,
    ConflictStrategy.MERGE: _merge,
}


def decide(strategy: ConflictStrategy, sides: Sides) -> Decision | None:
    """The strategy's decision; ``None`` if a callback or a person must decide (with ``manual``:
    always).
    """
    decider = _STRATEGIES.get(strategy)
    return None if decider is None else decider(sides)


# --- decisions of a callback or a person


def by_person(sides: Sides, answer: Json | str) -> Decision:
    """The decision for a person's answer: ``"local"``, ``"remote"``, or the record to keep."""
    if answer == "remote":
        return Decision("remote", sides.remote)
    if isinstance(answer, str):
        return _client_wins(sides)
    return Decision("merged", answer)


def by_callback(strategy: ConflictStrategy, sides: Sides, answer: Json | str) -> Decision:
    """The decision for a callback's answer. With ``merge`` it decides the fields that both sides
    changed; other fields are merged, unless the answer has a value of neither side.
    """
    local, remote = sides.local, sides.remote
    if strategy is not ConflictStrategy.MERGE or local is None or remote is None:
        return by_person(sides, answer)
    merged = _merged(sides, local, remote, local_is_later=answer != "remote")
    if isinstance(answer, str):
        return Decision("merged", merged.record)
    fields = frozenset(merged.fields)
    return Decision("merged", _decided(sides, answer, merged.record, local, remote, fields))


def _decided(
    sides: Sides, answer: Json, merged: Json, local: Json, remote: Json, fields: frozenset[str]
) -> Json:
    record = dict(merged)
    for name, value in answer.items():
        here, there, both = (side.get(name, MISSING) for side in (local, remote, merged))
        inner = frozenset(f.removeprefix(f"{name}.") for f in fields if f.startswith(f"{name}."))
        objects = all(isinstance(each, dict) for each in (value, here, there, both))
        if sides.nested and inner and objects:
            record[name] = _decided(sides, value, both, here, there, inner)
        elif name in fields or not (same_value(value, here) or same_value(value, there)):
            record[name] = value
    return record


def rebase_answer(sides: Sides, answer: Json, known: Json | None) -> Json:
    """The answer merged with the changes that the server has made since its record was ``known``,
    on which the answer is based.
    """
    if known is None or sides.remote is None:
        return answer
    return three_way(
        known,
        answer,
        sides.remote,
        local_is_later=True,
        ignore=sides.server_fields,
        nested=sides.nested,
    ).record


# --- comparing the sides, and the operation to send


def are_equal(sides: Sides) -> bool:
    """Whether both sides are equal, or the server's record has all local changes."""
    if same(sides.local, sides.remote, sides.ignore, sides.decimals):
        return True
    if sides.local is None or sides.remote is None or sides.recreated:
        return False
    return same(sides.rebased, sides.remote, sides.ignore, sides.decimals)


def real_conflicts(sides: Sides) -> tuple[str, ...]:
    """The fields that both sides changed to different values."""
    if sides.local is None or sides.remote is None:
        return ()
    return _merged(sides, sides.local, sides.remote, local_is_later=False).fields


def _merged(sides: Sides, local: Json, remote: Json, *, local_is_later: bool) -> Merged:
    """The three-way merge. Without a base the operations' own fields are the local edits."""
    base = sides.base
    if base is None:
        base = {name: each for name, each in remote.items() if name not in sides.edits}
        local = sides.rebased or {**remote, **sides.edits}
    return three_way(
        base,
        local,
        remote,
        local_is_later=local_is_later,
        ignore=sides.ignore,
        nested=sides.nested,
        decimals=sides.decimals,
    )


def operation_for(sides: Sides, decision: Decision) -> tuple[SyncOperation, Json] | None:
    """The operation that changes the server's record to the decided one, if one is needed.

    It has all fields of the decided record, except ``server_fields``, and except ignored fields
    whose value comes from one of the sides: the server sets those itself.
    """
    target, remote = decision.record, sides.remote
    if target is None:
        return None if remote is None else (SyncOperation.DELETE, {})
    known = [side for side in (sides.base, sides.local, remote) if side is not None]
    own = {
        name: value
        for name, value in target.items()
        if name not in sides.server_fields
        and (
            name not in sides.ignore
            or not any(same_value(value, side.get(name, MISSING)) for side in known)
        )
    }
    if remote is None:
        return SyncOperation.CREATE, own
    there = {name: each for name, each in remote.items() if name in own or name not in sides.ignore}
    edit = diff(there, own, sides.patch)
    if edit is None:  # the patch rule cannot remove a field, or set a member to null
        edit = {n: each for n, each in own.items() if not same_value(each, there.get(n, MISSING))}
    return (SyncOperation.UPDATE, edit) if edit else None
