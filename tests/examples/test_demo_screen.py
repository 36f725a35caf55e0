"""The demo is as wide as the terminal, and breaks no word."""

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import pytest

from tests.typed import present

DEMO = Path(__file__).parents[2] / "examples/demo/terminal.py"
WORDS = "300 changes pushed, each saved in 3.4 ms (17.4 at most); 150 to send, the rest merged"
HEAD = ("record", "field", "base", "here", "there", "decision", "why")
ROWS = [
    ("signatures WO-1", "name", "-", "B. Lang", "A. Kurz", "local: B. Lang", "client-wins: sent"),
    ("", "notes", "open", "ring twice", "(deleted)", "merged: ring twice", "merge: both are kept"),
]


@pytest.fixture(scope="module")
def terminal() -> ModuleType:
    spec = present(importlib.util.spec_from_file_location("demo_terminal", DEMO))
    module = importlib.util.module_from_spec(spec)
    present(spec.loader).exec_module(module)
    return module


@pytest.mark.parametrize("columns", [48, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(
    terminal: ModuleType, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    screen = terminal.Screen(out)
    screen.title(WORDS)
    screen.act(1, WORDS)
    screen.step(WORDS)
    screen.say(WORDS)
    screen.table([(WORDS, 1), ("  of them: " + WORDS, 2000)])
    screen.grid(HEAD, ROWS)
    screen.differences([WORDS])
    screen.verdict(WORDS, good=True)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= columns
    flat = " ".join(text.split())
    assert flat.count(WORDS) == 8, "no word is broken"
    assert all(cell in flat for row in ROWS for cell in row)


@pytest.mark.parametrize(("columns", "lines"), [(160, 4), (80, 7)])
def test_columns_stand_side_by_side_where_they_have_room(
    terminal: ModuleType, monkeypatch: pytest.MonkeyPatch, columns: int, lines: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    terminal.Screen(out).grid(HEAD, ROWS)
    assert len(out.getvalue().splitlines()) == lines
