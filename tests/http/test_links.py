"""The ``Link`` header."""

from __future__ import annotations

import time

import pytest

from bytelyst_sync.errors import TransportError
from bytelyst_sync.http.links import MAX_LINK_BYTES, linked


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("", None),
        ('</a?page=2>; rel="next"', "/a?page=2"),
        ("</a>; rel=next", "/a"),
        ("</a>;REL = NEXT", "/a"),
        ('</a>; rel="prev next"', "/a"),
        ('</a>; rel="prev", </b>; rel="next", </c>; rel="next"', "/b"),
        ('</a>; title="a, <b>; rel=next"; rel="prev", </c>; rel="next"', "/c"),
        ("</a>; title=x; rel=next; type=y", "/a"),
        ("</a,b;c>; rel=next", "/a,b;c"),
        ('</a>; rel="nextish", </b>; rel="x-next"', None),
        ('</a>; rev="next"', None),
        ('</a; rel="next"', None),
        ("</a>", None),
        ("</a>; crossorigin; rel=next", "/a"),
        ("<>; rel=next", ""),
    ],
)
def test_the_target_of_a_relation(header: str, target: str | None) -> None:
    assert linked(header, "next") == target


HOSTILE = {
    "openings": "<",
    "empty targets": "<>",
    "targets": "<a>;",
    "blanks": " ",
    "a target and blanks": "<a>" + " " * 50,
    "parameters": "<a>;x=y",
    "semicolons": ";",
    "quotes": '<a>;x="',
    "parameters without an end": "<a>;x=",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_it_takes_time_in_proportion_to_its_length(piece: str) -> None:
    header = (piece * MAX_LINK_BYTES)[:MAX_LINK_BYTES]
    for hostile in (header, "<a>;" + header[4:], '<a>;x="' + header[7:]):
        began = time.perf_counter()
        linked(hostile, "next")
        assert time.perf_counter() - began < 0.5


def test_its_length_is_bounded() -> None:
    with pytest.raises(TransportError, match="more than 64 KiB"):
        linked("<a>; rel=next," + " " * MAX_LINK_BYTES, "next")
