"""Which records stand for deleted ones."""

import pytest

from bytelyst_sync.model import Json
from bytelyst_sync.rules.tombstone import is_tombstone


@pytest.mark.parametrize("value", [True, 1, "2026-01-02T03:04:05Z", 1767323045, "yes", {"by": 7}])
def test_a_mark_that_is_set_means_deleted(value: int | str | Json) -> None:
    assert is_tombstone({"id": "1", "deleted": value}, "deleted")
    assert is_tombstone({"id": "1", "meta": {"deleted_at": value}}, "meta.deleted_at")


@pytest.mark.parametrize("value", [None, False, 0, 0.0, ""])
def test_a_mark_that_is_not_set_means_alive(value: float | str | None) -> None:
    assert not is_tombstone({"id": "1", "deleted": value}, "deleted")


def test_a_record_without_the_mark_is_alive() -> None:
    assert not is_tombstone({"id": "1"}, "deleted")
    assert not is_tombstone({"id": "1", "deleted": True}, None)
    assert not is_tombstone(["deleted"], "deleted")


@pytest.mark.parametrize(
    ("mark", "value", "deleted"),
    [
        ("status=trash", "trash", True),
        ("status=trash", "draft", False),
        ("status=trash", None, False),
        ("status=3", 3, True),
        ("live=false", False, True),
        ("live=false", True, False),
        ("live=false", 0, False),
    ],
)
def test_a_mark_may_be_one_value_of_a_field(
    mark: str, value: str | int | None, deleted: bool
) -> None:
    assert is_tombstone({"id": "1", mark.partition("=")[0]: value}, mark) is deleted
