"""The page's tables have every event, attribute and outcome; its code is run in ``tests/docs``."""

import re
from collections.abc import Iterator
from pathlib import Path

from bytelyst_sync.events.telemetry import EVENTS, OUTCOMES

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.rst").read_text("utf-8")


def rows(table: str) -> Iterator[list[str]]:
    """The cells of each row, as text."""
    for row in re.split(r"^   \* - ", table, flags=re.MULTILINE)[1:]:
        yield [" ".join(cell.split()) for cell in re.split(r"^     - ", row, flags=re.MULTILINE)]


def tables() -> list[str]:
    return [re.split(r"\n(?=\S)", part)[0] for part in PAGE.split(".. list-table::")[1:]]


def test_every_event_has_a_row() -> None:
    header, *found = rows(tables()[0])
    assert header == ["event", "emitted when", "attributes"]
    assert [row[0].strip("`") for row in found] == list(EVENTS)


def test_every_outcome_has_its_words() -> None:
    names = {name for row in rows(tables()[1]) for name in re.findall(r"``(\w+)``", row[0])}
    assert names == set(OUTCOMES)


def test_the_documented_attributes_are_those_of_the_events() -> None:
    """As the tests of each event find them."""
    reported = {
        row[0].strip("`"): set(re.findall(r"``(\w+)``", row[2])) for row in rows(tables()[0])
    }
    about = {"entity", "operation", "duration"}
    assert reported["sent"] == {*about, "count", "outcome", "status"}
    assert reported["retried"] == reported["failed"] == {*about, "status"}
    assert reported["pulled"] == {"entity", "duration"}
    assert reported["status"] == {"outcome", "duration"}
    for name in ("pushed", "coalesced", "delivered", "conflict"):
        assert reported[name] == about
