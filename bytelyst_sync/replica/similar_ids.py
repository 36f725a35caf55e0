"""Reports ids of an entity that differ only in case or in their Unicode normal form.

Such ids name two records here. Some servers and file systems treat them as equal, so a person
should know. Runs inside a storage transaction.
"""

from __future__ import annotations

from collections.abc import Mapping

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.rules.ids import folded_id
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["folded_column", "report_similar"]


def folded_column(key: str) -> str | None:
    """The value of ``Record.folded``."""
    folded = folded_id(key)
    return None if folded == key else folded


def report_similar(work: UnitOfWork, entity: Entity, new: Mapping[str, str | None]) -> None:
    """Reports the first of these new records whose id is similar to that of a stored record.

    ``new`` has the folded column of each by its id.
    """
    tx, name = work.tx, entity.name
    by_folded: dict[str, str] = {}
    for key, column in new.items():
        folded = key if column is None else column
        other = by_folded.setdefault(folded, key)
        if other != key:
            _report(work, entity, key, other)
    for folded in tx.present(RECORDS, "folded", (name,), list(by_folded)):
        key = by_folded[folded]
        rows = tx.scan(RECORDS, "folded", (name, folded))
        other = next((row.record for row in rows if row.record != key), key)
        if other != key:
            _report(work, entity, key, other)
    changed = {folded: key for folded, key in by_folded.items() if folded != key}
    for folded in tx.present(RECORDS, None, (name,), list(changed)):
        _report(work, entity, changed[folded], folded)


def _report(work: UnitOfWork, entity: Entity, key: str, other: str) -> None:
    work.effects.id_problems.setdefault(
        entity.name,
        f"{entity.name}: the ids {key!a} and {other!a} differ only in case or Unicode normal form; "
        "they are kept as two records. If the server takes them for one, delete one of them here "
        "and use the id as the server spells it",
    )
