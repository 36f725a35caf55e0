"""Whatever is wrong with a call: the error is clear, names the thing and the way out, and the queue
is left exactly as it was.
"""

import math
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from bytelyst_sync import (
    Conflict,
    EngineClosedError,
    EntityConfig,
    InvalidDataError,
    QueueFullError,
    RecordDeletedError,
    Request,
    SyncEngine,
    SyncError,
    SyncItem,
    SyncOperation,
    UnknownEntityError,
    create_sync_engine,
)
from bytelyst_sync.errors import OfflineError
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json, OperationName
from tests.typed import present

OPERATIONS = [each.value for each in SyncOperation]
each_operation = pytest.mark.parametrize("operation", OPERATIONS)


class NoNetwork:
    """A transport that nothing here may need."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, request: pytest.FixtureRequest) -> None:
        self.sent.append(request)
        raise OfflineError("there is no network here")


@pytest.fixture
def transport() -> NoNetwork:
    return NoNetwork()


@pytest.fixture
def make(transport: NoNetwork) -> Iterator[Callable[..., SyncEngine]]:
    engines = []

    def make_engine(**settings: Any) -> SyncEngine:
        engine = create_sync_engine(
            **{
                "base_url": "https://api.example.com",
                "entities": {"tasks": EntityConfig("/tasks", id_field="uid"), "notes": "/notes"},
                "storage": ":memory:",
                "auto_flush": False,
                "probe": None,
                "transport": transport,
                **settings,
            }
        )
        engines.append(engine)
        return engine

    yield make_engine
    for engine in engines:
        assert engine.close()
    assert transport.sent == [], "a push touched the network"


def fill(engine: SyncEngine) -> SyncEngine:
    """A queue with something of every operation, and a create that was updated."""
    engine.push("notes", {"id": "1", "title": "one"})
    engine.push("notes", {"id": "1", "done": False}, "update")
    engine.push("notes", {"id": "2", "title": "two"}, "update")
    engine.push("tasks", {"uid": 3, "title": "three"}, "update")
    engine.delete("notes", "gone")
    return engine


@pytest.fixture
def engine(make: Callable[..., SyncEngine]) -> SyncEngine:
    return fill(make())


def everything(engine: SyncEngine) -> tuple[object, ...]:
    """All that a program can see of the queue and of the local view."""
    return (
        list(engine.queue()),
        list(engine.failed()),
        list(engine.conflicts()),
        list(engine.records("notes")),
        list(engine.records("tasks")),
        engine.queue_length,
    )


class unchanged:  # noqa: N801 - reads as the sentence that it is
    """Checks that the block left the engine as it was."""

    def __init__(self, engine: SyncEngine) -> None:
        self._engine = engine
        self._changes: list[Any] = []

    def __enter__(self) -> None:
        self._before = everything(self._engine)
        self._unsubscribe = self._engine.on_change(self._changes.append)

    def __exit__(self, *exc: object) -> None:
        self._unsubscribe()
        assert everything(self._engine) == self._before
        assert self._changes == []


# --- the entity

ENTITY_CALLS = {
    "push": lambda engine, name: engine.push(name, {"id": "7"}),
    "push_many": lambda engine, name: engine.push_many(name, [{"id": "7"}]),
    "push_many of nothing": lambda engine, name: engine.push_many(name, []),
    "delete": lambda engine, name: engine.delete(name, "7"),
    "get": lambda engine, name: engine.get(name, "7"),
    "records": lambda engine, name: engine.records(name),
    "pull": lambda engine, name: engine.pull(name),
    "reconcile": lambda engine, name: engine.reconcile(name),
    "on_change": lambda engine, name: engine.on_change(print, entity=name),
}


@pytest.mark.parametrize("name", ["note", "Notes", "", 7, ["notes"]], ids=repr)
@pytest.mark.parametrize("call", ENTITY_CALLS.values(), ids=ENTITY_CALLS)
def test_an_unknown_entity_lists_the_known(
    engine: SyncEngine, call: Callable[..., str | Conflict], name: str | int | list[str]
) -> None:
    message = re.escape(f"unknown entity {name!r}; configured are 'notes', 'tasks'")
    with unchanged(engine), pytest.raises(UnknownEntityError, match=message) as caught:
        call(engine, name)
    assert str(caught.value).startswith("unknown entity")
    if isinstance(name, str):
        assert caught.value.entity == name


# --- the operation


@pytest.mark.parametrize("operation", ["upsert", "CREATE", "", None, 7, ["create"]], ids=repr)
def test_a_bad_operation_lists_the_good(engine: SyncEngine, operation: OperationName) -> None:
    message = re.escape(f"operation is {operation!r}; allowed: 'create', 'update', 'delete'")
    with unchanged(engine):
        with pytest.raises(ValueError, match=message):
            engine.push("notes", {"id": "7"}, operation)
        with pytest.raises(ValueError, match=message):
            engine.push_many("notes", [{"id": "7"}], operation)


def test_a_bad_operation_is_an_error_of_the_tree(engine: SyncEngine) -> None:
    with pytest.raises(SyncError):
        engine.push("notes", {"id": "7"}, "upsert")  # type: ignore[call-overload]  # wrong on purpose


@each_operation
def test_an_operation_may_be_a_plain_string_or_the_enum(
    make: Callable[..., SyncEngine], operation: OperationName
) -> None:
    one, other = make(), make()
    one.push("notes", {"id": "7"}, operation)
    other.push("notes", {"id": "7"}, SyncOperation(operation))
    assert [item.operation for item in one.queue()] == [operation]
    assert [item.operation for item in other.queue()] == [operation]


# --- the data

WRONG_KINDS = [None, "title", 7, True, [{"id": "7"}], ("id", "7"), {"id"}, b"{}", object]


@each_operation
@pytest.mark.parametrize("data", WRONG_KINDS, ids=lambda data: type(data).__name__)
def test_data_of_the_wrong_kind(engine: SyncEngine, data: Any, operation: OperationName) -> None:
    message = f"notes: data is a {type(data).__name__}; give a dict"
    with unchanged(engine), pytest.raises(InvalidDataError, match=message) as caught:
        engine.push("notes", data, operation)
    assert (caught.value.entity, caught.value.path) == ("notes", "$")


def cycle() -> Any:
    data: Json = {"id": "7"}
    data["self"] = data
    return data


BAD_DATA = {
    "NaN": ({"id": "7", "lines": [{}, {"price": math.nan}]}, "$.lines[1].price", "is nan"),
    "infinity": ({"id": "7", "price": math.inf}, "$.price", "is inf"),
    "a key that is no string": ({"id": "7", "a": {1: 2}}, "$.a", "JSON keys are strings"),
    "a cycle": (cycle(), "$.self", "contains itself"),
    "bytes": ({"id": "7", "a": b"x"}, "$.a", "turn it into a string"),
    "an object": ({"id": "7", "a": object()}, "$.a", "turn it into a string"),
    "a lone surrogate": ({"id": "7", "a": "\ud800"}, "$.a", "lone surrogate"),
    "a number of 5,000 digits": ({"id": "7", "a": 10**5000}, "$.a", "digits"),
}


@each_operation
@pytest.mark.parametrize(("data", "path", "problem"), BAD_DATA.values(), ids=BAD_DATA)
def test_data_that_json_cannot_carry(
    engine: SyncEngine, data: dict[str, object], path: str, problem: str, operation: OperationName
) -> None:
    with unchanged(engine), pytest.raises(InvalidDataError) as caught:
        engine.push("notes", data, operation)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"notes: the value at {path} ")
    assert problem in str(caught.value)


# --- the id

BAD_IDS = {
    "empty": ("", "is empty; leave the field out"),
    "a dot": (".", "use another id"),
    "a way up": ("../users", "use another id"),
    "a way up within": ("a/../../users", "use another id"),
    "a line break": ("a\nb", "use another id"),
    "true": (True, "an id is a non-empty string or a whole number"),
    "a float": (7.5, "an id is a non-empty string or a whole number"),
    "a list": (["7"], "an id is a non-empty string or a whole number"),
    "an object": ({"$oid": "7"}, "an id is a non-empty string or a whole number"),
}


@each_operation
@pytest.mark.parametrize(("value", "problem"), BAD_IDS.values(), ids=BAD_IDS)
def test_a_bad_id(
    engine: SyncEngine,
    value: str | float | list[str] | Json,
    problem: str,
    operation: OperationName,
) -> None:
    with unchanged(engine), pytest.raises(InvalidDataError, match=problem) as caught:
        engine.push("tasks", {"uid": value, "title": "t"}, operation)
    assert (caught.value.entity, caught.value.path) == ("tasks", "$.uid")
    assert str(caught.value).startswith("tasks: the id ")


@pytest.mark.parametrize(("value", "problem"), BAD_IDS.values(), ids=BAD_IDS)
def test_a_bad_id_to_delete_or_to_get(engine: SyncEngine, value: Any, problem: str) -> None:
    with unchanged(engine):
        with pytest.raises(InvalidDataError, match=problem):
            engine.delete("tasks", value)
        with pytest.raises(InvalidDataError, match=problem):
            engine.get("tasks", value)


@pytest.mark.parametrize("operation", ["update", "delete"])
@pytest.mark.parametrize("data", [{}, {"title": "t"}, {"uid": None}, {"id": "7"}], ids=repr)
def test_an_update_or_a_delete_without_an_id(
    engine: SyncEngine, data: Json, operation: OperationName
) -> None:
    message = re.escape(f"tasks: {operation} needs the record's id at $.uid")
    with unchanged(engine), pytest.raises(InvalidDataError, match=message) as caught:
        engine.push("tasks", data, operation)
    assert (caught.value.entity, caught.value.path) == ("tasks", "$.uid")


@pytest.mark.parametrize(
    "value", ["a/b", "a b", "a?b#c", "%2e%2e", "ü", 7, uuid.UUID(int=7)], ids=str
)
def test_an_odd_id_is_as_good_as_any(make: Callable[..., SyncEngine], value: Any) -> None:
    engine = make()
    engine.push("notes", {"id": value, "title": "t"})
    assert present(engine.get("notes", value))["title"] == "t"
    assert engine.delete("notes", value) is None
    assert engine.queue_length == 0


# --- many at once

BAD_ROWS = {
    "a row of the wrong kind": ("create", [{"id": "7"}, None, {"id": "8"}]),
    "a row that JSON cannot carry": ("create", [{"id": "7"}, {"id": "8", "a": math.nan}]),
    "a row with a bad id": ("create", [{"id": "7"}, {"id": ""}]),
    "an update without an id": ("update", [{"id": "1", "title": "x"}, {"title": "y"}]),
    "a dict for a list": ("create", {"id": "7"}),
    "a text for a list": ("create", "rows"),
}


@pytest.mark.parametrize(("operation", "rows"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_many_rows_land_all_or_not_at_all(
    engine: SyncEngine, operation: OperationName, rows: Any
) -> None:
    with unchanged(engine), pytest.raises(InvalidDataError):
        engine.push_many("notes", rows, operation)


def test_many_rows_one_of_which_was_deleted(engine: SyncEngine) -> None:
    rows = [{"id": "1", "title": "x"}, {"id": "gone", "title": "y"}, {"id": "8"}]
    with unchanged(engine), pytest.raises(RecordDeletedError):
        engine.push_many("notes", rows, "update")


def test_rows_that_raise_while_they_are_made(engine: SyncEngine) -> None:
    def rows() -> Iterator[Json]:
        yield {"id": "7"}
        raise LookupError("the caller's own")

    with unchanged(engine), pytest.raises(LookupError, match="the caller's own"):
        engine.push_many("notes", rows())


BAD_CALLS = {
    "an unknown entity": (UnknownEntityError, lambda engine: engine.push("note", {})),
    "a bad id": (InvalidDataError, lambda engine: engine.push("notes", {"id": ""})),
    "NaN": (InvalidDataError, lambda engine: engine.push("notes", {"a": math.nan})),
    "a deleted record": (
        RecordDeletedError,
        lambda engine: engine.push("notes", {"id": "gone"}, "update"),
    ),
    "the caller's own error": (ZeroDivisionError, lambda engine: 1 / 0),
}


@pytest.mark.parametrize(("error", "call"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_transaction_lands_whole_or_not_at_all(
    engine: SyncEngine, error: type[Exception] | type, call: Callable[..., str | Conflict]
) -> None:
    def several() -> None:
        with engine.transaction():
            engine.push("notes", {"id": "7"})
            engine.push("notes", {"id": "1", "title": "x"}, "update")
            engine.delete("notes", "2")
            call(engine)

    with unchanged(engine), pytest.raises(error):
        several()


def test_after_a_bad_transaction_a_good_one_lands(engine: SyncEngine) -> None:
    with pytest.raises(InvalidDataError), engine.transaction():
        engine.push("notes", {"id": ""})
    length = engine.queue_length
    with engine.transaction():
        engine.push("notes", {"id": "7"})
    assert engine.queue_length == length + 1


# --- a record whose delete is queued


def test_an_update_of_a_record_whose_delete_is_queued(engine: SyncEngine) -> None:
    message = "notes/gone cannot be updated: its delete is queued; create it anew, or cancel"
    with unchanged(engine), pytest.raises(RecordDeletedError, match=message) as caught:
        engine.push("notes", {"id": "gone", "title": "t"}, "update")
    assert (caught.value.entity, caught.value.record_id) == ("notes", "gone")


def test_the_way_out_creates_it_anew(engine: SyncEngine) -> None:
    engine.push("notes", {"id": "gone", "title": "t"})
    engine.push("notes", {"id": "gone", "done": True}, "update")
    assert engine.get("notes", "gone") == {"id": "gone", "title": "t", "done": True}


def test_the_way_out_cancels_the_delete(engine: SyncEngine) -> None:
    (delete,) = [item for item in engine.queue() if item.operation == "delete"]
    assert engine.cancel(delete)
    assert engine.push("notes", {"id": "gone", "title": "t"}, "update").operation == "update"


# --- a full queue


@pytest.fixture
def full(make: Callable[..., SyncEngine]) -> SyncEngine:
    engine = make(max_queue_length=4)
    fill(engine)
    assert engine.queue_length == 4
    return engine


PAST = {
    "push": lambda engine: engine.push("notes", {"id": "7"}),
    "push without an id": lambda engine: engine.push("notes", {"title": "t"}),
    "push of an update": lambda engine: engine.push("notes", {"id": "7"}, "update"),
    "delete": lambda engine: engine.delete("notes", "7"),
    "push_many": lambda engine: engine.push_many("notes", [{"id": "7"}, {"id": "8"}]),
    "push_many of which one fits": lambda engine: engine.push_many(
        "notes", [{"id": "2", "title": "x"}, {"id": "8"}], "update"
    ),
    "push behind a delete": lambda engine: engine.push("notes", {"id": "gone"}),
}


@pytest.mark.parametrize("call", PAST.values(), ids=PAST)
def test_a_full_queue(full: SyncEngine, call: Callable[..., str | Conflict]) -> None:
    message = r"4 operations are queued \(max_queue_length\); nothing was added"
    with unchanged(full), pytest.raises(QueueFullError, match=message) as caught:
        call(full)
    assert caught.value.entity == "notes"
    assert caught.value.retryable


def test_a_transaction_past_the_end_of_the_queue(full: SyncEngine) -> None:
    def several() -> None:
        with full.transaction():
            full.push("notes", {"id": "2", "title": "x"}, "update")
            full.push("notes", {"id": "7"})

    with unchanged(full), pytest.raises(QueueFullError):
        several()


def test_what_adds_nothing_still_lands_in_a_full_queue(full: SyncEngine) -> None:
    full.push("notes", {"id": "2", "title": "x"}, "update")
    assert present(full.get("notes", "2"))["title"] == "x"
    full.delete("notes", "2")
    assert full.queue_length == 4


def test_a_full_queue_has_room_again(full: SyncEngine) -> None:
    assert full.delete("notes", "1") is None
    assert full.push("notes", {"id": "7"}) is not None
    with pytest.raises(QueueFullError):
        full.push("notes", {"id": "8"})


def test_the_last_place_is_taken(make: Callable[..., SyncEngine]) -> None:
    engine = make(max_queue_length=2)
    engine.push_many("notes", [{"id": "1"}, {"id": "2"}])
    with unchanged(engine), pytest.raises(QueueFullError):
        engine.push("notes", {"id": "3"})


# --- other calls


def test_a_repair_is_for_one_item(engine: SyncEngine) -> None:
    message = "data repairs one failed item: give exactly one id"
    with unchanged(engine):
        for ids in (None, [], ["a", "b"]):
            with pytest.raises(ValueError, match=message):
                engine.reprocess_failed(ids, data={"title": "t"})


@pytest.mark.parametrize(
    "ids", [["nonsense"], "nonsense", [], ["", "1-", "-1", "1-99"], ["\ud800"]], ids=ascii
)
def test_ids_that_name_no_failed_item(engine: SyncEngine, ids: list[str] | str) -> None:
    with unchanged(engine):
        assert engine.reprocess_failed(ids) == 0
        assert engine.discard_failed(ids) == 0


@pytest.mark.parametrize("ids", [[None], [7], [1.5], b"x", [["a"]]], ids=repr)
def test_what_is_no_item_and_no_id(engine: SyncEngine, ids: Any) -> None:
    for call in (engine.reprocess_failed, engine.discard_failed):
        with unchanged(engine), pytest.raises(TypeError, match="give items, or their ids, not a"):
            call(ids)


def test_an_item_that_is_still_queued_is_no_failed_one(engine: SyncEngine) -> None:
    with unchanged(engine):
        assert engine.discard_failed([item.id for item in engine.queue()]) == 0


@pytest.mark.parametrize("conflict", ["nonsense", "", None, 7.5], ids=repr)
def test_what_is_no_conflict(engine: SyncEngine, conflict: Any) -> None:
    with unchanged(engine), pytest.raises((TypeError, ValueError, SyncError), match="conflict"):
        engine.resolve(conflict, "local")


class Conflicting:
    """A server that holds another record than the one every change is based on."""

    def send(self, request: Request) -> Response:
        return Response(409, {"content-type": "application/json"}, b'{"id": "7", "title": "there"}')


@pytest.fixture
def parked() -> Iterator[SyncEngine]:
    """An engine with one open conflict."""
    engine = create_sync_engine(
        base_url="https://api.example.com",
        entities={"notes": "/notes", "tasks": "/tasks"},
        storage=":memory:",
        auto_flush=False,
        probe=None,
        conflict="manual",
        transport=Conflicting(),
    )
    with engine:
        engine.push("notes", {"id": "7", "title": "here"}, "update")
        engine.flush(timeout=20)
        assert len(list(engine.conflicts())) == 1
        yield engine


BAD_ANSWERS = {
    "another word": ("mine", ValueError, '"local", "remote" or a dict'),
    "another case": ("LOCAL", ValueError, '"local", "remote" or a dict'),
    "nothing": (None, InvalidDataError, "give a dict"),
    "a number": (7, InvalidDataError, "give a dict"),
    "NaN": ({"id": "7", "price": math.nan}, InvalidDataError, r"\$\.price"),
    "another record": ({"id": "8", "title": "here"}, InvalidDataError, r"\$\.id"),
}


@pytest.mark.parametrize("by", [lambda each: each, lambda each: each.id], ids=["itself", "its id"])
@pytest.mark.parametrize(("answer", "error", "problem"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_conflict_stays_open_at_a_bad_answer(
    parked: SyncEngine,
    by: Callable[..., str | Conflict],
    answer: Any,
    error: type | type[InvalidDataError],
    problem: str,
) -> None:
    (conflict,) = parked.conflicts()
    with unchanged(parked), pytest.raises(error, match=problem):
        parked.resolve(by(conflict), answer)


@pytest.mark.parametrize("call", ["on_status_change", "on_change", "on_failure"])
def test_a_callback_that_cannot_be_called(engine: SyncEngine, call: str) -> None:
    with unchanged(engine), pytest.raises(TypeError, match=f"{call}: .*'print'"):
        getattr(engine, call)("print")


@pytest.mark.parametrize("call", ["wait", "cancel"])
@pytest.mark.parametrize("item", ["an id", None], ids=repr)
def test_what_is_no_item(engine: SyncEngine, call: str, item: str | None) -> None:
    with unchanged(engine), pytest.raises(TypeError, match="SyncItem"):
        getattr(engine, call)(item)


def test_an_item_that_was_cancelled_is_cancelled_no_more(engine: SyncEngine) -> None:
    item = engine.push("notes", {"id": "7"})
    assert engine.cancel(item)
    with unchanged(engine):
        assert not engine.cancel(item)


# --- after close

ITEM = SyncItem(
    id="k-1",
    entity="notes",
    record_id="7",
    operation=SyncOperation.CREATE,
    data={},
    timestamp=cast("Any", None),
    seq=1,
)
CALLS = {
    **{
        name: lambda engine, call=call: call(engine, "notes")  # type: ignore[misc]  # no lambda with defaults is inferred
        for name, call in ENTITY_CALLS.items()
    },
    "transaction": lambda engine: engine.transaction().__enter__(),
    "flush": lambda engine: engine.flush(),
    "pull all": lambda engine: engine.pull(),
    "full_sync": lambda engine: engine.full_sync(),
    "queue": lambda engine: engine.queue(),
    "failed": lambda engine: engine.failed(),
    "conflicts": lambda engine: engine.conflicts(),
    "wait": lambda engine: engine.wait(ITEM),
    "cancel": lambda engine: engine.cancel(ITEM),
    "reprocess_failed": lambda engine: engine.reprocess_failed(),
    "discard_failed": lambda engine: engine.discard_failed(),
    "clear_queue": lambda engine: engine.clear_queue(),
    "resolve": lambda engine: engine.resolve("1", "local"),
    "on_status_change": lambda engine: engine.on_status_change(print),
    "on_failure": lambda engine: engine.on_failure(print),
    "start": lambda engine: engine.start(),
    "pause": lambda engine: engine.pause(),
    "resume": lambda engine: engine.resume(),
    "queue_length": lambda engine: engine.queue_length,
    "with": lambda engine: engine.__enter__(),
}


@pytest.mark.parametrize("used", [True, False], ids=["used", "never used"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_after_close(
    make: Callable[..., SyncEngine], call: Callable[..., str | Conflict], used: bool
) -> None:
    engine = make()
    if used:
        fill(engine)
    assert engine.close()
    with pytest.raises(EngineClosedError, match="the engine is closed; make a new one"):
        call(engine)


def test_close_may_be_called_again_and_the_status_be_asked(make: Callable[..., SyncEngine]) -> None:
    engine = fill(make())
    assert engine.close()
    assert engine.close()
    assert engine.status.status == "closed"
    assert engine.status.queue_length == 4
    assert isinstance(engine.is_online, bool)
