"""Read settled conflicts aloud, and compare both views, the server and what should be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared_records import STRATEGIES, Story

Json = dict[str, Any]
Records = Mapping[str, Mapping[str, Json]]
"""Records by entity and id."""

HEAD = ("record", "field", "base", "here", "there", "decision", "why")
STAMPS = ("version", "updatedAt")
"""What the server writes into every record."""


@dataclass(frozen=True)
class Settled:
    """A conflict that was decided, as the client that met it kept it."""

    id: str
    entity: str
    record_id: str
    base: Json | None
    here: Json | None
    there: Json | None
    here_at: float
    there_at: float | None
    fields: Sequence[str]
    resolution: str

    @property
    def changed(self) -> list[str]:
        """The fields that somebody changed; a deleted record changed none."""
        base = self.base or {}
        names = dict.fromkeys([*(self.here or {}), *(self.there or {})])
        return [
            name
            for name in names
            if name not in STAMPS
            and any(side and side.get(name) != base.get(name) for side in (self.here, self.there))
        ]


def table(settled: Iterable[Settled], stands: Records) -> Iterator[tuple[str, ...]]:
    """A row for each field that was decided; `stands` is what came of it."""
    entities = list(STRATEGIES)
    for conflict in sorted(settled, key=lambda it: (entities.index(it.entity), it.record_id)):
        now = stands[conflict.entity].get(conflict.record_id)
        title = f"{conflict.entity} {conflict.record_id}"
        for name in conflict.changed:
            sides = (_shown(side, name) for side in (conflict.base, conflict.here, conflict.there))
            decision = f"{conflict.resolution}: {_shown(now, name)}"
            yield title, name, *sides, decision, _why(conflict, name, now)
            title = ""


def _shown(record: Json | None, name: str) -> str:
    return "(deleted)" if record is None else str(record.get(name, "-"))


def _why(conflict: Settled, name: str, now: Json | None) -> str:
    """The row of the strategy, in a few words."""
    strategy = STRATEGIES[conflict.entity]
    if strategy == "merge":
        return f"merge: {_why_merged(conflict, name, now)}"
    return {
        "server-wins": "server-wins: local change dropped, server's state taken",
        "client-wins": "client-wins: local change re-based and sent again",
        "manual": "manual: parked, then settled with resolve()",
    }[strategy]


def _why_merged(conflict: Settled, name: str, now: Json | None) -> str:
    if conflict.here is None or conflict.there is None:
        return "an edit beats a delete"
    if name not in conflict.fields:
        return "one-sided changes are both kept"
    side = "here" if now and now.get(name) == conflict.here.get(name) else "there"
    apart = abs(conflict.here_at - (conflict.there_at or conflict.here_at))
    return f"the later writer: {side}, by {apart:.1f} s"


def disagreements(server: Records, views: Mapping[str, Records]) -> Iterator[str]:
    """Where a view is not what the server holds, to the last field and version."""
    for who, view in views.items():
        for entity in STRATEGIES:
            for key in sorted(server[entity].keys() | view[entity].keys()):
                there, here = server[entity].get(key), view[entity].get(key)
                if here != there:
                    yield f"{entity} {key}: {who} sees {here}, the server holds {there}"


def unexpected(stories: Iterable[Story], server: Records) -> Iterator[str]:
    """Where the server does not hold what the strategies promise."""
    known = set()
    for story in stories:
        known.add((story.entity, story.id))
        held = server[story.entity].get(story.id)
        wanted = None if story.stands is None else {"id": story.id, **story.stands}
        if (held if held is None else _without_stamps(held)) != wanted:
            yield f"{story.entity} {story.id}: it should be {wanted}, the server holds {held}"
    for entity in STRATEGIES:
        for key in server[entity]:
            if (entity, key) not in known:
                yield f"{entity} {key}: nobody wrote it"


def lost_one_sided(stories: Iterable[Story], server: Records) -> Iterator[str]:
    """Edits of one of them that the other never contradicted, and that are gone."""
    for story in stories:
        held = server[story.entity].get(story.id)
        for name, value in story.one_sided.items():
            if held is None or held.get(name) != value:
                yield f"{story.entity} {story.id}: {name}={value!r} was one-sided, and is lost"


def lost_silently(
    stories: Iterable[Story], settled: Sequence[Settled], server: Records
) -> Iterator[str]:
    """Edits that had to give way, and that no settled conflict keeps; it is met once, by one."""
    for story in stories:
        kept = [
            each for each in settled if (each.entity, each.record_id) == (story.entity, story.id)
        ]
        if len(kept) != story.is_conflict:
            yield f"{story.entity} {story.id}: {len(kept)} settled conflicts"
        if not kept:
            continue
        conflict = kept[0]
        held = server[story.entity].get(story.id) or {}
        for name, (there, here) in story.contested.items():
            found = ((conflict.there or {}).get(name), (conflict.here or {}).get(name))
            for value, side in zip((there, here), found, strict=True):
                if value not in (held.get(name), side):
                    yield f"{story.entity} {story.id}: {name}={value!r} gave way, and is not kept"


def _without_stamps(record: Json) -> Json:
    return {name: value for name, value in record.items() if name not in STAMPS}
