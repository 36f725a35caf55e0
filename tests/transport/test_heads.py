"""Heads of messages: what is read in one go means what ``http.client`` takes it to mean."""

import http.client
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from bytelyst_sync.transport.heads import plain_head, request_head


class Socket:
    def __init__(self, data):
        self.data = data

    def makefile(self, mode):
        return io.BufferedReader(io.BytesIO(self.data))


def by_the_book(data):
    """What ``http.client`` makes of it."""
    response = http.client.HTTPResponse(Socket(data), method="POST")
    response.begin()
    return response


HEADS = {
    "a usual one": (
        b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nETag: "4"\r\n'
        b"Content-Length: 2\r\n\r\n{}"
    ),
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "an empty reason": b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    "an empty value": b"HTTP/1.1 200 OK\r\nX-A:\r\nContent-Length: 0\r\n\r\n",
    "blanks around a value": b"HTTP/1.1 200 OK\r\nX-A: \t a b \t\r\ncontent-length:3\r\n\r\nabc",
    "bytes beyond ASCII": "HTTP/1.1 200 OK\r\nX-A: grün\r\nContent-Length: 0\r\n\r\n".encode(),
    "a name twice": b"HTTP/1.1 200 OK\r\nLink: a\r\nLink: b\r\nContent-Length: 0\r\n\r\n",
    "an end": b"HTTP/1.1 503 Busy\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
}


def assert_same(data):
    head, book = plain_head(data, "POST"), by_the_book(data)
    assert (head.status, head.reason) == (book.status, book.reason)
    assert head.headers == HTTPHeaderDict(book.msg.items())
    assert head.closes == book.will_close
    if book.status not in (204, 304):
        assert head.length == book.length
    assert data[head.size :] == data.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("data", HEADS.values(), ids=HEADS)
def test_a_plain_head(data):
    assert_same(data)


LEFT = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
    "no length": b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}",
    "a length below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n{}",
    "a folded header": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\noops\r\n\r\n",
    "a blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a zero byte": b"HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
}


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT)
def test_any_other_is_left_to_the_library(data):
    assert plain_head(data, "POST") is None


names = st.sampled_from(["ETag", "etag", "Link", "Connection", "Content-Length", "X-A", "Date"])
values = st.one_of(
    st.sampled_from(["close", "keep-alive", "12", "0", '"4"', " x ", ""]),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=8),
)


@given(st.integers(200, 599), st.lists(st.tuples(names, values), max_size=5))
@example(200, [("Content-Length", "1"), ("Connection", "closed")])
def test_what_is_read_is_read_alike(status, headers):
    lines = [f"{name}:{value}\r\n" for name, value in headers]
    text = f"HTTP/1.1 {status} So\r\n{''.join(lines)}Content-Length: 2\r\n\r\n{{}}"
    data = text.encode("latin-1")
    if plain_head(data, "POST") is not None:
        assert_same(data)


def test_a_request():
    headers = {"X-A": "grün", "X-B": b"raw", "Accept-Encoding": "gzip"}
    assert request_head("POST", "/a?b", "host:81", headers) == (
        "POST /a?b HTTP/1.1\r\nHost: host:81\r\nX-A: grün\r\nX-B: raw\r\n"
        "Accept-Encoding: gzip\r\n\r\n"
    ).encode("latin-1")


def test_a_request_with_a_host_of_its_own():
    head = request_head("GET", "/", "host", {"Host": "other"})
    assert head == b"GET / HTTP/1.1\r\nAccept-Encoding: identity\r\nHost: other\r\n\r\n"
