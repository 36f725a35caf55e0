"""Completion in the real shells, as the page says to set it up."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bytelyst_sync.model import Json

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture
def path(tmp_path: Path, toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Json:
    """``bytelyst-sync`` is found on PATH, and is this one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "bytelyst-sync"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bytelyst_sync "$@"\n')
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": os.fspath(ROOT),
        "HOME": os.fspath(tmp_path),
        "TERM": "dumb",
    }


class Shell:
    """An interactive shell, at a terminal of its own."""

    def __init__(self, *command: str, env: Json) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.text = ""

    def type(self, text: str, until: str) -> None:
        """Types it and waits until something new is shown."""
        start = len(self.text)
        os.write(self._master, text.encode())
        deadline = time.monotonic() + PATIENCE_S
        while until not in self.text[start:]:
            assert time.monotonic() < deadline, self.text
            if select.select([self._master], [], [], 0.2)[0]:
                self.text += os.read(self._master, 65536).decode("utf-8", "replace")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


@pytest.mark.parametrize(
    ("command", "first"),
    [
        pytest.param(["bash", "--norc", "--noprofile", "-i"], "", id="bash", marks=needs("bash")),
        pytest.param(
            ["zsh", "-f", "-i"],
            "autoload -U compinit && compinit -u -D; ",
            id="zsh",
            marks=needs("zsh"),
        ),
    ],
)
def test_the_tab_key(path: Json, command: list[str], first: str) -> None:
    shell = Shell(*command, env=path)
    try:
        said = f'eval "$(bytelyst-sync completion {command[0]})"; echo se""t up\r'
        shell.type(first + said, until="set up")
        shell.type("bytelyst-sync stat\t", until="status ")
        shell.type("\x15bytelyst-sync push ta\t", until="tasks ")
        shell.type("\x15bytelyst-sync queue --dat\t", until="--data ")
    finally:
        shell.close()


@needs("fish")
def test_fish(path: Json, tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "fish" / "completions"
    folder.mkdir(parents=True)
    script = subprocess.run(
        ["bytelyst-sync", "completion", "fish"],
        env=path,
        capture_output=True,
        timeout=30,
        check=True,
    )
    (folder / "bytelyst-sync.fish").write_bytes(script.stdout)
    asked = 'for each in "st" "push " "failed "; complete -C "bytelyst-sync $each"; end'
    done = subprocess.run(
        ["fish", "-c", asked],
        env={**path, "XDG_CONFIG_HOME": os.fspath(tmp_path / ".config")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = dict(line.partition("\t")[::2] for line in done.stdout.splitlines())
    assert set(found) == {"status", "notes", "tasks", "list", "retry", "discard"}
    assert found["status"].startswith("Show what waits, what failed, ")
