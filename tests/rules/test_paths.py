"""Dotted paths into what a server answered, and what is said of a value that does not fit."""

from typing import Any

import pytest

from bytelyst_sync.model import Json
from bytelyst_sync.rules.paths import MISSING, _Missing, at, describe, values_at

BODY = {
    "data": {"id": "7", "none": None},
    "rows": [{"id": "1"}, {"id": "2"}],
    "a.b": "dotted",
    "a": {"b": "nested"},
    "0": "named 0",
}

FOUND = {
    "the whole": ("", BODY),
    "a member": ("data", BODY["data"]),
    "a member's member": ("data.id", "7"),
    "an element": ("rows.0", {"id": "1"}),
    "an element's member": ("rows.1.id", "2"),
    "a name with a dot goes first": ("a.b", "dotted"),
    "a name of digits": ("0", "named 0"),
    "null is something": ("data.none", None),
    "no such member": ("other", MISSING),
    "no such member further down": ("data.other.id", MISSING),
    "no such element": ("rows.2", MISSING),
    "no element from behind": ("rows.-1", MISSING),
    "no element by name": ("rows.id", MISSING),
    "nothing within a text": ("data.id.0", MISSING),
    "nothing within null": ("data.none.x", MISSING),
    "an empty step": ("data..id", MISSING),
}


@pytest.mark.parametrize(("path", "value"), FOUND.values(), ids=FOUND)
def test_what_stands_at_a_path(path: str, value: Json | str | _Missing | None) -> None:
    assert at(BODY, path) == value


@pytest.mark.parametrize("body", [None, 7, "text", True, [], {}])
def test_a_path_into_what_has_no_members(body: int | str | list[Any] | Json | None) -> None:
    assert at(body, "a") is MISSING
    assert at(body, "") == body


def test_missing_is_false_and_has_a_name() -> None:
    assert not MISSING
    assert repr(MISSING) == "MISSING"


DESCRIBED = {
    "nothing": (MISSING, "nothing"),
    "null": (None, "null"),
    "an object": ({"id": "s3cret", "b": 1}, "an object with keys `id`, `b`"),
    "an empty object": ({}, "an empty object"),
    "a list": (["s3cret", 2], "a list of 2"),
    "an empty list": ([], "a list of 0"),
    "a text": ("s3cret", "a string"),
    "true": (True, "true or false"),
    "a number": (7, "a number"),
    "a float": (0.5, "a number"),
}


@pytest.mark.parametrize(("value", "words"), DESCRIBED.values(), ids=DESCRIBED)
def test_a_value_described_without_its_content(value: object, words: str) -> None:
    assert describe(value) == words


def test_a_description_is_short() -> None:
    assert len(describe({"k" * 1_000 + str(n): n for n in range(1_000)})) < 700


LINES = {"lines": [{"product": "a"}, {}, {"product": "b"}], "text": "x", "tags": ["p", "q"]}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("text", ["x"]),
        ("nothing", []),
        ("tags[]", ["p", "q"]),
        ("lines[].product", ["a", "b"]),
        ("text[]", []),
        ("nothing[].product", []),
    ],
)
def test_the_values_at_a_path_that_may_go_through_lists(path: str, found: list[str]) -> None:
    assert values_at(LINES, path) == found
