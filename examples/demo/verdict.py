"""Compare what a client was told is saved with what the server has applied. Pure.

Changes of one record that wait together are sent as one, under the key of the latest of them: so
each applied effect has to answer for the changes since the one before, all of them, in order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from work_orders import Change

from bytelyst_sync.testing import Effect

UNKNOWN = "unknown"
"""The key of a push that was cut off, and found saved when the program ran again."""

Record = tuple[str, str]


@dataclass(frozen=True)
class Acknowledged:
    """A change whose push returned; the key of its item, or none if it cancelled a create."""

    change: Change
    key: str | None


def differences(
    acknowledged: Iterable[Acknowledged],
    journal: Iterable[Effect],
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> list[str]:
    """Everything that is not there, there twice, out of order or otherwise; empty is good.

    `journal` is every effect on the server, oldest first; `records` what it holds in the end.
    """
    pushes: dict[Record, list[Acknowledged]] = defaultdict(list)
    effects: dict[Record, list[Effect]] = defaultdict(list)
    for push in acknowledged:
        pushes[push.change.record].append(push)
    for effect in journal:
        effects[effect.collection, effect.id].append(effect)
    found: list[str] = []
    for record in sorted(pushes.keys() | effects.keys()):
        name = "/".join(record)
        found += [f"{name}: {text}" for text in _along(pushes[record], effects[record])]
        held = records.get(record[0], {}).get(record[1])
        if not _agrees(held, fold([push.change for push in pushes[record]])):
            found.append(f"{name}: the server holds another state than the last one pushed")
    return found


def fold(changes: Sequence[Change]) -> tuple[str, dict[str, Any]] | None:
    """The one operation that does what these do in turn, if any is left to do."""
    operation, data = "", {}
    for change in changes:
        if change.operation == "delete":
            operation, data = ("", {}) if operation == "create" else ("delete", {})
        else:
            operation = operation or change.operation
            data = {**data, **as_json(change.data)}
    return (operation, data) if operation else None


def as_json(value: Any) -> Any:
    """What a value is on the wire."""
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _along(pushes: Sequence[Acknowledged], effects: Sequence[Effect]) -> Iterable[str]:
    """Walk along one record's effects, each of which takes the pushes up to its key."""
    begin = 0
    for effect in effects:
        end = _end(pushes, begin, effect.key)
        if end is None:
            twice = any(push.key == effect.key for push in pushes[:begin])
            what = "applied again, or out of order" if twice else "never acknowledged"
            yield f"{effect.kind} {what} (key {effect.key})"
            continue
        expected = fold([push.change for push in pushes[begin:end]])
        if expected is None or not _does(effect, *expected):
            yield f"{effect.kind} is not what was pushed (key {effect.key})"
        begin = end
    if fold([push.change for push in pushes[begin:]]) is not None:
        revs = ", ".join(str(push.change.rev) for push in pushes[begin:])
        yield f"never arrived: changes {revs}"


def _end(pushes: Sequence[Acknowledged], begin: int, key: str | None) -> int | None:
    """The number behind the push that has this key, or might have it."""
    for wanted in (key, UNKNOWN):
        for number in range(begin, len(pushes)):
            if pushes[number].key == wanted:
                return number + 1
    return None


def _does(effect: Effect, operation: str, data: Mapping[str, Any]) -> bool:
    sent = {name: value for name, value in (effect.data or {}).items() if name != "id"}
    wanted = {name: value for name, value in data.items() if name != "id"}
    return effect.kind == operation and sent == wanted


def _agrees(held: Mapping[str, Any] | None, wanted: tuple[str, Mapping[str, Any]] | None) -> bool:
    if wanted is None or wanted[0] == "delete":
        return held is None
    return held is not None and all(
        name in held and held[name] == value for name, value in wanted[1].items()
    )
