"""The table of SPEC §4, row by row: what an answer means."""

import pytest

from bytelyst_sync.dialect import Dialect
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.classify import (
    WORDS,
    Facts,
    Meaning,
    classify,
    classify_status,
    proves_unprocessed,
)

CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
REST = Dialect.rest()

BY_STATUS = {
    # statuses, meaning: the same for every operation
    "2xx is delivered": ((200, 201, 202, 204, 299), Meaning.DELIVERED),
    "409 and 412 are conflicts": ((409, 412), Meaning.CONFLICT),
    "429 and 503 are busy": ((429, 503), Meaning.BUSY),
    "server errors": ((408, 425, 500, 502, 504), Meaning.SERVER_ERROR),
    "any other 5xx as well": ((501, 505, 507, 599), Meaning.SERVER_ERROR),
    "401 is about credentials": ((401,), Meaning.CREDENTIALS),
    "any other 4xx is rejected": ((400, 402, 403, 405, 406, 413, 422, 451), Meaning.REJECTED),
    "3xx is refused": ((300, 301, 302, 303, 304, 307, 308), Meaning.REDIRECT),
}


@pytest.mark.parametrize("operation", SyncOperation, ids=str)
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        pytest.param(status, meaning, id=f"{row}: {status}")
        for row, (statuses, meaning) in BY_STATUS.items()
        for status in statuses
    ],
)
def test_the_status_classes(status, meaning, operation):
    assert classify(operation, Facts(status), REST) is meaning


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(
    ("operation", "meaning"),
    [(DELETE, Meaning.DELIVERED), (UPDATE, Meaning.GONE), (CREATE, Meaning.REJECTED)],
    ids=["to a delete", "to an update", "to a create"],
)
def test_gone(operation, meaning, status):
    assert classify(operation, Facts(status), REST) is meaning


EXISTS = Dialect(exists=((500, "duplicate id"), (200, None), (401, "taken"), (404, "there")))
FIRST = {
    # dialect, operation, facts, meaning
    "exists before server error": (EXISTS, CREATE, Facts(500, "a duplicate id!"), Meaning.CONFLICT),
    "exists needs its pattern": (EXISTS, CREATE, Facts(500, "a bug"), Meaning.SERVER_ERROR),
    "exists before success": (EXISTS, CREATE, Facts(200, "{}"), Meaning.CONFLICT),
    "exists before credentials": (EXISTS, CREATE, Facts(401, "taken"), Meaning.CONFLICT),
    "exists before rejected": (EXISTS, CREATE, Facts(404, "there"), Meaning.CONFLICT),
    "exists is for creates, not updates": (EXISTS, UPDATE, Facts(200, "{}"), Meaning.DELIVERED),
    "exists is for creates, not deletes": (
        EXISTS,
        DELETE,
        Facts(500, "duplicate id"),
        Meaning.SERVER_ERROR,
    ),
    "conflict before rejected": (
        Dialect(conflict=(422,)),
        UPDATE,
        Facts(422),
        Meaning.CONFLICT,
    ),
    "conflict before server error": (
        Dialect(conflict=(500,)),
        UPDATE,
        Facts(500),
        Meaning.CONFLICT,
    ),
    "409 is no conflict where the dialect says so": (
        Dialect(conflict=(412,)),
        UPDATE,
        Facts(409),
        Meaning.REJECTED,
    ),
    "conflict before success": (Dialect(conflict=(200,)), UPDATE, Facts(200), Meaning.CONFLICT),
    "gone before server error": (Dialect(gone=(500,)), DELETE, Facts(500), Meaning.DELIVERED),
    "gone before rejected": (Dialect(gone=(403,)), UPDATE, Facts(403), Meaning.GONE),
    "404 is rejected where the dialect says so": (
        Dialect(gone=(410,)),
        DELETE,
        Facts(404),
        Meaning.REJECTED,
    ),
}


@pytest.mark.parametrize(("dialect", "operation", "facts", "meaning"), FIRST.values(), ids=FIRST)
def test_exists_conflict_and_gone_are_tested_first(dialect, operation, facts, meaning):
    assert classify(operation, facts, dialect) is meaning


HTML = "<html>Please log in</html>"
BODIES = {
    # facts, meaning for answer="json", for answer="any"
    "JSON": (Facts(200, '{"id": "7"}'), Meaning.DELIVERED, Meaning.DELIVERED),
    "204 and nothing": (Facts(204, "", is_json=False), Meaning.DELIVERED, Meaning.DELIVERED),
    "an empty body": (Facts(200, "", is_json=False), Meaning.DELIVERED, Meaning.DELIVERED),
    "a blank body": (Facts(200, " \r\n", is_json=False), Meaning.DELIVERED, Meaning.DELIVERED),
    "no JSON over http": (Facts(200, HTML, is_json=False), Meaning.PORTAL, Meaning.DELIVERED),
    "no JSON over verified https": (
        Facts(200, HTML, is_json=False, verified=True),
        Meaning.MAPPING,
        Meaning.DELIVERED,
    ),
    "elsewhere over http": (
        Facts(302, "", elsewhere=True),
        Meaning.PORTAL,
        Meaning.PORTAL,
    ),
    "elsewhere over verified https": (
        Facts(302, "", elsewhere=True, verified=True),
        Meaning.MAPPING,
        Meaning.MAPPING,
    ),
    "a redirect here over http": (Facts(301), Meaning.REDIRECT, Meaning.REDIRECT),
    "a redirect here over https": (Facts(301, verified=True), Meaning.REDIRECT, Meaning.REDIRECT),
    "what portals say (RFC 6585)": (
        Facts(511, HTML, is_json=False),
        Meaning.PORTAL,
        Meaning.PORTAL,
    ),
    "an error page is an error": (
        Facts(502, HTML, is_json=False),
        Meaning.SERVER_ERROR,
        Meaning.SERVER_ERROR,
    ),
    "a refusal in HTML is one": (
        Facts(400, HTML, is_json=False),
        Meaning.REJECTED,
        Meaning.REJECTED,
    ),
}


@pytest.mark.parametrize("operation", SyncOperation, ids=str)
@pytest.mark.parametrize(("facts", "json", "anything"), BODIES.values(), ids=BODIES)
def test_a_captive_portal_and_a_wrong_mapping(facts, json, anything, operation):
    assert classify(operation, facts, REST) is json
    assert classify(operation, facts, REST.evolve(answer="any")) is anything


PROOF = {
    # meaning, status, whether it proves that nothing was processed
    "no connection made": (Meaning.OFFLINE, None, True),
    "no request made of it": (Meaning.REJECTED, None, True),
    "no credentials to be had": (Meaning.CREDENTIALS, None, True),
    "no JSON in place of an answer": (Meaning.PORTAL, None, False),
    "401": (Meaning.CREDENTIALS, 401, True),
    "425": (Meaning.SERVER_ERROR, 425, True),
    "429": (Meaning.BUSY, 429, True),
    "another 4xx: 400": (Meaning.REJECTED, 400, True),
    "another 4xx: 422": (Meaning.REJECTED, 422, True),
    "another 4xx: 404 to an update": (Meaning.GONE, 404, True),
    "another 4xx: 410 to an update": (Meaning.GONE, 410, True),
    "408": (Meaning.SERVER_ERROR, 408, False),
    "409": (Meaning.CONFLICT, 409, False),
    "412": (Meaning.CONFLICT, 412, False),
    "409 where it is no conflict": (Meaning.REJECTED, 409, False),
    "412 where it is no conflict": (Meaning.REJECTED, 412, False),
    "a lost answer": (Meaning.UNKNOWN, None, False),
    "500": (Meaning.SERVER_ERROR, 500, False),
    "503": (Meaning.BUSY, 503, False),
    "504": (Meaning.SERVER_ERROR, 504, False),
    "a 5xx that means gone": (Meaning.GONE, 500, False),
    "a 5xx that means a conflict": (Meaning.CONFLICT, 500, False),
    "a redirect": (Meaning.REDIRECT, 302, False),
    "an answer that does not fit": (Meaning.MAPPING, 200, False),
}


@pytest.mark.parametrize(("meaning", "status", "proof"), PROOF.values(), ids=PROOF)
def test_what_proves_that_nothing_was_processed(meaning, status, proof):
    assert proves_unprocessed(meaning, status) is proof


def test_facts_show_no_body():
    assert "s3cret" not in repr(Facts(500, "s3cret"))


def test_the_words_of_a_dialects_own_classify():
    assert WORDS == {
        "delivered": Meaning.DELIVERED,
        "conflict": Meaning.CONFLICT,
        "gone": Meaning.GONE,
        "busy": Meaning.BUSY,
        "retry": Meaning.SERVER_ERROR,
        "rejected": Meaning.REJECTED,
        "credentials": Meaning.CREDENTIALS,
        "offline": Meaning.OFFLINE,
    }


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        pytest.param(status, meaning, id=f"{row}: {status}")
        for row, (statuses, meaning) in BY_STATUS.items()
        for status in statuses
        if meaning is not Meaning.CONFLICT
    ]
    + [(409, Meaning.REJECTED), (412, Meaning.REJECTED), (404, Meaning.REJECTED)],
)
def test_by_its_status_alone_nothing_is_a_conflict_or_gone(status, meaning):
    assert classify_status(Facts(status), json_due=True) is meaning


@pytest.mark.parametrize(("facts", "json", "anything"), BODIES.values(), ids=BODIES)
def test_by_its_status_alone_json_is_due_or_not(facts, json, anything):
    assert classify_status(facts, json_due=True) is json
    assert classify_status(facts, json_due=False) is anything
