"""The pages of A/B tests: the list, the variants of one, and what changes its definition."""

import re
from collections.abc import Iterator
from typing import cast

import pytest

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.dashboard import Actor, ops_app
from bytelyst_sync.dashboard.interval_plot import Interval, interval_plot
from bytelyst_sync.experiments import Experiments, experiment_entities
from bytelyst_sync.model import Json
from bytelyst_sync.testing import ManualClock, SyncServer
from tests.dashboard.client import OPERATOR, Client

HOSTILE = "<script>alert(1)</script>"
DEFINITION = {
    "id": "checkout",
    "key": "checkout",
    "name": f"Checkout {HOSTILE}",
    "hashVersion": 2,
    "variations": ["one page", HOSTILE],
    "unit": "device",
    "windowDays": 0,
    "segments": ["country"],
    "goals": [{"key": "paid", "event": "paid", "baseline": 0.2, "mde": 0.1}],
    "guardrails": [{"key": "errors", "event": "error", "direction": "decrease"}],
}


@pytest.fixture
def server() -> Iterator[SyncServer]:
    with SyncServer() as running:
        running.put("experiments", DEFINITION)
        running.put("experiments", {"id": "broken", "variations": []})
        yield running


@pytest.fixture
def engine(server: SyncServer) -> Iterator[SyncEngine]:
    clock = ManualClock()
    made = create_sync_engine(
        base_url=server.url,
        entities=experiment_entities(),
        storage=":memory:",
        auto_flush=False,
        probe=None,
        exit_timeout=0,
        clock=clock,
    )
    made.pull("experiments")
    yield made
    made.close()


@pytest.fixture
def client(engine: SyncEngine) -> Client:
    return Client(ops_app(engine, authorize=lambda environ: OPERATOR))


def expose(engine: SyncEngine, units: int = 300) -> None:
    """Units of one day, of whom those with the second variation pay more often."""
    ab = Experiments(engine)
    for number in range(units):
        index = ab.variant("checkout", f"u{number}", {"country": "DE"}).index
        if number % (5 - 3 * index) == 0:
            ab.track("paid", f"u{number}")
    cast("ManualClock", engine._core.clock).advance(86_400)


def test_the_list_shows_states_progress_and_what_cannot_be_read(
    client: Client, engine: SyncEngine
) -> None:
    expose(engine)
    page = client.get("/ab-testing")
    assert page.status == 200
    assert "checkout running 300" in page.words
    assert ": winner" in page.words
    assert "variations is []" in page.words
    assert 'href="/ops/ab-testing" aria-current="page"' in page.text


def test_an_experiment_shows_variants_intervals_advice_and_parts(
    client: Client, engine: SyncEngine
) -> None:
    expose(engine)
    page = client.get("/ab-testing/checkout")
    assert page.status == 200
    assert page.text.count("<h1>") == 1
    assert "is the winner on paid" in page.words
    assert "Ship it." in page.words
    assert page.text.count('role="img"') == 1
    assert "Difference in paid: " in page.text
    assert "country=DE" in page.words
    assert "2030-01-01" in page.words
    assert HOSTILE not in page.text


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-0.2, 0.3, ["-0.2", "0", "+0.3"]),
        (0.1, 0.5, ["0", "+0.5"]),
        (-0.5, -0.1, ["-0.5", "0"]),
        (-0.001, 0.5, ["-0.001", "+0.5"]),
    ],
)
def test_the_numbers_below_a_plot_do_not_cover_each_other(
    low: float, high: float, ticks: list[str]
) -> None:
    plot = interval_plot("Difference", [Interval("b", (low + high) / 2, low, high)])
    assert re.findall(r">([-+0-9.]+)</text>", plot) == ticks


def test_before_any_unit_it_is_too_early(client: Client) -> None:
    page = client.get("/ab-testing/checkout")
    assert page.status == 200
    assert "Too early to look" in page.words
    assert "It is too early for an interval." in page.words


def test_an_unknown_experiment_is_not_found(client: Client) -> None:
    page = client.get("/ab-testing/signup")
    assert page.status == 404
    assert "No experiment signup is known here." in page.words


def test_without_the_entities_the_list_says_how_to_set_it_up(server: SyncServer) -> None:
    made = create_sync_engine(
        base_url=server.url, entities={"notes": "/notes"}, storage=":memory:", exit_timeout=0
    )
    with made:
        page = Client(ops_app(made, authorize=lambda environ: OPERATOR)).get("/ab-testing")
    assert (page.status, "experiment_entities" in page.words) == (200, True)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ({"action": "stop"}, {"status": "stopped"}),
        ({"action": "start"}, {"status": "running"}),
        ({"action": "ship", "variation": "1"}, {"force": 1, "coverage": 1}),
    ],
)
def test_start_stop_and_ship_update_the_definition_on_its_version(
    client: Client, engine: SyncEngine, server: SyncServer, pairs: Json, expected: Json
) -> None:
    page = client.get(f"/ab-testing/checkout?confirm={pairs['action']}")
    answer = client.post("/ab-testing/checkout", {"seen": page.values("seen")[0], **pairs})
    assert answer.status == 303
    assert "definition is changed" in client.get(answer.location).words
    assert engine.flush(10).success
    stored = server.records("experiments")["checkout"]
    assert stored.items() >= expected.items()
    (write,) = [each for each in server.requests if each.method == "PATCH"]
    assert write.headers["if-match"] == "1"


def test_a_shipped_variation_is_given_and_no_longer_recorded(
    client: Client, engine: SyncEngine
) -> None:
    seen = client.get("/ab-testing/checkout").values("seen")[0]
    client.post("/ab-testing/checkout", {"seen": seen, "action": "ship", "variation": "1"})
    before = engine.queue_length
    found = Experiments(engine).variant("checkout", "u1")
    assert (found.index, found.reason) == (1, "forced")
    assert engine.queue_length == before


def test_a_form_of_an_older_page_changes_nothing(client: Client, engine: SyncEngine) -> None:
    answer = client.post("/ab-testing/checkout", {"seen": "old", "action": "stop"})
    assert "done=not-changed" in answer.location
    assert engine.queue_length == 0


@pytest.mark.parametrize(
    "pairs", [{"action": "explode"}, {"action": "ship"}, {"action": "ship", "variation": "9"}]
)
def test_a_wrong_form_is_refused(client: Client, engine: SyncEngine, pairs: Json) -> None:
    seen = client.get("/ab-testing/checkout").values("seen")[0]
    assert client.post("/ab-testing/checkout", {"seen": seen, **pairs}).status == 400
    assert engine.queue_length == 0


def test_who_may_only_look_is_offered_nothing(engine: SyncEngine) -> None:
    viewer = Client(ops_app(engine, authorize=lambda environ: Actor("eve", ["view"])))
    page = viewer.get("/ab-testing/checkout")
    assert "Change it" not in page.words
    assert 'method="post"' not in page.text
