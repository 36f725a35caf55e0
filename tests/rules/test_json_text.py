"""JSON text to values and back: numbers keep their text."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytelyst_sync.rules.encode import encode
from bytelyst_sync.rules.json_text import (
    DEEPEST,
    JsonNumber,
    canonical,
    dumps,
    has_exact,
    is_too_deep,
    loads,
    make_encode,
)

NUMBERS = ["1234567890.123456789", "19.90", "1E5", "1.0e2", "-0.0", "0.1", "1e400", "7", "-0.50"]


@pytest.mark.parametrize("number", [each for each in NUMBERS if each != "1e400"])
def test_a_number_keeps_its_text(number: str) -> None:
    text = '{"id":"1","deep":[{"n":' + number + '}],"n":' + number + "}"
    assert dumps(loads(text)) == text
    assert dumps(encode(loads(text), "rows")) == text
    assert float(loads(text)["n"]) == float(number)


@pytest.mark.parametrize("text", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5000])
def test_a_number_that_cannot_be_kept_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|JSON|digits"):
        loads(f"[{text}]")


def test_a_number_is_a_float_to_everybody_else() -> None:
    number = loads("19.90")
    assert number == 19.9
    assert 19.9 == number  # noqa: SIM300 - the other side is asked first
    assert hash(number) == hash(19.9)
    assert number + 1 == 20.9
    assert json.loads(json.dumps(number)) == 19.9


def test_two_numbers_are_equal_if_their_decimals_are() -> None:
    assert loads("19.90") == JsonNumber("19.900")
    assert loads("1234567890.123456789") != loads("1234567890.123456788")


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
)
def test_a_copy_keeps_the_text(copied: Callable[..., object]) -> None:
    assert dumps(copied(loads("[19.90]"))) == "[19.90]"


def test_a_lone_surrogate_stays_an_escape() -> None:
    assert dumps(loads('{"a":"\\ud800","n":1.50}')) == '{"a":"\\ud800","n":1.50}'


def test_canonical_text_is_equal_for_equal_order_of_keys() -> None:
    one, other = loads('{"b":1.50,"a":[2.0]}'), loads('{"a":[2.0],"b":1.50}')
    assert canonical(one) == canonical(other) == '{"a":[2.0],"b":1.50}'


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(NUMBERS[:6]).map(loads),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_every_value_comes_back_as_it_was(
    value: dict[str, Any] | list[list[Any] | bool] | float | None,
) -> None:
    again = loads(dumps(value))
    assert again == value
    assert dumps(again) == dumps(value)
    assert has_exact(again) == has_exact(value)


def test_a_list_of_numbers_keeps_their_text_in_both_forms() -> None:
    value = loads('{"b":[1.50,{"n":2.0}],"a":1}')
    assert dumps(value) == '{"b":[1.50,{"n":2.0}],"a":1}'
    assert canonical(value) == '{"a":1,"b":[1.50,{"n":2.0}]}'


@pytest.mark.parametrize(("levels", "too_deep"), [(DEEPEST, False), (DEEPEST + 1, True)])
def test_how_deep_a_value_may_be(levels: int, too_deep: bool) -> None:
    value: object = "text"
    for level in range(levels):
        value = [value, 1] if level % 2 else {"a": value}
    assert is_too_deep(value) is too_deep


def test_without_the_c_encoder_the_text_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"a": ["ä", 1, None, True], "b": {"c": 1.5}}
    fast = make_encode(allow_nan=False)
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert (
        make_encode(allow_nan=False)(value)
        == fast(value)
        == '{"a":["ä",1,null,true],"b":{"c":1.5}}'
    )
