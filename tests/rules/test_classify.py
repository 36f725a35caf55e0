"""The table of verdicts, row by row: what an answer means."""

import pytest

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.classify import (
    WORDS,
    Doubt,
    ResponseFacts,
    Verdict,
    classify,
    classify_status,
    doubt,
    proves_unprocessed,
)

CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
REST = Dialect.rest()

BY_STATUS = {
    # statuses, meaning: the same for every operation
    "2xx is delivered": ((200, 201, 202, 204, 299), Verdict.DELIVERED),
    "409 and 412 are conflicts": ((409, 412), Verdict.CONFLICT),
    "429 is busy": ((429,), Verdict.BUSY),
    "gateways without a server": ((502, 503, 504, 520, 521, 530), Verdict.OUTAGE),
    "407 is the network's": ((407,), Verdict.OFFLINE),
    "server errors": ((408, 425, 500), Verdict.SERVER_ERROR),
    "any other 5xx as well": ((501, 505, 507, 599), Verdict.SERVER_ERROR),
    "401 is about credentials": ((401,), Verdict.CREDENTIALS),
    "any other 4xx is rejected": ((400, 402, 403, 405, 406, 413, 422, 451), Verdict.REJECTED),
    "3xx is refused": ((300, 301, 302, 303, 304, 307, 308), Verdict.REDIRECT),
}


@pytest.mark.parametrize(("statuses", "meaning"), BY_STATUS.values(), ids=BY_STATUS)
def test_the_status_classes(statuses: tuple[int, ...], meaning: Verdict) -> None:
    found = {
        (status, operation): classify(operation, ResponseFacts(status), REST)
        for status in statuses
        for operation in SyncOperation
    }
    assert found == dict.fromkeys(found, meaning)


@pytest.mark.parametrize("operation", SyncOperation, ids=str)
def test_503_with_retry_after_is_busy(operation: SyncOperation) -> None:
    assert classify(operation, ResponseFacts(503, waits=True), REST) is Verdict.BUSY


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(
    ("operation", "meaning"),
    [(DELETE, Verdict.DELIVERED), (UPDATE, Verdict.GONE), (CREATE, Verdict.REJECTED)],
    ids=["to a delete", "to an update", "to a create"],
)
def test_gone(operation: SyncOperation, meaning: Verdict, status: int) -> None:
    assert classify(operation, ResponseFacts(status), REST) is meaning


EXISTS = Dialect(exists=((500, "duplicate id"), (200, None), (401, "taken"), (404, "there")))
FIRST = {
    # dialect, operation, facts, meaning
    "exists before server error": (
        EXISTS,
        CREATE,
        ResponseFacts(500, "a duplicate id!"),
        Verdict.CONFLICT,
    ),
    "exists needs its pattern": (EXISTS, CREATE, ResponseFacts(500, "a bug"), Verdict.SERVER_ERROR),
    "exists before success": (EXISTS, CREATE, ResponseFacts(200, "{}"), Verdict.CONFLICT),
    "exists before credentials": (EXISTS, CREATE, ResponseFacts(401, "taken"), Verdict.CONFLICT),
    "exists before rejected": (EXISTS, CREATE, ResponseFacts(404, "there"), Verdict.CONFLICT),
    "exists is for creates, not updates": (
        EXISTS,
        UPDATE,
        ResponseFacts(200, "{}"),
        Verdict.DELIVERED,
    ),
    "exists is for creates, not deletes": (
        EXISTS,
        DELETE,
        ResponseFacts(500, "duplicate id"),
        Verdict.SERVER_ERROR,
    ),
    "conflict before rejected": (
        Dialect(conflict=(422,)),
        UPDATE,
        ResponseFacts(422),
        Verdict.CONFLICT,
    ),
    "conflict before server error": (
        Dialect(conflict=(500,)),
        UPDATE,
        ResponseFacts(500),
        Verdict.CONFLICT,
    ),
    "409 is no conflict where the dialect says so": (
        Dialect(conflict=(412,)),
        UPDATE,
        ResponseFacts(409),
        Verdict.REJECTED,
    ),
    "conflict before success": (
        Dialect(conflict=(200,)),
        UPDATE,
        ResponseFacts(200),
        Verdict.CONFLICT,
    ),
    "gone before server error": (
        Dialect(gone=(500,)),
        DELETE,
        ResponseFacts(500),
        Verdict.DELIVERED,
    ),
    "gone before rejected": (Dialect(gone=(403,)), UPDATE, ResponseFacts(403), Verdict.GONE),
    "404 is rejected where the dialect says so": (
        Dialect(gone=(410,)),
        DELETE,
        ResponseFacts(404),
        Verdict.REJECTED,
    ),
}


@pytest.mark.parametrize(("dialect", "operation", "facts", "meaning"), FIRST.values(), ids=FIRST)
def test_exists_conflict_and_gone_are_tested_first(
    dialect: Dialect, operation: SyncOperation, facts: ResponseFacts, meaning: Verdict
) -> None:
    assert classify(operation, facts, dialect) is meaning


HTML = "<html>Please log in</html>"
BODIES = {
    # facts, meaning for answer="json", for answer="any"
    "JSON": (ResponseFacts(200, '{"id": "7"}'), Verdict.DELIVERED, Verdict.DELIVERED),
    "204 and nothing": (
        ResponseFacts(204, "", is_json=False),
        Verdict.DELIVERED,
        Verdict.DELIVERED,
    ),
    "an empty body": (ResponseFacts(200, "", is_json=False), Verdict.DELIVERED, Verdict.DELIVERED),
    "a blank body": (
        ResponseFacts(200, " \r\n", is_json=False),
        Verdict.DELIVERED,
        Verdict.DELIVERED,
    ),
    "no JSON over http": (
        ResponseFacts(200, HTML, is_json=False),
        Verdict.PORTAL,
        Verdict.DELIVERED,
    ),
    "no JSON over verified https": (
        ResponseFacts(200, HTML, is_json=False, portal=False),
        Verdict.MAPPING,
        Verdict.DELIVERED,
    ),
    "elsewhere over http": (
        ResponseFacts(302, "", elsewhere=True),
        Verdict.PORTAL,
        Verdict.PORTAL,
    ),
    "elsewhere over verified https": (
        ResponseFacts(302, "", elsewhere=True, portal=False),
        Verdict.MAPPING,
        Verdict.MAPPING,
    ),
    "a redirect here over http": (ResponseFacts(301), Verdict.REDIRECT, Verdict.REDIRECT),
    "a redirect here over https": (
        ResponseFacts(301, portal=False),
        Verdict.REDIRECT,
        Verdict.REDIRECT,
    ),
    "what portals say (RFC 6585)": (
        ResponseFacts(511, HTML, is_json=False),
        Verdict.PORTAL,
        Verdict.PORTAL,
    ),
    "an error page is an error": (
        ResponseFacts(500, HTML, is_json=False),
        Verdict.SERVER_ERROR,
        Verdict.SERVER_ERROR,
    ),
    "a refusal in HTML is one": (
        ResponseFacts(400, HTML, is_json=False),
        Verdict.REJECTED,
        Verdict.REJECTED,
    ),
}


@pytest.mark.parametrize(("facts", "json", "anything"), BODIES.values(), ids=BODIES)
def test_a_captive_portal_and_a_wrong_mapping(
    facts: ResponseFacts, json: Verdict, anything: Verdict
) -> None:
    for operation in SyncOperation:
        unclear = json is Verdict.MAPPING and facts.status == 200 and operation is CREATE
        assert classify(operation, facts, REST) is (Verdict.UNCLEAR if unclear else json)
        assert classify(operation, facts, REST.evolve(answer="any")) is anything


PROOF = {
    # meaning, status, whether it proves that nothing was processed
    "no connection made": (Verdict.OFFLINE, None, True),
    "no request made of it": (Verdict.REJECTED, None, True),
    "no credentials to be had": (Verdict.CREDENTIALS, None, True),
    "no JSON in place of an answer": (Verdict.PORTAL, None, False),
    "401": (Verdict.CREDENTIALS, 401, True),
    "425": (Verdict.SERVER_ERROR, 425, True),
    "429": (Verdict.BUSY, 429, True),
    "another 4xx: 400": (Verdict.REJECTED, 400, True),
    "another 4xx: 422": (Verdict.REJECTED, 422, True),
    "another 4xx: 404 to an update": (Verdict.GONE, 404, True),
    "another 4xx: 410 to an update": (Verdict.GONE, 410, True),
    "408": (Verdict.SERVER_ERROR, 408, False),
    "409": (Verdict.CONFLICT, 409, False),
    "412": (Verdict.CONFLICT, 412, False),
    "409 where it is no conflict": (Verdict.REJECTED, 409, False),
    "412 where it is no conflict": (Verdict.REJECTED, 412, False),
    "a lost answer": (Verdict.UNKNOWN, None, False),
    "500": (Verdict.SERVER_ERROR, 500, False),
    "503": (Verdict.BUSY, 503, False),
    "504": (Verdict.SERVER_ERROR, 504, False),
    "a 5xx that means gone": (Verdict.GONE, 500, False),
    "a 5xx that means a conflict": (Verdict.CONFLICT, 500, False),
    "a redirect": (Verdict.REDIRECT, 302, False),
    "an answer that does not fit": (Verdict.MAPPING, 200, False),
}


@pytest.mark.parametrize(("meaning", "status", "proof"), PROOF.values(), ids=PROOF)
def test_what_proves_that_nothing_was_processed(
    meaning: Verdict, status: int | None, proof: bool
) -> None:
    assert proves_unprocessed(meaning, status) is proof


@pytest.mark.parametrize("operation", SyncOperation, ids=str)
@pytest.mark.parametrize("word", WORDS)
def test_a_dialects_answers_are_asked_before_all_else(word: str, operation: SyncOperation) -> None:
    dialect = REST.evolve(answers=((404, "gate", word),))
    assert classify(operation, ResponseFacts(404, "the gate is shut"), dialect) is WORDS[word]
    assert classify(CREATE, ResponseFacts(404, "another text"), dialect) is Verdict.REJECTED


@pytest.mark.parametrize("status", [401, 407, 408, 425, 429, 200, 302, 500, 502])
def test_what_is_never_doubted(status: int) -> None:
    for is_json in (True, False):
        facts = ResponseFacts(status, is_json=is_json)
        assert doubt(facts, REST, creates=False, is_read=True) is Doubt.NONE


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 413, 422, 451])
@pytest.mark.parametrize("text", ["<html>", "not found", ""])
def test_a_refusal_that_does_not_speak_as_the_api_does_is_doubted(status: int, text: str) -> None:
    facts = ResponseFacts(status, text, is_json=False)
    assert doubt(facts, REST, creates=False, is_read=True) is Doubt.ALWAYS
    assert doubt(facts, REST, creates=True, is_read=True) is Doubt.ALWAYS


@pytest.mark.parametrize("status", [409, 412])
@pytest.mark.parametrize("text", ["<html>", "conflict", ""])
def test_a_conflict_without_json_is_doubted_unless_it_is_empty_and_the_record_is_read(
    status: int, text: str
) -> None:
    facts = ResponseFacts(status, text, is_json=False)
    for creates in (True, False):
        when_read = Doubt.ALWAYS if text else Doubt.IF_UNCHANGED
        assert doubt(facts, REST, creates=creates, is_read=True) is when_read
        assert doubt(facts, REST, creates=creates, is_read=False) is Doubt.ALWAYS


@pytest.mark.parametrize("status", [404, 410])
def test_gone_is_doubted_of_a_record_that_is_held_whatever_its_body(status: int) -> None:
    facts = ResponseFacts(status, '{"error": "no such record"}')
    assert doubt(facts, REST, creates=False, is_read=True) is Doubt.IF_HELD
    assert doubt(facts, REST, creates=True, is_read=True) is Doubt.NONE


def test_facts_show_no_body() -> None:
    assert "s3cret" not in repr(ResponseFacts(500, "s3cret"))


def test_the_words_of_a_dialects_own_classify() -> None:
    assert WORDS == {
        "delivered": Verdict.DELIVERED,
        "exists": Verdict.CONFLICT,
        "conflict": Verdict.CONFLICT,
        "gone": Verdict.GONE,
        "busy": Verdict.BUSY,
        "retry": Verdict.SERVER_ERROR,
        "rejected": Verdict.REJECTED,
        "credentials": Verdict.CREDENTIALS,
        "offline": Verdict.OFFLINE,
    }


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [each for each in BY_STATUS.values() if each[1] is not Verdict.CONFLICT]
    + [((404, 409, 412), Verdict.REJECTED)],
)
def test_by_its_status_alone_nothing_is_a_conflict_or_gone(
    statuses: tuple[int, ...], meaning: Verdict
) -> None:
    found = {status: classify_status(ResponseFacts(status), json_due=True) for status in statuses}
    assert found == dict.fromkeys(statuses, meaning)


@pytest.mark.parametrize(("facts", "json", "anything"), BODIES.values(), ids=BODIES)
def test_by_its_status_alone_json_is_due_or_not(
    facts: ResponseFacts, json: Verdict, anything: Verdict
) -> None:
    assert classify_status(facts, json_due=True) is json
    assert classify_status(facts, json_due=False) is anything
