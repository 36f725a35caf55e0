"""Who wins: the table of strategies, as a function of both sides."""

from typing import Any

import pytest

from bytelyst_sync.model import ConflictStrategy, Json, SyncOperation
from bytelyst_sync.rules.conflict import (
    Decision,
    Sides,
    are_equal,
    by_callback,
    by_person,
    decide,
    operation_for,
    real_conflicts,
    rebase_answer,
)

SERVER_WINS, CLIENT_WINS = ConflictStrategy.SERVER_WINS, ConflictStrategy.CLIENT_WINS
LAST_WRITE_WINS, MERGE = ConflictStrategy.LAST_WRITE_WINS, ConflictStrategy.MERGE

BASE = {"id": "7", "title": "t", "done": False, "note": "n"}
LOCAL = {**BASE, "title": "here"}
EDITS = {"id": "7", "title": "here"}


def edited(
    remote: Json | None,
    *,
    local_time: float | None = 200.0,
    remote_time: float | None = 100.0,
    base: Json | None = BASE,
    title: str = "here",
    **more: Any,
) -> Sides:
    """An update of the title here; ``remote`` there."""
    edits = {"id": "7", "title": title}
    return Sides(
        base=base,
        local={**(base or {}), **edits},
        remote=remote,
        edits=edits,
        rebased={**(remote or base or {}), **edits},
        local_time=local_time,
        remote_time=None if remote is None else remote_time,
        **more,
    )


def deleted(remote: Json | None, *, local_time: float = 200.0, remote_time: float = 100.0) -> Sides:
    """A delete here; ``remote`` there."""
    return Sides(
        base=BASE,
        local=None,
        remote=remote,
        edits={},
        rebased=None,
        local_time=local_time,
        remote_time=remote_time,
    )


SAME_FIELD = {**BASE, "title": "there"}
OTHER_FIELD = {**BASE, "done": True}
BOTH_FIELDS = {**BASE, "title": "there", "done": True}
EARLIER: Json = {"local_time": 100.0, "remote_time": 200.0}
TIE: Json = {"local_time": 100.0, "remote_time": 100.0}
NO_TIME: Json = {"remote_time": None}

REMOTE_STAYS = Decision("remote", BOTH_FIELDS)
REBASED = Decision("local", {**BOTH_FIELDS, "title": "here"})

TABLE = {
    # strategy, sides, decision
    "server-wins: the server's state": (SERVER_WINS, edited(BOTH_FIELDS), REMOTE_STAYS),
    "server-wins: deleted there": (SERVER_WINS, edited(None), Decision("remote", None)),
    "server-wins: deleted here": (
        SERVER_WINS,
        deleted(OTHER_FIELD),
        Decision("remote", OTHER_FIELD),
    ),
    "server-wins: what was pushed behind is kept where the server changed nothing": (
        SERVER_WINS,
        edited(BOTH_FIELDS, later={"note": "later", "done": "later"}),
        Decision("remote", {**BOTH_FIELDS, "note": "later"}),
    ),
    "server-wins: of a record deleted there nothing is kept": (
        SERVER_WINS,
        edited(None, later={"note": "later"}),
        Decision("remote", None),
    ),
    "client-wins: re-based on the server's": (CLIENT_WINS, edited(BOTH_FIELDS), REBASED),
    "client-wins: deleted there, the full local view": (
        CLIENT_WINS,
        edited(None),
        Decision("local", LOCAL),
    ),
    "client-wins: deleted here": (CLIENT_WINS, deleted(OTHER_FIELD), Decision("local", None)),
    "last-write-wins: later here": (LAST_WRITE_WINS, edited(BOTH_FIELDS), REBASED),
    "last-write-wins: later there": (
        LAST_WRITE_WINS,
        edited(BOTH_FIELDS, **EARLIER),
        REMOTE_STAYS,
    ),
    "last-write-wins: a tie is the server's": (
        LAST_WRITE_WINS,
        edited(BOTH_FIELDS, **TIE),
        REMOTE_STAYS,
    ),
    "last-write-wins: without a time the server's": (
        LAST_WRITE_WINS,
        edited(BOTH_FIELDS, **NO_TIME),
        REMOTE_STAYS,
    ),
    "last-write-wins: without a time of ours the server's": (
        LAST_WRITE_WINS,
        edited(BOTH_FIELDS, local_time=None),
        REMOTE_STAYS,
    ),
    "last-write-wins: later there, but an unrelated edit behind is kept": (
        LAST_WRITE_WINS,
        edited(BOTH_FIELDS, later={"note": "later"}, **EARLIER),
        Decision("remote", {**BOTH_FIELDS, "note": "later"}),
    ),
    "last-write-wins: deleted there, at no known time": (
        LAST_WRITE_WINS,
        edited(None),
        Decision("remote", None),
    ),
    "last-write-wins: deleted here later": (
        LAST_WRITE_WINS,
        deleted(OTHER_FIELD),
        Decision("local", None),
    ),
    "last-write-wins: deleted here earlier": (
        LAST_WRITE_WINS,
        deleted(OTHER_FIELD, **EARLIER),
        Decision("remote", OTHER_FIELD),
    ),
    "merge: other fields are both kept": (
        MERGE,
        edited(OTHER_FIELD, **EARLIER),
        Decision("merged", {**BASE, "title": "here", "done": True}),
    ),
    "merge: the same field, later here": (
        MERGE,
        edited(BOTH_FIELDS),
        Decision("merged", {**BASE, "title": "here", "done": True}),
    ),
    "merge: the same field, later there": (
        MERGE,
        edited(BOTH_FIELDS, **EARLIER),
        Decision("merged", BOTH_FIELDS),
    ),
    "merge: the same field, a tie": (
        MERGE,
        edited(SAME_FIELD, **TIE),
        Decision("merged", SAME_FIELD),
    ),
    "merge: the same field, without a time": (
        MERGE,
        edited(SAME_FIELD, **NO_TIME),
        Decision("merged", SAME_FIELD),
    ),
    "merge: an edit here beats a delete there": (MERGE, edited(None), Decision("local", LOCAL)),
    "merge: an edit there beats a delete here": (
        MERGE,
        deleted(OTHER_FIELD),
        Decision("remote", OTHER_FIELD),
    ),
    "merge: without a base, the operation's own fields are the edits": (
        MERGE,
        edited(BOTH_FIELDS, base=None),
        Decision("merged", {**BOTH_FIELDS, "title": "here"}),
    ),
    "merge: without a base and a time, too": (
        MERGE,
        edited(BOTH_FIELDS, base=None, **NO_TIME),
        Decision("merged", {**BOTH_FIELDS, "title": "here"}),
    ),
    "merge: without a base, later there": (
        MERGE,
        edited(BOTH_FIELDS, base=None, **EARLIER),
        Decision("merged", BOTH_FIELDS),
    ),
    "merge: what the server adds is kept": (
        MERGE,
        edited({**OTHER_FIELD, "new": 1}),
        Decision("merged", {**OTHER_FIELD, "title": "here", "new": 1}),
    ),
    "merge: a field of the server is the server's": (
        MERGE,
        edited(SAME_FIELD, ignore=frozenset({"title"})),
        Decision("merged", SAME_FIELD),
    ),
}


@pytest.mark.parametrize(("strategy", "sides", "decision"), TABLE.values(), ids=TABLE)
def test_the_table(strategy: ConflictStrategy, sides: Sides, decision: Decision) -> None:
    assert decide(strategy, sides) == decision


def test_every_strategy_but_manual_decides() -> None:
    decided = {strategy for strategy, _, _ in TABLE.values()}
    assert decided == set(ConflictStrategy) - {ConflictStrategy.MANUAL}
    assert decide(ConflictStrategy.MANUAL, edited(SAME_FIELD)) is None


def test_under_merge_a_callback_is_asked_only_for_what_both_sides_changed() -> None:
    assert decide(MERGE, edited(SAME_FIELD, asks=True)) is None
    for sides in (edited(OTHER_FIELD, asks=True), edited(None, asks=True)):
        assert decide(MERGE, sides) is not None


@pytest.mark.parametrize("strategy", [SERVER_WINS, CLIENT_WINS, LAST_WRITE_WINS])
def test_other_strategies_ask_no_callback(strategy: ConflictStrategy) -> None:
    assert decide(strategy, edited(SAME_FIELD, asks=True)) is not None


# what somebody decided

ONE_EACH: Json = {
    "base": {**BASE, "mine": 0, "theirs": 0},
    "local": {**BASE, "title": "here", "mine": 1, "theirs": 0},
    "remote": {**BASE, "title": "there", "mine": 0, "theirs": 1},
}
"""Both changed the title, and each side a field of its own."""


def both_edited(**more: Any) -> Sides:
    edits = {"id": "7", "title": "here", "mine": 1}
    return Sides(
        **ONE_EACH,
        edits=edits,
        rebased={**ONE_EACH["remote"], **edits},
        local_time=200.0,
        remote_time=100.0,
        **more,
    )


MERGED = {**BASE, "mine": 1, "theirs": 1}
ANSWERS = {
    # what a callback answers under merge, and the record that comes of it
    "local": ("local", {**MERGED, "title": "here"}),
    "remote": ("remote", {**MERGED, "title": "there"}),
    "the field alone": ({"title": "both"}, {**MERGED, "title": "both"}),
    "on top of local": ({**ONE_EACH["local"], "title": "both"}, {**MERGED, "title": "both"}),
    "on top of remote": ({**ONE_EACH["remote"], "title": "both"}, {**MERGED, "title": "both"}),
    "something new": ({"title": "both", "mine": 9}, {**MERGED, "title": "both", "mine": 9}),
    "a new field": ({"title": "both", "by": "me"}, {**MERGED, "title": "both", "by": "me"}),
}


@pytest.mark.parametrize(("answer", "record"), ANSWERS.values(), ids=ANSWERS)
def test_under_merge_a_callback_decides_the_fields_that_both_sides_changed(
    answer: str | Json, record: Json
) -> None:
    assert by_callback(MERGE, both_edited(), answer) == Decision("merged", record)


def test_under_merge_patch_a_callback_decides_leaves() -> None:
    sides = Sides(
        base={"at": {"x": 0, "y": 0, "z": 0}},
        local={"at": {"x": 1, "y": 1, "z": 0}},
        remote={"at": {"x": 2, "y": 0, "z": 2}},
        edits={"at": {"x": 1, "y": 1}},
        rebased={"at": {"x": 1, "y": 1, "z": 2}},
        local_time=1.0,
        remote_time=2.0,
        patch="merge-patch",
    )
    assert real_conflicts(sides) == ("at.x",)
    decision = by_callback(MERGE, sides, {"at": {"x": 3, "y": 0, "z": 2}})
    assert decision.record == {"at": {"x": 3, "y": 1, "z": 2}}


def test_under_manual_a_callback_and_a_person_decide_the_whole_record() -> None:
    sides = both_edited()
    for answer, decision in {
        "local": Decision("local", sides.rebased),
        "remote": Decision("remote", sides.remote),
    }.items():
        assert by_person(sides, answer) == decision
        assert by_callback(ConflictStrategy.MANUAL, sides, answer) == decision
    assert by_person(sides, {"title": "both"}) == Decision("merged", {"title": "both"})


def test_a_decision_on_an_older_record_does_not_undo_what_the_server_changed_since() -> None:
    sides = both_edited()
    answer = {**ONE_EACH["base"], "title": "both"}
    assert rebase_answer(sides, answer, ONE_EACH["base"]) == {**answer, "theirs": 1}


# equal sides

EQUAL = {
    # sides, whether they are equal
    "alike": (edited(LOCAL), True),
    "what was set here is there, among other changes": (edited({**LOCAL, "done": True}), True),
    "another value": (edited(SAME_FIELD), False),
    "deleted there": (edited(None), False),
    "deleted here": (deleted(OTHER_FIELD), False),
    "deleted on both sides": (deleted(None), True),
    "in decimals": (
        edited({**LOCAL, "title": "1.0"}, title="1", decimals=frozenset({"title"})),
        True,
    ),
    "in text": (edited({**LOCAL, "title": "1.0"}, title="1"), False),
    "made anew with fewer fields": (
        Sides(
            base=BASE,
            local=EDITS,
            remote=LOCAL,
            edits=EDITS,
            rebased=LOCAL,
            local_time=1.0,
            remote_time=1.0,
            recreated=True,
        ),
        False,
    ),
}


@pytest.mark.parametrize(("sides", "equal"), EQUAL.values(), ids=EQUAL)
def test_equal_sides_are_no_conflict(sides: Sides, equal: bool) -> None:
    assert are_equal(sides) is equal


# what is sent

CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
SERVERS = {"ignore": frozenset({"id", "rev", "updated_at"}), "server_fields": frozenset({"rev"})}
STAMPED = {**BASE, "rev": 1, "updated_at": "t0"}


def stamped(remote: Json | None, **more: Any) -> Sides:
    """Records that carry what the server writes into them."""
    return Sides(
        base=STAMPED,
        local={**STAMPED, "title": "here"},
        remote=remote,
        edits=EDITS,
        rebased=None,
        local_time=1.0,
        remote_time=None,
        **{**SERVERS, **more},
    )


THERE = {**STAMPED, "title": "there", "rev": 2, "updated_at": "t1"}
SENT = {
    # sides, the record decided on, the operation that makes it
    "nothing is to be there, nothing is": (stamped(None), None, None),
    "nothing is to be there": (stamped(THERE), None, (DELETE, {})),
    "the server's record": (stamped(THERE), THERE, None),
    "a field": (stamped(THERE), {**THERE, "title": "x"}, (UPDATE, {"title": "x"})),
    "what the server wrote is not sent back": (
        stamped(THERE),
        {**STAMPED, "title": "x"},
        (UPDATE, {"title": "x"}),
    ),
    "a field of the user's that is called as one of the server's": (
        stamped(THERE),
        {**THERE, "updated_at": "mine"},
        (UPDATE, {"updated_at": "mine"}),
    ),
    "never a server field": (stamped(THERE), {**THERE, "rev": 9}, None),
    "of a deleted record, all that is not the server's": (
        stamped(None),
        {**STAMPED, "title": "here"},
        (CREATE, {"title": "here", "done": False, "note": "n"}),
    ),
    "of a deleted record, what the user set": (
        stamped(None, ignore=frozenset({"id", "rev"})),
        {**STAMPED, "updated_at": "mine"},
        (CREATE, {"title": "t", "done": False, "note": "n", "updated_at": "mine"}),
    ),
    "a field that no patch can remove is left": (
        stamped({**THERE, "more": 1}),
        {**THERE, "title": "x"},
        (UPDATE, {"title": "x"}),
    ),
}


@pytest.mark.parametrize(("sides", "record", "operation"), SENT.values(), ids=SENT)
def test_what_is_sent(
    sides: Sides, record: Json | None, operation: tuple[SyncOperation, Json] | None
) -> None:
    assert operation_for(sides, Decision("merged", record)) == operation


REAL = {
    # sides, the fields in real conflict
    "the same field": (edited(SAME_FIELD), ("title",)),
    "one field of two": (edited(BOTH_FIELDS), ("title",)),
    "other fields": (edited(OTHER_FIELD), ()),
    "alike": (edited(LOCAL), ()),
    "a field of the server": (edited(SAME_FIELD, ignore=frozenset({"title"})), ()),
    "deleted there": (edited(None), ()),
    "deleted here": (deleted(OTHER_FIELD), ()),
    "without a base": (edited(BOTH_FIELDS, base=None), ("title",)),
    "without a base, alike": (edited({**BASE, "title": "here"}, base=None), ()),
}


@pytest.mark.parametrize(("sides", "fields"), REAL.values(), ids=REAL)
def test_the_fields_in_real_conflict(sides: Sides, fields: tuple[str, ...]) -> None:
    assert real_conflicts(sides) == fields


LATER = {
    # local time, remote time, whether the local one is later
    "later": (2.5, 1.5, True),
    "earlier": (1.5, 2.5, False),
    "a tie": (1.5, 1.5, False),
    "no time there": (1.5, None, False),
    "no time here": (None, 1.5, False),
    "the same whole second": (1.5, 1.0, False),
    "the next whole second": (2.0, 1.0, True),
}


@pytest.mark.parametrize(("local_time", "remote_time", "later"), LATER.values(), ids=LATER)
def test_the_later_writer(local_time: float | None, remote_time: float | None, later: bool) -> None:
    sides = edited(SAME_FIELD, local_time=local_time, remote_time=remote_time)
    assert sides.local_is_later is later


def test_a_decision_stands_where_the_record_is_new_or_gone() -> None:
    answer = {"id": "1", "title": "both"}
    assert rebase_answer(both_edited(), answer, None) == answer
