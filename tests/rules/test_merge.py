"""The three-way merge by field (SPEC §5)."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.rules.merge import Merged, same, same_value, three_way

NONE = frozenset()

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
def test_the_merge_by_field(base, local, remote, later, earlier, fields):
    merged = three_way(base, local, remote, local_is_later=True, ignore=NONE)
    assert same_value(merged.record, later)
    assert merged.fields == fields
    merged = three_way(base, local, remote, local_is_later=False, ignore=NONE)
    assert same_value(merged.record, earlier)
    assert merged.fields == fields


@pytest.mark.parametrize("local_is_later", [True, False])
def test_a_field_of_the_server_is_the_servers(local_is_later):
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
def test_equal_states(one, other, equal):
    assert same(one, other, frozenset({"v"})) is equal
    assert same(other, one, frozenset({"v"})) is equal


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
def test_a_side_that_changed_nothing_yields(base, other, later):
    here = three_way(base, other, base, local_is_later=later, ignore=NONE)
    there = three_way(base, base, other, local_is_later=later, ignore=NONE)
    for merged in (here, there):
        assert same(merged.record, other, NONE)
        assert merged.fields == ()


@settings(deadline=None)
@given(RECORD, RECORD, RECORD)
def test_the_sides_may_be_exchanged(base, one, other):
    this = three_way(base, one, other, local_is_later=True, ignore=NONE)
    that = three_way(base, other, one, local_is_later=False, ignore=NONE)
    assert same(this.record, that.record, NONE)
    assert set(this.fields) == set(that.fields)


@settings(deadline=None)
@given(RECORD, RECORD, RECORD, st.booleans())
def test_neither_side_is_changed_in_place(base, local, remote, later):
    before = copy.deepcopy((base, local, remote))
    three_way(base, local, remote, local_is_later=later, ignore=NONE)
    assert (base, local, remote) == before
