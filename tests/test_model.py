"""The public values: frozen, with a repr that shows no payload, enums that equal their strings."""

import copy
import json
import pickle
from datetime import datetime, timezone
from enum import Enum
from typing import Any

import attrs
import pytest

from bytelyst_sync import (
    Conflict,
    ConflictStrategy,
    ItemState,
    Problem,
    RecordChange,
    RecordView,
    SyncItem,
    SyncOperation,
    SyncResult,
    SyncStatus,
    SyncStatusInfo,
    ViewState,
)
from bytelyst_sync.model import Json

NOW = datetime(2024, 2, 29, 12, 30, tzinfo=timezone.utc)
SECRET = {"id": "7", "title": "s3cret"}

VALUES: dict[str, Any] = {
    "SyncItem": SyncItem(
        id="k-1",
        entity="notes",
        record_id="7",
        operation=SyncOperation.UPDATE,
        data=SECRET,
        timestamp=NOW,
        last_error="HTTP 422: the title is too long",
    ),
    "SyncResult": SyncResult(
        success=False,
        timestamp=NOW,
        failed=1,
        problems=(Problem("notes", "7", 422, "HTTP 422: the title is too long"),),
    ),
    "SyncStatusInfo": SyncStatusInfo(
        status=SyncStatus.ERROR,
        queue_length=1,
        last_error="HTTP 422: the title is too long",
        since=NOW,
    ),
    "Conflict": Conflict(
        id="1",
        entity="notes",
        record_id="7",
        operation=SyncOperation.UPDATE,
        local=SECRET,
        remote=SECRET,
        base=SECRET,
        local_time=NOW,
        fields=("title",),
    ),
    "RecordChange": RecordChange(
        entity="notes", record_id="7", before=SECRET, after=SECRET, origin="local"
    ),
    "RecordView": RecordView(SECRET, ViewState.PENDING),
}

FIELDS = {
    "SyncItem": (
        "id, entity, record_id, operation, data, timestamp, retry_count, last_error, state, "
        "base_version, next_attempt"
    ),
    "SyncResult": (
        "success, pushed, pulled, conflicts, errors, timestamp, duration, remaining, failed, "
        "parked, offline, problems"
    ),
    "SyncStatusInfo": (
        "status, queue_length, failed, conflicts, online, paused, last_error, last_sync, "
        "next_retry, since, reason, deliverer"
    ),
    "Conflict": (
        "id, entity, record_id, operation, local, remote, base, local_time, remote_time, fields, "
        "resolution"
    ),
    "RecordChange": "entity, record_id, previous_id, before, after, origin",
    "RecordView": "data, state",
}

each_value = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


@pytest.mark.parametrize("name", FIELDS)
def test_the_fields(name: str) -> None:
    named = [field.name for field in attrs.fields(type(VALUES[name]))]
    wanted = FIELDS[name].split(", ")
    assert named[: len(wanted)] == wanted
    assert set(named) - set(wanted) <= {"seq"}


@each_value
def test_a_value_is_frozen(value: Any) -> None:
    for field in attrs.fields(type(value)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, None)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(value, field.name)
    with pytest.raises(AttributeError):
        value.more = 1


@pytest.mark.parametrize("value", [VALUES[name] for name in VALUES if name != "RecordView"])
def test_a_value_takes_keywords_only(value: Any) -> None:
    with pytest.raises(TypeError, match="positional"):
        type(value)("7")


@each_value
def test_the_repr_shows_no_payload_and_is_readable(value: Any) -> None:
    shown = repr(value)
    assert "s3cret" not in shown
    assert shown.startswith(type(value).__name__ + "(")
    if hasattr(value, "record_id"):
        assert "'notes'" in shown
        assert "'7'" in shown


@each_value
def test_a_value_compares_hashes_copies_and_pickles(value: Any) -> None:
    same = attrs.evolve(value)
    assert same == value
    assert hash(same) == hash(value)
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize("name", ["SyncItem", "SyncResult", "SyncStatusInfo"])
def test_the_repr_shows_the_reason(name: str) -> None:
    assert "HTTP 422: the title is too long" in repr(VALUES[name])


def test_the_repr_leaves_out_what_is_as_by_default() -> None:
    item = SyncItem(
        id="k-1",
        entity="notes",
        record_id="7",
        operation=SyncOperation.UPDATE,
        data=SECRET,
        timestamp=NOW,
        seq=3,
    )
    assert repr(item) == (
        "SyncItem(id='k-1', entity='notes', record_id='7', operation='update', "
        "timestamp=2024-02-29T12:30:00+00:00)"
    )
    assert repr(SyncResult(success=True, timestamp=NOW)) == "SyncResult(success=True)"


def test_the_repr_cuts_a_long_reason() -> None:
    item = attrs.evolve(VALUES["SyncItem"], last_error="x" * 10_000)
    assert len(repr(item)) < 600


def test_a_problem_names_the_record_and_the_reason() -> None:
    problem = Problem("notes", "7", 422, "HTTP 422: the title is too long")
    assert str(problem) == "notes/7: HTTP 422: the title is too long"
    assert str(Problem("notes", None, None, "no answer")) == "notes: no answer"


def test_items_of_other_data_are_not_equal() -> None:
    item = VALUES["SyncItem"]
    assert attrs.evolve(item, data={"id": "7"}) != item


DEFAULTS: Json = {
    "SyncItem": {
        "retry_count": 0,
        "state": "pending",
        "base_version": None,
        "next_attempt": None,
    },
    "SyncResult": {
        "pushed": 0,
        "pulled": 0,
        "conflicts": 0,
        "errors": 0,
        "duration": 0.0,
        "remaining": 0,
        "parked": 0,
        "offline": False,
    },
    "SyncStatusInfo": {
        "failed": 0,
        "conflicts": 0,
        "online": True,
        "paused": False,
        "last_sync": None,
        "next_retry": None,
        "reason": None,
        "deliverer": None,
    },
    "RecordChange": {"previous_id": None},
    "Conflict": {"remote_time": None, "resolution": None},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_defaults(name: str) -> None:
    for field, value in DEFAULTS[name].items():
        assert getattr(VALUES[name], field) == value


WORDS: dict[type[Enum], str] = {
    SyncOperation: "create update delete",
    ConflictStrategy: "server-wins client-wins last-write-wins merge manual",
    ItemState: "pending sending failed conflict delivered cancelled settled",
    SyncStatus: "idle syncing offline error closed",
    ViewState: "synced pending sending failed conflict",
}
each_word = pytest.mark.parametrize("word", [word for kind in WORDS for word in kind])


@pytest.mark.parametrize(("kind", "words"), WORDS.items(), ids=str)
def test_the_words(
    kind: type[SyncOperation | ConflictStrategy | ItemState | SyncStatus | ViewState], words: str
) -> None:
    assert [word.value for word in kind] == words.split()


@each_word
def test_a_word_prints_as_its_value(word: Any) -> None:
    assert str(word) == word.value
    assert f"{word}" == word.value
    assert f"{word:>16}" == f"{word.value:>16}"
    assert "{}".format(word) == word.value  # noqa: UP032 - this spelling is the test
    assert "%s" % word == word.value  # noqa: UP031 - this spelling is the test
    assert json.dumps({"word": word}) == json.dumps({"word": word.value})


@each_word
def test_a_word_is_the_plain_string(word: Any) -> None:
    plain = word.value
    assert word == plain
    assert hash(word) == hash(plain)
    assert {plain: 1}[word] == 1
    assert isinstance(word, str)
    assert type(word)(plain) is word
    assert pickle.loads(pickle.dumps(word)) is word


def test_a_wrong_word_raises() -> None:
    with pytest.raises(ValueError, match="'upsert' is not a valid SyncOperation"):
        SyncOperation("upsert")
