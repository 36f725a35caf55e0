"""The tree of errors: as drawn in the docstring, with attributes to act on, picklable."""

import copy
import inspect
import pickle
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import bytelyst_sync
from bytelyst_sync import errors
from bytelyst_sync.errors import (
    AccountMismatchError,
    AuthError,
    ConfigError,
    EngineClosedError,
    InvalidDataError,
    OfflineError,
    QueueFullError,
    RecordDeletedError,
    RecordExistsError,
    RejectedError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageVersionError,
    SyncError,
    TransportError,
    UnknownEntityError,
    UnsentChangesError,
)
from bytelyst_sync.model import Json

TREE = {
    ConfigError: SyncError,
    UnknownEntityError: SyncError,
    InvalidDataError: SyncError,
    RecordDeletedError: SyncError,
    RecordExistsError: SyncError,
    AccountMismatchError: SyncError,
    UnsentChangesError: SyncError,
    QueueFullError: SyncError,
    StorageError: SyncError,
    StorageFullError: StorageError,
    StorageCorruptError: StorageError,
    StorageVersionError: StorageError,
    TransportError: SyncError,
    OfflineError: TransportError,
    AuthError: SyncError,
    RejectedError: SyncError,
    EngineClosedError: SyncError,
}
ALL = [SyncError, *TREE]
each_error = pytest.mark.parametrize("kind", ALL)


@pytest.mark.parametrize(("kind", "parent"), TREE.items())
def test_the_tree(kind: type[Exception], parent: type[Exception]) -> None:
    assert kind.__bases__[0] is parent


def drawn(text: str) -> Iterator[tuple[str, str]]:
    """(class, parent) as the docstring of the module draws them."""
    above = {0: "SyncError"}
    for indent, name in re.findall(r"^ {4}([│ ]*[├└]── )(\w+)", text, re.MULTILINE):
        depth = len(indent) // 4
        above[depth] = name
        yield name, above[depth - 1]


def test_the_tree_is_drawn_in_the_docstring() -> None:
    tree = {kind.__name__: parent.__name__ for kind, parent in TREE.items()}
    assert dict(drawn(errors.__doc__)) == tree


def test_every_error_is_in_the_tree_and_public() -> None:
    defined = {
        each
        for each in vars(errors).values()
        if inspect.isclass(each) and each.__module__ == errors.__name__
    }
    assert defined == set(ALL)
    assert set(errors.__all__) == {kind.__name__ for kind in ALL}
    assert set(errors.__all__) <= set(bytelyst_sync.__all__)


@each_error
def test_every_error_is_documented(kind: type[Exception]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != SyncError.__doc__ or kind is SyncError


ALSO = {
    ConfigError: ValueError,
    InvalidDataError: ValueError,
    UnknownEntityError: KeyError,
    EngineClosedError: RuntimeError,
}


@pytest.mark.parametrize(("kind", "builtin"), ALSO.items())
def test_some_are_builtin_errors_as_well(kind: type[Exception], builtin: type) -> None:
    assert issubclass(kind, builtin)


FACTS: Json = {
    "entity": "notes",
    "record_id": "7",
    "status": 422,
    "retry_after": 7.5,
    "request_id": "r-1",
}
PLAIN = [kind for kind in ALL if kind not in (ConfigError, InvalidDataError)]


@pytest.mark.parametrize("kind", PLAIN)
def test_an_error_carries_what_a_program_can_act_on(kind: type[SyncError]) -> None:
    error = kind("what happened", **FACTS, retryable=True)
    assert {name: getattr(error, name) for name in FACTS} == FACTS
    assert error.retryable is True
    assert str(error) == "what happened"


@each_error
def test_what_does_not_apply_is_none(kind: type[Exception]) -> None:
    error = kind("what happened")
    assert [getattr(error, name) for name in FACTS] == [None] * len(FACTS)


RETRYABLE = {
    SyncError: False,
    ConfigError: False,
    UnknownEntityError: False,
    InvalidDataError: False,
    RecordDeletedError: False,
    RecordExistsError: False,
    AccountMismatchError: False,
    UnsentChangesError: False,
    QueueFullError: True,
    StorageError: True,
    StorageFullError: True,
    StorageCorruptError: False,
    StorageVersionError: False,
    TransportError: True,
    OfflineError: True,
    AuthError: False,
    RejectedError: False,
    EngineClosedError: False,
}


@pytest.mark.parametrize(("kind", "retryable"), RETRYABLE.items())
def test_whether_the_same_call_may_succeed_later(kind: type[SyncError], retryable: bool) -> None:
    assert kind("what happened").retryable is retryable


def test_a_config_error_names_the_field_and_the_value() -> None:
    error = ConfigError("workers is 0", field="workers", value=0)
    assert (error.field, error.value) == ("workers", 0)


def test_an_invalid_data_error_has_the_path() -> None:
    error = InvalidDataError("no", path="$.lines[3].price", entity="orders", record_id="7")
    assert (error.path, error.entity, error.record_id) == ("$.lines[3].price", "orders", "7")
    assert InvalidDataError("no").path == "$"


def test_an_error_about_unsent_changes_counts_them() -> None:
    error = UnsentChangesError("3 changes are not sent", queued=2, failed=1, parked=0)
    assert (error.queued, error.failed, error.parked) == (2, 1, 0)


@each_error
def test_the_message_is_the_text(kind: type[Exception]) -> None:
    assert str(kind("'notes' is \"unknown\"")) == "'notes' is \"unknown\""
    assert str(kind()) == ""
    assert kind.__name__ in repr(kind("what happened"))


EXAMPLES = [
    *(kind("what happened", **FACTS, retryable=True) for kind in PLAIN),
    ConfigError("workers is 0", field="workers", value=0),
    InvalidDataError("no", path="$.lines[3].price", entity="orders", record_id="7"),
    UnsentChangesError("3 changes are not sent", queued=2, failed=1, parked=0),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_pickles(error: Exception) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_copied(error: Exception) -> None:
    again = copy.copy(error)
    assert type(again) is type(error)
    assert vars(again) == vars(error)


def test_a_config_error_pickles_whatever_the_value_was() -> None:
    error = ConfigError("storage is a lock", field="storage", value=threading.Lock())
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.field) == ("storage is a lock", "storage")


def raised(kind: type[Exception]) -> tuple[Exception, object]:
    cause = OSError(28, "No space left on device")
    try:
        raise kind("what happened") from cause
    except SyncError as error:
        return error, cause


@each_error
def test_an_error_keeps_its_cause(kind: type[Exception]) -> None:
    error, cause = raised(kind)
    assert error.__cause__ is cause
    assert error.__suppress_context__


@each_error
def test_an_error_with_a_cause_pickles(kind: type[Exception]) -> None:
    error, _ = raised(kind)
    cause: Any = error.__cause__
    cause.lock = threading.Lock()
    assert str(pickle.loads(pickle.dumps(error))) == "what happened"
