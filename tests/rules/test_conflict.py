"""Who wins: the table of SPEC §5, as far as it is a function of both sides."""

import pytest

from bytelyst_sync.model import ConflictStrategy
from bytelyst_sync.rules.conflict import Decision, Sides, decide, real_conflicts

SERVER_WINS, CLIENT_WINS = ConflictStrategy.SERVER_WINS, ConflictStrategy.CLIENT_WINS
LAST_WRITE_WINS, MERGE = ConflictStrategy.LAST_WRITE_WINS, ConflictStrategy.MERGE

BASE = {"id": "7", "title": "t", "done": False, "note": "n"}
LOCAL = {**BASE, "title": "here"}
EDITS = {"id": "7", "title": "here"}


def edited(remote, *, local_time=200.0, remote_time=100.0, base=BASE, ignore=frozenset()):
    """An update of the title here; ``remote`` there."""
    return Sides(
        base=base,
        local=LOCAL if base is not None else EDITS,
        remote=remote,
        edits=EDITS,
        rebased=LOCAL if remote is None else {**remote, **EDITS},
        local_time=local_time,
        remote_time=None if remote is None else remote_time,
        ignore=ignore,
    )


def deleted(remote, *, local_time=200.0, remote_time=100.0):
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
EARLIER = {"local_time": 100.0, "remote_time": 200.0}
TIE = {"local_time": 100.0, "remote_time": 100.0}
NO_TIME = {"remote_time": None}

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
def test_the_table(strategy, sides, decision):
    assert decide(strategy, sides) == decision


def test_every_strategy_but_manual_decides():
    decided = {strategy for strategy, _, _ in TABLE.values()}
    assert decided == set(ConflictStrategy) - {ConflictStrategy.MANUAL}


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
def test_the_fields_in_real_conflict(sides, fields):
    assert real_conflicts(sides) == fields


@pytest.mark.parametrize(
    ("local_time", "remote_time", "later"),
    [(2.0, 1.0, True), (1.0, 2.0, False), (1.0, 1.0, False), (1.0, None, False)],
    ids=["later", "earlier", "a tie", "no time"],
)
def test_the_later_writer(local_time, remote_time, later):
    sides = edited(SAME_FIELD, local_time=local_time, remote_time=remote_time)
    assert sides.local_is_later is later
