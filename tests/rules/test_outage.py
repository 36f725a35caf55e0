"""The health of an entity: which failures spend a retry, and how the time of an outage adds up."""

import json

import pytest

from bytelyst_sync.rules.outage import Health, after_answer, after_failure, another_answered

UP = Health()


def failed(
    health: Health, *times: float, record: str = "1", longest_gap_s: float = 300.0
) -> Health:
    for now in times:
        health = after_failure(health, record, now, longest_gap_s=longest_gap_s)
    return health


def test_failures_in_a_row_are_counted_until_a_real_answer() -> None:
    health = failed(UP, 0.0, 10.0, 20.0)
    assert health.failures == 3
    assert after_answer(health, "2", 7).failures == 0


def test_the_time_of_an_outage_is_that_between_failures_and_each_gap_is_bounded() -> None:
    assert failed(UP, 100.0, 110.0, 130.0).outage_s == 30.0
    assert failed(UP, 0.0, 86_400.0, longest_gap_s=300.0).outage_s == 300.0
    assert failed(UP, 100.0, 50.0).outage_s == 0.0


@pytest.mark.parametrize(
    ("answered", "attempted", "expected"),
    [
        ([], 5, False),
        ([("2", 6)], 5, True),
        ([("2", 4)], 5, False),
        ([("1", 6)], 5, False),
        ([("2", 6), ("1", 7)], 5, True),
        ([("2", 6), ("1", 7), ("1", 8)], 5, True),
        ([("2", 6)], None, False),
    ],
)
def test_only_the_answer_to_another_record_after_the_last_attempt_counts(
    answered: list[tuple[str, int]], attempted: int | None, expected: bool
) -> None:
    health = UP
    for record, number in answered:
        health = after_answer(health, record, number)
    assert another_answered(health, "1", attempted) is expected


def test_it_is_kept_as_json() -> None:
    health = after_answer(failed(UP, 1.0, 2.0), "2", 9)
    assert Health.from_json(json.loads(json.dumps(health.as_json()))) == health
