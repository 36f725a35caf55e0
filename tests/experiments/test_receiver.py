"""The receiving side's rules: whatever arrives in whichever order, the sums are those of the books.

The books are kept here, from the events themselves, by the plainest means.
"""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from hypothesis.strategies._internal.random import ArtificialRandom

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.experiments import MemoryLedger, Receiver
from bytelyst_sync.experiments.definitions import Definition, read_definition
from bytelyst_sync.experiments.entries import metric_value, recalculate
from bytelyst_sync.experiments.events import (
    conversion_id,
    day_of,
    exposure_id,
    report_id,
    time_of,
    time_text,
)
from bytelyst_sync.experiments.ledger import joined, parted
from bytelyst_sync.experiments.progress import complete_up_to
from bytelyst_sync.experiments.sums import Sums
from bytelyst_sync.model import Json

SOURCE = {
    "key": "checkout",
    "variations": ["red", "blue"],
    "windowDays": 2,
    "segments": ["country"],
    "goals": [
        "paid",
        {"key": "revenue", "event": "paid", "kind": "mean", "cuped": True},
        {"key": "basket", "event": "paid", "kind": "ratio", "denominator": "visit"},
    ],
}
DEFINITION = read_definition(SOURCE)
DAY = 86_400
START = time_of("2026-03-01T12:00:00Z")
LATER = START + 100 * DAY


def exposure(
    unit: str,
    variation: int,
    at: float,
    device: str = "d1",
    seq: int = 1,
    number: int = 0,
    country: str | None = None,
) -> Json:
    return {
        "id": exposure_id("checkout", DEFINITION.phase, unit),
        "type": "exposure",
        "experiment": "checkout",
        "phase": DEFINITION.phase,
        "unit": unit,
        "variation": variation,
        "segment": {} if country is None else {"country": country},
        "device": device,
        "seq": seq,
        "number": number,
        "at": time_text(at),
    }


def conversion(
    unit: str,
    event: str,
    event_id: str,
    at: float,
    value: float = 1,
    device: str = "d1",
    seq: int = 1,
    number: int = 0,
) -> Json:
    return {
        "id": conversion_id(event, event_id),
        "type": "conversion",
        "event": event,
        "event_id": event_id,
        "unit": unit,
        "value": value,
        "device": device,
        "seq": seq,
        "number": number,
        "at": time_text(at),
    }


def received(*records: Json, definition: Definition = DEFINITION) -> MemoryLedger:
    ledger = MemoryLedger()
    receiver = Receiver(ledger, {definition.key: definition})
    for record in records:
        receiver.receive(record, LATER)
    return ledger


def sums_in(ledger: MemoryLedger) -> dict[tuple[str, ...], Sums]:
    """The sums that are not nothing, by day, variation, segment and metric."""
    scope = joined("checkout", DEFINITION.phase)
    found = {tuple(parted(name)): Sums(*each) for name, each in ledger.scan("sums", scope)}
    return {name: each for name, each in found.items() if any(each)}


def test_sums_hold_units_and_not_events() -> None:
    # 10 on Monday and 20 on Friday are 900 and not 500
    ledger = received(
        exposure("u1", 1, START, seq=1),
        conversion("u1", "paid", "o1", START + 60, value=10, seq=2),
        conversion("u1", "paid", "o2", START + DAY, value=20, seq=3),
    )
    assert sums_in(ledger)["2026-03-01", "1", "", "revenue"] == Sums(0, 30, 900)
    assert sums_in(ledger)["2026-03-01", "1", "", "paid"] == Sums(0, 1, 1)


def test_what_came_before_the_exposure_is_the_value_beside_it() -> None:
    ledger = received(
        conversion("u1", "paid", "o0", START - 9 * DAY, value=7, seq=1),
        exposure("u1", 0, START, seq=2),
        conversion("u1", "paid", "o1", START, value=5, seq=3),
    )
    assert sums_in(ledger)["2026-03-01", "0", "", "revenue"] == Sums(0, 5, 25, 7, 49, 35)


def test_the_order_within_a_device_is_its_sequence_and_not_its_clock() -> None:
    # the device's clock was set back by a day between the two
    ledger = received(
        exposure("u1", 0, START, seq=1),
        conversion("u1", "paid", "o1", START - DAY, value=5, seq=2),
    )
    assert sums_in(ledger)["2026-03-01", "0", "", "revenue"] == Sums(0, 5, 25)


def test_a_time_after_the_arrival_counts_as_the_arrival() -> None:
    ledger = received(exposure("u1", 0, LATER + 400 * DAY))
    assert sums_in(ledger) == {(day_of(LATER), "0", "", ""): Sums(1)}


def test_an_event_after_the_window_does_not_count() -> None:
    ledger = received(
        exposure("u1", 0, START, seq=1),
        conversion("u1", "paid", "o1", START + 3 * DAY, seq=2),
    )
    assert sums_in(ledger) == {("2026-03-01", "0", "", ""): Sums(1)}


def test_a_unit_seen_in_two_variations_is_excluded_and_counted() -> None:
    records = [
        exposure("u1", 0, START),
        conversion("u1", "paid", "o1", START + 1, seq=2),
        exposure("u1", 1, START + 5, device="d2"),
        conversion("u1", "paid", "o2", START + 9, seq=3),
        exposure("u1", 1, START - 5, device="d3"),
    ]
    ledger = received(*records)
    assert sums_in(ledger) == {}
    assert sum(n for _, n in ledger.scan("excluded", joined("checkout", DEFINITION.phase))) == 1


def test_the_earliest_exposure_stands() -> None:
    records = [
        exposure("u1", 0, START + 2 * DAY, device="d2"),
        exposure("u1", 0, START, device="d1"),
        exposure("u1", 0, START + DAY, device="d3"),
    ]
    assert sums_in(received(*records)) == {("2026-03-01", "0", "", ""): Sums(1)}


def test_a_known_id_changes_nothing() -> None:
    records = [exposure("u1", 0, START), conversion("u1", "paid", "o1", START + 1, seq=2)]
    ledger = received(*records)
    again = Receiver(ledger, {"checkout": DEFINITION})
    before = sums_in(ledger)
    assert [again.receive(each, LATER) for each in records] == [False, False]
    assert sums_in(ledger) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"type": "click"}, "type is 'click'"),
        ({"unit": ""}, "unit"),
        ({"variation": "1"}, "variation"),
        ({"variation": -1}, "variation"),
        ({"variation": 1_000}, "variation is too large; allowed: whole numbers from 0 to 999"),
        ({"variation": 10**10}, "variation is too large; allowed: whole numbers from 0 to 999"),
        ({"at": "yesterday"}, "yesterday"),
        ({"segment": ["DE"]}, "segment"),
        ({"seq": 1.5}, "seq"),
    ],
)
def test_a_wrong_record_is_named_and_changes_nothing(change: Json, named: str) -> None:
    ledger = MemoryLedger()
    receiver = Receiver(ledger, {"checkout": DEFINITION})
    with pytest.raises(InvalidDataError, match=named):
        receiver.receive({**exposure("u1", 0, START), **change}, LATER)
    assert sums_in(ledger) == {}


def test_each_variation_that_a_definition_can_have_is_taken() -> None:
    definition = read_definition({**SOURCE, "variations": list(range(1_000))})
    record = {**exposure("u1", 999, START), "phase": definition.phase}
    ledger = MemoryLedger()
    assert Receiver(ledger, {"checkout": definition}).receive(record, LATER)
    with pytest.raises(InvalidDataError, match="a list of 2 to 1,000 values"):
        read_definition({**SOURCE, "variations": list(range(1_001))})


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**101), 1e200, float("inf"), float("nan")],
    ids=["larger than a float", "negative", "with an infinite square", "inf", "nan"],
)
def test_a_value_that_sums_cannot_hold_is_refused(value: float) -> None:
    ledger = received(exposure("u1", 0, START))
    receiver = Receiver(ledger, {"checkout": DEFINITION})
    with pytest.raises(InvalidDataError, match="value"):
        receiver.receive(conversion("u1", "paid", "o1", START + 1, value=value, seq=2), LATER)
    assert sums_in(ledger) == {("2026-03-01", "0", "", ""): Sums(1)}


@pytest.mark.parametrize("field", ["seq", "number"])
def test_a_number_that_no_store_can_hold_is_refused(field: str) -> None:
    with pytest.raises(InvalidDataError, match=field):
        received({**exposure("u1", 0, START), field: 2**63})


def test_a_time_before_1970_counts_as_1970() -> None:
    at = "0001-01-01T00:00:00Z"
    ledger = received(
        {**exposure("u1", 0, START), "at": at},
        {**conversion("u1", "paid", "o1", START, seq=0), "at": at},
    )
    assert sums_in(ledger)["1970-01-01", "0", "", ""] == Sums(1)
    receiver = Receiver(ledger, {"checkout": DEFINITION})
    receiver.prune(LATER)
    assert receiver.results("checkout", LATER).units == 1


# --- completeness


def test_a_device_is_complete_once_all_it_reported_has_arrived() -> None:
    ledger = MemoryLedger()
    receiver = Receiver(ledger, {"checkout": DEFINITION})
    report = {
        "id": report_id("d1", 9),
        "type": "report",
        "device": "d1",
        "number": 3,
        "complete": time_text(START),
        "at": time_text(START),
    }
    receiver.receive(exposure("u1", 0, START, number=1), LATER)
    receiver.receive(report, LATER)
    receiver.receive(exposure("u3", 0, START, number=3), LATER)
    assert complete_up_to(ledger, "d1") == 0
    receiver.receive(exposure("u2", 0, START, number=2), LATER)
    assert complete_up_to(ledger, "d1") == START


# --- any history


DEVICES = ("d1", "d2", "d3")
UNITS = ("u1", "u2", "ü|3")


@st.composite
def histories(draw: DrawFn) -> list[Json]:
    """Events of three devices, each with its own sequence; some units change their variation."""
    records = []
    variation = {unit: draw(st.integers(0, 1)) for unit in UNITS}
    odd = draw(st.sampled_from((*UNITS, None)))
    for device in DEVICES:
        exposed = set()
        for seq in range(1, draw(st.integers(1, 8))):
            unit = draw(st.sampled_from(UNITS))
            at = START + draw(st.integers(-3 * DAY, 5 * DAY))
            if unit not in exposed and draw(st.booleans()):
                exposed.add(unit)  # a device records the exposure of a unit once
                chosen = variation[unit]
                if unit == odd and device == "d2":
                    chosen = 1 - chosen
                country = draw(st.sampled_from((None, "DE", "F|R")))
                records.append(exposure(unit, chosen, at, device, seq, country=country))
            else:
                event = draw(st.sampled_from(("paid", "visit", "other")))
                event_id = str(draw(st.integers(0, 12)))
                value = draw(st.integers(0, 50))
                at_most_once = (unit, event, event_id)
                records.append(
                    conversion(unit, event, "-".join(at_most_once), at, value, device, seq)
                )
    return records


def books(records: list[Json]) -> dict[tuple[str, ...], Sums]:
    """The same sums, from all events at once."""
    found: defaultdict[tuple[str, ...], Sums] = defaultdict(Sums)
    for unit in UNITS:
        exposures = [e for e in records if e["type"] == "exposure" and e["unit"] == unit]
        if not exposures or len({each["variation"] for each in exposures}) > 1:
            continue
        first = min(exposures, key=lambda e: (time_of(e["at"]), e["device"]))
        day = day_of(time_of(first["at"]))
        tallies = tallies_of(
            first, [e for e in records if e["type"] == "conversion" and e["unit"] == unit]
        )
        segments = ["", *(f"{name}={value}" for name, value in first["segment"].items())]
        for segment in segments:
            name = (day, str(first["variation"]), segment)
            key = (*name, "")
            found[key] = found[key].plus(Sums(1))
            for metric in DEFINITION.metrics:
                y, x = metric_value(metric, tallies)
                key = (*name, metric.key)
                found[key] = found[key].plus(Sums(0, y, y * y, x, x * x, x * y))
    return {name: each for name, each in found.items() if any(each)}


def tallies_of(exposed: Json, conversions: list[Json]) -> defaultdict[str, list[float]]:
    """What a unit did, after its exposure and before it."""
    tallies: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0, 0.0])
    exposed_at = time_of(exposed["at"])
    last = day_of(time_of(day_of(exposed_at) + "T00:00:00Z") + 2 * DAY)
    for each in conversions:
        at = time_of(each["at"])
        if each["device"] == exposed["device"]:
            before = each["seq"] < exposed["seq"]
        else:
            before = (at, each["device"]) < (exposed_at, exposed["device"])
        if before or day_of(at) <= last:
            side = 2 if before else 0
            tallies[each["event"]][side] += 1
            tallies[each["event"]][side + 1] += each["value"]
    return tallies


def first_of_each_id(records: list[Json]) -> list[Json]:
    """Records of which no two conversions share an id with different contents."""
    seen, kept = set(), []
    for each in records:
        if each["type"] == "conversion" and each["id"] in seen:
            continue
        seen.add(each["id"])
        kept.append(each)
    return kept


@settings(deadline=None, max_examples=150)
@given(histories(), st.randoms(use_true_random=False))
def test_in_any_order_and_repeated_the_sums_are_those_of_the_books(
    records: list[Json], order: ArtificialRandom
) -> None:
    records = first_of_each_id(records)
    arrivals = [*records, *order.sample(records, len(records) // 2)]
    order.shuffle(arrivals)
    ledger = received(*arrivals)
    assert sums_in(ledger) == books(records)
    recalculate(ledger, DEFINITION, DEFINITION.phase)
    assert sums_in(ledger) == books(records)
