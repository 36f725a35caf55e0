"""Which fields hold decimal numbers."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import attrs
import pytest

from bytelyst_sync.rules.decimals import decimal_fields, names_in, names_text

PRICE = Decimal("19.90")


@dataclass
class Line:
    price: Decimal
    title: str = "nails"


@attrs.frozen
class Order:
    total: Decimal
    lines: list[Line]


FIELDS = {
    "a field": ({"price": PRICE, "title": "19.90"}, ("price",)),
    "none": ({"price": 19.9}, ()),
    "in a list": ({"prices": [1, PRICE], "sizes": ["1.0"]}, ("prices",)),
    "in a nested object": ({"at": {"net": {"price": PRICE}}}, ("at",)),
    "in a tuple and a set": ({"a": (PRICE,), "b": {PRICE}}, ("a", "b")),
    "in a dataclass": ({"line": Line(PRICE)}, ("line",)),
    "of an attrs instance": (Order(PRICE, [Line(PRICE)]), ("total", "lines")),
}


@pytest.mark.parametrize(("data", "fields"), FIELDS.values(), ids=FIELDS)
def test_the_fields_that_hold_decimals(
    data: dict[str, Any] | Order, fields: tuple[str, ...]
) -> None:
    assert decimal_fields(data) == fields


def test_names_are_stored_as_text() -> None:
    assert names_text(()) is None
    assert names_in(names_text({"b", "a"}), None, names_text(["c"])) == {"a", "b", "c"}
    assert names_in(None) == frozenset()
