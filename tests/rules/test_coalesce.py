"""The coalescing table, row by row: what becomes of a queued operation and a new one."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.model import Json, SyncOperation
from bytelyst_sync.rules.coalesce import Coalesced, Outcome, coalesce

CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
RULES = ("shallow", "merge-patch", "full")


def unknown() -> bool:
    """Nothing is known of the record at the server."""
    return False


OLD = {"id": "7", "title": "old", "done": False}
NEW = {"id": "7", "title": "new"}
MERGED = {"id": "7", "title": "new", "done": False}
GONE = {"id": "7"}

TABLE = {
    "create, create: create, new data": (CREATE, CREATE, Coalesced(Outcome.ONE, CREATE, NEW)),
    "create, update: create, fields merged": (
        CREATE,
        UPDATE,
        Coalesced(Outcome.ONE, CREATE, MERGED),
    ),
    "create, delete: nothing": (CREATE, DELETE, Coalesced(Outcome.NOTHING)),
    "update, update: update, fields merged": (
        UPDATE,
        UPDATE,
        Coalesced(Outcome.ONE, UPDATE, MERGED),
    ),
    "update, create: update, fields merged": (
        UPDATE,
        CREATE,
        Coalesced(Outcome.ONE, UPDATE, MERGED),
    ),
    "update, delete: delete": (UPDATE, DELETE, Coalesced(Outcome.ONE, DELETE, GONE)),
    "delete, create: both stay": (DELETE, CREATE, Coalesced(Outcome.BOTH)),
    "delete, update: RecordDeletedError": (DELETE, UPDATE, Coalesced(Outcome.DELETED)),
    "delete, delete: one delete": (DELETE, DELETE, Coalesced(Outcome.ONE, DELETE, GONE)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("queued", "new", "becomes"), TABLE.values(), ids=TABLE)
def test_the_table(
    queued: SyncOperation, new: SyncOperation, becomes: Coalesced, rule: str
) -> None:
    old = GONE if queued is DELETE else OLD
    data = GONE if new is DELETE else NEW
    assert coalesce(queued, old, new, data, rule, known=unknown) == becomes


def test_the_table_is_complete() -> None:
    pairs = {(queued, new) for queued, new, _ in TABLE.values()}
    assert pairs == {(queued, new) for queued in SyncOperation for new in SyncOperation}


def test_a_create_that_the_server_is_known_to_hold_is_not_cancelled_by_a_delete() -> None:
    became = coalesce(CREATE, OLD, DELETE, GONE, "shallow", known=lambda: True)
    assert became == Coalesced(Outcome.BOTH)


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
def test_merging_follows_the_patch_rule(
    rule: str,
    queued: SyncOperation,
    old: Json,
    new: SyncOperation,
    data: Json,
    becomes: tuple[SyncOperation, Json],
) -> None:
    operation, merged = becomes
    assert coalesce(queued, old, new, data, rule, known=unknown) == Coalesced(
        Outcome.ONE, operation, merged
    )


NO_SINGLE_PATCH = {
    "null, then an object": ({"a": None}, {"a": {"x": 1}}),
    "null, then an empty object": ({"a": None}, {"a": {}}),
    "a scalar, then an object": ({"a": 5}, {"a": {"x": 1}}),
    "a list, then an object": ({"a": [1]}, {"a": {"x": 1}}),
    "deeper down": ({"a": {"b": None}}, {"a": {"b": {"x": 1}}}),
}


@pytest.mark.parametrize(("old", "data"), NO_SINGLE_PATCH.values(), ids=NO_SINGLE_PATCH)
def test_both_stay_where_no_single_merge_patch_equals_both(old: Json, data: Json) -> None:
    assert coalesce(UPDATE, old, UPDATE, data, "merge-patch", known=unknown) == Coalesced(
        Outcome.BOTH
    )


@pytest.mark.parametrize(("old", "data"), NO_SINGLE_PATCH.values(), ids=NO_SINGLE_PATCH)
def test_a_create_takes_any_merge_patch(old: Json, data: Json) -> None:
    assert coalesce(CREATE, old, UPDATE, data, "merge-patch", known=unknown).outcome is Outcome.ONE


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
def test_the_merged_operations_are_not_changed(
    queued: SyncOperation, old: Json, new: SyncOperation, data: Json, rule: str
) -> None:
    before = copy.deepcopy((old, data))
    coalesce(queued, old, new, data, rule, known=unknown)
    assert (old, data) == before
