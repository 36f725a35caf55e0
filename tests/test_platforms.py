"""What differs on systems that the tests do not run on, faked: no fork, locks of ``filelock``, the
system proxies of macOS.
"""

import os
import subprocess
import sys
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
import requests.utils

from bytelyst_sync import SQLiteStorage, create_sync_engine
from bytelyst_sync.http import sessions
from bytelyst_sync.storage.files import sqlite_uri
from bytelyst_sync.storage.location import account_in_path
from bytelyst_sync.testing import SyncServer

ROOT = Path(__file__).parents[1]
BOUND_S = 50
NO_FORK = """
import os
for name in ("fork", "forkpty", "register_at_fork", "fchmod", "fchown"):
    if hasattr(os, name):
        delattr(os, name)
"""
LOCKS_OF_FILELOCK = """
import sys
# these look at the platform when they are imported
import filelock, requests, urllib3, sqlite3, ssl, subprocess, multiprocessing, ctypes, attrs
for name in ("fcntl", "grp", "pwd"):
    sys.modules[name] = None
sys.platform = "win32"
"""
LOCK_FILES_GO = """
import pathlib
class Deleting(filelock.FileLock):
    # as on Windows, where nobody else has the file open by then
    def release(self, force=False):
        if self.is_locked:
            pathlib.Path(self.lock_file).unlink(missing_ok=True)
        super().release(force=force)
filelock.FileLock = Deleting
"""
PROGRAM = """
import time
from bytelyst_sync import create_sync_engine
name, url, path = sys.argv[1:]
engine = create_sync_engine(
    base_url=url, entities={"notes": "/notes"}, storage=path, probe=None, durability="normal"
)
with engine:
    for number in range(40):
        engine.push("notes", {"id": f"{name}-{number}"})
    deadline = time.monotonic() + 20
    own = lambda: sum(item.record_id.startswith(name) for item in engine.queue())
    while own() and time.monotonic() < deadline:
        engine.flush(timeout=1)
    engine.pull(timeout=10)
    print(own(), engine.count("notes") >= 40)
"""


def start(prelude: str, name: str, url: str, path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{prelude}\n{PROGRAM}", name, url, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="fakes other systems on Linux")
@pytest.mark.parametrize(
    "prelude",
    [NO_FORK, LOCKS_OF_FILELOCK, LOCKS_OF_FILELOCK + LOCK_FILES_GO],
    ids=["no fork", "locks of filelock", "lock files that go"],
)
def test_two_processes_deliver_each_item_once(
    server: SyncServer, tmp_path: Path, prelude: str
) -> None:
    both = [start(prelude, name, server.url, tmp_path / "a.db") for name in "ab"]
    try:
        for process in both:
            out, complaint = process.communicate(timeout=BOUND_S)
            assert (process.returncode, out) == (0, "0 True\n"), complaint
    finally:
        for process in both:
            process.kill()
            process.communicate()
    delivered = [effect.id for effect in server.journal]
    assert sorted(delivered) == sorted(f"{name}-{number}" for name in "ab" for number in range(40))


def forbidden(*_: object, **__: Any) -> None:
    raise AssertionError("asks _scproxy, which ends a forked process on macOS")


def test_a_forked_child_does_not_ask_macos_for_its_proxies(
    server: SyncServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(sessions, "_IMPORTED_BY", os.getpid() - 1)
    monkeypatch.setattr(requests.utils, "getproxies", forbidden)
    monkeypatch.setattr(requests.utils, "proxy_bypass", forbidden)
    with create_sync_engine(
        base_url=server.url, entities={"notes": "/notes"}, storage=str(tmp_path / "a.db")
    ) as engine:
        engine.push("notes", {"id": "1"})
        assert engine.flush(timeout=20).success


@pytest.mark.parametrize("proxied", ["in the parent", "by the environment"])
def test_proxies_are_looked_up_elsewhere(monkeypatch: pytest.MonkeyPatch, proxied: str) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    if proxied == "by the environment":
        monkeypatch.setattr(sessions, "_IMPORTED_BY", os.getpid() - 1)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    found = sessions._environment(requests.Session(), "http://api.example")
    assert found.send_options["proxies"]["http"] == "http://proxy.example:3128"


def test_a_home_directory_in_a_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: SyncServer
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with create_sync_engine(
        base_url=server.url, entities={"notes": "/notes"}, storage="~/kept.db", auto_flush=False
    ) as engine:
        engine.push("notes", {"id": "1"})
    assert (tmp_path / "kept.db").exists()
    assert SQLiteStorage("~/kept.db").path == tmp_path.resolve() / "kept.db"


@pytest.mark.parametrize(
    "names", [("Anna", "anna"), ("\u00e9", "e\u0301"), ("a.", "a"), ("CON", "con")]
)
def test_accounts_stay_apart_where_case_and_forms_are_folded(names: tuple[str, str]) -> None:
    """macOS folds case and Unicode's forms, Windows case, and drops a dot at the end."""
    one, two = (account_in_path(name).casefold().rstrip(". ") for name in names)
    assert one != two
    assert PureWindowsPath(one).name == one


def test_a_name_of_a_device_is_no_file_name() -> None:
    for name in ("con", "nul", "com1", "lpt9"):
        assert account_in_path(name) != name


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (PurePosixPath("/srv/a b.db"), "file:///srv/a%20b.db?mode=rw"),
        (PureWindowsPath("C:\\shop\\a?.db"), "file:///C:/shop/a%3F.db?mode=rw"),
        (PureWindowsPath("\\\\host\\share\\a.db"), "file:////host/share/a.db?mode=rw"),
    ],
)
def test_a_path_as_sqlite_takes_it(path: PurePath, uri: str) -> None:
    """SQLite refuses a host in a URI, and ``as_uri`` puts the host of a UNC path there."""
    assert sqlite_uri(path, "mode=rw") == uri


DEFERRED_ANNOTATIONS = """
import inspect, sys, types
# as in Python 3.14, whose inspect.signature() evaluates annotations unless it is told otherwise
as_it_was = inspect.signature
def signature(function, *, annotation_format=1):
    if annotation_format == 1:
        eval(function.__annotations__["return"], {})
    return as_it_was(function)
import bytelyst_sync.config.settings as settings
settings.Format = types.SimpleNamespace(FORWARDREF=3)
settings.sys = types.SimpleNamespace(version_info=(3, 14))
settings.inspect = types.SimpleNamespace(signature=signature, Signature=inspect.Signature)
def auth() -> "Token":
    return "t"
print(settings.token_provider(auth) is auth, settings.requests_auth(auth))
"""


def test_annotations_of_auth_are_not_evaluated() -> None:
    command = [sys.executable, "-c", DEFERRED_ANNOTATIONS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert done.stdout == "True None\n", done.stderr
