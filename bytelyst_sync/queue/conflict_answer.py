"""Decides how to react to an answer that reports a conflict (409, 412, "gone", "exists").

The answer is compared with what is stored; its status alone decides nothing. Pure functions.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.replica.server_state import DELETED
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.decimals import names_in
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.merge import same, same_value
from bytelyst_sync.rules.tombstone import is_tombstone
from bytelyst_sync.rules.unique_key import is_other_record, shares_a_value
from bytelyst_sync.rules.versions import plain_version, same_version
from bytelyst_sync.storage.schema import Item, Record

__all__ = [
    "Reaction",
    "has_newer_deferred",
    "is_own_work",
    "may_be_refusal",
    "react",
    "respelled",
]

Json = dict[str, Any]
CREATE, DELETE = SyncOperation.CREATE.value, SyncOperation.DELETE.value


class Reaction(Enum):
    """How to react to the answer."""

    OWN_WORK = "the server has what was sent: an answer was lost, or another client sent the same"
    CREATE_INSTEAD = "the record is gone: send the update as the create that it was pushed as"
    STILL_RUNNING = "the server may still process the first attempt: wait"
    NAME_VERSION = "the record is unchanged: send again with the version that the server reports"
    RESPELL_VERSION = "the record is unchanged: send again with or without quotes on the version"
    REFUSED = "no conflicting change exists: the server refuses for another reason"
    REVIVE = "the record was deleted at the server: send the create as an update of its tombstone"
    OTHER_RECORD = "the answer contains another record"
    CONFLICT = "both sides changed the record"


def react(
    entity: Entity, item: Item, row: Record | None, answer: AttemptResult, *, outdated: bool
) -> Reaction:
    """The reaction to this answer; ``row`` is what is stored of the item's record.

    ``outdated`` says that the record changed here during the attempt: what was sent was then based
    on an earlier state than the stored one.
    """
    remote = answer.record
    if remote is not None and is_other_record(remote, entity.id_field, item.record):
        ignored = entity.bookkeeping | {entity.id_field}
        is_taken = entity.replica and shares_a_value(loads(item.data), remote, ignored)
        return Reaction.CONFLICT if is_taken else Reaction.OTHER_RECORD
    if entity.revives and item.operation == CREATE and _is_deleted(entity, row, answer):
        return Reaction.REVIVE
    if is_own_work(entity, item, remote):
        return Reaction.OWN_WORK
    if answer.meaning is Verdict.GONE and item.was_create:
        return Reaction.CREATE_INSTEAD
    held = row is not None and row.changed_seq > 0
    creates = item.operation == CREATE
    # a create that is still running has left no record yet
    unchanged = remote is None
    if held and not creates:
        unchanged = _unchanged(entity, item, row, answer, outdated=outdated)
    same_record = unchanged and remote is not None
    plain_409 = answer.status == 409
    if item.frozen and plain_409 and (remote is None or unchanged):
        return Reaction.STILL_RUNNING
    if same_record and item.version is None and answer.version is not None:
        return Reaction.NAME_VERSION
    first_time = item.version is not None and item.in_progress_retries == 0
    if same_record and not plain_409 and first_time:
        return Reaction.RESPELL_VERSION
    if same_record or (remote is None and (creates or not held)):
        return Reaction.REFUSED
    return Reaction.CONFLICT


def may_be_refusal(entity: Entity, item: Item, answer: AttemptResult) -> bool:
    """Whether ``react`` may find no conflict in this answer, with the record that was read for it,
    and fail the item. Needs nothing that is stored: where no versions are known it assumes so.
    """
    remote = answer.record
    plain_409 = answer.status == 409
    if item.frozen and plain_409:
        return False  # the first attempt may still be running
    if item.operation == CREATE or remote is None:
        return item.operation == CREATE and remote is None
    if is_own_work(entity, item, remote):
        return False
    if item.version is None:
        return answer.version is None  # else it is sent again with that version
    if answer.version is not None and not same_version(answer.version, item.version):
        return False
    return plain_409 or item.in_progress_retries > 0  # else it is sent again, respelled


def without_tombstone(entity: Entity, item: Item, answer: AttemptResult) -> AttemptResult:
    """The answer, with a tombstone in it replaced by what it means: the record is gone.

    That is a successful answer to a delete, and to an update that itself marks the record as
    deleted.
    """
    mark = entity.dialect.tombstone
    if answer.record is None or not is_tombstone(answer.record, mark):
        return answer
    if is_other_record(answer.record, entity.id_field, item.record) or item.operation == CREATE:
        return answer
    deletes = item.operation == DELETE or is_tombstone(loads(item.data), mark)
    if deletes and answer.meaning is Verdict.DELIVERED:
        return answer
    meaning = Verdict.DELIVERED if deletes else Verdict.GONE
    return attrs.evolve(answer, meaning=meaning, record=None, version=None, status=410)


def respelled(version: str | int | None) -> str:
    """The version with quotes if it has none, else without: an ETag is quoted (RFC 9110 §8.8.3),
    the same version in a field of the record is not.
    """
    plain = plain_version(version)
    quoted = f'"{plain}"'
    return str(plain) if version == quoted else quoted


def has_newer_deferred(row: Record | None, state: Json | None, answer: AttemptResult) -> bool:
    """Whether the row has a deferred state that may be newer than ``state``, the answer's."""
    if row is None or row.deferred_state is None:
        return False
    if same_version(row.deferred_version, answer.version):
        return False
    if same_version(row.deferred_version, row.version):
        return False
    deferred = None if row.deferred_state == DELETED else loads(row.deferred_state)
    return bool(deferred != state)


def is_own_work(entity: Entity, item: Item, remote: Json | None) -> bool:
    """Whether the server's record shows everything that the item sends."""
    if item.operation == DELETE:
        return remote is None
    if remote is None:
        return False
    sent = loads(item.data)
    ignored = entity.bookkeeping | {entity.id_field}
    decimals = names_in(item.decimals)
    return all(
        same_value(remote.get(name), value, decimal=name in decimals)
        for name, value in sent.items()
        if name not in ignored
    )


def _is_deleted(entity: Entity, row: Record | None, answer: AttemptResult) -> bool:
    """Whether the server keeps the record as a tombstone of a version that is not known yet."""
    if answer.version is None or (row is not None and same_version(row.version, answer.version)):
        return False
    return answer.record is None or is_tombstone(answer.record, entity.dialect.tombstone)


def _unchanged(
    entity: Entity, item: Item, row: Record | None, answer: AttemptResult, *, outdated: bool
) -> bool:
    """Whether the record at the server is still the one that the change was based on."""
    if row is None or row.state is None:
        return answer.record is None
    if answer.record is None or outdated:
        return False
    if answer.version is not None and item.version is not None:
        return same_version(answer.version, item.version)
    return same(loads(row.state), answer.record, entity.bookkeeping)
