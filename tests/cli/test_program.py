"""The command as a program: its exit codes, its pipes, its extra, and what importing it costs."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.cli import main
from bytelyst_sync.cli.codes import MEANINGS, ExitCode, code_of
from bytelyst_sync.cli.group import root
from bytelyst_sync.errors import AuthError, ConfigError, QueueFullError, StorageFullError
from bytelyst_sync.testing import Stall, SyncServer
from tests.cli.conftest import Done
from tests.typed import present

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "command_line.rst"


def finish(process: subprocess.Popen[str], stdin: None = None) -> tuple[int, str, str]:
    out, err = process.communicate(stdin, timeout=20)
    return process.returncode, out, err


def test_it_runs_as_a_module(spawn: Callable[..., subprocess.Popen[str]]) -> None:
    code, out, err = finish(spawn("push", "notes", '{"id": "1"}', "-q"))
    assert (code, out, err) == (0, "queued: create notes 1\n", "")
    assert finish(spawn("status", "--json"))[0] == 0


def test_the_entry_point_is_the_same(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, toml: Callable[..., Path]
) -> None:
    assert "bytelyst_sync.cli:main" in (ROOT / "setup.cfg").read_text()
    assert main(["status", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["exists"] is False
    monkeypatch.setattr(sys, "argv", ["bytelyst-sync", "nothing"])
    assert main() == ExitCode.USAGE


@pytest.mark.parametrize("hidden", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(
    spawn: Callable[..., subprocess.Popen[str]], hidden: str
) -> None:
    text = (
        "import importlib.util as util, sys\n"
        "found = util.find_spec\n"
        f"util.find_spec = lambda name, *a: None if name == {hidden!r} else found(name, *a)\n"
        "from bytelyst_sync.cli import main\n"
        "sys.exit(main(['status']))"
    )
    code, out, err = finish(spawn(python=("-c", text)))
    assert code == ExitCode.NOT_INSTALLED
    assert out == ""
    assert err.count("\n") == 1
    assert 'pip install "bytelyst-sync[cli]"' in err
    assert hidden in err


def test_importing_the_package_does_not_load_it(
    spawn: Callable[..., subprocess.Popen[str]],
) -> None:
    text = "import sys, bytelyst_sync; print(*sys.modules)"
    loaded = finish(spawn(python=("-c", text)))[1].split()
    assert "bytelyst_sync" in loaded
    assert not {"click", "rich", "bytelyst_sync.cli", "bytelyst_sync.__main__"} & set(loaded)


@pytest.mark.parametrize("verb", [["export", "notes"], ["queue", "--json"], ["records", "notes"]])
def test_a_reader_that_stops_is_no_fault(
    spawn: Callable[..., subprocess.Popen[str]],
    cli: Callable[..., Done],
    engine: SyncEngine,
    verb: list[str],
) -> None:
    engine.push_many("notes", [{"id": str(n), "title": "x" * 200} for n in range(2000)])
    process = spawn(*verb)
    assert present(process.stdout).readline()
    present(process.stdout).close()
    process.wait(20)
    assert process.returncode == ExitCode.PIPE
    assert present(process.stderr).read() == ""


def test_nobody_reads_at_all(
    spawn: Callable[..., subprocess.Popen[str]], toml: Callable[..., Path]
) -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        process = spawn("status", "--json", stdout=reader.stdin)
        process.wait(20)
        assert process.returncode == ExitCode.PIPE


def test_an_interrupt_leaves_all_queued(
    spawn: Callable[..., subprocess.Popen[str]], server: SyncServer, cli: Callable[..., Done]
) -> None:
    cli("push", "notes", '{"id": "1"}')
    server.script(Stall(1.0), match="POST")
    process = spawn("flush")
    assert server.wait_for(lambda: any(seen.method == "POST" for seen in server.in_flight))
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == ExitCode.INTERRUPTED
    assert err == "bytelyst-sync: interrupted; what is queued stays queued\n"
    assert server.wait_for(lambda: not server.in_flight)
    cli("flush")
    assert len(server.journal) == 1


def test_watching_without_a_terminal_prints_a_line_per_change(
    spawn: Callable[..., subprocess.Popen[str]], engine: SyncEngine, server: SyncServer
) -> None:
    process = spawn("status", "--watch", "--interval", "0.1", "--json", "--no-probe")
    assert json.loads(present(process.stdout).readline())["exists"] is False
    engine.push("notes", {})
    while json.loads(present(process.stdout).readline())["queue_length"] != 1:
        pass
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == ExitCode.INTERRUPTED


def test_a_store_that_cannot_be_opened(cli: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "app.db").mkdir()
    for verb in (["status"], ["push", "notes", "{}"], ["flush"], ["export", "--all"]):
        assert "is a directory" in cli(*verb, code=4).err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can do this")
def test_root_does_not_shut_the_owner_out(cli: Callable[..., Done], tmp_path: Path) -> None:
    cli("push", "notes", "{}")
    for path in tmp_path.glob("app.db*"):
        os.chown(path, 12345, 12345)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert "belongs to user 12345" in cli("flush", code=4).err
    assert "belongs to user 12345" in cli("status", code=4).err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_errors_and_their_codes() -> None:
    assert code_of(ConfigError()) is ExitCode.CONFIG
    assert code_of(StorageFullError()) is ExitCode.STORAGE
    assert code_of(AuthError()) is ExitCode.CREDENTIALS
    assert code_of(QueueFullError()) is ExitCode.FAILED


def test_verbose_logs_to_standard_error(
    spawn: Callable[..., subprocess.Popen[str]], server: SyncServer, cli: Callable[..., Done]
) -> None:
    cli("push", "notes", "{}")
    with server.outage():
        code, _, err = finish(spawn("-v", "flush"))
    assert code == ExitCode.OFFLINE
    assert "bytelyst_sync.deliverer: offline" in err


# --- help and completion


def verbs(group: Any = root, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from verbs(command, (*path, name))


@pytest.mark.parametrize("path", list(verbs()), ids=" ".join)
def test_every_verb_has_help(cli: Callable[..., Done], path: tuple[str, ...]) -> None:
    out = cli(*path, "--help").out
    assert out.startswith(f"Usage: bytelyst-sync {' '.join(path)}")
    assert cli(*path, "-h").out == out


def test_help_tells_the_exit_codes(cli: Callable[..., Done]) -> None:
    out = cli("--help").out
    for code, meaning in MEANINGS.items():
        assert re.search(rf"^ +{code:d}  {re.escape(meaning)}$", out, re.MULTILINE), code


def test_no_arguments_show_the_help(cli: Callable[..., Done]) -> None:
    done = cli(code=2)
    assert "Usage: bytelyst-sync" in done.out + done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_the_shell(cli: Callable[..., Done], shell: str) -> None:
    out = cli("completion", shell).out
    assert "_BYTELYST_SYNC_COMPLETE" in out
    assert "bytelyst-sync" in out


@pytest.mark.parametrize(
    ("words", "index", "expected"),
    [
        ("bytelyst-sync st", "1", {"status"}),
        ("bytelyst-sync push ", "2", {"notes", "tasks"}),
        ("bytelyst-sync failed ", "2", {"list", "retry", "discard"}),
    ],
)
def test_the_shell_completes_verbs_and_entities(
    spawn: Callable[..., subprocess.Popen[str]], words: str, index: str, expected: set[str]
) -> None:
    env = {"COMP_WORDS": words, "COMP_CWORD": index, "_BYTELYST_SYNC_COMPLETE": "bash_complete"}
    out = finish(spawn(env=env))[1]
    assert {line.split(",")[1] for line in out.splitlines()} == expected


# --- the page in the documentation


def test_the_page_describes_every_verb_and_every_code() -> None:
    text = PAGE.read_text("utf-8")
    missing = [path for path in verbs() if f"``{' '.join(path)}" not in text]
    assert not missing
    for code, meaning in MEANINGS.items():
        assert f"   * - ``{code:d}``\n     - {meaning}\n" in text, code


def test_the_page_names_every_field_of_the_shapes(
    cli: Callable[..., Done], engine: SyncEngine, server: SyncServer
) -> None:
    text = PAGE.read_text("utf-8")
    cli("push", "notes", "{}")
    shapes = [cli("status", "--json").json, *cli("queue", "--json", "--data").lines]
    shapes += [cli("flush", "--json").json, cli("doctor", "--json").json["checks"][0]]
    server.put("notes", {"id": "1", "t": 1})
    engine.pull()
    engine.push("notes", {"id": "1", "t": 2}, "update")
    server.patch("notes", "1", {"t": 3})
    engine.pull()
    (listed,) = cli("conflicts", "list", "--json").lines
    shapes.append(cli("conflicts", "show", listed["id"], "--json").json)
    missing = {name for shape in shapes for name in shape if f'"{name}"' not in text}
    assert not missing
