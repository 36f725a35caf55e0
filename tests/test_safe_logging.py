"""Filters and handlers of logging that raise, that use the engine, and bursts of lines."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import SyncEngine, create_sync_engine, safe_logging
from bytelyst_sync.safe_logging import BURST_S, SafeLogger
from bytelyst_sync.testing import ManualClock, Reply, SyncServer

ROOT = Path(__file__).parents[1]
PATIENCE_S = 20.0


@pytest.fixture
def attached() -> "Iterator[Callable[..., Handler]]":
    """Attaches a handler to a logger; takes it off again."""
    attached = []

    def attach(
        handler: "Handler", name: str | None = "bytelyst_sync", level: int = logging.DEBUG
    ) -> "Handler":
        logger = logging.getLogger(name)
        attached.append((logger, handler, logger.level))
        logger.addHandler(handler)
        logger.setLevel(level)
        return handler

    yield attach
    for logger, handler, level in reversed(attached):
        logger.removeHandler(handler)
        logger.setLevel(level)


class Handler(logging.Handler):
    """Calls a function with each record."""

    def __init__(self, call: Callable[..., object]) -> None:
        super().__init__()
        self.call = call

    def handle(self, record: logging.LogRecord) -> bool:
        self.call(record)
        return True


def open_engine(server: SyncServer, tmp_path: Path, **settings: Any) -> SyncEngine:
    options = {"retry_delay": 0.05, "max_retry_delay": 0.2, "probe_interval": 0.2, **settings}
    return create_sync_engine(
        base_url=server.url,
        entities={"n": "/n", "logs": "/logs"},
        storage=str(tmp_path / "a.db"),
        **options,
    )


# --- what raises


RAISED = [RuntimeError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", ["bytelyst_sync", "urllib3", None])
def test_a_handler_that_raises_on_other_threads_ends_nothing(
    server: SyncServer,
    tmp_path: Path,
    attached: Callable[..., Handler],
    error: BaseException,
    name: str | None,
) -> None:
    main = threading.current_thread()

    def refuse(record: logging.LogRecord) -> None:
        if threading.current_thread() is not main:
            raise error

    attached(Handler(refuse), name)
    with open_engine(server, tmp_path) as engine:
        engine.on_status_change(lambda _: 1 / 0)
        engine.push("n", {"id": "1"})
        assert engine.flush(PATIENCE_S).success
        with server.outage():
            engine.push("n", {"id": "2"})
            assert engine.flush(PATIENCE_S).offline
        assert engine.flush(PATIENCE_S).success
        server.put("n", {"id": "3"})
        assert engine.pull(timeout=PATIENCE_S).pulled
        threads = {each.name for each in threading.enumerate()}
    assert "bytelyst-sync" in threads


def test_a_line_is_lost_with_a_word_on_standard_error(
    attached: Callable[..., Handler], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: logging.LogRecord) -> None:
        raise RuntimeError("s3cret")

    attached(Handler(refuse))
    for _ in range(3):
        SafeLogger("bytelyst_sync.x").info("a line")
    complaint = "bytelyst_sync: a filter or handler of logging raised RuntimeError\n"
    assert capsys.readouterr().err == complaint


def test_ctrl_c_in_the_main_thread_is_passed_on(attached: Callable[..., Handler]) -> None:
    def interrupt(_: logging.LogRecord) -> None:
        raise KeyboardInterrupt

    attached(Handler(interrupt))
    with pytest.raises(KeyboardInterrupt):
        SafeLogger("bytelyst_sync.x").warning("a line")


def test_filters_of_a_library_are_asked_on_the_packages_threads_too(
    attached: Callable[..., Handler],
) -> None:
    """One that removes secrets from what urllib3 logs goes on doing so."""
    logger = logging.getLogger("urllib3.connectionpool")
    safe_logging.shield_dependencies()
    safe_logging.shield_dependencies()

    class Redact(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            record.msg = record.msg.replace("secret", "…")
            return "drop" not in record.msg

    redact, lines = Redact(), []
    logger.addFilter(redact)
    attached(Handler(lambda record: lines.append(record.getMessage())), "urllib3")

    def log() -> None:
        logger.debug("a secret")
        logger.debug("drop this")

    try:
        for name in ("bytelyst-sync-send", "other"):
            thread = threading.Thread(target=log, name=name)
            thread.start()
            thread.join()
    finally:
        logger.removeFilter(redact)
    assert lines == ["a …", "a …"]


# --- what uses the engine


@pytest.mark.parametrize("thread", ["same", "other"])
def test_a_handler_may_use_the_engine(
    server: SyncServer, tmp_path: Path, attached: Callable[..., Handler], thread: str
) -> None:
    """On any thread: nothing is logged under a lock."""
    stuck, used = [], []

    def use(record: logging.LogRecord) -> None:
        def call() -> None:
            used.append((engine.queue_length, list(engine.failed()), engine.status))

        if thread == "same":
            call()
            return
        other = threading.Thread(target=call, daemon=True)
        other.start()
        other.join(5)
        if other.is_alive():
            stuck.append(record.getMessage())

    server.reject = lambda seen: Reply(422) if seen.method == "POST" else None
    with open_engine(server, tmp_path) as engine:
        attached(Handler(use))
        engine.on_status_change(lambda _: 1 / 0)
        engine.push("n", {"id": "1"})
        engine.flush(PATIENCE_S)
        with server.outage():
            engine.push("n", {"id": "2"})
            engine.flush(PATIENCE_S)
        server.script(Reply(200, [{"no": "id"}]), match="GET")
        engine.pull(timeout=PATIENCE_S)
    assert not stuck
    assert used


@pytest.mark.parametrize("status", [422, 403, 404, 400])
def test_a_handler_that_ships_the_packages_warnings_ends(
    server: SyncServer, tmp_path: Path, attached: Callable[..., Handler], status: int
) -> None:
    """Each refused line would cause another one, without end."""
    server.reject = lambda seen: Reply(status) if seen.method == "POST" else None
    records = []
    with open_engine(server, tmp_path) as engine:

        def ship(record: logging.LogRecord) -> None:
            records.append(record)
            engine.push("logs", {"message": record.getMessage()})

        attached(Handler(ship), level=logging.WARNING)
        engine.push("n", {"id": "1"})
        engine.flush(PATIENCE_S)
        assert server.wait_for(lambda: len(server.requests) >= 2)
        while engine.queue_length:
            engine.flush(PATIENCE_S)
        assert len(list(engine.failed())) == len(records) + 1
    assert 1 <= len(records) <= 3, [each.getMessage() for each in records]


# --- bursts


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    clock = ManualClock()
    monkeypatch.setattr(safe_logging, "_CLOCK", clock)
    return clock


def test_a_burst_is_one_line_and_the_next_one_counts_it(
    caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    logger = SafeLogger("bytelyst_sync.x")
    for number in range(100):
        logger.warning("item %d failed", number)
    logger.warning("another matter")
    logger.error("50% of it")
    logger.error("50% of it")
    clock.advance(BURST_S)
    logger.warning("item %d failed", 100)
    logger.error("50% of it")
    logger.warning("another matter")
    assert [each.getMessage() for each in caplog.records] == [
        "item 0 failed",
        "another matter",
        "50% of it",
        "item 100 failed (99 more like this were left out)",
        "50% of it (1 more like this were left out)",
        "another matter",
    ]


def test_lines_below_warning_are_all_logged(
    caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    caplog.set_level(logging.DEBUG)
    logger = SafeLogger("bytelyst_sync.x")
    for _ in range(3):
        logger.info("online again")
        logger.debug("a request")
    assert len(caplog.records) == 6


def test_what_is_not_logged_begins_no_burst(
    caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    logger = SafeLogger("bytelyst_sync.x")
    with caplog.at_level(logging.CRITICAL, "bytelyst_sync"):
        logger.warning("a line")
    logger.warning("a line")
    assert len(caplog.records) == 1


def test_a_line_names_the_place_that_logged_it(caplog: pytest.LogCaptureFixture) -> None:
    SafeLogger("bytelyst_sync.x").warning("a line")
    try:
        int("s3cret")
    except ValueError as error:
        SafeLogger("bytelyst_sync.x").failure(error, "%s failed", "it")
    assert {each.filename for each in caplog.records} == {Path(__file__).name}
    text = caplog.records[1].getMessage()
    assert text.startswith("it failed: ValueError\n")
    assert "invalid literal" not in text


def test_every_module_logs_through_one_place() -> None:
    modules = [
        str(each.relative_to(ROOT))
        for each in (ROOT / "bytelyst_sync").rglob("*.py")
        if "getLogger(" in each.read_text(encoding="utf-8")
    ]
    assert sorted(modules) == [
        "bytelyst_sync/__init__.py",  # the NullHandler
        "bytelyst_sync/cli/group.py",  # the handler of -v
        "bytelyst_sync/events/telemetry.py",  # the logger is the program's choice
        "bytelyst_sync/safe_logging.py",
    ]
