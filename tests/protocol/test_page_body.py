"""A page's JSON: its rows one at a time, and what cannot be kept is left out."""

import json
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytelyst_sync.errors import TransportError
from bytelyst_sync.model import Json
from bytelyst_sync.protocol import json_stream
from bytelyst_sync.protocol.json_stream import JsonStream, Unreadable
from bytelyst_sync.protocol.page_body import PageRows, read_page
from bytelyst_sync.rules.json_text import dumps, loads
from bytelyst_sync.rules.paths import MISSING, at

BAD = {
    "a number beyond a float": "1e999",
    "a number of 5,000 digits": "9" * 5000,
    "250 nested lists": "[" * 250 + "]" * 250,
    "100,000 nested lists": "[" * 100_000 + "]" * 100_000,
    "250 nested objects": '{"a":' * 250 + "1" + "}" * 250,
    "no JSON number": "NaN",
    "brackets in strings": '["]}\\"{",1e999]',
}


def read(body: str | bytes, path: str = "items") -> tuple[Any, list[Any]]:
    rows: list[Any] = []
    return read_page(body if isinstance(body, bytes) else body.encode(), path, rows.append), rows


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_a_value_that_cannot_be_kept_is_skipped_and_the_others_are_read(
    bad: str, space: str
) -> None:
    rows = [f'{{"id":"1","v":{bad}}}', '{"id":"2"}', bad, '{"id":"3"}']
    found, seen = read(f'{{"items":[{f",{space}".join(rows)}],{space}"cursor":"c"}}')
    assert found["cursor"] == "c"
    assert [type(row) for row in seen] == [Unreadable, dict, Unreadable, dict]
    assert [row for row in seen if row] == [{"id": "2"}, {"id": "3"}]
    assert all(row.reason for row in seen if isinstance(row, Unreadable))
    assert list(found["items"]) == seen


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html>",
        b"[1,]",
        b'{"items":[1,2]',
        b'{"items":[]} x',
        b'{"items":[tru',
        b"\xff",
    ],
)
def test_what_is_no_json_is_missing(body: bytes) -> None:
    assert read(body)[0] is MISSING


@pytest.mark.parametrize(
    ("path", "text", "rows"),
    [
        ("", "[1,2]", [1, 2]),
        ("", '{"a":1}', []),
        ("a.b", '{"x":[9],"a":{"b":[1]},"z":1}', [1]),
        ("a.b", '{"a.b":[1]}', [1]),
        ("a.1.b", '{"a":[0,{"b":[1]},2]}', [1]),
        ("a", '{"a":{"b":1}}', []),
        ("a", '{"a":[]}', []),
        ("a", "7", []),
    ],
)
def test_the_rows_are_found_by_their_path(path: str, text: str, rows: list[int]) -> None:
    found, seen = read(text, path)
    assert seen == rows
    assert found == json.loads(text)


def test_the_rows_of_a_large_page_are_read_again_at_each_use() -> None:
    items = [{"id": str(number), "text": "ä" * 50} for number in range(20_000)]
    found, seen = read(json.dumps({"page": {"items": items}, "more": True}), "page.items")
    rows = found["page"]["items"]
    assert isinstance(rows, PageRows)
    assert seen == items == list(rows) == list(rows)
    assert (len(rows), rows[0], rows[-1], rows[5:7]) == (20_000, items[0], items[-1], items[5:7])
    assert found["more"] is True
    with pytest.raises(IndexError):
        rows[20_000]


@pytest.mark.parametrize("length", [0, 20_000, 900_000])
@pytest.mark.parametrize("large", [True, False])
def test_other_threads_may_run_while_a_large_page_is_read(
    monkeypatch: pytest.MonkeyPatch, length: int, large: bool
) -> None:
    read: list[int] = []
    monkeypatch.setattr(json_stream, "let_others_run", read.append)
    size = 4_000_000 if large else 1_000_000
    row = json.dumps({"id": 1, "text": "x" * length})
    text = f'{{"items":[{",".join([row] * (size // len(row)))}]}}'
    read_page(text.encode(), "items", lambda row: None)
    if large:
        assert len(read) >= len(text) // max(32_768, length // 2)
        assert sum(read) >= len(text), "it rests the longer, the more it has read"
    else:
        assert not read


def test_a_page_of_many_small_values_takes_no_more_than_a_multiple_of_its_size() -> None:
    body = b'{"items":[' + b",".join([b"[]"] * 600_000) + b'],"meta":[' + b"[]," * 9 + b"1]}"
    tracemalloc.start()
    try:
        found, count = read_page(body, "items", lambda row: None), 0
        count = sum(1 for _ in found["items"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 600_000
    assert peak < 2 * len(body)


@pytest.mark.parametrize("row", ["[" + "[]," * 1_500_000 + "1]", '{"a":"' + "," * 1_500_000 + '"}'])
def test_a_row_of_too_many_values_is_skipped(row: str) -> None:
    _, seen = read(f'{{"items":[1,{row},2]}}')
    assert [type(each) for each in seen] == [int, Unreadable, int]
    assert "values" in seen[1].reason


def test_a_row_of_too_many_values_is_skipped_after_a_large_row_of_few() -> None:
    """The values ahead are counted again whenever more text was decoded."""
    _, seen = read(f'{{"items":["{"x" * 3_000_000}",[{"[]," * 1_500_000}1],2]}}')
    assert [type(each) for each in seen] == [str, Unreadable, int]


HOSTILE_ROWS = {
    "lists that are never closed": "[" * 1_200_000,
    "a deep list of empty lists": "[" * 300 + "[]," * 1_200_000 + "1" + "]" * 300,
    "a deep list of short strings": "[" * 300 + '"]",' * 1_200_000 + "1" + "]" * 300,
}


@pytest.mark.parametrize("rows", HOSTILE_ROWS.values(), ids=HOSTILE_ROWS)
def test_brackets_by_the_million_are_skipped_many_at_a_time(rows: str) -> None:
    """Not one by one in Python, which would hold up every thread for a minute on a large page."""
    calls = 0

    def count(_frame: Any, _event: Any, _argument: Any) -> None:
        nonlocal calls
        calls += 1

    body = f'{{"items":[{rows}]}}'.encode()
    sys.setprofile(count)
    try:
        read_page(body, "items", lambda row: None)
    finally:
        sys.setprofile(None)
    assert calls < 1_200_000 / 100


def test_a_large_row_of_few_values_is_read() -> None:
    _, seen = read(json.dumps({"items": [{"id": "1", "image": "x" * 3_000_000}]}))
    assert len(seen[0]["image"]) == 3_000_000


def test_a_page_that_is_large_beside_its_rows_is_refused() -> None:
    beside = ",".join(f'"{number}":"{"x" * 1_000_000}"' for number in range(5))
    assert read(f'{{"items":[],{beside}}}')[0] is MISSING


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    values,
    st.sampled_from(["", "a", "a.b", "0"]),
    st.sampled_from([None, 1]),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "utf-32-le"]),
)
def test_a_page_reads_as_all_of_it_would(
    value: list[Any] | float | Json | None, path: str, indent: int | None, encoding: str
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    found, seen = read(text.encode(encoding), path)
    assert dumps(found) == dumps(loads(text))
    rows = at(found, path)
    assert seen == (rows if isinstance(rows, list) else [])


@given(values, st.integers(1, 9))
def test_a_value_is_read_whole_wherever_its_pieces_end(
    value: Json | list[Any] | None, size: int
) -> None:
    text = json.dumps(value)
    stream = JsonStream(f"{text} ".encode(), piece_bytes=size)
    assert stream.value() == loads(text)
    assert stream.peek() == ""


def test_a_page_of_more_than_two_million_rows_is_an_error() -> None:
    body = b'{"items":[' + b"1," * 2_000_000 + b"1]}"
    with pytest.raises(TransportError, match="more than 2,000,000 rows; ask for smaller pages"):
        read_page(body, "items", lambda element: None)
