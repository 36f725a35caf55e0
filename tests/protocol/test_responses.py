"""The pauses that an answer asks for, by the server's own clock."""

from email.utils import formatdate

import pytest

from bytelyst_sync.http.transport import Response
from bytelyst_sync.protocol.responses import decode_response, requested_pauses

NOW = 1_800_000_000.0
"""The server's clock."""
LONGEST_S = 300.0
YEAR_S = 365 * 86_400.0


def date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


def pauses(
    headers: dict[str, str], *, ours: float = NOW, body: bytes = b'{"error": "busy"}'
) -> tuple[float | None, float | None]:
    decoded = decode_response(Response(503, headers, body, "https://api.example.com/notes"))
    return requested_pauses(decoded, ours, LONGEST_S)


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -3600.0, 3 * YEAR_S, 1000.0 - NOW], ids=str)
@pytest.mark.parametrize("name", ["retry-after", "backoff"])
def test_a_date_counts_from_the_answers_own_date(name: str, ahead: float) -> None:
    headers = {"date": date(NOW), name: date(NOW + 60)}
    found = dict(zip(("retry-after", "backoff"), pauses(headers, ours=NOW - ahead), strict=True))
    assert found.pop(name) == 60.0
    assert set(found.values()) == {None}


def test_without_a_date_of_its_own_it_counts_by_our_clock() -> None:
    assert pauses({"retry-after": date(NOW + 60)}, ours=NOW + 20)[0] == 40.0
    assert pauses({"retry-after": date(NOW + 60), "date": "soon"}, ours=NOW + 20)[0] == 40.0


def test_seconds_are_seconds_whatever_the_clocks_say() -> None:
    headers = {"date": date(NOW), "retry-after": "7", "backoff": "9"}
    assert pauses(headers, ours=NOW - 3 * YEAR_S) == (7.0, 9.0)


@pytest.mark.parametrize("body", [b"<html>Service Unavailable</html>", b"try later"])
def test_what_is_no_answer_of_the_api_asks_for_a_bounded_pause(body: bytes) -> None:
    headers = {"retry-after": "86400", "backoff": date(NOW + 86_400), "date": date(NOW)}
    assert pauses(headers, body=body) == (LONGEST_S, LONGEST_S)
    assert pauses(headers) == (86_400.0, 86_400.0)
