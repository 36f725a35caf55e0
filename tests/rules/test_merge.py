"""Equality by meaning, and the three-way merge by field."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.model import Json
from bytelyst_sync.rules.merge import Merged, kept_edits, same, same_value, three_way

NONE: frozenset[str] = frozenset()

TABLE = {
    # base, local, remote, merged if local is later, merged if not, fields in conflict
    "nothing changed": ({"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}, ()),
    "changed here": ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}, {"a": 2}, ()),
    "changed there": ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, ()),
    "other fields on each side": (
        {"a": 1, "b": 1},
        {"a": 2, "b": 1},
        {"a": 1, "b": 2},
        {"a": 2, "b": 2},
        {"a": 2, "b": 2},
        (),
    ),
    "changed alike": ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, {"a": 2}, ()),
    "changed on both sides": ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}, {"a": 3}, ("a",)),
    "added here": ({}, {"a": 1}, {}, {"a": 1}, {"a": 1}, ()),
    "added there": ({}, {}, {"a": 1}, {"a": 1}, {"a": 1}, ()),
    "added on both sides": ({}, {"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}, ("a",)),
    "removed here": ({"a": 1}, {}, {"a": 1}, {}, {}, ()),
    "removed there": ({"a": 1}, {"a": 1}, {}, {}, {}, ()),
    "removed on both sides": ({"a": 1}, {}, {}, {}, {}, ()),
    "removed here, changed there": ({"a": 1}, {}, {"a": 2}, {}, {"a": 2}, ("a",)),
    "changed here, removed there": ({"a": 1}, {"a": 2}, {}, {"a": 2}, {}, ("a",)),
    "set to null here": ({"a": 1}, {"a": None}, {"a": 1}, {"a": None}, {"a": None}, ()),
    "null is not nothing": ({}, {"a": None}, {}, {"a": None}, {"a": None}, ()),
    "a nested object is one value": (
        {"a": {"x": 1, "y": 1}},
        {"a": {"x": 2, "y": 1}},
        {"a": {"x": 1, "y": 2}},
        {"a": {"x": 2, "y": 1}},
        {"a": {"x": 1, "y": 2}},
        ("a",),
    ),
    "a list is one value": (
        {"a": [1]},
        {"a": [1, 2]},
        {"a": [1, 3]},
        {"a": [1, 2]},
        {"a": [1, 3]},
        ("a",),
    ),
    "true is not 1": ({"a": 1}, {"a": True}, {"a": 1}, {"a": True}, {"a": True}, ()),
    "1.0 is 1": ({"a": 1}, {"a": 1.0}, {"a": 2}, {"a": 2}, {"a": 2}, ()),
}


@pytest.mark.parametrize(
    ("base", "local", "remote", "later", "earlier", "fields"), TABLE.values(), ids=TABLE
)
def test_the_merge_by_field(
    base: Json, local: Json, remote: Json, later: Json, earlier: Json, fields: tuple[str, ...]
) -> None:
    merged = three_way(base, local, remote, local_is_later=True, ignore=NONE)
    assert same_value(merged.record, later)
    assert merged.fields == fields
    merged = three_way(base, local, remote, local_is_later=False, ignore=NONE)
    assert same_value(merged.record, earlier)
    assert merged.fields == fields


@pytest.mark.parametrize("local_is_later", [True, False])
def test_a_field_of_the_server_is_the_servers(local_is_later: bool) -> None:
    merged = three_way(
        {"v": 1, "old": 1},
        {"v": 7, "old": 1},
        {"v": 2},
        local_is_later=local_is_later,
        ignore=frozenset({"v", "old"}),
    )
    assert merged == Merged({"v": 2}, ())


SAME = {
    "equal": ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, True),
    "another value": ({"a": 1}, {"a": 2}, False),
    "another name": ({"a": 1}, {"b": 1}, False),
    "null and nothing": ({"a": None}, {}, False),
    "true and 1": ({"a": True}, {"a": 1}, False),
    "false and 0 in a list": ({"a": [False]}, {"a": [0]}, False),
    "true and 1 in an object": ({"a": {"b": 1}}, {"a": {"b": True}}, False),
    "1 and 1.0": ({"a": 1}, {"a": 1.0}, True),
    "another order of names": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    "another order of a list": ({"a": [1, 2]}, {"a": [2, 1]}, False),
    "a longer list": ({"a": [1]}, {"a": [1, 1]}, False),
    "another value of the server's": ({"a": 1, "v": 1}, {"a": 1, "v": 2}, True),
    "the server's on one side": ({"a": 1, "v": 1}, {"a": 1}, True),
    "both deleted": (None, None, True),
    "one deleted": ({"a": 1}, None, False),
    "one deleted, one empty": ({}, None, False),
}


@pytest.mark.parametrize(("one", "other", "equal"), SAME.values(), ids=SAME)
def test_equal_states(one: Json | None, other: Json | None, equal: bool) -> None:
    assert same(one, other, frozenset({"v"})) is equal
    assert same(other, one, frozenset({"v"})) is equal


MEANING = {
    # one, other, whether they mean the same, and whether they do in a field of decimals
    "one number in two notations": (19.9, json.loads("19.90"), True, True),
    "other numbers": (19.9, 19.99, False, False),
    "a number and its text": (19.9, "19.90", False, True),
    "two texts of a number": ("19.9", "19.90", False, True),
    "a whole number and its text": (7, "7.0", False, True),
    "texts of other numbers": ("19.9", "19.91", False, False),
    "text that is no number": ("19.9", "19.9 EUR", False, False),
    "true is no number": (True, "1", False, False),
    "numbers in a list": (["1.0"], [1], False, True),
    "numbers in an object": ({"net": "1.0"}, {"net": 1}, False, True),
    "an instant in two zones": ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z", True, True),
    "an instant with a fraction": ("2026-01-01T00:00:00.000Z", "2026-01-01 00:00:00Z", True, True),
    "other instants": ("2026-01-01T00:00:00.001Z", "2026-01-01T00:00:00Z", False, False),
    "a time with a zone and one without": (
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00",
        False,
        False,
    ),
    "two notations without a zone": ("2026-01-01T00:00:00", "2026-01-01T00:00:00.0", True, True),
    "an instant in RFC 1123": (
        "Thu, 01 Jan 2026 00:00:00 GMT",
        "2026-01-01T00:00:00Z",
        True,
        True,
    ),
    "a date is no instant": ("2026-01-01", "20260101", False, False),
    "no time at all": ("2026-13-01T00:00:00Z", "2026-13-01T00:00:00.0Z", False, False),
}


@pytest.mark.parametrize(("one", "other", "equal", "as_decimal"), MEANING.values(), ids=MEANING)
def test_values_are_equal_that_mean_the_same(
    one: float | str | list[str] | Json,
    other: float | str | list[int] | Json,
    equal: bool,
    as_decimal: bool,
) -> None:
    for pair in ((one, other), (other, one)):
        assert same_value(*pair) is equal
        assert same_value(*pair, decimal=True) is as_decimal
        state, changed = ({"a": each} for each in pair)
        assert same(state, changed, NONE) is equal
        assert same(state, changed, NONE, frozenset({"a"})) is as_decimal


def test_nested_fields_are_merged_leaf_by_leaf() -> None:
    base = {"a": {"x": 1, "y": 1, "z": {"q": 1}}, "b": {"x": 1}}
    local = {"a": {"x": 2, "y": 2, "z": {"q": 1}}, "b": {"x": 2}}
    remote = {"a": {"x": 3, "y": 1, "z": {"q": 2}}, "b": {"x": 1}}
    merged = three_way(base, local, remote, local_is_later=False, ignore=NONE, nested=True)
    assert merged.record == {"a": {"x": 3, "y": 2, "z": {"q": 2}}, "b": {"x": 2}}
    assert merged.fields == ("a.x",)


def test_objects_created_on_both_sides_are_merged_leaf_by_leaf() -> None:
    merged = three_way(
        {}, {"a": {"x": 1}}, {"a": {"y": 2}}, local_is_later=False, ignore=NONE, nested=True
    )
    assert merged == Merged({"a": {"x": 1, "y": 2}}, ())


KEPT = {
    # edits, base, remote, what is kept, and what is kept of nested fields
    "unrelated": ({"a": 2}, {"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2}, {"a": 2}),
    "changed there too": ({"a": 2}, {"a": 1}, {"a": 3}, {}, {}),
    "changed there alike": ({"a": 2}, {"a": 1}, {"a": 2}, {}, {}),
    "removed there": ({"a": 2}, {"a": 1}, {}, {}, {}),
    "new here alone": ({"a": 2}, {}, {"b": 1}, {"a": 2}, {"a": 2}),
    "written there otherwise": ({"a": 2}, {"a": 1}, {"a": 1.0}, {"a": 2}, {"a": 2}),
    "another leaf": (
        {"a": {"x": 2}},
        {"a": {"x": 1, "y": 1}},
        {"a": {"x": 1, "y": 2}},
        {},
        {"a": {"x": 2}},
    ),
    "the same leaf": ({"a": {"x": 2}}, {"a": {"x": 1}}, {"a": {"x": 3}}, {}, {}),
}


@pytest.mark.parametrize(("edits", "base", "remote", "kept", "nested"), KEPT.values(), ids=KEPT)
def test_edits_are_kept_of_fields_that_the_server_did_not_change(
    edits: Json, base: Json, remote: Json, kept: Json, nested: Json
) -> None:
    assert kept_edits(edits, base, remote, nested=False) == kept
    assert kept_edits(edits, base, remote, nested=True) == nested


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=4,
)
RECORD = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@settings(deadline=None)
@given(RECORD, RECORD, st.booleans())
def test_a_side_that_changed_nothing_yields(base: Json, other: Json, later: bool) -> None:
    here = three_way(base, other, base, local_is_later=later, ignore=NONE)
    there = three_way(base, base, other, local_is_later=later, ignore=NONE)
    for merged in (here, there):
        assert same(merged.record, other, NONE)
        assert merged.fields == ()


@settings(deadline=None)
@given(RECORD, RECORD, RECORD)
def test_the_sides_may_be_exchanged(base: Json, one: Json, other: Json) -> None:
    this = three_way(base, one, other, local_is_later=True, ignore=NONE)
    that = three_way(base, other, one, local_is_later=False, ignore=NONE)
    assert same(this.record, that.record, NONE)
    assert set(this.fields) == set(that.fields)


@settings(deadline=None)
@given(RECORD, RECORD, RECORD, st.booleans())
def test_neither_side_is_changed_in_place(
    base: Json, local: Json, remote: Json, later: bool
) -> None:
    before = copy.deepcopy((base, local, remote))
    three_way(base, local, remote, local_is_later=later, ignore=NONE)
    assert (base, local, remote) == before
