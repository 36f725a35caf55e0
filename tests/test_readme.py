"""The documents keep their word: their code runs, and the commands they name are there."""

import re
from contextlib import nullcontext
from pathlib import Path

import attrs
import pytest

from bytelyst_sync import EntityConfig, SyncConfig, SyncEngine
from bytelyst_sync.testing import Reply, SyncServer

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.rst", "docs/quickstart.rst"]
EXAMPLE_URL = "https://api.example.com"
LONGEST_TITLE = 200

BLOCK = re.compile(
    r"^\.\. code-block:: python\n(?P<options>(?:    :.*\n)*)\n(?P<code>(?:(?:    .*)?\n)+)",
    re.MULTILINE,
)


def code_blocks(document):
    """The options and the code of each Python block, padded to its place in the document."""
    text = (ROOT / document).read_text("utf-8")
    for block in BLOCK.finditer(text):
        code = re.sub(r"^    ", "", block["code"], flags=re.MULTILINE)
        yield block["options"], "\n" * text.count("\n", 0, block.start("code")) + code


def too_long(seen):
    if isinstance(seen.body, dict) and len(seen.body.get("title", "")) > LONGEST_TITLE:
        return Reply(422, {"error": "title is too long"})
    return None


@pytest.fixture
def server():
    with SyncServer() as server:
        server.reject = too_long
        yield server


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code_runs_from_top_to_bottom(document, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    try:
        for options, code in code_blocks(document):
            with server.outage() if ":name: offline" in options else nullcontext():
                program = code.replace(EXAMPLE_URL, server.url)
                exec(compile(program, document, "exec"), names)
    finally:
        for engine in names.values():
            if isinstance(engine, SyncEngine):
                engine.close()
    assert server.journal, "the examples delivered nothing"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_python_block_is_found(document):
    text = (ROOT / document).read_text("utf-8")
    assert len(list(code_blocks(document))) == text.count(".. code-block:: python") > 0


@pytest.mark.parametrize("document", ["README.rst", "docs/index.rst", "docs/quickstart.rst"])
def test_named_make_targets_exist(document):
    named = re.findall(r"(?:\$ |``)make (\w+)", (ROOT / document).read_text("utf-8"))
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(named) <= set(targets)


def test_make_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)[1].split())
    parts_of_others = {"FORCE", "help", "servers", "no-servers"}
    assert phony - parts_of_others == set(re.findall(r"@echo 'make (\w+) ", makefile))


@pytest.mark.parametrize("settings", [SyncConfig, EntityConfig])
def test_every_setting_is_described(settings):
    described = (ROOT / "docs/configuration.rst").read_text("utf-8")
    missing = [f.name for f in attrs.fields(settings) if f"* - ``{f.name}``" not in described]
    assert not missing


def test_readme_opens_with_the_two_commands():
    text = (ROOT / "README.rst").read_text("utf-8")
    assert text.index("$ make demo") < text.index("$ make test") < text.index("guaranteed")
