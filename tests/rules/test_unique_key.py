"""Whether a record at the server is another one that has the same unique value."""

import pytest

from bytelyst_sync.model import Json
from bytelyst_sync.rules.unique_key import is_other_record, shares_a_value

SHARED = {
    "the same text": ({"name": "tea"}, {"name": "tea"}, True),
    "in another case, with blanks": ({"name": "Tea "}, {"name": "tea"}, True),
    "the same number": ({"n": 7}, {"n": 7.0}, True),
    "another value": ({"name": "tea"}, {"name": "coffee"}, False),
    "another field": ({"name": "tea"}, {"title": "tea"}, False),
    "a flag says nothing": ({"done": True}, {"done": True}, False),
    "nor does an empty text": ({"name": ""}, {"name": ""}, False),
    "nor a null": ({"name": None}, {"name": None}, False),
    "an ignored field": ({"kind": "note"}, {"kind": "note"}, False),
}


@pytest.mark.parametrize(("sent", "record", "shared"), SHARED.values(), ids=SHARED)
def test_a_shared_value(sent: Json, record: Json, shared: bool) -> None:
    assert shares_a_value(sent, record, frozenset({"kind"})) is shared


@pytest.mark.parametrize(
    ("record", "other"),
    [({"id": 8}, True), ({"id": "7"}, False), ({"id": 7}, False), ({}, False), (None, False)],
)
def test_another_record(record: Json | None, other: bool) -> None:
    assert is_other_record(record, "id", "7") is other
