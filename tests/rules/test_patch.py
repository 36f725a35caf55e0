"""Patches: the examples of RFC 7396, and the laws that composing and diffing keep."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.model import Json
from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.rules.patch import apply_patch, compose, diff, patch_create

RULES = ("shallow", "merge-patch", "full")

APPENDIX_A = [
    # original, patch, result
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize(("original", "patch", "result"), APPENDIX_A)
def test_appendix_a_of_rfc_7396(original: str, patch: str, result: str) -> None:
    original, patch, result = map(json.loads, (original, patch, result))
    # the examples patch any JSON value; a record is an object, so each is put at a member of one
    assert apply_patch({"m": original}, {"m": patch}, "merge-patch") == {"m": result}


def test_appendix_a_a_patch_of_null_removes() -> None:
    assert apply_patch({"m": {"a": "foo"}, "n": 1}, {"m": None}, "merge-patch") == {"n": 1}


def test_the_example_of_section_3_of_rfc_7396() -> None:
    document = {
        "title": "Goodbye!",
        "author": {"givenName": "John", "familyName": "Doe"},
        "tags": ["example", "sample"],
        "content": "This will be unchanged",
    }
    patch = {
        "title": "Hello!",
        "phoneNumber": "+01-123-456-7890",
        "author": {"familyName": None},
        "tags": ["example"],
    }
    assert apply_patch(document, patch, "merge-patch") == {
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["example"],
        "content": "This will be unchanged",
        "phoneNumber": "+01-123-456-7890",
    }


@pytest.mark.parametrize("rule", ["shallow", "full"])
@pytest.mark.parametrize(
    ("edit", "becomes"),
    [
        ({"b": 2}, {"a": {"x": 1}, "b": 2}),
        ({"a": {"y": 2}}, {"a": {"y": 2}}),
        ({"a": None}, {"a": None}),
        ({}, {"a": {"x": 1}}),
    ],
    ids=["adds", "replaces whole", "null is a value", "says nothing"],
)
def test_a_shallow_edit(rule: str, edit: Json, becomes: Json) -> None:
    assert apply_patch({"a": {"x": 1}}, edit, rule) == becomes


COMPOSED = {
    "names of both": ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    "the later value": ({"a": 1}, {"a": 2}, {"a": 2}),
    "nulls kept": ({"a": None}, {"b": None}, {"a": None, "b": None}),
    "objects are merged": ({"a": {"x": 1}}, {"a": {"y": None}}, {"a": {"x": 1, "y": None}}),
    "an object, then a list": ({"a": {"x": 1}}, {"a": [2]}, {"a": [2]}),
    "none for null, then an object": ({"a": None}, {"a": {"x": 1}}, None),
    "none for a list, then an object": ({"a": [1]}, {"a": {"x": 1}}, None),
}


@pytest.mark.parametrize(("first", "second", "both"), COMPOSED.values(), ids=COMPOSED)
def test_merge_patches_compose(first: Json, second: Json, both: Json | None) -> None:
    assert compose(first, second, "merge-patch") == both


DIFFERENT = {
    # rule, before, after, edit
    "shallow: changed and added": (
        "shallow",
        {"a": 1, "b": 2},
        {"a": 1, "b": 3, "c": 4},
        {"b": 3, "c": 4},
    ),
    "shallow: nothing": ("shallow", {"a": {"x": 1}}, {"a": {"x": 1}}, {}),
    "shallow: nothing can remove": ("shallow", {"a": 1}, {}, None),
    "shallow: true is not 1": ("shallow", {"a": 1}, {"a": True}, {"a": True}),
    "shallow: true is not 1 further down": ("shallow", {"a": [1]}, {"a": [True]}, {"a": [True]}),
    "merge-patch: removed": ("merge-patch", {"a": 1, "b": 2}, {"b": 2}, {"a": None}),
    "merge-patch: only what changed inside": (
        "merge-patch",
        {"a": {"x": 1, "y": 2}},
        {"a": {"x": 1, "y": 3}},
        {"a": {"y": 3}},
    ),
    "merge-patch: true is not 1 further down": (
        "merge-patch",
        {"a": {"x": 1}},
        {"a": {"x": True}},
        {"a": {"x": True}},
    ),
    "merge-patch: nothing can set null": ("merge-patch", {}, {"a": None}, None),
    "merge-patch: nor null inside": ("merge-patch", {"a": 1}, {"a": {"x": None}}, None),
    "merge-patch: a null that stays is no change": (
        "merge-patch",
        {"a": None, "b": 1},
        {"a": None, "b": 2},
        {"b": 2},
    ),
    "merge-patch: null in a list is a value": (
        "merge-patch",
        {"a": []},
        {"a": [None]},
        {"a": [None]},
    ),
}


@pytest.mark.parametrize(("rule", "before", "after", "edit"), DIFFERENT.values(), ids=DIFFERENT)
def test_the_difference_of_two_records(
    rule: str, before: Json, after: Json, edit: Json | None
) -> None:
    found = diff(before, after, rule)
    assert json.dumps(found) == json.dumps(edit)


@pytest.mark.parametrize("rule", RULES)
def test_a_patch_of_a_create_makes_a_record(rule: str) -> None:
    created = patch_create({"a": 1, "b": 2}, {"b": None}, rule)
    assert created == ({"a": 1} if rule == "merge-patch" else {"a": 1, "b": None})


SCALARS = st.none() | st.booleans() | st.integers(-1, 2) | st.text("xy", max_size=1)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
RECORD = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)
RULE = st.sampled_from(RULES)


@settings(deadline=None)
@given(RECORD, RECORD, RECORD, RULE)
def test_a_composed_edit_does_what_one_after_the_other_do(
    state: Json, first: Json, second: Json, rule: str
) -> None:
    both = compose(first, second, rule)
    if both is not None:
        one_by_one = apply_patch(apply_patch(state, first, rule), second, rule)
        assert same_value(apply_patch(state, both, rule), one_by_one)


@settings(deadline=None)
@given(RECORD, RECORD, st.sampled_from(["shallow", "full"]))
def test_shallow_edits_always_compose(first: Json, second: Json, rule: str) -> None:
    assert compose(first, second, rule) is not None


@settings(deadline=None)
@given(RECORD, RECORD)
def test_where_merge_patches_do_not_compose_no_single_patch_would_do(
    first: Json, second: Json
) -> None:
    if compose(first, second, "merge-patch") is not None:
        return
    # a patch says the same of every state; what both leave behind here, one patch would have to
    # leave whatever stood there, and yet it cannot remove what it does not name
    empty = apply_patch(apply_patch({}, first, "merge-patch"), second, "merge-patch")
    other = _with_a_stranger_everywhere(empty)
    ended = apply_patch(apply_patch(other, first, "merge-patch"), second, "merge-patch")
    assert not same_value(ended, other)


def _with_a_stranger_everywhere(value: Json | list[bool | None] | int | str) -> Any:
    if not isinstance(value, dict):
        return value
    inside = {name: _with_a_stranger_everywhere(each) for name, each in value.items()}
    return {**inside, "stranger": 1}


@settings(deadline=None)
@given(RECORD, RECORD, RULE)
def test_a_difference_applied_gives_the_later_record(before: Json, after: Json, rule: str) -> None:
    edit = diff(before, after, rule)
    if edit is not None:
        assert same_value(apply_patch(before, edit, rule), after)


@settings(deadline=None)
@given(RECORD, RULE)
def test_a_record_does_not_differ_from_itself(record: Json, rule: str) -> None:
    assert diff(record, copy.deepcopy(record), rule) == {}


@settings(deadline=None)
@given(RECORD, RECORD, RULE)
def test_nothing_is_changed_in_place(
    one: dict[str, list[Any] | dict[str, dict[str, Any] | list[Any] | None] | None],
    other: dict[str, Any],
    rule: str,
) -> None:
    before = copy.deepcopy((one, other))
    apply_patch(one, other, rule)
    compose(one, other, rule)
    diff(one, other, rule)
    patch_create(one, other, rule)
    assert (one, other) == before
