"""What the page shows is what happens: its blocks, typed into a real shell."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import attrs
import pytest

from bytelyst_sync import Dialect
from bytelyst_sync.cli.settings import Flags, load
from bytelyst_sync.storage import generate_key
from bytelyst_sync.testing import Reply, SyncServer
from tests.typed import present

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "command_line.rst").read_text("utf-8")
ADDRESS = "https://api.example.com"
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)
BLOCKS = [(language, textwrap.dedent(code)) for language, code in BLOCK.findall(PAGE)]
CONSOLE = [code for language, code in BLOCKS if language == "console"]


@attrs.frozen
class Shell:
    """Runs the blocks of the page in a directory."""

    run: Callable[[str], None]
    shop: Path
    environment: dict[str, str]

    def __call__(self, block: str) -> None:
        self.run(block)


@pytest.fixture
def shell(tmp_path: Path, server: SyncServer) -> Shell:
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

    def as_on_the_page(text: str) -> str:
        text = text.replace(server.url, ADDRESS).replace(str(shop), "/srv/shop")
        text = text.replace(server.url.removeprefix("http://"), "api.example.com:443")
        return re.sub(r"\(\d+ ms\)", "(7 ms)", text)

    def run(block: str) -> None:
        code = 0
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = generate_key() if value == "..." else value
                continue
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
            shown = shown.rstrip("\n") + "\n" * bool(shown)
            came = as_on_the_page(done.stdout)
            assert OutputChecker().check_output(shown, came, ELLIPSIS), f"{command}\n{came}"

    return Shell(run, shop, environment)


def configure(shop: Path, server: SyncServer, *entities: str) -> None:
    lines = [f"base_url = '{server.url}'", "storage = 'app.db'", "[entities]", *entities]
    (shop / "bytelyst-sync.toml").write_text("\n".join(lines) + "\n")


def prepare(shell: Shell, *arguments: str) -> None:
    subprocess.run(
        ["bytelyst-sync", *arguments],
        cwd=shell.shop,
        env=shell.environment,
        timeout=40,
        check=True,
        capture_output=True,
    )


def test_all_of_its_blocks_are_known_here() -> None:
    languages = [language for language, _ in BLOCKS]
    assert languages == [
        *("console", "console", "console", "console", "console", "console", "toml", "python"),
        *("console", "console", "console", "shell"),
    ]
    assert PAGE.count(".. code-block::") == len(BLOCKS)


def test_the_beginning(shell: Shell, server: SyncServer) -> None:
    shell(CONSOLE[0])
    assert server.records("notes")["1"]["title"] == "from a shell"


def test_without_a_network(shell: Shell, server: SyncServer) -> None:
    configure(shell.shop, server, "notes = '/notes'")
    prepare(shell, "push", "notes", "{}")
    with server.outage():
        shell(CONSOLE[1])


def test_what_doctor_finds(shell: Shell, server: SyncServer) -> None:
    configure(shell.shop, server, "notes = '/notes'")
    prepare(shell, "push", "notes", "{}")
    (shell.shop / "app.db").chmod(0o644)
    server.reject = lambda seen: (
        Reply(301, headers={"Location": "/notes/"}) if seen.path == "/notes" else None
    )
    shell(CONSOLE[2])


def test_writes_on_records_of_its_own(shell: Shell, server: SyncServer) -> None:
    configure(shell.shop, server, "notes = '/notes'")
    shell(CONSOLE[3])
    assert server.records("notes") == {}


def test_writes_with_a_mapping_that_does_not_fit(shell: Shell) -> None:
    with SyncServer(dialect=Dialect(send_version=None)) as server:
        configure(shell.shop, server, "notes = '/notes'")
        shell(CONSOLE[4])


def test_a_draft_of_a_dialect(shell: Shell) -> None:
    record = {"id": 1, "title": "x", "updated_at": "2024-05-06T07:08:09Z", "deleted_at": None}
    page = {"items": [record], "total": 7, "page": 1, "size": 1, "pages": 7}
    (shell.shop / "get.json").write_text(json.dumps(page))
    shell(CONSOLE[5])


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_json_in_a_pipe(shell: Shell, server: SyncServer) -> None:
    configure(shell.shop, server, "notes = '/notes'", "tasks = '/tasks'")
    for number, done in enumerate([False, True, False]):
        server.put("notes", {"id": str(number), "done": done})
    prepare(shell, "pull")
    prepare(shell, "push", "tasks", "[{}, {}, {}]")
    shell(CONSOLE[8])
    prepare(shell, "flush")
    assert [record["done"] for record in server.records("notes").values()] == [True] * 3


def test_the_engine_of_a_program(shell: Shell, server: SyncServer) -> None:
    (program,) = [code for language, code in BLOCKS if language == "python"]
    (shell.shop / "shop.py").write_text(program)
    shell.environment["SHOP_URL"] = server.url
    shell(CONSOLE[6])
    assert server.records("orders")["1"]["note"] == "two boxes"


def test_an_encrypted_store(shell: Shell, server: SyncServer) -> None:
    lines = [f"base_url = '{server.url}'", "storage = 'till.db'", "[entities]", "orders='/orders'"]
    (shell.shop / "till.toml").write_text("\n".join(lines) + "\n")
    shell.environment["SHOP_KEY"] = generate_key()
    shell(CONSOLE[7])
    assert list(server.records("orders")) == ["2"]


def test_the_file_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = [code for language, code in BLOCKS if language == "toml"]
    (tmp_path / "bytelyst-sync.toml").write_text(text)
    monkeypatch.setenv("API_TOKEN", "Bearer x")
    monkeypatch.setenv("API_KEY", "y")
    config = load(Flags()).config
    assert set(config.entities) == {"notes", "tasks", "projects"}
    assert config.headers["X-Api-Key"] == "y"
    assert present(config.entities["projects"].dialect).tombstone is None


def test_the_lines_for_a_shell_are_those_that_are_tried() -> None:
    """In ``test_completion``."""
    (text,) = [code for language, code in BLOCKS if language == "shell"]
    for shell in ("bash", "zsh", "fish"):
        assert f"bytelyst-sync completion {shell}" in text
