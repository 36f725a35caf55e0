"""The pages of A/B tests in a real browser: for everybody, by keyboard, without a script."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.clock import SystemClock
from bytelyst_sync.dashboard import Actor, ops_app
from bytelyst_sync.experiments import Experiments, experiment_entities, growthbook_entities
from bytelyst_sync.model import Json
from bytelyst_sync.testing import SyncServer
from bytelyst_sync.testing import SyncServer as Server
from tests.dashboard.browser import HOSTILE, Window, press_until
from tests.dashboard.client import OPERATOR, Client
from tests.dashboard.conftest import Site
from tests.typed import present

WIDTHS = (375, 1280)
DEFINITION = {
    "id": "checkout",
    "key": "checkout",
    "name": "Checkout",
    "hashVersion": 2,
    "variations": ["one page", "three steps"],
    "unit": "device",
    "windowDays": 0,
    "segments": ["country"],
    "goals": [{"key": "paid", "event": "paid", "baseline": 0.2, "mde": 0.1}],
    "guardrails": [{"key": "errors", "event": "error", "direction": "decrease"}],
}
EARLY = {**DEFINITION, "id": "early", "key": "early", "name": "", "status": "draft"}
BARE = {"id": "bare", "key": "bare", "variations": ["a", "b"]}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        for each in (DEFINITION, EARLY, BARE, {"id": "broken", "variations": []}):
            running.put("experiments", each)
        yield running


class EarlierClock(SystemClock):
    """Some days behind, so that days pass as a test says, and end today: hosts have the real time.

    With a clock that is moved by hand alone, an engine would not wait for another process.
    """

    behind_s = 4 * 86_400.0

    def wall(self) -> float:
        return super().wall() - self.behind_s

    def advance(self, seconds: float) -> None:
        assert seconds <= self.behind_s
        self.behind_s -= seconds


@pytest.fixture
def entities() -> Json:
    events = {"endpoint": "/experiment-events", "dedup": "none", "replica": False}
    return {"experiments": "/experiments", "experiment_events": events}


@pytest.fixture
def new_engine(server: Server, host: str, tmp_path: Path) -> Iterator[Callable[..., SyncEngine]]:
    made: list[SyncEngine] = []

    def make(entities: Json, **settings: Any) -> SyncEngine:
        made.append(
            create_sync_engine(
                base_url=server.url,
                entities=entities,
                storage=":memory:" if host == "here" else str(tmp_path / "app.db"),
                auto_flush=False,
                probe=None,
                exit_timeout=0,
                **settings,
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def engine(new_engine: Callable[..., SyncEngine], entities: Json) -> SyncEngine:
    engine = new_engine(entities, clock=EarlierClock())
    engine.pull("experiments")
    return engine


def expose(
    engine: SyncEngine, key: str = "checkout", units: int = 300, country: str = "DE"
) -> None:
    """Units of one day, of whom those with the second variation pay more often."""
    ab = Experiments(engine)
    for number in range(units):
        index = ab.variant(key, f"u{number}", {"country": country}).index
        if number % (5 - 3 * index) == 0:
            ab.track("paid", f"u{number}")
    cast("EarlierClock", engine._core.clock).advance(86_400)


def everything(engine: SyncEngine) -> list[str]:
    """Results, two phases, what is too early and what cannot be read; the paths of all pages."""
    expose(engine)
    engine.update("experiments", "checkout", {"weights": [0.6, 0.4]})
    expose(engine, units=150)
    phases = Experiments(engine).results("checkout").phases
    assert len(phases) == 2
    return [
        *("ab-testing", "ab-testing/early", "ab-testing/bare", "ab-testing/checkout"),
        *(f"ab-testing/checkout?phase={phase}" for phase in phases),
        *(f"ab-testing/checkout?confirm={each}" for each in ("stop", "ship")),
        *("ab-testing/early?confirm=start", "ab-testing/checkout?done=experiment"),
        "ab-testing/checkout?done=not-changed",
    ]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_for_everybody(
    engine: SyncEngine, site: Site, window: Callable[..., Window], scheme: str, width: int
) -> None:
    view = window(viewport={"width": width, "height": 800}, color_scheme=scheme)
    for path in everything(engine):
        assert present(view.page.goto(f"{site}/{path}")).status == 200
        assert view.violations() == [], path
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("entities", [{"notes": "/notes"}, experiment_entities()])
def test_empty_states_say_what_to_do(new_engine: Callable[..., SyncEngine], entities: Json) -> None:
    engine = new_engine(entities)
    page = Client(ops_app(engine, authorize=lambda environ: OPERATOR)).get("/ab-testing")
    assert page.text.count("<h1>") == 1
    assert ("No experiment yet" in page.words) is ("experiments" in entities)
    assert ("are not set up" in page.words) is ("experiments" not in entities)


def test_an_unknown_experiment_is_for_everybody(site: Site, window: Callable[..., Window]) -> None:
    view = window()
    assert present(view.page.goto(f"{site}/ab-testing/nothing")).status == 404
    view.complaints.clear()  # the browser itself notes each 404
    assert view.violations() == []
    view.page.get_by_role("main").get_by_role("link").first.click()
    view.page.get_by_role("heading", name="A/B tests").wait_for()


# --- hostile texts


def test_hostile_text_does_nothing(
    server: SyncServer, engine: SyncEngine, site: Site, window: Callable[..., Window]
) -> None:
    """As name, key, variation, segment, metric, phase, and in a definition that is wrong."""
    view = window()
    for number, text in enumerate(HOSTILE):
        key = text.replace("/", "_")
        server.put(
            "experiments",
            {
                "id": f"h{number}",
                "key": key,
                "name": text,
                "phase": text,
                "variations": [text, {text: text}],
                "meta": [{"name": text}, {}],
                "hashVersion": 2,
                "unit": "device",
                "windowDays": 0,
                "segments": [text],
                "goals": [{"key": text.replace("|", "_"), "event": text}],
            },
        )
        server.put("experiments", {"id": f"w{number}", "key": text, "variations": text})
    assert engine.pull("experiments").success
    ab = Experiments(engine)
    keys = [each for each in ab.definitions() if each not in ("checkout", "early", "bare")]
    assert len(keys) > 40
    shown = keys[:: len(keys) // 8]
    for key in shown:
        for number in range(4):
            ab.variant(key, f"u{number}", dict.fromkeys(HOSTILE, key))
    view.page.goto(f"{site}/ab-testing")
    assert view.page.locator("main table tbody tr").count() == len(keys) + 3
    for key in shown:
        answer = present(view.page.goto(f"{site}/ab-testing/{quote(key, safe='')}?confirm=ship"))
        assert answer.status == 200, key
        assert view.page.evaluate("window.htmx !== undefined")
        dangerous = view.page.locator("main").locator("script, iframe, object, form[action^='//']")
        assert dangerous.count() == 0, key


# --- by keyboard alone


def test_stop_and_start_by_keyboard(
    server: SyncServer, engine: SyncEngine, site: Site, window: Callable[..., Window]
) -> None:
    page = window().page
    page.goto(f"{site}/ab-testing")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    press_until(page, "Tab", 'main a[href$="/ab-testing/checkout"]')
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Checkout").wait_for()
    press_until(page, "Tab", '[data-dialog="stop"]')
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Stop?").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.matches('[data-dialog=\"stop\"]')")
    assert engine.queue_length == 0
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Stop").press("Enter")
    page.get_by_text("definition is changed").wait_for()
    assert Experiments(engine).definitions()["checkout"].status == "stopped"
    press_until(page, "Tab", '[data-dialog="start"]')
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Start").press("Enter")
    page.get_by_role("link", name="Stop…").wait_for()
    engine.flush(10)
    assert server.records("experiments")["checkout"]["status"] == "running"


def test_a_variation_is_chosen_and_shipped_by_keyboard(
    server: SyncServer, engine: SyncEngine, site: Site, window: Callable[..., Window]
) -> None:
    page = window().page
    expose(engine)
    page.goto(f"{site}/ab-testing/checkout")
    press_until(page, "Tab", '[data-dialog="ship"]')
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Ship?").wait_for()
    press_until(page, "Tab", 'select[name="variation"]')
    page.keyboard.press("ArrowDown")
    press_until(page, "Tab", "dialog button[type=submit]")
    page.keyboard.press("Enter")
    page.get_by_text("definition is changed").wait_for()
    engine.flush(10)
    assert server.records("experiments")["checkout"]["force"] == 1


# --- without a script


def test_everything_works_without_a_script(
    server: SyncServer, engine: SyncEngine, site: Site, window: Callable[..., Window]
) -> None:
    page = window(java_script_enabled=False).page
    everything(engine)
    page.goto(f"{site}/ab-testing")
    page.get_by_role("main").get_by_role("link", name="checkout").click()
    page.get_by_role("heading", name="Variant performance").wait_for()
    page.locator('section[aria-labelledby="h-phases"] a:not([aria-current])').click()
    page.get_by_role("heading", name="By segment").wait_for()
    page.click("text=Stop…")
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    page.get_by_text("definition is changed").wait_for()
    page.click("text=Start…")
    page.get_by_role("dialog").get_by_role("button", name="Start").click()
    page.click("text=Ship…")
    page.select_option('select[name="variation"]', label="three steps")
    page.get_by_role("dialog").get_by_role("button", name="Ship").click()
    page.get_by_text("definition is changed").wait_for()
    engine.flush(10)
    stored = server.records("experiments")["checkout"]
    assert (stored["status"], stored["force"]) == ("running", 1)


# --- live


def test_a_poll_shows_new_units_and_keeps_focus_and_choice(
    engine: SyncEngine, site: Site, window: Callable[..., Window]
) -> None:
    view = window()
    page = view.page
    page.goto(f"{site}/ab-testing/checkout?confirm=ship")
    page.select_option('select[name="variation"]', "1")
    page.focus('select[name="variation"]')
    expose(engine)
    view.look()
    page.get_by_text("300 units count").wait_for()
    assert page.input_value('select[name="variation"]') == "1"
    assert page.evaluate("document.activeElement.name") == "variation"
    page.goto(f"{site}/ab-testing")
    before = page.get_by_role("row", name="checkout").inner_text()
    engine.update("experiments", "checkout", {"status": "stopped"})
    view.look()
    page.get_by_role("row", name="checkout").get_by_text("stopped").wait_for()
    assert "running" in before


# --- who may only look, and definitions that come from elsewhere


@pytest.mark.parametrize("options", [{"read_only": True}, {"actor": Actor("eve", ["view"])}])
def test_who_may_only_look_can_change_nothing(engine: SyncEngine, options: Json) -> None:
    actor = options.pop("actor", OPERATOR)
    client = Client(ops_app(engine, authorize=lambda environ: actor, **options))
    page = client.get("/ab-testing/checkout?confirm=ship")
    assert page.status == 200
    assert 'method="post"' not in page.text
    assert "Change it" not in page.words
    form = {"seen": "x", "action": "stop"}
    assert client.post("/ab-testing/checkout", form, token="guessed").status == 403
    assert engine.queue_length == 0


def test_a_definition_in_a_payload_is_not_changed_here() -> None:
    """GrowthBook's: one record has all of them."""
    entities = growthbook_entities("/api/features/sdk-x")
    rules = [{"key": "exp", "variations": ["a", "b"]}]
    with Server(dialect=entities["experiments"].dialect) as growthbook:
        growthbook.put("sdk-x", {"id": "growthbook", "features": {"color": {"rules": rules}}})
        engine = create_sync_engine(
            base_url=growthbook.url,
            entities=growthbook_entities("/sdk-x"),
            storage=":memory:",
            probe=None,
            exit_timeout=0,
            auto_flush=False,
        )
        with engine:
            assert engine.pull("experiments").success
            client = Client(ops_app(engine, authorize=lambda environ: OPERATOR))
            page = client.get("/ab-testing/exp")
            assert "change it there" in page.words
            assert 'method="post"' not in page.text.partition("<main")[2]
            definition = Experiments(engine).definitions()["exp"]
            seen = f"{definition.phase} {definition.status} {definition.experiment.force}"
            answer = client.post("/ab-testing/exp", {"seen": seen, "action": "stop"})
            assert answer.status == 400
            assert "is part of another record" in answer.text
            assert engine.queue_length == 0
