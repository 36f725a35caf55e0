"""CONTRIBUTING.rst names files, targets and names that are there."""

import configparser
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bytelyst_sync.model import Json
from tests.typed import present

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bytelyst_sync"
TEXT = (ROOT / "CONTRIBUTING.rst").read_text("utf-8")
FILES = sorted(set(re.findall(r"``([\w./-]+(?:\.py|\.rst|\.md|\.cfg|/))``", TEXT)))
NAMES = sorted(set(re.findall(r"``(\w+)``(?:[\w ,]|\n  )+\(?``([\w/]+\.py)``", TEXT)))
TO_BE_WRITTEN = {name for name in FILES if "NAME" in name}


def file_of(name: str) -> Path | None:
    places = (PACKAGE / name, ROOT / name, PACKAGE / "dashboard" / name)
    return next((place for place in places if place.exists()), None)


def test_every_named_file_is_there() -> None:
    assert [name for name in sorted(set(FILES) - TO_BE_WRITTEN) if not file_of(name)] == []


def test_files_and_names_are_found() -> None:
    assert len(FILES) > 20
    assert ("_KINDS", "storage/location.py") in NAMES or len(NAMES) > 5, NAMES


def test_every_named_name_is_in_its_file() -> None:
    texts = {file: present(file_of(file)).read_text("utf-8") for _, file in NAMES}
    assert [name for name, file in NAMES if not re.search(rf"\b{name}\b", texts[file])] == []


def test_named_targets_of_make_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z][\w-]+)", re.sub(r"``make``", "", TEXT)))
    assert {"quick", "test", "test-lowest", "release-check"} <= named
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert named <= set(targets)


def test_the_commands_that_show_a_page_work(tmp_path: Path) -> None:
    blocks = re.findall(r"^\.\. code-block:: console\n\n((?: {4}.*\n)+)", TEXT, re.MULTILINE)
    (shown,) = [each for each in blocks if "bytelyst-sync ops" in each]
    settings, push, ops = [shlex.split(line)[1:] for line in shown.splitlines()]
    assert settings.pop(0) == "export"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for each in settings:
        name, _, value = each.partition("=")
        environment[name] = value
    commands = []
    for program, *arguments in (push, ops):
        assert program == ".venv/bin/bytelyst-sync"
        commands.append([sys.executable, "-m", "bytelyst_sync", *arguments])
    options: Json = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "text": True}
    done = subprocess.run(commands[0], check=True, timeout=50, **options)
    assert done.stdout.startswith("queued: create notes")
    with subprocess.Popen(commands[1], **options) as pages:
        try:
            assert present(pages.stdout).readline().startswith("http://127.0.0.1:")
        finally:
            pages.kill()


# --- the lowest versions


@pytest.fixture(scope="module")
def lowest() -> ModuleType:
    spec = present(importlib.util.spec_from_file_location("lowest", ROOT / ".ci/lowest.py"))
    module = importlib.util.module_from_spec(spec)
    present(spec.loader).exec_module(module)
    return module


def test_every_dependency_of_a_running_program_has_a_lower_bound(lowest: ModuleType) -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = settings["options.extras_require"]
    running = [
        name for name in ("cli", "crypto", "django", "lmdb", "ops", "otel", "qt") if extras[name]
    ]
    pinned = lowest.lowest(running)
    assert pinned[0].startswith("attrs == ")
    wanted = sum(len(extras[name].split("\n")) - 1 for name in running)
    wanted += len(settings["options"]["install_requires"].split("\n")) - 1
    assert len(pinned) == wanted


def test_a_dependency_that_is_pinned_is_refused(
    lowest: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "setup.cfg"
    file.write_text("[options]\ninstall_requires =\n    a >= 1\n    b == 2\n")
    monkeypatch.setattr(lowest, "SETUP", file)
    with pytest.raises(ValueError, match=r"'b == 2' in setup\.cfg"):
        lowest.lowest([])
