"""The pages keep their word: their code runs from top to bottom, and prints what they say.

A Python block runs in the names that the blocks before it on its page left. A ``text`` block
right after it is what it prints, ``...`` standing for anything. A ``console`` block runs its
commands that begin with ``python``, and what is shown below each is what it prints. A block whose
name begins with ``offline`` runs while the server is not to be reached.
"""

import contextlib
import doctest
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.storage import generate_key
from bytelyst_sync.testing import SyncServer
from tests.typed import present

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    "index.rst",
    "tutorial.rst",
    "howto/desktop.rst",
    "howto/events.rst",
    "howto/conflicts.rst",
    "howto/queries.rst",
    "howto/stores.rst",
    "howto/accounts.rst",
    "howto/forms.rst",
    "howto/outages.rst",
    "howto/migrations.rst",
    "howto/stores.rst",
    "howto/deployment.rst",
    "howto/transports.rst",
    "howto/experiments.rst",
    "howto/fleet.rst",
    "encryption.rst",
    "telemetry.rst",
    "operations.rst",
    "faq.rst",
]
RUN_ELSEWHERE = {
    "quickstart.rst": "test_readme.py",
    "connect.rst": "servers/test_docs.py",
    "testing.rst": "testing/test_docs.py",
    "command_line.rst": "cli/test_page.py",
    "howto/django.rst": "contrib/django/test_page.py",
}
ADDRESSES = ("https://api.example.com", "http://127.0.0.1:8000")
BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\w+)\n(?P<options>(?: +:.*\n)*)\n"
    r"(?P<code>(?:(?:(?P=indent) +.*)?\n)+)",
    re.MULTILINE,
)
SECONDS_OF_A_COMMAND = 40


def blocks(page: str) -> Iterator[tuple[str, str, str, int]]:
    """Language, options, code and place of each block; the code is padded to its place."""
    text = (DOCS / page).read_text("utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code"))
        yield found["language"], found["options"], textwrap.dedent(found["code"]), line


def assert_printed(expected: str, printed: str, where: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(expected.strip() + "\n", printed, flags)
    assert same, f"{where}: the page says\n{expected}\nand this was printed\n{printed}"


class Reader:
    """Does what a page says, in a folder of its own."""

    def __init__(self, page: str, server: SyncServer) -> None:
        self.page = page
        self.server = server
        self.names = {"__name__": "__main__"}
        self.printed = ""
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("METER_")},
            "PYTHONPATH": str(ROOT),
        }

    def adapted(self, code: str) -> str:
        for address in ADDRESSES:
            code = code.replace(address, self.server.url)
        return code

    def python(self, code: str, line: int) -> None:
        program = compile("\n" * line + self.adapted(code), self.page, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(program, self.names)
        self.printed = printed.getvalue()

    def console(self, code: str, line: int) -> None:
        for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            words = shlex.split(self.adapted(command), comments=True)
            if words[0] == "export":
                name, _, value = words[1].partition("=")
                self.environment[name] = value
            elif words[0] == "python" and "bytelyst_sync.testing.server" not in words:
                goes_to_a_file = words[-2:-1] == [">"]
                done = subprocess.run(
                    [sys.executable, *words[1 : -2 if goes_to_a_file else None]],
                    env=self.environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=SECONDS_OF_A_COMMAND,
                    check=False,
                )
                where = f"{self.page}:{line}: {command}"
                if goes_to_a_file:
                    assert done.returncode == 0, f"{where}: {done.stdout}"
                    Path(words[-1]).write_text(done.stdout, "utf-8")
                else:
                    assert_printed(expected or "\n", done.stdout or "\n", where)

    def close(self) -> None:
        for each in self.names.values():
            if isinstance(each, (SyncEngine, SyncServer)):
                each.close() if isinstance(each, SyncEngine) else each.stop()


@patch.dict(os.environ)  # a page may set more
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_from_top_to_bottom(
    page: str, server: SyncServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.environ.update({name: generate_key() for name in ("APP_KEY", "NEW_APP_KEY")})
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    reader = Reader(page, server)
    before = None
    outage = contextlib.ExitStack()
    away = False
    try:
        for language, options, code, line in blocks(page):
            # one outage for blocks that follow each other: in between an engine would deliver
            if language in ("python", "console") and away != (":name: offline" in options):
                away = not away
                outage.enter_context(server.outage()) if away else outage.close()
            if language == "python":
                reader.python(code, line)
            elif language == "console":
                reader.console(code, line)
            elif language == "text" and before == "python":
                assert_printed(code, reader.printed, f"{page}:{line}")
            before = language
    finally:
        outage.close()
        reader.close()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_is_found(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    assert sum(1 for _ in blocks(page)) == text.count(".. code-block::")


def test_every_page_is_run_here_or_elsewhere() -> None:
    tests = Path(__file__).parents[1]
    for page, module in RUN_ELSEWHERE.items():
        assert page.removesuffix(".rst") in (tests / module).read_text("utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.rst")}
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for page in pages - {*PAGES, *RUN_ELSEWHERE}:
        text = (DOCS / page).read_text("utf-8")
        found = [(language, code) for language, _, code, _ in blocks(page)]
        assert len(found) == text.count("code-block::"), page
        for language, code in found:
            commands = re.findall(r"^\$ (\w+) ([\w-]+)", code, re.MULTILINE)
            assert (language, {tool for tool, _ in commands}) == ("console", {"make"}), page
            assert {target for _, target in commands} <= set(targets), page
        assert "literalinclude::" not in text, page
        assert not re.search(r"^(?!\.\. glossary).*(?<!::)::\n\n ", text, re.MULTILINE), page


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.rst").read_text("utf-8")
    named = set(re.findall(r"^   ([a-z_/]+)$", index, re.MULTILINE))
    pages = {
        path.relative_to(DOCS).with_suffix("").as_posix()
        for path in DOCS.rglob("*.rst")
        if "_build" not in path.parts
    }
    assert named == pages - {"index"}


def diagrams() -> dict[str, Callable[..., Any]]:
    spec = present(importlib.util.spec_from_file_location("diagrams", DOCS / "diagrams.py"))
    module = importlib.util.module_from_spec(spec)
    present(spec.loader).exec_module(module)
    found: dict[str, Callable[..., Any]] = module.PICTURES
    return found


@pytest.mark.parametrize(
    "name",
    [
        *("rooms", "push", "item-states", "conflict-decision", "threads"),
        *("way-of-a-push", "way-of-a-delivery"),
    ],
)
def test_a_diagram_is_as_its_script_draws_it(name: str) -> None:
    drawn = diagrams()[name]().text()
    assert (DOCS / f"_static/{name}.svg").read_text("utf-8") == drawn
    assert ET.fromstring(drawn).tag.endswith("svg")


def test_every_picture_is_shown_and_there() -> None:
    pages = [path.read_text("utf-8") for path in DOCS.rglob("*.rst")]
    shown = {name for page in pages for name in re.findall(r"_static/([\w-]+\.\w+)", page)}
    assert shown >= {f"{name}.svg" for name in diagrams()}
    assert all((DOCS / "_static" / name).exists() for name in shown)
