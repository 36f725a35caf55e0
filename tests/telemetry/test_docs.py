"""The page's tables have every event, attribute and outcome; its code is run in ``tests/docs``."""

import re
from pathlib import Path

from bytelyst_sync.telemetry import EVENTS, OUTCOMES

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.rst").read_text("utf-8")


def rows(table):
    """The cells of each row, as text."""
    for row in re.split(r"^   \* - ", table, flags=re.MULTILINE)[1:]:
        yield [" ".join(cell.split()) for cell in re.split(r"^     - ", row, flags=re.MULTILINE)]


def tables():
    return [re.split(r"\n(?=\S)", part)[0] for part in PAGE.split(".. list-table::")[1:]]


def test_every_event_has_a_row():
    header, *found = rows(tables()[0])
    assert header == ["event", "told when", "attributes"]
    assert [row[0].strip("`") for row in found] == list(EVENTS)


def test_every_outcome_has_its_words():
    names = {name for row in rows(tables()[1]) for name in re.findall(r"``(\w+)``", row[0])}
    assert names == set(OUTCOMES)


def test_the_attributes_are_those_that_are_told():
    """As the tests of each event find them."""
    told = {row[0].strip("`"): set(re.findall(r"``(\w+)``", row[2])) for row in rows(tables()[0])}
    about = {"entity", "operation", "duration"}
    assert told["sent"] == {*about, "count", "outcome", "status"}
    assert told["retried"] == told["failed"] == {*about, "status"}
    assert told["pulled"] == {"entity", "duration"}
    assert told["status"] == {"outcome", "duration"}
    for name in ("pushed", "coalesced", "delivered", "conflict"):
        assert told[name] == about
