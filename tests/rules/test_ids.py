"""Ids: one record has one key, which never addresses another resource."""

import enum
import uuid
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.errors import InvalidDataError, RejectedError
from bytelyst_sync.rules.ids import (
    LOCAL_PREFIX,
    is_local,
    local_id_time,
    new_local_id,
    record_key,
    url_segment,
)


class Colour(str, enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    SEVEN = 7


UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")

KEYS = {
    "a string": ("7", "7"),
    "a number": (7, "7"),
    "zero": (0, "0"),
    "a negative number": (-7, "-7"),
    "leading zeros are kept": ("007", "007"),
    "case is kept": ("Ab", "Ab"),
    "blanks are kept": (" a b ", " a b "),
    "unicode": ("naïve-✈", "naïve-✈"),
    "a slash": ("a/b", "a/b"),
    "dots in a name": ("v1..2", "v1..2"),
    "a dot file": (".hidden", ".hidden"),
    "a query": ("a?b#c", "a?b#c"),
    "percent": ("%2e%2e", "%2e%2e"),
    "a string enum": (Colour.RED, "red"),
    "a number enum": (Number.SEVEN, "7"),
    "a UUID, as push takes it": (UUID, str(UUID)),
}


@pytest.mark.parametrize(("value", "key"), KEYS.values(), ids=KEYS)
def test_the_key_of_an_id(value: object, key: str) -> None:
    assert record_key(value, "notes", "id") == key


REFUSED = {
    "empty": ("", "is empty"),
    "none": (None, "NoneType"),
    "true": (True, "bool"),
    "a float": (7.0, "float"),
    "a list": (["7"], "list"),
    "an object": ({"id": "7"}, "dict"),
    "bytes": (b"7", "bytes"),
    "a dot": (".", "segment"),
    "two dots": ("..", "segment"),
    "a way up": ("../users", "segment"),
    "a way up within": ("a/../b", "segment"),
    "a way up at the end": ("a/..", "segment"),
    "a dot within": ("a/./b", "segment"),
    "a line break": ("a\r\nb", "control characters"),
    "a null": ("a\0b", "control characters"),
    "delete": ("a\x7f", "control characters"),
    "a lone surrogate": ("a\ud800", "surrogate"),
}


@pytest.mark.parametrize(("value", "problem"), REFUSED.values(), ids=REFUSED)
def test_an_id_that_can_be_none(value: object, problem: str) -> None:
    with pytest.raises(InvalidDataError, match=problem) as caught:
        record_key(value, "notes", "uid")
    assert caught.value.path == "$.uid"
    assert caught.value.entity == "notes"
    assert str(caught.value).startswith("notes: ")
    assert "$.uid" in str(caught.value)


def test_a_long_id_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidDataError) as caught:
        record_key("x" * 10_000 + "\n", "notes", "id")
    assert len(str(caught.value)) < 300


SEGMENTS = {
    "a slash": ("a/b", "a%2Fb"),
    "a question mark": ("a?b", "a%3Fb"),
    "a hash": ("a#b", "a%23b"),
    "a blank": ("a b", "a%20b"),
    "a plus": ("a+b", "a%2Bb"),
    "percent": ("%2e%2e", "%252e%252e"),
    "unicode": ("ü", "%C3%BC"),
    "a semicolon": ("a;b=c", "a%3Bb%3Dc"),
    "a backslash": ("..\\x", "..%5Cx"),
    "what URLs leave alone": ("aZ09-._~", "aZ09-._~"),
}


@pytest.mark.parametrize(("key", "segment"), SEGMENTS.values(), ids=SEGMENTS)
def test_a_key_as_a_segment(key: str, segment: str) -> None:
    assert url_segment(key) == segment


@settings(deadline=None)
@given(st.text())
def test_no_id_addresses_another_resource(text: str) -> None:
    try:
        key = record_key(text, "notes", "id")
    except InvalidDataError:
        return
    url = f"https://api.example.com/v1/notes/{url_segment(key)}"
    parts = urlsplit(urljoin("https://api.example.com/v1/", url))
    above, _, segment = parts.path.rpartition("/")
    assert above == "/v1/notes"
    assert unquote(segment) == key
    assert segment.isascii()
    assert not parts.query
    assert not parts.fragment


@pytest.mark.parametrize(
    ("key", "local"), [(LOCAL_PREFIX + "1f", True), ("7", False), ("my-local-7", False)]
)
def test_local_ids(key: str, local: bool) -> None:
    assert is_local(key) is local


@pytest.mark.parametrize("key", ["", ".", "..", "a/../b", "a\x00b", "\ud800"])
def test_there_is_no_segment_for_what_can_be_no_id(key: str) -> None:
    with pytest.raises(RejectedError) as caught:
        url_segment(key)
    assert caught.value.record_id == key


def test_when_a_local_id_was_made() -> None:
    assert local_id_time(new_local_id(1_700_000_000.25, bytes(10))) == 1_700_000_000.25
    assert local_id_time("7") is None
    assert local_id_time(f"{LOCAL_PREFIX}{'0' * 32}") is None, "one of the first release"
