"""Converts operations to requests, and responses to results, as a dialect says.

There is one ``EntityCodec`` for each entity. It is immutable; any thread may use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.errors import RejectedError, SyncError
from bytelyst_sync.http.redirects import may_be_portal
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.dialect_hooks import Steps
from bytelyst_sync.protocol.error_messages import error_about, error_of
from bytelyst_sync.protocol.record_reader import RecordReader, Version
from bytelyst_sync.protocol.requests import RequestBuilder, WriteRequest
from bytelyst_sync.protocol.responses import (
    AttemptResult,
    DecodedResponse,
    decode_response,
    requested_pauses,
)
from bytelyst_sync.protocol.write_evidence import last_segment, other_id_in, refusal_in
from bytelyst_sync.rules.classify import (
    ResponseFacts,
    Verdict,
    classify,
    classify_status,
    doubt,
    proves_unprocessed,
    verdict_by_answers,
)
from bytelyst_sync.rules.ids import is_local, problem_of
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.rules.placing import placed
from bytelyst_sync.rules.tombstone import UNVERSIONED

__all__ = ["EntityCodec"]

Json = dict[str, Any]


class Revived(Protocol):
    """A tombstone's version, and the value of its mark in a record that exists."""

    @property
    def version(self) -> Version: ...
    @property
    def mark(self) -> Any: ...


class EntityCodec:
    """Requests and answers of one entity. ``wall`` is the wall clock, for ``Retry-After`` dates.

    ``requests`` builds the requests, ``records`` reads the records in answers, and the other
    methods interpret the answers.
    """

    def __init__(self, entity: Entity, config: SyncConfig, wall: Callable[[], float]) -> None:
        self.name = entity.name
        self.entity = entity
        self.dialect = entity.dialect
        self.steps = Steps(entity)
        self.requests = RequestBuilder(entity, config, self.steps)
        self.records = RecordReader(entity, self.steps)
        self._read_first = {
            each
            for each in SyncOperation
            if entity.needs_state(each) and (self._is_whole(each) or entity.must_name_version(each))
        }
        self._checks = self.dialect.check_before_write
        self._wall = wall
        self._portal_possible = may_be_portal(self.requests.base)
        self._longest_pause_s = config.max_retry_delay

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
        time: float,
        revive: Revived | None = None,
    ) -> WriteRequest:
        """The write for one operation. ``state`` is the server's state of the record, if it is
        needed; ``time`` is when the operation was pushed (epoch seconds). ``revive``: a create is
        sent as an update that restores the deleted record.
        """
        if revive is not None:
            operation = SyncOperation.UPDATE
            version = None if revive.version == UNVERSIONED else revive.version
            if at(data, self.entity.tombstone_path) is MISSING:
                data = placed(data, self.entity.tombstone_path, revive.mark)
        if state is not None and self._is_whole(operation):
            data = {**state, **data}
        known = version if self.entity.replica else None
        return self.requests.write(operation, key, data, idempotency_key, known, time)

    def _is_whole(self, operation: SyncOperation) -> bool:
        full = self.dialect.patch == "full" and operation is SyncOperation.UPDATE
        return full and self.entity.replica

    def reads_first(self, operation: SyncOperation, state: Json | None) -> bool:
        """Whether the record must be read and stored before this write can be sent."""
        return state is None and operation in self._read_first

    def checks(self, operation: SyncOperation, state: Json | None) -> bool:
        """Whether the record is read before each write, and compared with this state."""
        writes_over = operation is not SyncOperation.CREATE and self.entity.replica
        return self._checks and writes_over and state is not None

    def can_read(self, key: str) -> bool:
        """Whether the record can be read: not if it has only a local id."""
        return not (self.entity.server_ids and is_local(key))

    # --- answers

    def answer(
        self,
        operation: SyncOperation,
        key: str,
        decoded: DecodedResponse,
        *,
        portal: bool = True,
    ) -> AttemptResult:
        """The meaning of the answer to a write; ``portal``: a captive portal may have answered."""
        stated = self.steps.classify(operation.value, decoded)
        facts = self._facts(decoded, portal=portal)
        meaning = stated or classify(operation, facts, self.dialect)
        creates = operation is SyncOperation.CREATE
        if meaning is Verdict.DELIVERED and not creates and self.records.lists_nothing(decoded):
            meaning = Verdict.GONE
        common = self._common(meaning, decoded)
        if stated is None or meaning is Verdict.GONE:
            is_read = self.can_read(key)
            common["doubt"] = doubt(facts, self.dialect, creates=creates, is_read=is_read)
        if meaning is Verdict.GONE and operation is SyncOperation.DELETE:
            meaning = Verdict.DELIVERED
        if stated is Verdict.REJECTED:
            common["unprocessed"] = True
        if meaning is Verdict.DELIVERED:
            refusal = refusal_in(decoded) if decoded.body is not MISSING else None
            if refusal is not None and not (
                stated
                or verdict_by_answers(facts, self.dialect)
                or self.records.is_whole_or_part(self.records.object_in(decoded.body))
            ):
                meaning = Verdict.UNCLEAR if creates else Verdict.MAPPING
                common = self._common(meaning, decoded)
                return self._problem(meaning, operation, key, refusal, common)
            return self._delivered(operation, key, decoded, common)
        error = self._error(meaning, operation.value, key, decoded)
        if meaning is Verdict.UNCLEAR:
            return self._accepted(key, decoded, common, error)
        if meaning is Verdict.CONFLICT:
            current = self.records.current_in(operation, key, decoded.body)
            version = None if current is None else self.records.version_of(current, decoded)
            if current is not None and self.records.is_tombstone(current):
                version = self.records.tombstone_version(current, decoded)
            return AttemptResult(
                meaning=meaning, error=error, record=current, version=version, **common
            )
        return AttemptResult(meaning=meaning, error=error, **common)

    def reading(self, key: str, response: Response, *, portal: bool = True) -> AttemptResult:
        """The meaning of the answer to a read; ``GONE``: there is no such record. ``portal``: a
        captive portal may have answered.
        """
        decoded = decode_response(response)
        stated = self._dialect_verdict("read", decoded)
        gone = stated is Verdict.GONE or (stated is None and decoded.status in self.dialect.gone)
        gone = gone or (stated is None and self.records.lists_nothing(decoded))
        meaning = Verdict.GONE if gone else stated or self._by_status(decoded, portal=portal)
        common = self._common(meaning, decoded)
        if stated in (None, Verdict.GONE):
            facts = self._facts(decoded)
            common["doubt"] = doubt(facts, self.dialect, creates=False, is_read=False)
        if meaning is Verdict.GONE:
            error = RejectedError(
                f"read of {self.name}/{key} failed: HTTP {decoded.status}: the server has no such "
                "record",
                entity=self.name,
                record_id=key,
                status=decoded.status,
            )
            return AttemptResult(meaning=meaning, error=error, **common)
        record = self.records.record_in(key, decoded.body) if meaning is Verdict.DELIVERED else None
        if meaning is Verdict.DELIVERED and record is None:
            meaning = self._unfit(decoded, portal=portal)
        if record is None:
            found = self.records.object_in(decoded.body)
            if meaning is Verdict.MAPPING and found and self.records.names_another(key, found):
                unfit: SyncError = error_about("read", self.name, key, self._about_another(found))
            else:
                unfit = self._error(meaning, "read", key, decoded)
            return AttemptResult(meaning=meaning, error=unfit, **common)
        if self.records.is_tombstone(record):
            version = self.records.tombstone_version(record, decoded)
            return AttemptResult(meaning=Verdict.GONE, version=version, **common)
        return AttemptResult(
            meaning=meaning,
            record=record,
            version=self.records.version_of(record, decoded),
            **common,
        )

    def lookup_answer(self, key: str, response: Response) -> list[Json] | AttemptResult:
        """The records that a lookup found, or the result if the answer is no list of records."""
        decoded = decode_response(response)
        stated = self._dialect_verdict("read", decoded) or self._by_status(decoded)
        if stated is Verdict.DELIVERED and response.status == 204:
            return []
        if stated is not Verdict.DELIVERED or decoded.body is MISSING:
            return self.reading(key, response)
        return self.records.listed_in(decoded.body)

    def lists_none(self, response: Response) -> bool:
        """Whether this answer to a request for the listing contains no record."""
        if self.dialect.confirm or not 200 <= response.status < 300:
            return False
        return bool(at(decode_response(response).body, self.dialect.items or "") == [])

    def page_error(self, decoded: DecodedResponse, *, portal: bool = True) -> SyncError | None:
        """The error if this answer cannot be a page, else ``None``. ``portal``: a captive portal
        may have answered.
        """
        meaning = self._dialect_verdict("pull", decoded) or self._by_status(decoded, portal=portal)
        if meaning is Verdict.DELIVERED and decoded.body is not MISSING:
            return None
        if meaning is Verdict.DELIVERED:
            meaning = Verdict.MAPPING
        return self._error(meaning, "pull", None, decoded)

    def refuses_credentials(self, response: Response) -> bool:
        """Whether the answer to a read refuses the credentials."""
        if 200 <= response.status < 300 and not self.dialect.answers:
            return False  # a page is not decoded twice
        decoded = decode_response(response)
        return (
            self._dialect_verdict("pull", decoded) or self._by_status(decoded)
        ) is Verdict.CREDENTIALS

    def whole(self, decoded: DecodedResponse) -> AttemptResult:
        """The meaning of the answer to a batch as a whole."""
        meaning = verdict_by_answers(self._facts(decoded), self.dialect) or self._by_status(decoded)
        if meaning is Verdict.DELIVERED and decoded.body is MISSING:
            meaning = self._unfit(decoded)
        delivered = meaning is Verdict.DELIVERED
        error = None if delivered else self._error(meaning, "batch", None, decoded)
        return AttemptResult(meaning=meaning, error=error, **self._common(meaning, decoded))

    def looks_like_portal(self, decoded: DecodedResponse) -> bool:
        """Whether a captive portal may have answered."""
        return self._by_status(decoded) is Verdict.PORTAL

    def _dialect_verdict(self, operation: str, decoded: DecodedResponse) -> Verdict | None:
        """The meaning of the answer to a read by the dialect's own step or ``answers``."""
        step = self.steps.classify(operation, decoded)
        if step is not None or not self.dialect.answers:
            return step
        return verdict_by_answers(self._facts(decoded), self.dialect)

    def _by_status(self, decoded: DecodedResponse, *, portal: bool = True) -> Verdict:
        return classify_status(self._facts(decoded, portal=portal), json_due=True)

    def _unfit(self, decoded: DecodedResponse, *, portal: bool = True) -> Verdict:
        """The verdict on an answer without a record: a wrong dialect, or a login page."""
        signs_in = decoded.body is MISSING and self._facts(decoded, portal=portal).portal
        return Verdict.PORTAL if signs_in else Verdict.MAPPING

    def _problem(
        self, meaning: Verdict, operation: SyncOperation, key: str, problem: str, common: Json
    ) -> AttemptResult:
        error = error_about(operation.value, self.name, key, problem)
        return AttemptResult(meaning=meaning, error=error, **common)

    def _delivered(
        self, operation: SyncOperation, key: str, decoded: DecodedResponse, common: Json
    ) -> AttemptResult:
        if operation is SyncOperation.DELETE:
            return AttemptResult(meaning=Verdict.DELIVERED, **common)
        creates, has_body = operation is SyncOperation.CREATE, decoded.body is not MISSING
        returned = self.records.object_in(decoded.body) if has_body else None
        names_id = has_body or "location" in decoded.headers
        server_id = error = None
        if creates and self.entity.server_ids:
            server_id, problem = self.records.server_id(returned, decoded.body)
            if problem is not None:
                error = error_about(operation.value, self.name, key, problem)
                return self._accepted(key, decoded, common, error)
            key = str(server_id)
        elif returned is not None and self.records.names_another(key, returned):
            problem = self._about_another(returned)
            if creates:
                problem += '; where the server gives the ids, say id_source="server"'
                return self._problem(Verdict.UNCLEAR, operation, key, problem, common)
            error = error_about(operation.value, self.name, key, problem)
        elif creates and names_id and not self.records.is_whole_or_part(returned):
            problem = other_id_in(self.entity, key, decoded)
            if problem is not None:
                return self._problem(Verdict.UNCLEAR, operation, key, problem, common)
        record = None
        if returned is not None and (
            self.dialect.partial_answer or self.records.is_record(key, returned)
        ):
            record = returned
        return AttemptResult(
            meaning=Verdict.DELIVERED,
            record=record,
            version=self.records.version_of(returned, decoded),
            server_id=server_id,
            error=error,
            **common,
        )

    def _accepted(
        self, key: str, decoded: DecodedResponse, common: Json, error: SyncError
    ) -> AttemptResult:
        """The result of an accepted create whose answer cannot be understood. The ``Location``
        header may contain the id.
        """
        server_id = last_segment(decoded.headers.get("location", ""))
        if server_id is None or problem_of(server_id) is not None:
            return AttemptResult(meaning=Verdict.UNCLEAR, error=error, **common)
        if self.entity.server_ids:
            return AttemptResult(meaning=Verdict.DELIVERED, server_id=server_id, **common)
        if server_id == key:
            return AttemptResult(meaning=Verdict.DELIVERED, **common)
        return AttemptResult(meaning=Verdict.UNCLEAR, error=error, **common)

    def _about_another(self, found: Json) -> str:
        other = str(found.get(self.entity.id_field))
        return f"the answer is about another record, {other[:80]!r}"

    def _common(self, meaning: Verdict, decoded: DecodedResponse) -> Json:
        retry_after = backoff = None
        if "retry-after" in decoded.headers or "backoff" in decoded.headers:
            retry_after, backoff = requested_pauses(decoded, self._wall(), self._longest_pause_s)
        return {
            "status": decoded.status,
            "retry_after": retry_after,
            "backoff": backoff,
            "unprocessed": proves_unprocessed(meaning, decoded.status),
            "from_api": decoded.from_api,
        }

    def _facts(self, decoded: DecodedResponse, *, portal: bool = True) -> ResponseFacts:
        return ResponseFacts(
            status=decoded.status,
            text=decoded.text,
            is_json=decoded.body is not MISSING,
            elsewhere=decoded.redirects_elsewhere(self.requests.base),
            portal=portal and self._portal_possible and not decoded.verified,
            waits=decoded.status == 503 and requested_pauses(decoded, 0.0, 0.0)[0] is not None,
        )

    def _error(
        self, meaning: Verdict, operation: str, key: str | None, decoded: DecodedResponse
    ) -> SyncError:
        return error_of(
            meaning,
            (operation, self.name, key),
            decoded,
            base=self.requests.base,
            record=self.dialect.record,
            now=self._wall(),
        )
