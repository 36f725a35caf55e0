"""Whole answers about one record, with values that nobody should have to expect."""

__all__ = ["VALUES"]


def answer(body: bytes, status: int = 200, **headers: bytes) -> bytes:
    """The bytes of an answer; names of headers with ``_`` for ``-``."""
    lines = [b"HTTP/1.1 %d Hostile" % status, b"Content-Type: application/json"]
    lines += [name.replace("_", "-").encode() + b": " + value for name, value in headers.items()]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _record(members: bytes, status: int = 200, **headers: bytes) -> bytes:
    return answer(b'{"id":"bad",' + members + b"}", status, **headers)


_NINES = b"9" * 4000
VALUES = {
    "a number beyond a float": _record(b'"n":1e99999'),
    "such a number in a list": _record(b'"n":[-1e99999]'),
    "such a number in a conflict": _record(b'"n":1e99999', 409),
    "such a number in an error": answer(b'{"error":[1e999]}', 400),
    "an integer of 4,000 digits": _record(b'"n":' + _NINES),
    "an integer of 5,000,000 digits": _record(b'"n":' + b"9" * 5_000_000),
    "a lone surrogate": _record(b'"n":"\\ud800"'),
    "a lone surrogate as a name": _record(b'"\\udfff":1'),
    "a lone surrogate in a conflict": _record(b'"n":"\\ud800"', 409),
    "a NUL": _record(b'"n":"\\u0000"'),
    "control characters in an error": answer(b'{"error":"\\ud800\\u0000\\u001b[31m"}', 400),
    "a version with a line break": _record(b'"n":1,"version":"1\\r\\nX-Evil: 1"'),
    "a version beyond Latin-1": _record(b'"n":1,"version":"\\u2603"'),
    "a version that is a lone surrogate": _record(b'"n":1,"version":"\\ud800"'),
    "a version with a NUL": _record(b'"n":1,"version":"a\\u0000b"'),
    "a version with quotes": _record(b'"n":1,"version":"a\\", \\"*"'),
    "a version with spaces around": _record(b'"n":1,"version":" x "'),
    "a version that is a list": _record(b'"n":1,"version":[1]'),
    "a version that is infinite": _record(b'"n":1,"version":1e999'),
    "a version of 4,000 digits": _record(b'"n":1,"version":' + _NINES),
    "a version beyond 64 bits": _record(b'"n":1,"version":99999999999999999999'),
    "an ETag of no charset": _record(b'"n":1', ETag=b'"\xff\xfe"'),
    "an empty ETag": _record(b'"n":1', ETag=b""),
    "a time that is infinite": _record(b'"n":1,"updatedAt":1e400', 409),
    "a time beyond all calendars": _record(b'"n":1,"updatedAt":1e300', 409),
    "a time of 300 digits": _record(b'"n":1,"updatedAt":' + b"9" * 300, 409),
    "a time that is none": _record(b'"n":1,"updatedAt":"9999999-99-99T99:99:99+99:99"', 409),
    "a Date of the year 9999": _record(b'"n":1', Date=b"Fri, 31 Dec 9999 23:59:59 GMT"),
    "a Date of the year 1": _record(b'"n":1', Date=b"Fri, 31 Dec 0001 23:59:59 +9999"),
    "a Backoff that is no number": _record(b'"n":1', Backoff=b"nan"),
    "a Retry-After that is no number": answer(b"", 503, Retry_After=b"\xb2"),
    "a request id of noise": answer(b"{}", 400, X_Request_Id=b"\xff" * 2000),
    "a redirect to no URL": answer(b"", 307, Location=b"http://[::1"),
    "a redirect to no port": answer(b"", 307, Location=b"http://127.0.0.1:99999/"),
    "a redirect to noise": answer(b"", 307, Location=b"//\xff\xff:99999999/"),
    "a redirect to nothing": answer(b"", 307, Location=b""),
    "status 999": answer(b"{}", 999),
    "status 600": answer(b"{}", 600),
    "status 000": b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
    "a byte order mark": answer(b'\xef\xbb\xbf{"id":"bad"}'),
    "UTF-16": answer('{"id":"bad"}'.encode("utf-16")),
    "no UTF-8": _record(b'"n":"\xff\xfe"'),
    "two ids": answer(b'{"id":"bad","id":"good0","n":5}'),
    "an id that is an object": answer(b'{"id":{"a":1}}'),
    "names of Python's": _record(b'"__class__":"x","__proto__":{},"__dict__":{}'),
    "a tombstone": _record(b'"deleted":true'),
    "HTML": answer(b"<html>an error page</html>"),
}
for _depth in (300, 800, 950, 1000, 1100, 1500, 3000, 30_000, 1_000_000):
    _lists = b'"d":' + b"[" * _depth + b"]" * _depth
    _objects = b'"d":' + b'{"a":' * _depth + b"1" + b"}" * _depth
    VALUES[f"lists {_depth} deep"] = _record(_lists)
    VALUES[f"objects {_depth} deep"] = _record(_objects)
    VALUES[f"lists {_depth} deep in a conflict"] = _record(_lists, 409)
    VALUES[f"lists {_depth} deep in an error"] = answer(b'{"error":' + _lists[4:] + b"}", 400)
