"""An answer is parsed within a bound on the objects that it would become."""

from __future__ import annotations

import tracemalloc

import pytest

from bytelyst_sync import TransportError
from bytelyst_sync.http.transport import Response
from bytelyst_sync.protocol.responses import MAX_VALUES, decode_json

BODIES = {
    "lists": b"[" + b"[]," * (MAX_VALUES // 2) + b"0]",
    "objects": b"[" + b"{}," * (MAX_VALUES // 2) + b"0]",
    "nested": b"[" * (MAX_VALUES + 1),
    "members": b"{" + b",".join(b'"%d":0' % n for n in range(MAX_VALUES + 1)) + b"}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_too_many_values_are_refused_before_any_is_built(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TransportError, match=r"a\.test:80 has about 2,000,00\d JSON values"):
            decode_json(Response(200, {}, body, "http://a.test/notes"))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_large_answer_within_the_bound_is_read() -> None:
    body = b"[" + b",".join([b"0"] * 100_000) + b"]"
    assert len(decode_json(Response(200, {}, body))) == 100_000
