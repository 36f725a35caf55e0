"""The code of the README and of the pages passes mypy (strict) and pyright."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: python\n(?: +:.*\n)*\n"
    r"(?P<code>(?:(?:(?P=indent) +.*)?\n)+)",
    re.MULTILINE,
)
TOOL_TIMEOUT_S = 110
NOT_INSTALLED = ("reportMissingImports", "reportMissingModuleSource")
"""Packages of extras that this environment may lack."""


def program(page: Path) -> str:
    """The Python blocks of a page as one module; lines keep their numbers."""
    text = page.read_text("utf-8")
    lines: list[Any] = []
    for block in BLOCK.finditer(text):
        lines += [""] * (text.count("\n", 0, block.start("code")) - len(lines))
        lines += textwrap.dedent(block["code"]).splitlines()
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for page in (ROOT / "README.rst", *(ROOT / "docs").rglob("*.rst")):
        text = program(page)
        if text.strip():
            (folder / f"{page.stem}.py").write_text(text, "utf-8")
    assert len(list(folder.iterdir())) > 10
    return folder


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TOOL_TIMEOUT_S,
        check=False,
    )


@pytest.mark.timeout(2 * TOOL_TIMEOUT_S)
def test_mypy_strict(programs: Path) -> None:
    pytest.importorskip("mypy")
    pages = sorted(each.name for each in programs.glob("*.py"))
    done = run("mypy", "--strict", "--config-file=", *pages, cwd=programs)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(2 * TOOL_TIMEOUT_S)
def test_pyright(programs: Path) -> None:
    pytest.importorskip("pyright")
    settings = {"include": ["."], **dict.fromkeys(NOT_INSTALLED, "none")}
    (programs / "pyrightconfig.json").write_text(json.dumps(settings))
    done = run("pyright", "--pythonpath", sys.executable, cwd=programs)
    assert done.returncode == 0, done.stdout + done.stderr
