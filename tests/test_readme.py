"""The documents keep their word: their code runs, and the commands they name are there."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import attrs
import pytest

from bytelyst_sync import EntityConfig, SyncConfig, SyncEngine
from bytelyst_sync.testing import Reply, Seen, SyncServer

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.rst", "docs/quickstart.rst"]
EXAMPLE_URL = "https://api.example.com"
LONGEST_TITLE = 200

BLOCK = re.compile(
    r"^\.\. code-block:: python\n(?P<options>(?:    :.*\n)*)\n(?P<code>(?:(?:    .*)?\n)+)",
    re.MULTILINE,
)


def code_blocks(document: str) -> Iterator[tuple[str, str]]:
    """The options and the code of each Python block, padded to its place in the document."""
    text = (ROOT / document).read_text("utf-8")
    for block in BLOCK.finditer(text):
        code = re.sub(r"^    ", "", block["code"], flags=re.MULTILINE)
        yield block["options"], "\n" * text.count("\n", 0, block.start("code")) + code


def too_long(seen: Seen) -> Reply | None:
    if isinstance(seen.body, dict) and len(seen.body.get("title", "")) > LONGEST_TITLE:
        return Reply(422, {"error": "title is too long"})
    return None


@pytest.fixture
def server() -> Iterator[SyncServer]:
    with SyncServer() as server:
        server.reject = too_long
        yield server


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code_runs_from_top_to_bottom(
    document: str, server: SyncServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[Any, Any] = {}
    try:
        for options, code in code_blocks(document):
            if ":name: notes.py" in options:
                continue  # a file of its own, run below
            with server.outage() if ":name: offline" in options else nullcontext():
                program = code.replace(EXAMPLE_URL, server.url)
                exec(compile(program, document, "exec"), names)
    finally:
        for engine in names.values():
            if isinstance(engine, SyncEngine):
                engine.close()
    assert server.journal, "the examples delivered nothing"


def test_the_trial_goes_as_it_says(server: SyncServer, tmp_path: Path) -> None:
    """Word for word, but for the port, and the server that is started in between."""
    text = (ROOT / "README.rst").read_text("utf-8")
    (program,) = [code for options, code in code_blocks("README.rst") if "notes.py" in options]
    (console,) = re.findall(r"code-block:: console\n\n((?:(?:    .*)?\n)+)", text)[1:]
    (tmp_path / "notes.py").write_text(program.replace("http://127.0.0.1:8000", server.url))
    outage = ExitStack()
    outage.enter_context(server.outage())
    commands = re.split(r"^    \$ python ", console, flags=re.MULTILINE)[1:]
    assert [command.split()[0] for command in commands] == ["notes.py", "-m", "notes.py"]
    with outage:
        for command in commands:
            line, _, printed = command.partition("\n")
            if line.startswith("-m"):
                assert line == "-m bytelyst_sync.testing.server --port 8000 &"
                outage.close()
                continue
            done = subprocess.run(
                [sys.executable, *shlex.split(line)],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=40,
                check=True,
            )
            assert done.stdout == printed.strip() + "\n"
    titles = {record["title"] for record in server.records("notes").values()}
    assert titles == {"typed in a tunnel", "and another", "back at home"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_python_block_is_found(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    assert len(list(code_blocks(document))) == text.count(".. code-block:: python") > 0


@pytest.mark.parametrize("document", ["README.rst", "docs/index.rst", "docs/quickstart.rst"])
def test_named_make_targets_exist(document: str) -> None:
    named = re.findall(r"(?:\$ |``)make ([\w-]+)", (ROOT / document).read_text("utf-8"))
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(named) <= set(targets)


def test_make_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = {*" ".join(re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)).split()}
    parts_of_others = {"FORCE", "help", "servers", "no-servers"}
    assert phony - parts_of_others == set(re.findall(r"@echo 'make ([\w-]+) ", makefile))


@pytest.mark.parametrize("settings", [SyncConfig, EntityConfig])
def test_every_setting_is_described(settings: type[SyncConfig | EntityConfig]) -> None:
    described = (ROOT / "docs/configuration.rst").read_text("utf-8")
    missing = [f.name for f in attrs.fields(settings) if f"* - ``{f.name}``" not in described]
    assert not missing


def test_readme_opens_with_the_two_commands() -> None:
    text = (ROOT / "README.rst").read_text("utf-8")
    assert text.index("$ make demo") < text.index("$ make test") < text.index("guaranteed")
