"""The pictures of the command line are drawn from real runs, and show what the page says."""

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "docs" / "_static"
NAMES = ["status", "conflict", "doctor", "sync"]


def words(picture: str) -> set[str]:
    """What is written in it, without numbers, times and names that each run has of its own."""
    text = " ".join("".join(ET.fromstring(picture).itertext()).split("\xa0"))
    return set(re.findall(r"\b[a-z]{4,}\b", text))


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")
def test_they_are_drawn_anew(run: Callable[..., tuple[str, str]], tmp_path: Path) -> None:
    out, _ = run("cli_screens.py", tmp_path)
    assert re.findall(r"cli-(\w+)\.svg", out) == NAMES
    for name in NAMES:
        drawn = (tmp_path / f"cli-{name}.svg").read_text("utf-8")
        kept = (STATIC / f"cli-{name}.svg").read_text("utf-8")
        new, old = words(drawn), words(kept)
        assert len(new & old) > 0.8 * len(new | old), new ^ old
        assert str(tmp_path) not in kept
        assert "http://127.0.0.1" not in kept
