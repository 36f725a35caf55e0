"""The pytest plugin, in a project of a user's own."""

import configparser
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from bytelyst_sync import SyncConfig, SyncEngine
from bytelyst_sync.testing import EngineFactory
from tests.typed import present

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "testing"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., object]:
    """Writes the project's one test module."""
    return (tmp_path / "test_project.py").write_text


def passed(output: str) -> int:
    return int(present(re.search(r"(\d+) passed", output))[1])


def test_the_example_passes(run_project: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    for file in EXAMPLE.glob("*.py"):
        shutil.copy(file, tmp_path)
    status, output = run_project("-q")
    assert status == 0, output
    assert passed(output) > 20
    assert {path.name for path in tmp_path.iterdir()} == {
        each.name for each in EXAMPLE.glob("*.py")
    }


def test_an_engine_works_on_the_server_and_is_closed(
    run_project: Callable[..., tuple[int, str]], write: Callable[..., object]
) -> None:
    write(
        """
import threading

ENGINES = []

def test_a_note_arrives(sync_engine, sync_server):
    engine = sync_engine(entities={"notes": "/notes"})
    ENGINES.append(engine)
    engine.push("notes", {"id": "1", "title": "first"})
    assert engine.flush(timeout=10).success
    assert sync_server.records("notes")["1"]["title"] == "first"
    assert [seen.method for seen in sync_server.requests] == ["POST"]

def test_the_next_one_starts_afresh(sync_server):
    assert ENGINES[0].status.status == "closed"
    assert not any(t.name.startswith("bytelyst-sync") for t in threading.enumerate())
    assert sync_server.records("notes") == {}
"""
    )
    status, output = run_project()
    assert status == 0, output
    assert passed(output) == 2


def test_a_proxy_is_started_for_each_server_and_stopped(
    run_project: Callable[..., tuple[int, str]], write: Callable[..., object]
) -> None:
    write(
        """
import threading

import requests

from bytelyst_sync.testing import Reply

def test_two_proxies(fault_proxy, sync_server):
    first, second = fault_proxy(sync_server.url), fault_proxy(sync_server.url, timeout=5)
    first.script(Reply(503))
    assert requests.get(first.url + "/notes").status_code == 503
    assert requests.get(second.url + "/notes").status_code == 200
    assert len(sync_server.requests) == 1

def test_they_are_stopped():
    assert not any(t.name.startswith("bytelyst-test") for t in threading.enumerate())
"""
    )
    status, output = run_project()
    assert status == 0, output
    assert passed(output) == 2


def test_the_fixtures_are_listed_with_what_they_are(
    run_project: Callable[..., tuple[int, str]], write: Callable[..., object]
) -> None:
    write("")
    _, output = run_project("--fixtures", "-q")
    assert "sync_server" in output
    assert "Starts a proxy with faults on demand" in output
    assert "A REST API on loopback" in output
    assert "Makes engines for ``sync_server``" in output


def test_fixtures_of_the_same_name_go_before_it(
    run_project: Callable[..., tuple[int, str]], write: Callable[..., object]
) -> None:
    write(
        """
import pytest

@pytest.fixture
def sync_server():
    return "mine"

@pytest.fixture
def sync_engine():
    return "mine too"

def test_they_are_mine(sync_server, sync_engine):
    assert (sync_server, sync_engine) == ("mine", "mine too")
"""
    )
    status, output = run_project()
    assert status == 0, output


def test_a_project_that_does_not_use_it_loads_nothing(
    run_project: Callable[..., tuple[int, str]], write: Callable[..., object]
) -> None:
    write(
        """
import sys

def test_nothing_is_loaded():
    assert "_bytelyst_sync_pytest" in sys.modules
    heavy = ("bytelyst_sync", "requests", "responses", "hypothesis")
    assert not {name.split(".")[0] for name in sys.modules}.intersection(heavy)
"""
    )
    # other plugins of this environment load things of their own
    status, output = run_project("-p", "no:hypothesispytest", "-p", "no:xdist")
    assert status == 0, output


def test_it_can_be_turned_off(
    run_project: Callable[..., tuple[int, str]], write: Callable[..., object]
) -> None:
    write("def test_it(sync_server): pass")
    status, output = run_project("-p", "no:bytelyst_sync")
    assert status == 1
    assert "fixture 'sync_server' not found" in output


def test_a_program_s_own_settings_are_kept(sync_server_url: str) -> None:
    config = SyncConfig(
        base_url="https://api.example.com",
        entities={"notes": "/notes"},
        storage="notebook.db",
        conflict="merge",
        retry_delay=30.0,
        max_retry_delay=60.0,
    )
    with EngineFactory(sync_server_url) as make:
        engine = make(config, workers=2)
    assert engine.config.base_url == sync_server_url
    assert engine.config.storage == ":memory:"
    assert engine.config.conflict == "merge"
    assert engine.config.workers == 2
    assert engine.config.retry_delay < 1


@pytest.fixture
def sync_server_url() -> str:
    return "http://127.0.0.1:1"


@pytest.mark.parametrize("delay", [0.05, 60.0])
def test_a_longer_delay_needs_no_second_setting(sync_server_url: str, delay: float) -> None:
    with EngineFactory(sync_server_url) as make:
        engine = make(entities={"notes": "/notes"}, retry_delay=delay)
        assert engine.config.retry_delay == delay
        assert engine.config.max_retry_delay >= delay


def test_an_engine_that_is_still_at_work_is_told(sync_server_url: str) -> None:
    class Stuck:
        def close(self, timeout: float) -> bool:
            return False

    make = EngineFactory(sync_server_url)
    make._engines.append(cast("SyncEngine", Stuck()))
    with pytest.raises(TimeoutError, match="still at work"):
        make.close(0.1)


def test_the_module_of_the_entry_point_is_packed() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    name, module = parser["options.entry_points"]["pytest11"].split("=")
    assert name.strip() == "bytelyst_sync"
    assert parser["options"]["py_modules"].split() == [module.strip()]
    assert (ROOT / f"{module.strip()}.py").is_file()


def test_it_imports_nothing_by_itself() -> None:
    text = (ROOT / "_bytelyst_sync_pytest.py").read_text("utf-8")
    top = re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
    assert set(top) <= {"pytest", *sys.stdlib_module_names}
