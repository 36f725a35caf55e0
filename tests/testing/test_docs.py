"""docs/testing.rst shows what `test_plugin.py` runs, and names what is there."""

import re
import textwrap
from pathlib import Path

import pytest

from bytelyst_sync import testing
from bytelyst_sync.testing import Events, FakeServer, FaultProxy, ManualClock, SyncServer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/testing.rst").read_text("utf-8")
INCLUDED = re.findall(r"^\.\. literalinclude:: (\S+)\n((?:   :.*\n)*)", PAGE, re.MULTILINE)
SAMPLES = {
    "api": FakeServer("https://api.example.com"),
    "server": SyncServer(),
    "proxy": FaultProxy("http://127.0.0.1:8000"),
    "clock": ManualClock(),
    "events": Events(),
}


@pytest.mark.parametrize(("path", "options"), INCLUDED)
def test_what_is_shown_is_there(path: str, options: str) -> None:
    text = (ROOT / "docs" / path).read_text("utf-8")
    for mark in re.findall(r":(?:start|end)-\w+: (.*)", options):
        assert text.count(f"{mark}\n") == 1 or text.count(mark) == 1, mark


@pytest.mark.parametrize("name", ["test_notebook.py", "test_bookshelf.py"])
def test_the_whole_example_is_shown(name: str) -> None:
    marks = {mark for _, options in INCLUDED for mark in re.findall(r":start-\w+: (.*)", options)}
    text = (ROOT / "examples/testing" / name).read_text("utf-8")
    assert set(re.findall(r"^# --- .*", text, re.MULTILINE)) <= marks


def test_the_code_of_the_page_runs() -> None:
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE, re.MULTILINE)
    assert len(blocks) == PAGE.count("code-block:: python") > 0
    for block in blocks:
        program = textwrap.dedent(block).replace(
            "    api.register(mock)",
            "    api.register(mock)\n    mock.assert_all_requests_are_fired = False",
        )
        exec(compile(program, "testing.rst", "exec"), {})


@pytest.mark.parametrize(
    ("owner", "name"),
    sorted(
        set(re.findall(r"\b(server|proxy|api|clock|events)\.([a-z_]+)", PAGE))
        - {("api", "example")}
    ),
)
def test_what_is_named_is_there(owner: str, name: str) -> None:
    assert hasattr(SAMPLES[owner], name)


def test_every_public_name_is_on_the_page() -> None:
    missing = [name for name in testing.__all__ if not re.search(rf"\b{name}\b", PAGE)]
    assert not missing
