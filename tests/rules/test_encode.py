"""From the caller's objects to JSON: what is taken, what is refused, and where (SPEC §2)."""

import collections
import copy
import dataclasses
import enum
import json
import math
import types
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.rules.encode import canonical, digest, dumps, encode
from bytelyst_sync.rules.merge import same_value

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


class Colour(enum.Enum):
    RED = "red"
    STOPS = (1, 2)


class Word(str, enum.Enum):
    YES = "yes"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


@dataclasses.dataclass
class Line:
    price: object
    count: int = 1


@attrs.frozen
class Place:
    lat: float
    tags: object = ()


@attrs.define
class Hidden:
    _secret: int


class Point(NamedTuple):
    x: int
    y: int


TYPES = {
    "a string": ("é✈😀", "é✈😀"),
    "an empty string": ("", ""),
    "a whole number": (7, 7),
    "a large number": (2**200, 2**200),
    "a float": (0.1, 0.1),
    "a large float": (1e308, 1e308),
    "true": (True, True),
    "null": (None, None),
    "a list": ([1, [2]], [1, [2]]),
    "an object": ({"a": {"b": 1}}, {"a": {"b": 1}}),
    "an aware datetime": (
        datetime(2024, 2, 29, 12, 30, 5, 7, tzinfo=timezone.utc),
        "2024-02-29T12:30:05.000007+00:00",
    ),
    "a datetime of another zone": (
        datetime(2024, 2, 29, 12, 30, tzinfo=timezone(timedelta(hours=-3))),
        "2024-02-29T12:30:00-03:00",
    ),
    "a naive datetime": (datetime(2024, 2, 29, 12, 30), "2024-02-29T12:30:00"),  # noqa: DTZ001
    "a date": (date(2024, 2, 29), "2024-02-29"),
    "a time": (time(12, 30, 5), "12:30:05"),
    "a UUID": (UUID, str(UUID)),
    "a decimal": (Decimal("12.30"), "12.30"),
    "an enum": (Colour.RED, "red"),
    "an enum of a tuple": (Colour.STOPS, [1, 2]),
    "a string enum": (Word.YES, "yes"),
    "a number enum": (Level.HIGH, 3),
    "a tuple": ((1, (2,)), [1, [2]]),
    "a named tuple": (Point(1, 2), [1, 2]),
    "a set": ({3, 1, 2}, [1, 2, 3]),
    "a frozen set": (frozenset("ba"), ["a", "b"]),
    "a set of several types": ({"a", 1, (2,), None}, ["a", 1, [2], None]),
    "a dataclass instance": (Line(Decimal("1.5")), {"price": "1.5", "count": 1}),
    "an attrs instance": (Place(1.5, {"b", "a"}), {"lat": 1.5, "tags": ["a", "b"]}),
    "another mapping": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "an ordered dict": (collections.OrderedDict(a=1), {"a": 1}),
    "a string's subclass": (Text("x"), "x"),
    "a number's subclass": (Whole(7), 7),
    "a float's subclass": (Real(0.5), 0.5),
    "keys of a string's subclass": ({Text("k"): 1}, {"k": 1}),
    "keys of a string enum": ({Word.YES: 1}, {"yes": 1}),
}
PLAIN = {str, int, float, bool, type(None), list, dict}


def in_order(value):
    return sorted(value, key=canonical) if isinstance(value, list) else value


@pytest.mark.parametrize("beside", [None, (1,)], ids=["alone", "beside what is no JSON"])
@pytest.mark.parametrize(("given_value", "made"), TYPES.values(), ids=TYPES)
def test_every_type(given_value, made, beside):
    encoded = encode({"v": given_value, "beside": beside}, "notes")
    if isinstance(given_value, (set, frozenset)):
        assert encoded["v"] == in_order(made)
    else:
        assert same_value(encoded["v"], made)
    assert all(type(each) in PLAIN for each in everything_in(encoded))
    assert json.loads(dumps(encoded)) == encoded


def everything_in(value):
    yield value
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from everything_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from everything_in(each)


def test_the_whole_may_be_an_instance():
    assert encode(Line(1), "notes") == {"price": 1, "count": 1}
    assert encode(Place(1.5), "notes") == {"lat": 1.5, "tags": []}
    assert encode(types.MappingProxyType({"a": 1}), "notes") == {"a": 1}


def test_a_private_attrs_field_keeps_its_name():
    assert encode({"v": Hidden(3)}, "notes") == {"v": {"_secret": 3}}


def test_equal_sets_are_encoded_equally():
    one = encode({"v": {"a", "b", "c", "d"}}, "notes")
    other = encode({"v": {"d", "c", "b", "a"}}, "notes")
    assert one == other


class Odd:
    def __repr__(self):
        return "s3cret"


def lines(value):
    return {"lines": [{}, {}, {}, {"price": value}]}


REFUSED = {
    # data, path, what the message says
    "NaN": (lines(math.nan), "$.lines[3].price", "nan"),
    "infinity": (lines(math.inf), "$.lines[3].price", "inf"),
    "minus infinity": (lines(-math.inf), "$.lines[3].price", "-inf"),
    "a decimal NaN": (lines(Decimal("NaN")), "$.lines[3].price", "NaN"),
    "a signalling NaN": (lines(Decimal("sNaN")), "$.lines[3].price", "sNaN"),
    "a decimal infinity": (lines(Decimal("Infinity")), "$.lines[3].price", "Infinity"),
    "NaN in a float's subclass": (lines(Real("nan")), "$.lines[3].price", "nan"),
    "bytes": (lines(b"s3cret"), "$.lines[3].price", "builtins.bytes"),
    "an object of no kind": (lines(Odd()), "$.lines[3].price", "Odd"),
    "a class": (lines(Line), "$.lines[3].price", "type"),
    "a function": (lines(len), "$.lines[3].price", "builtin_function_or_method"),
    "a generator": (lines(each for each in ()), "$.lines[3].price", "generator"),
    "a complex number": (lines(1j), "$.lines[3].price", "complex"),
    "a timedelta": (lines(timedelta(1)), "$.lines[3].price", "timedelta"),
    "a lone surrogate": (lines("\ud800"), "$.lines[3].price", "lone surrogate"),
    "a lone surrogate in a key": ({"a": {"\udfff": 1}}, "$.a", "lone surrogate"),
    "a number as a key": ({"a": {1: 2}}, "$.a", "JSON keys are strings"),
    "a number as a key at the top": ({1: 2}, "$", "JSON keys are strings"),
    "null as a key": ({"a": {None: 2}}, "$.a", "NoneType"),
    "a tuple as a key": ({"a": {("b",): 2}}, "$.a", "tuple"),
    "NaN in a tuple": ({"a": (1, math.nan)}, "$.a[1]", "nan"),
    "NaN in a set": ({"a": {math.nan}}, "$.a[…]", "nan"),
    "NaN in a dataclass": ({"a": Line(math.nan)}, "$.a.price", "nan"),
    "NaN in an attrs instance": ({"a": Place(math.nan)}, "$.a.lat", "nan"),
    "NaN in an instance at the top": (Line(math.nan), "$.price", "nan"),
    "a path that needs quotes": ({"a b": {'"': math.nan}}, '$["a b"]["\\""]', "nan"),
    "a path with a number for a name": ({"0": [math.nan]}, '$["0"][0]', "nan"),
    "more digits than Python will write": (lines(10**5000), "$.lines[3].price", "digits"),
}


@pytest.mark.parametrize(("data", "path", "said"), REFUSED.values(), ids=REFUSED)
def test_what_json_cannot_carry(data, path, said):
    with pytest.raises(InvalidDataError) as caught:
        encode(data, "orders")
    assert caught.value.path == path
    assert caught.value.entity == "orders"
    message = str(caught.value)
    assert message.startswith("orders: ")
    assert f" {path} " in message
    assert said in message
    assert "s3cret" not in message


WRONG_KINDS = {
    "null": None,
    "a list": [{"id": "7"}],
    "a string": "title",
    "a number": 7,
    "a class": Line,
    "a set": {"title"},
    "bytes": b"{}",
    "an enum": Colour.RED,
}


@pytest.mark.parametrize("data", WRONG_KINDS.values(), ids=WRONG_KINDS)
def test_data_that_is_no_object(data):
    with pytest.raises(InvalidDataError, match="give a dict") as caught:
        encode(data, "notes")
    assert caught.value.path == "$"
    assert type(data).__name__ in str(caught.value)


def in_a_dict():
    data = {}
    data["a"] = {"b": data}
    return data, "$.a.b"


def in_a_list():
    rows = []
    rows.append(rows)
    return {"rows": rows}, "$.rows[0]"


def in_an_instance():
    line = Line(None)
    line.price = [line]
    return {"line": line}, "$.line.price[0]"


@pytest.mark.parametrize("make", [in_a_dict, in_a_list, in_an_instance])
def test_a_cycle(make):
    data, path = make()
    with pytest.raises(InvalidDataError, match="contains itself") as caught:
        encode(data, "notes")
    assert caught.value.path == path


def test_one_object_at_two_places_is_no_cycle():
    shared = {"x": [1]}
    encoded = encode({"a": shared, "b": [shared, shared]}, "notes")
    assert encoded == {"a": {"x": [1]}, "b": [{"x": [1]}, {"x": [1]}]}
    encoded["a"]["x"].append(2)
    assert encoded["b"] == [{"x": [1]}, {"x": [1]}]


def nested(depth, make=lambda inner: [inner]):
    value = 1
    for _ in range(depth):
        value = make(value)
    return {"v": value}


@pytest.mark.parametrize(
    "make",
    [lambda inner: [inner], lambda inner: {"v": inner}, lambda inner: (inner,)],
    ids=["lists", "objects", "tuples"],
)
@pytest.mark.parametrize("too_deep", [100, 5_000, 200_000])
def test_depth(make, too_deep):
    assert encode(nested(99, make), "notes")
    with pytest.raises(InvalidDataError, match="nested more than 100 deep"):
        encode(nested(too_deep, make), "notes")


def test_many_values_beside_each_other_are_not_deep():
    data = {"rows": [{"tags": []} for _ in range(1_000)]}
    assert encode(data, "notes") == data


def test_brackets_in_a_text_are_not_deep():
    data = {"text": "[{" * 1_000}
    assert encode(data, "notes") == data


@pytest.mark.parametrize("extra", [None, (1, 2)], ids=["plain", "with a tuple"])
def test_what_is_encoded_is_never_aliased(extra):
    data = {"list": [1, {"a": []}], "extra": extra}
    encoded = encode(data, "notes")
    data["list"][1]["a"].append("later")
    data["list"].append("later")
    data["more"] = 1
    assert encoded["list"] == [1, {"a": []}]
    assert set(encoded) == {"list", "extra"}


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.dates()
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False)
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=10,
)
DATA = st.dictionaries(st.text(), VALUE, max_size=4)


@settings(deadline=None)
@given(DATA)
def test_the_callers_object_is_never_mutated(data):
    before = copy.deepcopy(data)
    encode(data, "notes")
    assert repr(data) == repr(before)


@settings(deadline=None)
@given(DATA)
def test_what_is_encoded_is_plain_and_stays_as_it_is(data):
    encoded = encode(data, "notes")
    assert json.loads(dumps(encoded)) == encoded
    assert encode(encoded, "notes") == encoded


ANYTHING = st.recursive(
    SCALAR | st.floats() | st.binary(max_size=2) | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(ANYTHING)
def test_data_is_encoded_or_refused_with_a_path(data):
    path, text = "$", "{}"
    try:
        text = dumps(encode(data, "notes"))
    except InvalidDataError as error:
        path = error.path
    assert path.startswith("$")
    assert isinstance(json.loads(text.encode("utf-8")), dict)


def test_equal_values_have_one_text():
    assert canonical({"b": 1, "a": [{"d": 2, "c": 3}]}) == '{"a":[{"c":3,"d":2}],"b":1}'


def test_equal_data_of_one_entity_has_one_digest():
    assert digest("notes", {"a": 1, "b": 2}) == digest("notes", {"b": 2, "a": 1})
    assert digest("notes", {"a": 1}) != digest("notes", {"a": 2})
    assert digest("notes", {"a": 1}) != digest("tasks", {"a": 1})
    assert digest("notes", {"a": 1}) != digest("notes", {"a": True})


def test_text_of_a_server_with_a_lone_surrogate_can_be_stored():
    text = dumps(json.loads('{"é": "\\ud800"}'))
    text.encode("utf-8")
    assert json.loads(text) == {"é": "\ud800"}
