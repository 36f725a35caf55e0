"""The table of SPEC §3, row by row: what becomes of a queued operation and a new one."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.coalesce import Meeting, Outcome, coalesce

CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
RULES = ("shallow", "merge-patch", "full")

OLD = {"id": "7", "title": "old", "done": False}
NEW = {"id": "7", "title": "new"}
MERGED = {"id": "7", "title": "new", "done": False}
GONE = {"id": "7"}

TABLE = {
    "create, create: create, new data": (CREATE, CREATE, Meeting(Outcome.ONE, CREATE, NEW)),
    "create, update: create, fields merged": (CREATE, UPDATE, Meeting(Outcome.ONE, CREATE, MERGED)),
    "create, delete: nothing": (CREATE, DELETE, Meeting(Outcome.NOTHING)),
    "update, update: update, fields merged": (UPDATE, UPDATE, Meeting(Outcome.ONE, UPDATE, MERGED)),
    "update, create: update, fields merged": (UPDATE, CREATE, Meeting(Outcome.ONE, UPDATE, MERGED)),
    "update, delete: delete": (UPDATE, DELETE, Meeting(Outcome.ONE, DELETE, GONE)),
    "delete, create: both stay": (DELETE, CREATE, Meeting(Outcome.BOTH)),
    "delete, update: RecordDeletedError": (DELETE, UPDATE, Meeting(Outcome.DELETED)),
    "delete, delete: one delete": (DELETE, DELETE, Meeting(Outcome.ONE, DELETE, GONE)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("queued", "new", "becomes"), TABLE.values(), ids=TABLE)
def test_the_table(queued, new, becomes, rule):
    old = GONE if queued is DELETE else OLD
    data = GONE if new is DELETE else NEW
    assert coalesce(queued, old, new, data, rule) == becomes


def test_the_table_is_complete():
    pairs = {(queued, new) for queued, new, _ in TABLE.values()}
    assert pairs == {(queued, new) for queued in SyncOperation for new in SyncOperation}


STORED = {"id": "7", "a": {"x": 1, "y": 2}, "b": 3}

MERGING = {
    # rule, queued, its data, new, its data, becomes
    "shallow, create and update: a nested object is replaced": (
        "shallow",
        CREATE,
        STORED,
        UPDATE,
        {"id": "7", "a": {"x": 9}},
        (CREATE, {"id": "7", "a": {"x": 9}, "b": 3}),
    ),
    "shallow, create and update: null is a value": (
        "shallow",
        CREATE,
        STORED,
        UPDATE,
        {"id": "7", "b": None},
        (CREATE, {"id": "7", "a": {"x": 1, "y": 2}, "b": None}),
    ),
    "shallow, update and update: a nested object is replaced": (
        "shallow",
        UPDATE,
        {"id": "7", "a": {"x": 1}},
        UPDATE,
        {"id": "7", "a": {"y": 2}},
        (UPDATE, {"id": "7", "a": {"y": 2}}),
    ),
    "full, create and update: laid over": (
        "full",
        CREATE,
        STORED,
        UPDATE,
        {"id": "7", "b": None},
        (CREATE, {"id": "7", "a": {"x": 1, "y": 2}, "b": None}),
    ),
    "full, update and update: laid over": (
        "full",
        UPDATE,
        {"id": "7", "a": 1},
        UPDATE,
        {"id": "7", "b": 2},
        (UPDATE, {"id": "7", "a": 1, "b": 2}),
    ),
    "merge-patch, create and update: the patch is applied": (
        "merge-patch",
        CREATE,
        STORED,
        UPDATE,
        {"id": "7", "a": {"x": 9, "y": None}, "b": None},
        (CREATE, {"id": "7", "a": {"x": 9}}),
    ),
    "merge-patch, update and update: composed, nulls kept": (
        "merge-patch",
        UPDATE,
        {"id": "7", "a": {"x": 1}, "b": 3},
        UPDATE,
        {"id": "7", "a": {"y": None}, "b": None},
        (UPDATE, {"id": "7", "a": {"x": 1, "y": None}, "b": None}),
    ),
    "merge-patch, update and update: a null taken back": (
        "merge-patch",
        UPDATE,
        {"id": "7", "b": None},
        UPDATE,
        {"id": "7", "b": 4},
        (UPDATE, {"id": "7", "b": 4}),
    ),
    "merge-patch, update and create: composed": (
        "merge-patch",
        UPDATE,
        {"id": "7", "a": {"x": 1}},
        CREATE,
        {"id": "7", "a": {"y": 2}},
        (UPDATE, {"id": "7", "a": {"x": 1, "y": 2}}),
    ),
}


@pytest.mark.parametrize(
    ("rule", "queued", "old", "new", "data", "becomes"), MERGING.values(), ids=MERGING
)
def test_merging_follows_the_patch_rule(rule, queued, old, new, data, becomes):
    operation, merged = becomes
    assert coalesce(queued, old, new, data, rule) == Meeting(Outcome.ONE, operation, merged)


NO_SINGLE_PATCH = {
    "null, then an object": ({"a": None}, {"a": {"x": 1}}),
    "null, then an empty object": ({"a": None}, {"a": {}}),
    "a scalar, then an object": ({"a": 5}, {"a": {"x": 1}}),
    "a list, then an object": ({"a": [1]}, {"a": {"x": 1}}),
    "deeper down": ({"a": {"b": None}}, {"a": {"b": {"x": 1}}}),
}


@pytest.mark.parametrize(("old", "data"), NO_SINGLE_PATCH.values(), ids=NO_SINGLE_PATCH)
def test_both_stay_where_no_single_merge_patch_equals_both(old, data):
    assert coalesce(UPDATE, old, UPDATE, data, "merge-patch") == Meeting(Outcome.BOTH)


@pytest.mark.parametrize(("old", "data"), NO_SINGLE_PATCH.values(), ids=NO_SINGLE_PATCH)
def test_a_create_takes_any_merge_patch(old, data):
    assert coalesce(CREATE, old, UPDATE, data, "merge-patch").outcome is Outcome.ONE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
RECORD = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)
OPERATION = st.sampled_from(list(SyncOperation))


@settings(deadline=None)
@given(OPERATION, RECORD, OPERATION, RECORD, st.sampled_from(RULES))
def test_what_met_is_not_changed(queued, old, new, data, rule):
    before = copy.deepcopy((old, data))
    coalesce(queued, old, new, data, rule)
    assert (old, data) == before
