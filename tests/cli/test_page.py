"""What the page shows is what happens: its blocks, typed into a real shell."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bytelyst_sync.cli.settings import Given, load
from bytelyst_sync.testing import Reply

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "command_line.rst").read_text("utf-8")
ADDRESS = "https://api.example.com"
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)
BLOCKS = [(language, textwrap.dedent(code)) for language, code in BLOCK.findall(PAGE)]
CONSOLE = [code for language, code in BLOCKS if language == "console"]


@pytest.fixture
def shell(tmp_path, server):
    """Types a block, and compares what is printed with what the page shows below each command."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "bytelyst-sync"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bytelyst_sync "$@"\n')
    program.chmod(0o755)
    shop = tmp_path / "shop"
    shop.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }

    def as_on_the_page(text):
        text = text.replace(server.url, ADDRESS).replace(str(shop), "/srv/shop")
        text = text.replace(server.url.removeprefix("http://"), "api.example.com:443")
        return re.sub(r"\(\d+ ms\)", "(7 ms)", text)

    def run(block):
        code = 0
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            done = subprocess.run(
                ["bash", "-c", command.replace(ADDRESS, server.url).replace("$?", str(code))],
                cwd=shop,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=40,
                check=False,
            )
            code = done.returncode
            shown = re.sub(r"\(\d+ ms\)", "(7 ms)", expected)
            assert as_on_the_page(done.stdout) == shown.rstrip("\n") + "\n" * bool(shown), command

    run.shop = shop
    run.environment = environment
    return run


def configure(shop, server, *entities):
    lines = [f"base_url = '{server.url}'", "storage = 'app.db'", "[entities]", *entities]
    (shop / "bytelyst-sync.toml").write_text("\n".join(lines) + "\n")


def prepare(shell, *arguments):
    subprocess.run(
        ["bytelyst-sync", *arguments],
        cwd=shell.shop,
        env=shell.environment,
        timeout=40,
        check=True,
        capture_output=True,
    )


def test_all_of_its_blocks_are_known_here():
    languages = [language for language, _ in BLOCKS]
    assert languages == ["console", "console", "console", "toml", "console", "shell"]
    assert PAGE.count(".. code-block::") == len(BLOCKS)


def test_the_beginning(shell, server):
    shell(CONSOLE[0])
    assert server.records("notes")["1"]["title"] == "from a shell"


def test_without_a_network(shell, server):
    configure(shell.shop, server, "notes = '/notes'")
    prepare(shell, "push", "notes", "{}")
    with server.outage():
        shell(CONSOLE[1])


def test_what_doctor_finds(shell, server):
    configure(shell.shop, server, "notes = '/notes'")
    prepare(shell, "push", "notes", "{}")
    (shell.shop / "app.db").chmod(0o644)
    server.reject = lambda seen: (
        Reply(301, headers={"Location": "/notes/"}) if seen.path == "/notes" else None
    )
    shell(CONSOLE[2])


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_json_in_a_pipe(shell, server):
    configure(shell.shop, server, "notes = '/notes'", "tasks = '/tasks'")
    for number, done in enumerate([False, True, False]):
        server.put("notes", {"id": str(number), "done": done})
    prepare(shell, "pull")
    prepare(shell, "push", "tasks", "[{}, {}, {}]")
    shell(CONSOLE[3])
    prepare(shell, "flush")
    assert [record["done"] for record in server.records("notes").values()] == [True] * 3


def test_the_file_is_accepted(tmp_path, monkeypatch):
    (text,) = [code for language, code in BLOCKS if language == "toml"]
    (tmp_path / "bytelyst-sync.toml").write_text(text)
    monkeypatch.setenv("API_TOKEN", "Bearer x")
    monkeypatch.setenv("API_KEY", "y")
    config = load(Given()).config
    assert set(config.entities) == {"notes", "tasks", "projects"}
    assert config.headers["X-Api-Key"] == "y"
    assert config.entities["projects"].dialect.tombstone is None


def test_the_lines_for_a_shell_are_those_that_are_tried():
    """In ``test_completion``."""
    (text,) = [code for language, code in BLOCKS if language == "shell"]
    for shell in ("bash", "zsh", "fish"):
        assert f"bytelyst-sync completion {shell}" in text
