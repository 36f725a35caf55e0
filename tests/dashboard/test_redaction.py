"""Secrets in payloads are replaced at any depth, and an edit does not lose them."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytelyst_sync import InvalidDataError
from bytelyst_sync.dashboard import redact_secrets
from bytelyst_sync.dashboard.redaction import MASK, hidden, restored
from bytelyst_sync.model import Json

SECRET = [
    *("password", "PASSWORD", "user_password", "api_key", "apiKey", "Authorization", "cookie"),
    *("access_token", "secret", "client_secret", "card_number", "iban", "cvv", "pin"),
]
PLAIN = ["title", "pinned", "shipping", "passenger", "id", "name", "total", "spin"]


@pytest.mark.parametrize("name", SECRET)
def test_a_field_that_is_named_like_a_secret_is_replaced(name: str) -> None:
    data = {"id": "1", "deep": [{"list": [{name: {"any": ["thing"]}}]}], name: 7}
    shown = redact_secrets("orders", data)
    assert shown["deep"][0]["list"][0][name] == MASK
    assert shown[name] == MASK
    assert data[name] == 7


@pytest.mark.parametrize("name", PLAIN)
def test_other_fields_are_shown(name: str) -> None:
    assert redact_secrets("orders", {name: "x"}) == {name: "x"}


def test_what_is_hidden_keeps_its_shape_alone() -> None:
    shown = hidden({"a": 1, "b": [{"c": "x"}, None], "d": None})
    assert "1" not in str(shown)
    assert "x" not in str(shown)
    assert list(shown) == ["a", "b", "d"]
    assert shown["d"] is None


NAMES = st.sampled_from(["password", "token", "title", "n", "lines"])
PLAIN_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
INNER = st.lists(PLAIN_VALUES, max_size=3) | st.dictionaries(NAMES, PLAIN_VALUES, max_size=3)
VALUES = PLAIN_VALUES | INNER | st.lists(INNER, max_size=2)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
RECORDS = st.dictionaries(NAMES, VALUES, max_size=4)


@UNHURRIED
@given(RECORDS)
def test_an_edit_that_changes_nothing_is_the_original(record: Json) -> None:
    shown = redact_secrets("orders", record)
    assert restored(copy.deepcopy(shown), record, shown) == record


@UNHURRIED
@given(RECORDS, st.text(max_size=5).filter(lambda text: text != MASK))
def test_an_edit_of_a_field_keeps_all_others(record: Json, text: str) -> None:
    shown = redact_secrets("orders", record)
    edited = {**copy.deepcopy(shown), "title": text}
    assert restored(edited, record, shown) == {**record, "title": text}


@pytest.mark.parametrize(
    "edited",
    [
        {"title": MASK},
        {"lines": [{"token": MASK}, {"token": MASK}]},
        {"moved": {"token": MASK}},
        {"lines": MASK},
    ],
)
def test_a_redacted_value_that_was_moved_is_refused(edited: Json) -> None:
    record = {"title": "x", "lines": [{"token": "s"}], "token": "t"}
    with pytest.raises(InvalidDataError, match="stands for a value that is not shown"):
        restored(edited, record, redact_secrets("orders", record))


def test_a_redacted_value_may_be_replaced() -> None:
    record = {"token": "old", "n": 1}
    assert restored({"token": "new"}, record, redact_secrets("orders", record)) == {"token": "new"}
