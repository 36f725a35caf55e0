"""Looks at an experiment: verdicts, what blocks them, what marks them invalid, and suggestions."""

import random
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from bytelyst_sync import InvalidDataError, create_sync_engine
from bytelyst_sync.experiments import Experiments, MemoryLedger, Receiver, experiment_entities
from bytelyst_sync.experiments.analysis import frozen_plan, take_look
from bytelyst_sync.experiments.definitions import Definition, read_definition
from bytelyst_sync.experiments.evaluation import evaluate_phase
from bytelyst_sync.experiments.events import day_after, time_of
from bytelyst_sync.experiments.ledger import joined
from bytelyst_sync.experiments.observations import Observations
from bytelyst_sync.experiments.results import Results
from bytelyst_sync.experiments.suggestions import RULES
from bytelyst_sync.experiments.sums import Sums
from bytelyst_sync.model import Json
from tests.typed import present

GOAL = {"key": "paid", "event": "paid", "kind": "rate", "baseline": 0.2, "mde": 0.05}
SOURCE = {
    "key": "checkout",
    "hashVersion": 2,
    "variations": ["red", "blue"],
    "windowDays": 1,
    "unit": "device",
    "goals": [GOAL],
}
DAY = 86_400
FIRST = "2026-03-01"


def definition(**changes: Any) -> Definition:
    return read_definition({**SOURCE, **changes})


class Trial:
    """A ledger that is fed with finished sums, day by day."""

    def __init__(self, **changes: Any) -> None:
        self.definition = definition(**changes)
        self.ledger = MemoryLedger()
        self.scope = joined("checkout", self.definition.phase)
        self.ledger.put("phase", "checkout", self.definition.phase, 0)
        self.day = FIRST
        self.metric_key = self.definition.metrics[0].key if self.definition.metrics else ""

    def add(
        self,
        control: tuple[int, int],
        treatment: tuple[int, int],
        metric: str | None = None,
        segment: str = "",
    ) -> "Trial":
        """A day's units and the units among them with the event, of both variants."""
        for variation, (units, converted) in enumerate((control, treatment)):
            name = joined(self.day, str(variation), segment, "")
            self.ledger.put("sums", self.scope, name, list(Sums(units)))
            name = joined(self.day, str(variation), segment, metric or self.metric_key)
            self.ledger.put("sums", self.scope, name, list(Sums(0, converted, converted)))
        self.day = day_after(self.day, 1)
        return self

    def look(self, whole: bool = True, days: int = 2) -> Results:
        """The results when the last day's units have matured."""
        self.ledger.put("measured", self.scope, "", self._measured())
        now = time_of(day_after(self.day, days - 1) + "T01:00:00Z")
        return evaluate_phase(self.ledger, self.definition, self.definition.phase, now, whole=whole)

    def _measured(self) -> list[list[str | float | None] | int]:
        return [
            *([*attrs.astuple(each)[:7]] for each in self.definition.metrics),
            self.definition.window_days,
        ]


def codes(results: Results) -> list[str]:
    return [each.code for each in results.suggestions]


# --- verdicts


def test_a_winner_is_stored_and_later_data_do_not_withdraw_it() -> None:
    trial = Trial().add((1000, 200), (1000, 300))
    first = trial.look()
    verdict = present(first.verdict("paid"))
    assert verdict.verdict == "winner"
    assert codes(first) == ["winner"]
    assert "blue is the winner on paid: +0.1" in first.suggestions[0].text
    later = trial.look()
    for _ in range(5):
        later = trial.add((1000, 300), (1000, 200)).look()
        assert later.verdict("paid") == verdict
    (shown,) = later.comparisons
    assert present(shown.difference) < 0


def test_a_loser_and_the_better_direction() -> None:
    assert present(Trial().add((1000, 300), (1000, 200)).look().verdict("paid")).verdict == "loser"
    down = Trial(goals=[{**GOAL, "direction": "decrease"}]).add((1000, 300), (1000, 200))
    assert present(down.look().verdict("paid")).verdict == "winner"


def test_no_effect_is_an_interval_within_the_smallest_difference_that_matters() -> None:
    trial = Trial().add((20_000, 4_000), (20_000, 4_010))
    results = trial.look()
    assert present(results.verdict("paid")).verdict == "no effect"
    low, high = results.comparisons[0].low, results.comparisons[0].high
    assert -0.05 < present(low) < present(high) < 0.05
    assert codes(results) == ["no-effect"]
    assert Trial(goals=["paid"]).add((20_000, 4_000), (20_000, 4_010)).look().verdicts == ()


@pytest.mark.parametrize(
    ("control", "treatment", "reason"),
    [
        ((99, 20), (99, 80), "99 of 100 units"),
        ((500, 9), (500, 200), "fewer than 10 units"),
        ((500, 495), (500, 300), "fewer than 10 units"),
    ],
)
def test_it_may_be_too_early_to_look(
    control: tuple[int, int], treatment: tuple[int, int], reason: str
) -> None:
    results = Trial().add(control, treatment).look()
    (shown,) = results.comparisons
    assert reason in present(shown.waiting)
    assert shown.p == 1.0
    assert results.verdicts == ()
    assert codes(results)[0] == "too-early"


def test_units_whose_window_is_not_over_do_not_count() -> None:
    trial = Trial().add((1000, 200), (1000, 300))
    before = trial.look(days=1)
    assert (before.units, before.verdicts) == (0, ())
    assert [each.maturing for each in before.variants] == [1000, 1000]
    assert trial.look().units == 2000


def test_the_smallest_p_values_are_kept_and_adjusted_for_all_goals() -> None:
    goals = [GOAL, {**GOAL, "key": "signed", "event": "signed"}]
    trial = Trial(goals=goals).add((1000, 200), (1000, 265))
    first = trial.look()
    trial.add((1000, 200), (1000, 200))
    second = trial.look()
    by_metric = {each.metric: each for each in second.comparisons}
    assert by_metric["paid"].p == {e.metric: e for e in first.comparisons}["paid"].p
    smallest = present(trial.ledger.get("analysis", trial.scope, ""))["minima"]["paid|1"][0]
    assert by_metric["paid"].p == pytest.approx(2 * smallest)
    single = Trial().add((1000, 200), (1000, 265)).look()
    width = [
        present(each.comparisons[0].high) - present(each.comparisons[0].low)
        for each in (first, single)
    ]
    assert width[0] > width[1]


def test_the_plan_of_a_phase_is_frozen_at_the_first_look() -> None:
    trial = Trial().add((1000, 200), (1000, 240))
    first = trial.look()
    trial.definition = definition(goals=[{**GOAL, "mde": 0.4}, "signed"], alpha=0.4)
    second = trial.look()
    assert second.alpha == 0.05
    assert second.comparisons == first.comparisons


def test_three_variations_are_each_compared_with_the_control() -> None:
    trial = Trial(variations=["a", "b", "c"], goals=["paid"])
    cells = []
    for variation, (units, converted) in enumerate([(3000, 600), (3000, 600), (3000, 900)]):
        cells.append(((FIRST, variation, "", ""), Sums(units)))
        cells.append(((FIRST, variation, "", "paid"), Sums(0, converted, converted)))
    look = take_look(
        trial.definition, Observations(cells, FIRST), {}, deciding=True, now="2026-03-09T00:00:00Z"
    )
    assert [(each.variation, each.verdict) for each in look.verdicts] == [(2, "winner")]
    assert frozen_plan(trial.definition)["comparisons"] == [1, 2]


# --- what blocks a verdict, and what marks one invalid


def test_a_mismatch_blocks_verdicts_and_marks_them_for_good() -> None:
    trial = Trial().add((1000, 200), (1000, 300))
    assert present(trial.look().verdict("paid")).invalid == ()
    results = trial.add((3000, 600), (1000, 200)).look()
    assert "mismatch" in results.blocked
    assert present(results.verdict("paid")).invalid == ("mismatch",)
    assert codes(results) == ["mismatch"]
    assert "4,000 : 2,000" in results.suggestions[0].text
    later = trial.add((1000, 200), (3000, 600)).look()
    assert present(later.verdict("paid")).invalid == ("mismatch",)


def test_local_results_of_users_show_estimates_and_no_verdict() -> None:
    trial = Trial(unit="user").add((1000, 200), (1000, 300))
    results = trial.look(whole=False)
    assert results.verdicts == ()
    assert "this store only" in results.blocked[0]
    assert codes(results)[0] == "local"
    assert results.comparisons[0].difference == pytest.approx(0.1)
    device = Trial().add((1000, 200), (1000, 300)).look(whole=False)
    assert present(device.verdict("paid")).verdict == "winner"


def test_an_experiment_without_a_goal_decides_nothing() -> None:
    results = Trial(goals=[]).add((1000, 1), (1000, 1)).look()
    assert codes(results) == ["no-goal"]


def test_a_guardrail_warns_beyond_its_margin() -> None:
    rail = {"key": "errors", "event": "error", "direction": "decrease", "margin": 0.01}
    trial = Trial(guardrails=[rail]).add((4000, 800), (4000, 800))
    trial.day = FIRST
    trial.add((4000, 400), (4000, 800), metric="errors")
    results = trial.look()
    assert [each.harmed for each in results.comparisons] == [False, True]
    assert "guardrail" in codes(results)
    trial.add((4000, 400), (4000, 401), metric="errors")


def exposure(
    receiver: Receiver,
    d: Definition,
    unit: str,
    variation: int,
    device: str,
    number: int,
    day: str = FIRST,
    hour: int = 1,
) -> None:
    receiver.receive(
        {
            "id": unit,
            "type": "exposure",
            "experiment": "checkout",
            "phase": d.phase,
            "unit": unit,
            "variation": variation,
            "device": device,
            "seq": number,
            "number": number,
            "at": f"{day}T{hour:02}:00:00Z",
        },
        time_of("2026-06-01T00:00:00Z"),
    )


def report(receiver: Receiver, device: str, number: int, at: str) -> None:
    receiver.receive(
        {"id": device, "type": "report", "device": device, "number": number, "complete": at}
        | {"at": at},
        time_of("2026-06-01T00:00:00Z"),
    )


@pytest.mark.parametrize(("silent_devices", "blocked"), [(0, False), (2, False), (8, True)])
def test_silent_devices_block_verdicts(silent_devices: int, blocked: bool) -> None:
    d = definition()
    ledger = MemoryLedger()
    receiver = Receiver(ledger, {"checkout": d})
    for device in range(100):
        for n in range(1, 5):
            exposure(receiver, d, f"u{device}-{n}", (device + n) % 2, f"d{device}", n)
        if device >= silent_devices:
            report(receiver, f"d{device}", 4, "2026-03-03T00:00:00Z")
    results = receiver.results("checkout", time_of("2026-03-03T05:00:00Z"))
    assert ("incomplete" in results.blocked) is blocked
    assert results.silent == pytest.approx(silent_devices / 100)
    assert ("incomplete" in codes(results)) is blocked


def test_devices_that_are_silent_in_one_variant_only_block_verdicts() -> None:
    d = definition()
    receiver = Receiver(MemoryLedger(), {"checkout": d})
    for n in range(4000):
        device = f"d{n}"
        exposure(receiver, d, f"u{n}", n % 2, device, 1)
        if n % 2 or n >= 300:
            report(receiver, device, 1, "2026-03-03T00:00:00Z")
    results = receiver.results("checkout", time_of("2026-03-03T05:00:00Z"))
    assert results.silent < 0.05
    assert [round(each.silent, 3) for each in results.variants] == [0.075, 0.0]
    assert "incomplete" in results.blocked


def test_corrected_data_mark_a_verdict_invalid() -> None:
    d = definition(unit="user")
    ledger = MemoryLedger()
    receiver = Receiver(ledger, {"checkout": d})
    now = time_of("2026-03-03T05:00:00Z")
    converted = random.Random(1)
    for n in range(1200):
        exposure(receiver, d, f"u{n}", n % 2, "d1", 2 * n + 1)
        if converted.random() < (0.2, 0.5)[n % 2]:
            event = {"id": f"c{n}", "type": "conversion", "event": "paid", "unit": f"u{n}"}
            when = {"device": "d1", "seq": 2 * n + 2, "at": f"{FIRST}T02:00:00Z"}
            receiver.receive({**event, **when}, now)
    report(receiver, "d1", 0, "2026-03-04T00:00:00Z")
    assert present(receiver.results("checkout", now).verdict("paid")).invalid == ()
    exposure(receiver, d, "u5", 0, "d2", 0)
    results = receiver.results("checkout", now)
    assert present(results.verdict("paid")).invalid == ("corrected",)
    assert results.excluded == 1
    assert "corrected" in codes(results)


# --- segments, days, power


def test_segments_and_days_are_shown_and_decide_nothing() -> None:
    trial = Trial(segments=["country"])
    for _ in range(3):
        day = trial.day
        trial.add((1000, 200), (1000, 230))
        trial.day = day
        trial.add((500, 100), (500, 130), segment="country=DE")
    results = trial.look()
    (segment,) = results.segments
    assert (segment.name, segment.units) == ("country=DE", 3000)
    assert segment.difference == pytest.approx(0.06)
    assert [each.name for each in results.days] == [FIRST, "2026-03-02", "2026-03-03"]
    assert [each.units for each in results.days] == [2000, 4000, 6000]


def test_an_underpowered_test_says_how_many_days_are_left() -> None:
    results = Trial(unitsPerDay=100).add((150, 30), (150, 33)).look()
    assert codes(results) == ["underpowered"]
    assert results.days_left == 37
    assert "37 more days" in results.suggestions[0].next_step


def test_a_former_phase_keeps_the_shares_it_had() -> None:
    """Its verdict stays valid when the definition gets other weights, or another variation."""
    trial = Trial().add((1000, 200), (1000, 300))
    phase = trial.definition.phase
    verdict = trial.look().verdict("paid")
    for changes in ({"weights": [0.9, 0.1]}, {"variations": ["red", "blue", "green"]}):
        later = definition(**changes)
        assert later.phase != phase
        now = time_of(trial.day + "T01:00:00Z") + DAY
        results = evaluate_phase(trial.ledger, later, phase, now, whole=True)
        assert [each.share for each in results.variants] == [0.5, 0.5]
        assert results.verdict("paid") == verdict
        assert results.mismatch > 0.01
        assert codes(results) == ["winner"]


def test_a_phase_whose_shares_are_not_known_decides_nothing() -> None:
    trial = Trial().add((1000, 200), (1000, 300))
    now = time_of(trial.day + "T01:00:00Z") + DAY
    later = definition(weights=[0.9, 0.1])
    results = evaluate_phase(trial.ledger, later, trial.definition.phase, now, whole=True)
    assert [each.share for each in results.variants] == [None, None]
    assert (results.verdicts, results.mismatch) == ((), 1.0)
    assert codes(results)[0] == "allocation"
    decided = trial.add((1000, 200), (1000, 300)).look()
    assert present(decided.verdict("paid")).verdict == "winner"


def test_the_shares_of_a_phase_are_kept_with_its_first_exposure(ab: Experiments) -> None:
    """Also if nobody looked before the weights were changed."""
    assert ab.variant("checkout").in_experiment
    phase = ab.definitions()["checkout"].phase
    later = Experiments(ab._engine, [{**SOURCE, "weights": [0.9, 0.1]}])
    assert later.definitions()["checkout"].phase != phase
    assert [each.share for each in later.results("checkout", phase).variants] == [0.5, 0.5]
    assert [each.share for each in later.results("checkout").variants] == [0.9, 0.1]


def test_every_rule_has_a_code_of_its_own() -> None:
    assert len({code for code, *_ in RULES}) == len(RULES)


# --- on an engine


@pytest.fixture
def ab() -> Iterator[Experiments]:
    engine = create_sync_engine(
        base_url="http://127.0.0.1:9",
        entities=experiment_entities(),
        storage=":memory:",
        auto_flush=False,
        exit_timeout=0,
    )
    yield Experiments(engine, [{**SOURCE, "goals": [GOAL]}])
    engine.close()


def test_the_published_plan(ab: Experiments) -> None:
    # Evan Miller's calculator: 20 % against 25 %: 1,030 a variation, looked at once
    plan = ab.plan("checkout", baseline=0.2, mde=0.05)
    assert plan.fixed_per_variant == 1_030
    assert plan.per_variant == 1_960
    assert plan.total == 2 * plan.per_variant
    assert plan == ab.plan("checkout")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"baseline": 1.2}, "baseline"),
        ({"mde": 0}, "mde"),
        ({"power": 0.1}, "power"),
        ({"metric": "signed"}, "no metric 'signed'"),
    ],
)
def test_a_plan_names_what_is_wrong(ab: Experiments, given: Json, named: str) -> None:
    with pytest.raises(InvalidDataError, match=named):
        ab.plan("checkout", **given)


def test_results_of_an_unknown_experiment_say_so(ab: Experiments) -> None:
    problem = "experiment 'checkot' is not among the given definitions, which have 'checkout'"
    with pytest.raises(InvalidDataError, match=f"{problem}. Did you mean 'checkout'"):
        ab.results("checkot")


def test_results_are_stored_with_the_events(ab: Experiments) -> None:
    ab.variant("checkout", unit="u1")
    ab.track("paid", unit="u1")
    results = ab.results("checkout")
    assert sum(each.maturing for each in results.variants) == 1
    assert results.phases == (ab.definitions()["checkout"].phase,)
    assert results.as_json()["units"] == 0
