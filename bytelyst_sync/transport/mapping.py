"""From operations to requests and from responses to answers, as a dialect says.

A ``Mapper`` is made once per entity and is immutable; any thread may use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.config import SyncConfig
from bytelyst_sync.entity import Entity
from bytelyst_sync.errors import RejectedError, SyncError, TransportError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.backoff import parse_retry_after
from bytelyst_sync.rules.classify import (
    Facts,
    Meaning,
    classify,
    classify_status,
    proves_unprocessed,
)
from bytelyst_sync.rules.ids import problem_of
from bytelyst_sync.rules.merge import same
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.rules.versions import same_version
from bytelyst_sync.transport.answers import Answer, Heard, hear
from bytelyst_sync.transport.base import Response
from bytelyst_sync.transport.steps import Steps
from bytelyst_sync.transport.wording import error_of, misfit
from bytelyst_sync.transport.writing import Writer, Written

__all__ = ["Mapper"]

Json = dict[str, Any]
Version = str | int | None


class Mapper:
    """One entity's side of the dialect. ``wall`` is the wall clock, for ``Retry-After`` dates.

    Requests come from ``requests``; the other methods understand their answers.
    """

    def __init__(self, entity: Entity, config: SyncConfig, wall: Callable[[], float]) -> None:
        self.name = entity.name
        self.entity = entity
        self.dialect = entity.dialect
        self.steps = Steps(self.dialect, entity.name)
        self.requests = Writer(entity, config, self.steps)
        self._version_sources = [tuple(each.split(":", 1)) for each in self.dialect.version]
        self._wall = wall

    # --- before a write

    def write(
        self,
        operation: SyncOperation,
        key: str,
        data: Json,
        state: Json | None,
        *,
        idempotency_key: str,
        version: Version,
    ) -> Written:
        """One operation; ``state`` is the record as the server has it, where it is needed."""
        if self._is_whole(operation) and state is not None:
            data = {**state, **data}
        known = version if self.entity.replica else None
        return self.requests.write(operation, key, data, idempotency_key, known)

    def _is_whole(self, operation: SyncOperation) -> bool:
        full = self.dialect.patch == "full" and operation is SyncOperation.UPDATE
        return full and self.entity.replica

    def reads_first(self, operation: SyncOperation, state: Json | None) -> bool:
        """Whether the record must be read and stored before this write can be made."""
        if state is not None or not self.entity.needs_state(operation):
            return False
        return self._is_whole(operation) or self.entity.must_name_version(operation)

    def checks(self, operation: SyncOperation, state: Json | None) -> bool:
        """Whether the record is read before each write, and compared with this state."""
        writes_over = operation is not SyncOperation.CREATE and self.entity.replica
        return self.dialect.check_before_write and writes_over and state is not None

    def objection(
        self, key: str, version: Version, state: Json | None, reading: Answer
    ) -> Answer | None:
        """What the reading ahead of a write has against it; ``None``: nothing, go on.

        Nothing was sent yet.
        """
        if reading.meaning is not Meaning.DELIVERED:
            return attrs.evolve(reading, unprocessed=True)
        unchanged = (
            same_version(version, reading.version)
            if version is not None and reading.version is not None
            else same(state, reading.record, self.entity.bookkeeping)
        )
        if unchanged:
            return None
        error = RejectedError(
            f"{self.name} {key}: the record was changed at the server since it was last read",
            entity=self.name,
            record_id=key,
        )
        return attrs.evolve(reading, meaning=Meaning.CONFLICT, error=error, unprocessed=True)

    # --- answers

    def answer(self, operation: SyncOperation, key: str, heard: Heard) -> Answer:
        """What the answer to a write means."""
        said = self.steps.classify(operation.value, heard)
        meaning = said or classify(operation, self._facts(heard), self.dialect)
        if meaning is Meaning.GONE and operation is SyncOperation.DELETE:
            meaning = Meaning.DELIVERED
        common = self._common(meaning, heard)
        if said is Meaning.REJECTED:
            common["unprocessed"] = True
        if meaning is Meaning.DELIVERED:
            return self._delivered(operation, key, heard, common)
        error = self._error(meaning, key, heard, write=True)
        if meaning is Meaning.CONFLICT:
            current = self._current(key, heard.body)
            version = None if current is None else self.version_of(current, heard)
            return Answer(meaning=meaning, error=error, record=current, version=version, **common)
        return Answer(meaning=meaning, error=error, **common)

    def reading(self, key: str, response: Response) -> Answer:
        """What the answer to a read means; ``GONE``: the record is not there."""
        heard = hear(response)
        said = self.steps.classify("read", heard)
        gone = said is Meaning.GONE or (said is None and heard.status in self.dialect.gone)
        meaning = Meaning.GONE if gone else said or self._by_status(heard)
        if meaning is Meaning.GONE:
            error = RejectedError(
                f"{self.name} {key}: HTTP {heard.status}: the server has no such record",
                entity=self.name,
                record_id=key,
                status=heard.status,
            )
            return Answer(meaning=meaning, error=error, **self._common(meaning, heard))
        record = self._record_in(key, heard.body) if meaning is Meaning.DELIVERED else None
        if meaning is Meaning.DELIVERED and record is None:
            meaning = self._unfit(heard)
        common = self._common(meaning, heard)
        if record is None:
            return Answer(meaning=meaning, error=self._error(meaning, key, heard), **common)
        if self.is_tombstone(record):
            return Answer(meaning=Meaning.GONE, **common)
        return Answer(
            meaning=meaning, record=record, version=self.version_of(record, heard), **common
        )

    def refusal(self, heard: Heard) -> SyncError | None:
        """Why this answer is no page; ``None`` if it may be one."""
        meaning = self.steps.classify("pull", heard) or self._by_status(heard)
        if meaning is Meaning.DELIVERED and heard.body is not MISSING:
            return None
        if meaning is Meaning.DELIVERED:
            meaning = Meaning.MAPPING
        return self._error(meaning, "(pull)", heard)

    def whole(self, heard: Heard) -> Answer:
        """What the answer to a batch means as a whole."""
        meaning = self._by_status(heard)
        if meaning is Meaning.DELIVERED and heard.body is MISSING:
            meaning = self._unfit(heard)
        delivered = meaning is Meaning.DELIVERED
        error = None if delivered else self._error(meaning, "(batch)", heard)
        return Answer(meaning=meaning, error=error, **self._common(meaning, heard))

    def _by_status(self, heard: Heard) -> Meaning:
        return classify_status(self._facts(heard), json_due=True)

    def _unfit(self, heard: Heard) -> Meaning:
        """An answer without a record in it: the dialect's fault, or that of a login page."""
        vouched = heard.body is not MISSING or heard.verified
        return Meaning.MAPPING if vouched else Meaning.PORTAL

    def _delivered(self, operation: SyncOperation, key: str, heard: Heard, common: Json) -> Answer:
        if operation is SyncOperation.DELETE:
            return Answer(meaning=Meaning.DELIVERED, **common)
        found = self._object_in(heard.body)
        server_id = None
        if operation is SyncOperation.CREATE and self.entity.server_ids:
            server_id, trouble = self._server_id(found, heard.body)
            if trouble is not None:
                error = TransportError(f"{self.name}: {trouble}", entity=self.name, record_id=key)
                return Answer(meaning=Meaning.MAPPING, error=error, **common)
            key = str(server_id)
        record = None
        if found is not None and (self.dialect.partial_answer or self._is_record(key, found)):
            record = found
        return Answer(
            meaning=Meaning.DELIVERED,
            record=record,
            version=self.version_of(found, heard),
            server_id=server_id,
            **common,
        )

    def _server_id(self, found: Json | None, body: Any) -> tuple[Any, str | None]:
        """The id that the server gave to a new record, and what is wrong with it."""
        path = self.dialect.id_in_answer or self.entity.id_field
        value = _id_at(path, found, body)
        if value is None:
            return None, misfit("id_in_answer", path, "the new record's id", body)
        problem = problem_of(str(value))
        return value, problem and f"`id_in_answer`: the id at `{path}` {problem}"

    def _common(self, meaning: Meaning, heard: Heard) -> Json:
        headers = heard.headers
        now = self._wall()
        return {
            "status": heard.status,
            "retry_after": parse_retry_after(headers.get("retry-after"), now),
            "backoff": parse_retry_after(headers.get("backoff"), now),
            "unprocessed": proves_unprocessed(meaning, heard.status),
        }

    def _facts(self, heard: Heard) -> Facts:
        return Facts(
            status=heard.status,
            text=heard.text,
            is_json=heard.body is not MISSING,
            elsewhere=self._elsewhere(heard),
            verified=heard.verified,
        )

    def _elsewhere(self, heard: Heard) -> bool:
        target = heard.headers.get("location")
        if not target or not 300 <= heard.status < 400:
            return False
        try:
            host = urlsplit(target).hostname
        except ValueError:
            return True
        return host is not None and host != urlsplit(heard.url or self.requests.base).hostname

    # --- records in answers

    def _object_in(self, body: Any) -> Json | None:
        found = self.steps.decode(at(body, self.dialect.record))
        return found if isinstance(found, dict) else None

    def _record_in(self, key: str, body: Any) -> Json | None:
        found = self._object_in(body)
        return found if found is not None and self._is_record(key, found) else None

    def _is_record(self, key: str, found: Json) -> bool:
        value = found.get(self.entity.id_field)
        return isinstance(value, (str, int)) and str(value) == key

    def _current(self, key: str, body: Any) -> Json | None:
        for path in self.dialect.current:
            found = self.steps.decode(at(body, path))
            if isinstance(found, dict) and self._is_record(key, found):
                return found
        return None

    def is_tombstone(self, record: Json) -> bool:
        """Whether this record stands for a deleted one: ``true``, or 1 as databases say it."""
        if self.dialect.tombstone is None:
            return False
        mark = at(record, self.dialect.tombstone)
        return mark is True or (type(mark) is int and mark == 1)

    def version_of(self, record: Json | None, heard: Heard | None = None) -> Version:
        """The record's version, from the first source that has one."""
        for kind, name in self._version_sources:
            value: Any = None
            if kind == "header":
                value = heard.headers.get(name.lower()) if heard is not None else None
            elif kind == "answer":
                value = at(heard.body, name) if heard is not None else None
            elif record is not None:
                value = at(record, name)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                return value
        return None

    def _error(self, meaning: Meaning, key: str, heard: Heard, *, write: bool = False) -> SyncError:
        return error_of(
            meaning,
            self.name,
            key,
            heard,
            base=self.requests.base,
            record=self.dialect.record,
            now=self._wall(),
            write=write,
        )


def _id_at(path: str, *places: Any) -> Any:
    for place in places:
        value = at(place, path)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value):
            return value
    return None
