"""Tests a dialect with real writes to records of its own: ``doctor --write-trial``.

Each step yields findings, which name the fields of the dialect that are responsible. The records
are deleted at the end, also if a step fails.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator
from typing import Any

from bytelyst_sync.config.entity import Entity, compile_entities
from bytelyst_sync.errors import AuthError, SyncError
from bytelyst_sync.inspection.doctor_context import DoctorContext, Finding, fail, ok, warn
from bytelyst_sync.inspection.text import count_of
from bytelyst_sync.inspection.trial_client import TrialAnswer, TrialClient, TrialListing
from bytelyst_sync.inspection.trial_records import TrialRecords
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.page_rows import Row
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.rules.versions import same_version

__all__ = ["try_writes"]

Json = dict[str, Any]
CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
_MARKS = ("deleted", "deleted_at", "deletedAt", "removed", "archived", "is_deleted", "_deleted")
_RECORD = "give a record that the server accepts: --trial-record '{\"field\": …}'"
_UPDATE = f"check `update`, `patch`, `body`, `send_version`; or {_RECORD}"


def try_writes(
    context: DoctorContext, names: tuple[str, ...] = (), record: Json | None = None
) -> Iterator[Finding]:
    """Tries the writes of these entities, or of all; ``record`` is what is created."""
    config = context.config
    if config is None or context.settings is None or not context.reachable:
        return
    if context.settings.missing is not None:
        return
    for entity in compile_entities(config).values():
        if names and entity.name not in names:
            continue
        if not entity.replica:
            yield ok("trial", f"{entity.name}: nothing is tried (replica = false)")
            continue
        trial = _Trial(TrialClient(config, entity, context.transport), entity, record)
        try:
            yield from trial.steps()
        except AuthError as error:
            yield fail("trial", str(error), "check BYTELYST_SYNC_AUTH or auth_env")
        except SyncError as error:
            yield fail("trial", str(error), _remedy(str(error)))
        finally:
            remaining = trial.clean_up()
        yield from remaining


def _remedy(text: str) -> str:
    if "`" in text:
        return "describe how the API speaks: the field of [dialect] that is named"
    return "try again; is the server well?"


class _Trial:
    """One entity's trial."""

    def __init__(self, client: TrialClient, entity: Entity, template: Json | None) -> None:
        self._client = client
        self._entity = entity
        self._dialect = entity.dialect
        self._id_field = entity.id_field
        self._records = TrialRecords(client, entity, template)
        self._versions = self._records.versions
        self._before: TrialListing | None = None
        """The listing before the trial."""
        self._base: TrialListing | None = None
        """The listing after the trial's records were created."""
        self._sent: Json = {}
        """The fields of the record, as they were sent."""
        self._key = ""

    def steps(self) -> Iterator[Finding]:
        """All steps; those that need a record end with it."""
        self._before = self._client.listed(None)
        if self._before.lacking is not None:
            yield self._fail(self._before.lacking, "check `total`, `next_page` and `page_size`")
        self._sent = self._records.content(self._before)
        yield from self._create()
        if not self._key:
            return
        state = yield from self._read_back()
        if state is None:
            return
        yield from self._second_page()
        self._base = self._client.listed(self._before.cursor)
        version = self._versions[self._key]
        state = yield from self._update(state)
        if version is not None and state is not None:
            yield from self._stale(state, version)
        yield from self._arrives()
        yield from self._delete()

    def _create(self) -> Iterator[Finding]:
        key, again = str(uuid.uuid4()), str(uuid.uuid4())
        data = self._sent if self._entity.server_ids else {self._id_field: key, **self._sent}
        first = self._client.write(CREATE, key, data, idempotency_key=again)
        if not self._entity.server_ids:
            self._versions[key] = None
        if first.result.meaning is Verdict.DELIVERED:
            if first.result.server_id is not None:
                key = str(first.result.server_id)
            self._versions[key] = first.result.version
            self._key = key
            id_text = f", and gave the id {key}" if self._entity.server_ids else " and kept its id"
            yield self._ok(f"created a record{id_text} (`create`, `body`, `record`)")
        else:
            body = "; if it does, check how a body is wrapped (`body`, `content_type`)"
            yield self._refused("create", first, _RECORD + body)
            self._records.note_other(first)
            return
        yield from self._repeated(key, data, again)

    def _repeated(self, key: str, data: Json, again: str) -> Iterator[Finding]:
        second = self._client.write(CREATE, key, data, idempotency_key=again)
        result, status = second.result, second.decoded.status
        other = None if result.server_id is None else str(result.server_id)
        if other is not None and other != key:
            self._versions[other] = result.version
            yield self._doubled()
        elif result.meaning is Verdict.DELIVERED:
            yield self._ok("a create that is sent again makes no second record (`idempotency`)")
        elif result.meaning is Verdict.CONFLICT:
            yield self._ok(f"a create that is sent again is refused: HTTP {status} (`conflict`)")
        else:
            yield self._fail(
                f"a create that is sent again is answered with HTTP {status}, which counts as a "
                f"refusal: {result.error}",
                f'say what it means: `exists = [[{status}, "a part of the message"]]`',
            )

    def _doubled(self) -> Finding:
        lookup = 'say how a record is looked for (`lookup`); `id_source = "client"` avoids it'
        if self._dialect.idempotency is not None:
            return self._fail(
                "a create that is sent again under the same key makes a second record",
                f"name the header that the server knows (`idempotency`); if it has none, {lookup}",
            )
        if self._dialect.lookup is not None:
            return self._ok("a create that is sent again makes a second record; `lookup` finds it")
        return self._warn("a create whose answer is lost is made twice, without keys", lookup)

    # --- reading

    def _read_back(self) -> Generator[Finding, None, Json | None]:
        answer = self._client.read(self._key)
        result = answer.result
        if result.meaning is not Verdict.DELIVERED or result.record is None:
            yield self._refused("read", answer, "check the route `read` and the path `record`")
            return None
        record = result.record
        differing = self._records.differing(self._sent, record)
        if differing:
            yield self._fail(
                f"the server has other values than were sent: {', '.join(differing)}",
                "say where they stand (`fields`, `body`), or that the server sets them "
                "(`server_fields`)",
            )
        else:
            yield self._ok("read it back, with all that was sent (`read`)")
        self._versions[self._key] = (
            result.version if result.version is not None else self._versions[self._key]
        )
        if self._dialect.version and self._versions[self._key] is None:
            yield self._warn(
                f"no version: neither of {', '.join(self._dialect.version)} is in its answers",
                "name where it stands (`version`), or say `version = false` and "
                "`check_before_write = true`",
            )
        times = self._dialect.updated_at
        if times and all(at(record, name) is MISSING for name in times):
            yield self._warn(
                f"no time of the last change: there is no {' or '.join(times)}",
                "name the field (`updated_at`), or leave it if no strategy needs it",
            )
        return record

    def _second_page(self) -> Iterator[Finding]:
        second = str(uuid.uuid4())
        data = self._sent if self._entity.server_ids else {self._id_field: second, **self._sent}
        answer = self._client.write(CREATE, second, data)
        if answer.result.meaning is Verdict.DELIVERED:
            server_id = answer.result.server_id
            self._versions[second if server_id is None else str(server_id)] = answer.result.version
        first, *others = self._client.first_pages(1)
        keys = set(first.keys())
        if not others and first.count > 1:
            yield self._warn(
                f"asked for a page of one row, the server gave {first.count}: whether a second "
                "page fits was not seen",
                f"name the parameter (`page_size`, now {self._dialect.page_size!r}) if it has one",
            )
        elif not others:
            kind = "" if self._dialect.next_page else ", and `next_page` says that there is none"
            yield self._fail(
                f"the listing ends after a page of {count_of(first.count, 'row')}, and there are "
                f"more{kind}",
                "say how the next page is found: `next_page`",
            )
        elif all(keys.issuperset(page.keys()) for page in others):
            yield self._fail(
                "the second page has the rows of the first one, or none",
                "say how the next page is asked for: `next_page`, `query`, `start`",
            )
        else:
            yield self._ok("the second page has other rows than the first (`next_page`)")

    # --- changing

    def _update(self, state: Json) -> Generator[Finding, None, Json | None]:
        name = self._records.changeable(self._sent)
        if name is None:
            yield self._warn("no field could be changed: an update was not tried", _RECORD)
            return None
        value = self._sent[name]
        changed: Any = f"{value} (changed)"
        if isinstance(value, bool):
            changed = not value
        elif isinstance(value, int):
            changed = value + 1
        answer = self._write_update(state, {name: changed}, self._versions[self._key])
        if answer.result.meaning is not Verdict.DELIVERED:
            yield self._refused("update", answer, _UPDATE)
            return None
        after = self._client.read(self._key).result
        if after.record is None:
            yield self._fail("after an update it cannot be read", "check `update` and `read`")
            return None
        differing = self._records.differing({**self._sent, name: changed}, after.record)
        if differing == [name]:
            yield self._fail(
                f"an update of {name} was accepted, and changed nothing",
                "check `update` and `body`",
            )
        elif differing:
            yield self._fail(
                f"an update of {name} took other fields away: {', '.join(differing)}",
                'the server replaces the record: `patch = "full"`',
            )
        else:
            yield self._ok(f"changed {name}, and nothing else (`update`, `patch`)")
        self._sent = {**self._sent, name: changed}
        before, self._versions[self._key] = self._versions[self._key], after.version
        if before is not None and same_version(before, after.version):
            yield self._fail(
                "its version is the same after an update", "name what changes: `version`"
            )
            return None
        return after.record

    def _write_update(self, state: Json, fields: Json, version: Any) -> TrialAnswer:
        data = {self._id_field: state.get(self._id_field, self._key), **fields}
        return self._client.write(UPDATE, self._key, data, state=state, version=version)

    def _stale(self, state: Json, version: Any) -> Iterator[Finding]:
        name = self._records.changeable(self._sent)
        place = self._dialect.version_place(UPDATE.value)
        if name is None or place is None:
            return
        answer = self._write_update(state, {name: self._sent[name]}, version)
        if answer.result.meaning is Verdict.CONFLICT:
            note = ", with the current record (`current`)" if answer.result.record else ""
            yield self._ok(
                f"a write on an old version is refused: HTTP {answer.decoded.status}{note}"
            )
        elif answer.result.meaning is Verdict.DELIVERED:
            self._versions[self._key] = answer.result.version
            yield self._fail(
                f"a write on an old version was accepted: the server ignores {place}, and changes "
                "of others would be overwritten",
                "say where it takes the version (`send_version`); if it has none, "
                "`check_before_write = true`",
            )
        else:
            yield self._refused(
                "update", answer, f"say what it means: `conflict = [{answer.decoded.status}, …]`"
            )

    def _arrives(self) -> Iterator[Finding]:
        since = self._since()
        if since is None:
            return
        rows = since().rows
        others = set(() if self._before is None else self._before.rows) - set(self._versions)
        if len(others) > 1 and others <= set(rows) and self._dialect.cursor:
            yield self._warn(
                "a pull with the cursor lists all records again, also those that did not change",
                "say how the cursor is sent (`since`) and where it comes from (`cursor`)",
            )
        if self._key not in rows:
            yield self._fail(
                "the change does not arrive in a pull from the cursor before it",
                "check `cursor` and `since`; a cursor that is compared strictly needs `overlap`",
            )
        else:
            yield self._ok("the change arrives in a pull (`cursor`, `since`)")

    def _since(self) -> Callable[[], TrialListing] | None:
        """A function that lists the changes since the trial began; ``None`` if the listing was too
        long.
        """
        base = self._base
        if base is None or not base.whole:
            return None
        return lambda: self._client.listed(base.cursor)

    # --- deleting

    def _delete(self) -> Iterator[Finding]:
        current = self._client.read(self._key).result
        state = current.record or {self._id_field: self._key}
        answer = self._records.delete(
            self._key, state, current.version or self._versions[self._key]
        )
        if answer.result.meaning is not Verdict.DELIVERED:
            yield self._refused("delete", answer, "check `delete`, `send_version` and `body`")
            return
        del self._versions[self._key]
        after = self._client.read(self._key)
        if after.result.meaning is not Verdict.GONE:
            marked = self._mark_in(after.result.record or {})
            self._versions[self._key] = after.result.version
            yield self._fail(
                f"the delete was answered with HTTP {answer.decoded.status}, and then it can still"
                f" be read: HTTP {after.decoded.status}" + (f", with {marked}" if marked else ""),
                f'name the mark of a deleted record: `tombstone = "{marked}"`'
                if marked
                else "check the route `delete`, and what says that there is no record (`gone`)",
            )
            return
        yield self._ok("deleted it (`delete`, `gone`)")
        yield from self._tombstone()

    def _mark_in(self, record: Json) -> str | None:
        """A field that looks like the mark of a deleted record."""
        return next((name for name in _MARKS if record.get(name)), None)

    def _tombstone(self) -> Iterator[Finding]:
        since = self._since()
        if since is None:
            yield self._warn(
                "the listing has too many pages: whether changes and deletes arrive was not seen",
                "try it where there are few records",
            )
            return
        listed = since()
        row: Row | None = listed.rows.get(self._key)
        if row is not None and row.record is not None:
            marked = self._mark_in(row.record)
            yield self._fail(
                "a pull still lists it after its delete" + (f", with {marked}" if marked else ""),
                f'name the mark of a deleted record: `tombstone = "{marked or "…"}"`',
            )
        elif row is not None:
            yield self._ok("its delete arrives in a pull (`tombstone`)")
        elif self._dialect.tombstone is None or self._base is None or self._base.cursor is None:
            yield self._ok("a pull does not list it any more; `reconcile` finds deletes")
        else:
            yield self._fail(
                "its delete does not arrive in a pull: the server lists no deleted records",
                "say `tombstone = false`, and `reconcile_interval` for the entity",
            )

    def clean_up(self) -> list[Finding]:
        """Deletes what was created; reports what could not be deleted."""
        return [
            self._warn(f"the record {key} of the trial is still there", "delete it")
            for key in self._records.delete_all()
        ]

    # --- findings

    def _ok(self, text: str) -> Finding:
        return ok("trial", f"{self._entity.name}: {text}")

    def _warn(self, text: str, remedy: str) -> Finding:
        return warn("trial", f"{self._entity.name}: {text}", remedy)

    def _fail(self, text: str, remedy: str) -> Finding:
        return fail("trial", f"{self._entity.name}: {text}", remedy)

    def _refused(self, step: str, answer: TrialAnswer, remedy: str) -> Finding:
        text = str(answer.result.error or f"HTTP {answer.decoded.status}")
        if answer.decoded.status in (404, 405) and step == "create":
            remedy = "check base_url, the endpoint, and the route `create`"
        if answer.result.meaning is not Verdict.REJECTED and ("`" in text or "id_source" in text):
            remedy = "the field that is named says it"
        return self._fail(f"`{step}`: {text}", remedy)
