"""From the caller's objects to JSON: what is taken, what is refused, and where."""

import collections
import copy
import dataclasses
import enum
import json
import math
import sys
import types
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import Json
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


def in_order(value: object) -> object:
    return sorted(value, key=canonical) if isinstance(value, list) else value


@pytest.mark.parametrize("beside", [None, (1,)], ids=["alone", "beside what is no JSON"])
@pytest.mark.parametrize(("given_value", "made"), TYPES.values(), ids=TYPES)
def test_every_type(
    given_value: object, made: str | float | list[Any] | Json | None, beside: tuple[int] | None
) -> None:
    encoded = encode({"v": given_value, "beside": beside}, "notes")
    if isinstance(given_value, (set, frozenset)):
        assert encoded["v"] == in_order(made)
    else:
        assert same_value(encoded["v"], made)
    assert all(type(each) in PLAIN for each in everything_in(encoded))
    assert json.loads(dumps(encoded)) == encoded


def everything_in(value: Json | str | list[int] | float | None) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from everything_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from everything_in(each)


def test_the_whole_may_be_an_instance() -> None:
    assert encode(Line(1), "notes") == {"price": 1, "count": 1}
    assert encode(Place(1.5), "notes") == {"lat": 1.5, "tags": []}
    assert encode(types.MappingProxyType({"a": 1}), "notes") == {"a": 1}


def test_a_private_attrs_field_keeps_its_name() -> None:
    assert encode({"v": Hidden(3)}, "notes") == {"v": {"_secret": 3}}


def test_equal_sets_are_encoded_equally() -> None:
    one = encode({"v": {"a", "b", "c", "d"}}, "notes")
    other = encode({"v": {"d", "c", "b", "a"}}, "notes")
    assert one == other


class Odd:
    def __repr__(self) -> str:
        return "s3cret"


def lines(value: object) -> dict[str, list[dict[str, Any]]]:
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
    "a generator": (lines(each for each in range(0)), "$.lines[3].price", "generator"),
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


@pytest.mark.parametrize(("data", "path", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_json_cannot_carry(
    data: dict[str, list[dict[str, Any]] | Json], path: str, problem: str
) -> None:
    with pytest.raises(InvalidDataError) as caught:
        encode(data, "orders")
    assert caught.value.path == path
    assert caught.value.entity == "orders"
    message = str(caught.value)
    assert message.startswith("orders: ")
    assert f" {path} " in message
    assert problem in message
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
def test_data_that_is_no_object(data: object) -> None:
    with pytest.raises(InvalidDataError, match="give a dict") as caught:
        encode(data, "notes")
    assert caught.value.path == "$"
    assert type(data).__name__ in str(caught.value)


def in_a_dict() -> tuple[Json, str]:
    data: Json = {}
    data["a"] = {"b": data}
    return data, "$.a.b"


def in_a_list() -> tuple[Json, str]:
    rows: list[object] = []
    rows.append(rows)
    return {"rows": rows}, "$.rows[0]"


def in_an_instance() -> tuple[Json, str]:
    line = Line(None)
    line.price = [line]
    return {"line": line}, "$.line.price[0]"


@pytest.mark.parametrize("make", [in_a_dict, in_a_list, in_an_instance])
def test_a_cycle(make: Callable[[], tuple[Json, str]]) -> None:
    data, path = make()
    with pytest.raises(InvalidDataError, match="contains itself") as caught:
        encode(data, "notes")
    assert caught.value.path == path


def test_one_object_at_two_places_is_no_cycle() -> None:
    shared = {"x": [1]}
    encoded = encode({"a": shared, "b": [shared, shared]}, "notes")
    assert encoded == {"a": {"x": [1]}, "b": [{"x": [1]}, {"x": [1]}]}
    encoded["a"]["x"].append(2)
    assert encoded["b"] == [{"x": [1]}, {"x": [1]}]


def nested(depth: int, make: Callable[..., Any] = lambda inner: [inner]) -> Json:
    value: object = 1
    for _ in range(depth):
        value = make(value)
    return {"v": value}


@pytest.mark.parametrize(
    "make",
    [lambda inner: [inner], lambda inner: {"v": inner}, lambda inner: (inner,)],
    ids=["lists", "objects", "tuples"],
)
@pytest.mark.parametrize("too_deep", [100, 5_000, 200_000])
def test_depth(make: Callable[..., Any], too_deep: int) -> None:
    assert encode(nested(99, make), "notes")
    with pytest.raises(InvalidDataError, match="nested more than 100 deep"):
        encode(nested(too_deep, make), "notes")


def test_many_values_beside_each_other_are_not_deep() -> None:
    data: Json = {"rows": [{"tags": []} for _ in range(1_000)]}
    assert encode(data, "notes") == data


def test_brackets_in_a_text_are_not_deep() -> None:
    data = {"text": "[{" * 1_000}
    assert encode(data, "notes") == data


@pytest.mark.parametrize("extra", [None, (1, 2)], ids=["plain", "with a tuple"])
def test_what_is_encoded_is_never_aliased(extra: tuple[int, int] | None) -> None:
    data: Json = {"list": [1, {"a": []}], "extra": extra}
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
def test_the_callers_object_is_never_mutated(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    encode(data, "notes")
    assert repr(data) == repr(before)


@settings(deadline=None)
@given(DATA)
def test_what_is_encoded_is_plain_and_stays_as_it_is(data: dict[str, Any]) -> None:
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
def test_data_is_encoded_or_refused_with_a_path(
    data: dict[str | int | None, Any] | list[Any] | str | None,
) -> None:
    path, text = "$", "{}"
    try:
        text = dumps(encode(data, "notes"))
    except InvalidDataError as error:
        path = error.path
    assert path.startswith("$")
    assert isinstance(json.loads(text.encode("utf-8")), dict)


def test_equal_values_have_one_text() -> None:
    assert canonical({"b": 1, "a": [{"d": 2, "c": 3}]}) == '{"a":[{"c":3,"d":2}],"b":1}'


def test_equal_data_of_one_entity_has_one_digest() -> None:
    assert digest("notes", {"a": 1, "b": 2}) == digest("notes", {"b": 2, "a": 1})
    assert digest("notes", {"a": 1}) != digest("notes", {"a": 2})
    assert digest("notes", {"a": 1}) != digest("tasks", {"a": 1})
    assert digest("notes", {"a": 1}) != digest("notes", {"a": True})


def test_text_of_a_server_with_a_lone_surrogate_can_be_stored() -> None:
    text = dumps(json.loads('{"é": "\\ud800"}'))
    text.encode("utf-8")
    assert json.loads(text) == {"é": "\ud800"}


# --- values of other libraries


class NotATime(datetime):
    """As pandas' NaT: a datetime that no value equals, itself included."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__


class Lazy:
    """As a lazy string of Django or of a translation library: no ``str``, but it has one."""

    def __str__(self) -> str:
        return "s3cret"


class Model:
    """As a model of pydantic."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self) -> dict[str, Any]:
        return self.fields


class Repeating(collections.abc.Mapping[str, int]):
    """As a MultiDict of aiohttp: one name, several items."""

    def __getitem__(self, name: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(("a", "b"))

    def __len__(self) -> int:
        return 3

    def items(self) -> Any:
        return [("a", 1), ("b", 2), ("a", 3)]


class FirstOnly(dict[str, list[str]]):
    """As a MultiDict of werkzeug or a QueryDict of Django: items() leaves values out."""

    def items(self) -> Any:
        return [(name, values[0]) for name, values in super().items()]

    def getlist(self, name: str) -> list[str]:
        return self[name]


OF_LIBRARIES = {
    "no time": (NotATime(2024, 1, 1), "is NaT"),
    "a lazy string": (Lazy(), f"is a {Lazy.__module__}.Lazy"),
    "a model": (Model(a=1), f"is a {Model.__module__}.Model"),
    "a name twice": (Repeating(), "has the key 'a' twice; give a list"),
    "several values of a name": (FirstOnly(a=["1", "2"]), "may hold several values of a name"),
}


@pytest.mark.parametrize(("value", "problem"), OF_LIBRARIES.values(), ids=OF_LIBRARIES)
def test_a_value_of_another_library_is_refused_by_name(value: object, problem: str) -> None:
    with pytest.raises(InvalidDataError) as caught:
        encode({"id": "7", "rows": [value]}, "orders")
    assert caught.value.path == "$.rows[0]"
    assert problem in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("several", [Repeating(), FirstOnly(a=["1", "2"])])
def test_a_whole_record_that_would_lose_values_is_refused(several: Repeating | FirstOnly) -> None:
    with pytest.raises(InvalidDataError) as caught:
        encode(several, "orders")
    assert caught.value.path == "$"


def as_json(value: object) -> dict[str, Any] | str:
    if isinstance(value, Model):
        return value.model_dump()
    if isinstance(value, Lazy):
        return str(value)
    raise TypeError(f"cannot encode {value!r}")


def test_json_default_encodes_what_json_does_not_know() -> None:
    data = {"id": "7", "lines": [Model(at=date(2024, 2, 29), title=Lazy())]}
    expected = {"id": "7", "lines": [{"at": "2024-02-29", "title": "s3cret"}]}
    assert encode(data, "orders", as_json) == expected
    assert encode(Model(id="7"), "orders", as_json) == {"id": "7"}


def test_json_default_is_not_asked_for_what_is_known() -> None:
    data = {"at": date(2024, 2, 29), "price": Decimal("1.50"), "tags": {"a"}}
    assert encode(data, "orders", None) == encode(data, "orders", pytest.fail)


@pytest.mark.parametrize(
    ("default", "problem"),
    [
        (as_json, "json_default raised TypeError"),
        (lambda value: sys.exit(1), "json_default raised SystemExit"),
        (lambda value: value, "contains itself"),
        (lambda value: [value], "contains itself"),
        (lambda value: object(), "nested more than"),
    ],
    ids=["raises", "exits", "the same", "a list of the same", "always another"],
)
def test_a_json_default_that_does_not_help(default: Callable[..., object], problem: str) -> None:
    with pytest.raises(InvalidDataError, match=problem) as caught:
        encode({"id": "7", "odd": object()}, "orders", default)
    assert caught.value.path.startswith("$.odd")


def test_a_json_default_that_makes_no_object_of_a_record() -> None:
    with pytest.raises(InvalidDataError, match="give a dict"):
        encode(Lazy(), "orders", as_json)


def test_ctrl_c_in_json_default_is_the_programs() -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode({"value": object()}, "notes", interrupted)
