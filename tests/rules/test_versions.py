"""Versions compare by what they say."""

import pytest

from bytelyst_sync.rules.versions import plain_version, same_version

PLAIN = {
    "an ETag": ('"3"', "3"),
    "a weak ETag": ('W/"3"', "3"),
    "bare": ("3", "3"),
    "a number": (3, "3"),
    "blanks around": (' "3" ', "3"),
    "a revision": ("1-abc", "1-abc"),
    "quotes within": ('a"b', 'a"b'),
    "an empty ETag": ('""', ""),
    "one quote": ('"', '"'),
    "none": (None, None),
}


@pytest.mark.parametrize(("version", "plain"), PLAIN.values(), ids=PLAIN)
def test_what_a_version_says(version: str | int | None, plain: str | None) -> None:
    assert plain_version(version) == plain


SAME = {
    "an ETag and the number": ('"3"', 3, True),
    "weak and strong": ('W/"3"', '"3"', True),
    "a text and the number": ("3", 3, True),
    "others": ('"3"', '"4"', False),
    "zero": (0, "0", True),
    "one unknown": (None, "3", False),
    "both unknown": (None, None, False),
    "unknown and its name": (None, "None", False),
}


@pytest.mark.parametrize(("one", "other", "same"), SAME.values(), ids=SAME)
def test_the_same_version(one: str | int | None, other: int | str | None, same: bool) -> None:
    assert same_version(one, other) is same
    assert same_version(other, one) is same
