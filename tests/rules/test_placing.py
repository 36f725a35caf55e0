"""Where the fields of a record stand in what a server sends and takes."""

import pytest

from bytelyst_sync.model import Json
from bytelyst_sync.rules.paths import MISSING, _Missing, mapped_at
from bytelyst_sync.rules.placing import placed, read_at, without

RECORD = {
    "a.b": "dotted",
    "project": {"id": 7, "none": None},
    "tags": [{"id": 1}, {"id": 2}],
    "rows": ["x", "y"],
    "text": "t",
    "null": None,
}

READ = {
    "a name with a dot": ("a.b", "dotted"),
    "a member": ("project.id", 7),
    "each element": ("tags[].id", [1, 2]),
    "an element by number": ("rows.1", "y"),
    "no such element": ("rows.2", MISSING),
    "below a null": ("null.x", None),
    "a null in place of a list": ("null[].id", None),
    "a text in place of a list": ("text[].id", MISSING),
    "no such member": ("project.other", MISSING),
    "nothing within a text": ("text.x", MISSING),
}


@pytest.mark.parametrize(("path", "found"), READ.values(), ids=READ)
def test_reading(path: str, found: str | int | list[int] | _Missing | None) -> None:
    assert read_at(RECORD, path) == found


WITHOUT = {
    "a member": ({"a": 1, "b": 2}, "a", {"b": 2}),
    "an inner member": ({"a": {"x": 1, "y": 2}}, "a.x", {"a": {"y": 2}}),
    "an object that is empty then": ({"a": {"x": 1}, "b": 2}, "a.x", {"b": 2}),
    "a whole list": ({"a": [1], "b": 2}, "a[].id", {"b": 2}),
    "an element stays": ({"a": [1]}, "a.0", {"a": [1]}),
    "a name with a dot": ({"a.b": 1, "a": {"b": 2}}, "a.b", {"a": {"b": 2}}),
    "nothing there": ({"a": 1}, "b.c", {"a": 1}),
    "no object": ("text", "a", "text"),
}


@pytest.mark.parametrize(("value", "path", "left"), WITHOUT.values(), ids=WITHOUT)
def test_taking_away(value: Json | str, path: str, left: Json | str) -> None:
    assert without(value, path) == left


PLACED = {
    "the whole": ({"a": 1}, "", 7, 7),
    "a member": ({"a": 1}, "b", 2, {"a": 1, "b": 2}),
    "what is missing on the way is made": (MISSING, "a.b", 1, {"a": {"b": 1}}),
    "below a null": (None, "a", None, None),
    "each element": (MISSING, "tags[].id", [1, 2], {"tags": [{"id": 1}, {"id": 2}]}),
    "no list": ({"tags": [1]}, "tags[].id", None, {"tags": None}),
    "an element": (["x", "y"], "1", "z", ["x", "z"]),
    "an inner element": ([{"id": 1}], "0.id", 2, [{"id": 2}]),
    "one element more": (["x"], "1.id", 2, ["x", {"id": 2}]),
    "a new list": (MISSING, "0", "x", ["x"]),
    "a member with a name of digits": ({"0": 1}, "0", 2, {"0": 2}),
}


@pytest.mark.parametrize(("container", "path", "value", "result"), PLACED.values(), ids=PLACED)
def test_placing(
    container: Json | _Missing | list[str | Json] | None,
    path: str,
    value: int | list[int] | str | None,
    result: int | Json | list[str | Json] | None,
) -> None:
    assert placed(container, path, value) == result


def test_a_place_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"`tags\[\]` needs a list"):
        placed({}, "tags[].id", "text")
    with pytest.raises(ValueError, match="the list at `3` has only 1 elements"):
        placed(["x"], "3", "y")


MAPPED = {
    "the whole": (1, "", 2),
    "a member": ({"a": {"b": 1}}, "a.b", {"a": {"b": 2}}),
    "a name with a dot": ({"a.b": 1}, "a.b", {"a.b": 2}),
    "an element": ({"a": [1, 5]}, "a.0", {"a": [2, 5]}),
    "each element": ({"a": [1, 5]}, "a[]", {"a": [2, 6]}),
    "each element of a list alone": ([{"n": 1}, {"n": 5}], "[].n", [{"n": 2}, {"n": 6}]),
    "a member of each": ({"a": [{"n": 1}]}, "a[].n", {"a": [{"n": 2}]}),
}


@pytest.mark.parametrize(("value", "path", "result"), MAPPED.values(), ids=MAPPED)
def test_changing_what_stands_at_a_path(
    value: int | Json | list[Json], path: str, result: int | Json | list[Json]
) -> None:
    before = repr(value)
    assert mapped_at(value, path, lambda each: each + 1) == result
    assert repr(value) == before


@pytest.mark.parametrize("path", ["b", "a.b.c", "text[].x", "a.9", "list.9"])
def test_where_nothing_changes_the_same_object_comes_back(path: str) -> None:
    value = {"a": {"b": 1}, "text": "t", "list": [1]}
    assert mapped_at(value, path, lambda each: each) is value
