"""The data logger: every sample once, a clean stop, and the rest with the next run."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync.model import Json
from bytelyst_sync.testing import SyncServer
from tests.examples.conftest import PATIENCE_S, ROOT
from tests.typed import present

LAST_LINE = re.compile(r"(\d+) saved, (\d+) dropped, (\d+) left for the next run\n$")


def numbers(text: str) -> Any:
    return tuple(map(int, present(LAST_LINE.search(text)).groups()))


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_every_sample_arrives_once(
    run: Callable[..., tuple[str, str]], server: SyncServer, durability: str
) -> None:
    options = ("--every", 0.005, "--samples", 25, "--group", 4, "--durability", durability)
    printed, _ = run("data_logger.py", server.url, "log.db", *options)
    assert numbers(printed) == (25, 0, 0)
    arrived = [present(effect.data)["number"] for effect in server.journal]
    assert sorted(arrived) == list(range(25))
    assert all(seen.method != "GET" for seen in server.requests), "nothing is read back"


def test_what_waits_is_delivered_by_the_next_run(
    run: Callable[..., tuple[str, str]], server: SyncServer
) -> None:
    options = ("--every", 0.005, "--samples")
    with server.outage():
        printed, _ = run("data_logger.py", server.url, "log.db", *options, 10)
        assert numbers(printed) == (10, 0, 10)
    printed, _ = run("data_logger.py", server.url, "log.db", *options, 1)
    assert numbers(printed) == (1, 0, 0)
    assert len(server.journal) == len(server.records("samples")) == 11


def test_a_full_store_drops_and_says_so(
    run: Callable[..., tuple[str, str]], server: SyncServer
) -> None:
    with server.outage():
        options = ("--every", 0.001, "--samples", 8, "--keep", 5)
        printed, complaint = run("data_logger.py", server.url, "log.db", *options, code=1)
    assert numbers(printed) == (5, 3, 5)
    assert "1 samples dropped" in complaint


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to be caught")
def test_sigterm_stops_it_cleanly(environment: Json, server: SyncServer, tmp_path: Path) -> None:
    script, store = str(ROOT / "examples/data_logger.py"), str(tmp_path / "log.db")
    program = [sys.executable, script, server.url, store]
    with subprocess.Popen(
        [*program, "--every", "0.01", "--group", "5"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as logger:
        try:
            assert server.wait_for(lambda: len(server.journal) >= 10, timeout=20)
            logger.send_signal(signal.SIGTERM)
            printed, _ = logger.communicate(timeout=PATIENCE_S)
        finally:
            logger.kill()
    assert logger.returncode == 0
    saved, dropped, left = numbers(printed)
    assert (dropped, left) == (0, 0)
    assert sorted(present(effect.data)["number"] for effect in server.journal) == list(range(saved))
