"""doctor: planted faults are found, and the way out is named; a sound case is left in peace."""

import json
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.inspection import checks_network
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Reply, Stall, SyncServer
from tests.cli.conftest import Done
from tests.typed import present

posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


class Report:
    def __init__(self, done: Done) -> None:
        self.ok = done.json["ok"]
        self.checks = done.json["checks"]

    def at(self, level: str, check: str) -> tuple[str, str | None]:
        """The one finding of this level and check."""
        found = [c for c in self.checks if (c["level"], c["check"]) == (level, check)]
        assert len(found) == 1, json.dumps(self.checks, indent=1)
        return found[0]["message"], found[0]["remedy"]

    def levels(self, check: str) -> list[str]:
        return [each["level"] for each in self.checks if each["check"] == check]


@pytest.fixture
def doctor(cli: Callable[..., Done], toml: Callable[..., Path]) -> Callable[..., Report]:
    """Runs it; ``code`` is 1 if it is to find a fault."""

    def run(*arguments: Any, code: int = 1) -> Report:
        return Report(cli("doctor", "--json", *arguments, code=code))

    return run


@pytest.fixture
def store(engine: SyncEngine, tmp_path: Path) -> Path:
    """A store with one queued item, closed."""
    engine.push("notes", {"id": "1"})
    engine.close()
    return tmp_path / "app.db"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- nothing planted


def test_all_is_well(
    cli: Callable[..., Done], doctor: Callable[..., Report], store: Path, server: SyncServer
) -> None:
    server.put("notes", {"id": "1"})
    report = doctor(code=0)
    assert report.ok
    assert {each["level"] for each in report.checks} == {"ok"}
    assert "1 record; it fits" in json.dumps(report.checks)
    out = cli("doctor").out
    assert out.endswith("all is well\n")
    assert all(line.startswith(("ok ", "all is well")) for line in out.splitlines())


def test_nothing_is_changed_and_nothing_left_behind(
    doctor: Callable[..., Report], store: Path, tmp_path: Path
) -> None:
    before = contents(tmp_path)
    doctor(code=0)
    assert contents(tmp_path) == before


def test_without_a_store_none_is_made(doctor: Callable[..., Report], tmp_path: Path) -> None:
    assert "not there yet" in doctor(code=0).at("ok", "store")[0]
    assert not (tmp_path / "app.db").exists()


def test_without_network_nothing_is_asked(
    doctor: Callable[..., Report], server: SyncServer
) -> None:
    doctor("--no-network", code=0)
    assert not server.requests


def test_only_reading_is_asked_of_the_server(
    doctor: Callable[..., Report], store: Path, server: SyncServer
) -> None:
    doctor(code=0)
    assert {seen.method for seen in server.requests} == {"HEAD", "GET"}


WRITER = textwrap.dedent(
    """
    import sys
    from bytelyst_sync import create_sync_engine
    engine = create_sync_engine(base_url=sys.argv[1], entities={"notes": "/notes"},
                                storage="app.db", probe=None, auto_flush=False)
    number = 0
    while not number or sys.stdin.readline():
        for _ in range(40):
            number += 1
            engine.push("notes", {"id": str(number)})
        print(number, flush=True)
    engine.close()
    """
)


def test_a_store_in_use_is_not_disturbed(
    doctor: Callable[..., Report],
    spawn: Callable[..., subprocess.Popen[str]],
    server: SyncServer,
    tmp_path: Path,
) -> None:
    other = spawn(server.url, python=("-c", WRITER), stdin=subprocess.PIPE)
    pushed = int(present(other.stdout).readline())
    for _ in range(3):
        present(other.stdin).write("\n")
        present(other.stdin).flush()
        assert "sound" in doctor(code=0).at("ok", "integrity")[0]
        pushed = int(present(other.stdout).readline())
    other.communicate("")
    assert other.returncode == 0
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (pushed,)


@pytest.mark.parametrize("version", [(3, 45, 0), (3, 51, 3)])
def test_a_fault_of_sqlite_that_is_guarded_is_not_reported(
    doctor: Callable[..., Report], monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    monkeypatch.setattr(sqlite3, "sqlite_version", ".".join(map(str, version)))
    message, _ = doctor(code=0).at("ok", "sqlite")
    assert message == f"SQLite {sqlite3.sqlite_version}"


# --- settings


def test_a_wrong_setting(doctor: Callable[..., Report], toml: Callable[..., Path]) -> None:
    toml("max_retries = -3")
    message, remedy = doctor().at("fail", "settings")
    assert "max_retries is -3; allowed: a whole number from 0" in message
    assert remedy is not None
    assert "max_retries" in remedy


def test_no_settings_at_all(doctor: Callable[..., Report], toml: Callable[..., Path]) -> None:
    toml().unlink()
    message, _ = doctor().at("fail", "settings")
    assert "init" in message


def test_credentials_that_are_not_there(
    doctor: Callable[..., Report], toml: Callable[..., Path]
) -> None:
    toml("auth_env = 'API_TOKEN'")
    message, remedy = doctor().at("fail", "credentials")
    assert "API_TOKEN" in message
    assert remedy is not None
    assert "export" in remedy


def test_credentials_in_the_clear(
    doctor: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYTELYST_SYNC_AUTH", "Bearer x")
    report = doctor("--no-network", "--base-url", "http://api.example.com", code=0)
    assert "https://" in present(report.at("warn", "credentials")[1])
    assert doctor("--no-network", code=0).levels("credentials") == ["ok"]


@posix
def test_settings_that_everybody_can_change(
    doctor: Callable[..., Report], toml: Callable[..., Path]
) -> None:
    toml().chmod(0o666)
    assert "chmod o-w" in present(doctor(code=0).at("warn", "settings")[1])


# --- the store


def test_no_directory(doctor: Callable[..., Report], tmp_path: Path) -> None:
    message, remedy = doctor("--storage", "no/such/app.db").at("fail", "directory")
    assert str(tmp_path / "no/such") in message
    assert remedy is not None
    assert "mkdir -p" in remedy


@posix
def test_a_directory_that_others_can_write_to(
    doctor: Callable[..., Report], tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    assert "chmod go-w" in present(doctor(code=0).at("warn", "directory")[1])


@posix
@pytest.mark.parametrize("suffix", ["", ".lock"])
def test_a_store_that_others_can_read(
    doctor: Callable[..., Report], store: Path, suffix: str
) -> None:
    path = store.with_name(store.name + suffix)
    path.chmod(0o644)
    message, remedy = doctor().at("fail", "permissions")
    assert "0644" in message
    assert remedy == f"chmod 600 {path}"


@posix
@pytest.mark.skipif(
    os.name == "posix" and os.geteuid() != 0, reason="only root can give a file away"
)
def test_a_lock_of_another_user(doctor: Callable[..., Report], store: Path) -> None:
    os.chown(store.with_name(store.name + ".lock"), 12345, -1)
    message, remedy = doctor(code=0).at("warn", "permissions")
    assert "another user" in message
    assert remedy is not None
    assert remedy.startswith(f"chown {os.geteuid()} ")


def test_a_directory_in_its_place(doctor: Callable[..., Report], tmp_path: Path) -> None:
    (tmp_path / "app.db").mkdir()
    assert "name a file" in present(doctor().at("fail", "store")[1])


def test_a_damaged_page(doctor: Callable[..., Report], store: Path, tmp_path: Path) -> None:
    content = bytearray(store.read_bytes())
    content[3 * 4096 : 5 * 4096] = os.urandom(2 * 4096)
    store.write_bytes(content)
    before = contents(tmp_path)
    message, remedy = doctor().at("fail", "integrity")
    assert "is damaged" in message
    assert remedy is not None
    assert "sets it aside" in remedy
    assert contents(tmp_path) == before


def test_no_database_at_all(doctor: Callable[..., Report], store: Path) -> None:
    store.write_bytes(b"something else entirely " * 1000)
    assert "not a database" in doctor().at("fail", "integrity")[0]


def test_a_newer_release(doctor: Callable[..., Report], store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA user_version=99")
    message, remedy = doctor().at("fail", "store")
    assert "newer release (schema 99" in message
    assert remedy is not None
    assert "upgrade" in remedy


def test_another_programs_database(doctor: Callable[..., Report], tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    path.chmod(0o600)
    message, remedy = doctor().at("fail", "store")
    assert "another program's" in message
    assert remedy is not None
    assert "set storage" in remedy


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("mib", "level", "code"), [(5, "fail", 1), (100, "warn", 0)])
def test_a_full_disk(
    doctor: Callable[..., Report], monkeypatch: pytest.MonkeyPatch, mib: int, level: str, code: int
) -> None:
    usage = Usage(10**12, 10**12, mib * 1024 * 1024)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    message, remedy = doctor(code=code).at(level, "disk")
    assert f"{mib} MiB free" in message
    assert remedy is not None
    assert "free some space" in remedy


def test_what_a_damage_left_behind(doctor: Callable[..., Report], tmp_path: Path) -> None:
    (tmp_path / "app.db.damaged-20260101T000000").touch()
    assert "delete it" in present(doctor(code=0).at("warn", "store")[1])
    (tmp_path / "app.db.damaged-20260101T000000.salvage").touch()
    assert "interrupted" in doctor(code=0).at("warn", "store")[0]


# --- the queue


def test_failed_items(
    doctor: Callable[..., Report], engine: SyncEngine, server: SyncServer
) -> None:
    server.reject = lambda seen: Reply(422, {"error": "too long"}) if seen.body else None
    engine.push("notes", {"id": "1"})
    engine.flush()
    message, remedy = doctor(code=0).at("warn", "failed")
    assert "1 item failed" in message
    assert "422 'too long'" in message
    assert remedy is not None
    assert "failed retry" in remedy


def test_a_parked_conflict(
    doctor: Callable[..., Report], engine: SyncEngine, server: SyncServer
) -> None:
    server.put("notes", {"id": "1", "t": 1})
    engine.pull()
    engine.push("notes", {"id": "1", "t": 2}, "update")
    server.patch("notes", "1", {"t": 3})
    engine.pull()
    assert "conflicts resolve" in present(doctor(code=0).at("warn", "conflicts")[1])


def test_an_item_that_waits_for_another_try(
    doctor: Callable[..., Report], engine: SyncEngine, server: SyncServer
) -> None:
    server.always(Reply(500), match="POST")
    engine.push("notes", {"id": "1"})
    engine.flush()
    assert "HTTP 500" in doctor(code=0).at("warn", "queue")[0]


def test_items_that_wait_for_days(doctor: Callable[..., Report], store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("UPDATE items SET time = time - 3 * 86400")
        connection.commit()
    message, remedy = doctor(code=0).at("warn", "queue")
    assert "3 d ago" in message
    assert remedy is not None
    assert "flush" in remedy


def test_items_whose_sender_was_killed(
    doctor: Callable[..., Report],
    spawn: Callable[..., subprocess.Popen[str]],
    server: SyncServer,
    store: Path,
    cli: Callable[..., Done],
) -> None:
    server.script(Stall(1.5), match="POST")
    other = spawn("flush")
    assert server.wait_for(lambda: any(seen.method == "POST" for seen in server.in_flight))
    other.kill()
    other.wait()
    message, remedy = doctor(code=0).at("warn", "queue")
    assert f"1 item stuck in sending: process {other.pid} ended while it sent them" in message
    assert remedy is not None
    assert "same keys" in remedy
    assert server.wait_for(lambda: not server.in_flight)
    cli("flush")
    assert len(server.journal) == 1
    assert doctor(code=0).levels("queue") == ["ok"]


def test_items_of_an_entity_that_is_not_configured(
    doctor: Callable[..., Report], engine: SyncEngine, toml: Callable[..., Path]
) -> None:
    engine.push("tasks", {"id": "1"})
    toml(entities="notes = '/notes'")
    message, remedy = doctor(code=0).at("warn", "entities")
    assert "'tasks', which is not configured" in message
    assert remedy is not None
    assert "[entities]" in remedy


# --- the network


def test_a_name_that_cannot_be_resolved(
    doctor: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: str | int, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    message, remedy = doctor("--base-url", "http://api.exmaple.com").at("fail", "dns")
    assert "api.exmaple.com cannot be resolved (Name or service not known)" in message
    assert remedy is not None
    assert "slip" in remedy


def test_a_resolver_that_does_not_answer(
    doctor: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: late.wait(10) and [])
    monkeypatch.setattr(checks_network, "_DNS_S", 0.05)
    assert "no answer within" in doctor().at("fail", "dns")[0]
    late.set()


def test_a_refused_connection(doctor: Callable[..., Report], server: SyncServer) -> None:
    with server.outage():
        message, remedy = doctor().at("fail", "tcp")
    assert f"port {server.port} (Connection refused)" in message
    assert remedy is not None
    assert "is the server running" in remedy


def test_a_proxy_that_is_down(
    doctor: Callable[..., Report], server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{held.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        report = doctor("--base-url", "http://api.example.com")
    assert "no connection to the proxy 127.0.0.1" in report.at("fail", "tcp")[0]


class Quiet(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        body = b'{"items": [], "cursor": "1", "has_more": false}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: str) -> None:
        pass


@contextmanager
def https(certificate: trustme.LeafCert) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # replaced by the test
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_a_certificate_that_is_not_trusted(
    doctor: Callable[..., Report], authority: trustme.CA
) -> None:
    with https(authority.issue_cert("localhost")) as port:
        message, remedy = doctor("--base-url", f"https://localhost:{port}").at("fail", "tls")
    assert "unable to get local issuer certificate" in message
    assert remedy is not None
    assert "REQUESTS_CA_BUNDLE" in remedy


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return authority


def test_a_certificate_for_another_host(doctor: Callable[..., Report], trusted: trustme.CA) -> None:
    with https(trusted.issue_cert("elsewhere.example")) as port:
        message, remedy = doctor("--base-url", f"https://localhost:{port}").at("fail", "tls")
    assert "localhost" in message
    assert remedy is not None
    assert "host name" in remedy


def test_a_certificate_that_is_good(doctor: Callable[..., Report], trusted: trustme.CA) -> None:
    with https(trusted.issue_cert("localhost")) as port:
        report = doctor("--base-url", f"https://localhost:{port}", code=0)
    assert "certificate good for" in report.at("ok", "tls")[0]
    assert report.ok


def test_plain_http_where_tls_is_asked_for(
    doctor: Callable[..., Report], server: SyncServer
) -> None:
    message, remedy = doctor("--base-url", server.url.replace("http", "https")).at("fail", "tls")
    assert "no TLS" in message
    assert remedy is not None
    assert "http://" in remedy


@pytest.mark.parametrize(
    ("off", "level", "word"), [(3600, "fail", "behind"), (-3600, "fail", "ahead"), (30, "warn", "")]
)
def test_a_clock_that_is_off(
    doctor: Callable[..., Report], off: int, level: str, word: str, toml: Callable[..., Path]
) -> None:
    with SyncServer(clock=lambda: time.time() + off) as server:
        report = doctor("--base-url", server.url, code=1 if level == "fail" else 0)
    message, remedy = report.at(level, "clock")
    assert word in message
    assert remedy is not None
    assert "set the clock" in remedy


def test_a_captive_portal(doctor: Callable[..., Report], server: SyncServer) -> None:
    server.always(Reply(302, headers={"Location": "http://login.hotel.example/"}))
    message, remedy = doctor().at("fail", "http")
    assert "login page" in message
    assert remedy is not None
    assert "log in" in remedy


# --- the server's answers


def test_refused_credentials(
    doctor: Callable[..., Report], server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "right"
    monkeypatch.setenv("BYTELYST_SYNC_AUTH", "Bearer wrong")
    found = [each for each in doctor().checks if each["level"] == "fail"]
    assert len(found) == 2
    assert "notes: HTTP 401: the server refuses the credentials" in found[0]["message"]
    assert "BYTELYST_SYNC_AUTH" in found[0]["remedy"]
    monkeypatch.setenv("BYTELYST_SYNC_AUTH", "Bearer right")
    assert doctor(code=0).ok


def test_a_wrong_endpoint(doctor: Callable[..., Report], toml: Callable[..., Path]) -> None:
    toml(entities="notes = '/notez'")
    with SyncServer(collections=["notes"]) as strict:
        message, remedy = doctor("--base-url", strict.url).at("fail", "entities")
    assert "notes: HTTP 404: there is nothing at /notez" in message
    assert remedy is not None
    assert "endpoint of notes" in remedy


def test_a_redirect_to_a_trailing_slash(
    doctor: Callable[..., Report], server: SyncServer, toml: Callable[..., Path]
) -> None:
    toml(entities="notes = '/notes'")
    server.reject = lambda seen: (
        Reply(301, headers={"Location": "/notes/"}) if seen.path == "/notes" else None
    )
    message, remedy = doctor().at("fail", "entities")
    assert f"redirects to {server.url}/notes/; a pull follows, a push is refused" in message
    assert remedy is not None
    assert 'create = "POST {endpoint}/"' in remedy


def test_a_redirect_to_another_path(
    doctor: Callable[..., Report], server: SyncServer, toml: Callable[..., Path]
) -> None:
    toml(entities="notes = '/notes'")
    server.reject = lambda seen: (
        Reply(308, headers={"Location": "/v2/notes"}) if seen.path == "/notes" else None
    )
    assert doctor().at("fail", "entities")[1] == 'set endpoint = "/v2/notes" for notes'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"results": []}, ["`items`", "a list", "`results`"]),
        ({"items": [{"_id": "1"}], "cursor": "1"}, ["`id`", "`_id`"]),
        ({"items": []}, ["`cursor`"]),
        ("<html>", ["a page (`items`) was expected in JSON", "text/plain"]),
    ],
)
def test_a_mapping_that_does_not_fit(
    doctor: Callable[..., Report],
    server: SyncServer,
    toml: Callable[..., Path],
    body: Json | str,
    said: list[str],
) -> None:
    toml(entities="notes = '/notes'")
    server.always(Reply(200, body), match="GET")
    message, remedy = doctor().at("fail", "entities")
    assert all(each in message for each in said), message
    assert remedy


@pytest.mark.parametrize(("status", "level"), [(503, "warn"), (500, "fail"), (418, "fail")])
def test_a_server_in_trouble(
    doctor: Callable[..., Report],
    server: SyncServer,
    toml: Callable[..., Path],
    status: int,
    level: str,
) -> None:
    toml(entities="notes = '/notes'")
    server.always(Reply(status), match="GET")
    message, _ = doctor(code=1 if level == "fail" else 0).at(level, "entities")
    assert f"HTTP {status}" in message


def test_a_strategy_that_lacks_the_time(
    doctor: Callable[..., Report], toml: Callable[..., Path]
) -> None:
    toml("conflict = 'merge'", entities="notes = '/notes'")
    with SyncServer(versions=False) as plain:
        plain.put("notes", {"id": "1"})
        message, remedy = doctor("--base-url", plain.url, code=0).at("warn", "entities")
    assert "no updatedAt or updated_at" in message
    assert remedy is not None
    assert "updated_at" in remedy


def test_what_is_never_pulled(
    doctor: Callable[..., Report], toml: Callable[..., Path], server: SyncServer
) -> None:
    toml(entities="notes = {endpoint = '/notes', replica = false}")
    assert "never pulled" in doctor(code=0).at("ok", "entities")[0]


def test_every_remedy_is_shown_to_people_too(
    cli: Callable[..., Done], toml: Callable[..., Path], store: Path
) -> None:
    toml("max_retries = -1")
    out = cli("doctor", code=1).out
    assert "fail settings" in out
    assert "→ correct max_retries" in out
    assert out.endswith("1 fault\n")


def test_a_program_with_the_same_store_goes_on(
    doctor: Callable[..., Report], server: SyncServer, tmp_path: Path, toml: Callable[..., Path]
) -> None:
    toml(entities="notes = '/notes'")
    engine = create_sync_engine(
        base_url=server.url, entities={"notes": "/notes"}, storage=str(tmp_path / "app.db")
    )
    with engine:
        engine.push("notes", {"id": "1"})
        assert doctor(code=0).ok
        assert engine.flush(10).success


# --- all at once


@posix
def test_a_dozen_faults_at_once(
    cli: Callable[..., Done],
    doctor: Callable[..., Report],
    engine: SyncEngine,
    server: SyncServer,
    toml: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Each is found beside the others, and its own remedy is named, to people and in JSON."""
    entities = {"notes": "/notes", "gone": "/gone", "slash": "/slash", "odd": "/odd"}
    server.put("notes", {"id": "1", "t": 1})
    engine.pull()
    engine.push("notes", {"id": "1", "t": 2}, "update")
    server.patch("notes", "1", {"t": 3})
    engine.pull()  # parked
    server.reject = lambda seen: Reply(422, {"error": "too long"}) if seen.body else None
    engine.push("notes", {"id": "2"})
    engine.flush()  # failed
    engine.push("tasks", {"id": "1"})  # of an entity that is not configured
    engine.close()
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("UPDATE items SET time = time - 3 * 86400")
        connection.commit()
    (tmp_path / "app.db").chmod(0o644)
    (tmp_path / "app.db.damaged-20260101T000000").touch()
    answers = {
        "/gone": Reply(404),
        "/slash": Reply(301, headers={"Location": "/slash/"}),
        "/odd": Reply(200, {"results": []}),
    }
    with SyncServer(clock=lambda: time.time() - 3600) as late:
        late.reject = lambda seen: answers.get(seen.path)
        toml(
            "auth_env = 'API_TOKEN'",
            entities="\n".join(f"{name} = '{path}'" for name, path in entities.items()),
            base_url=late.url,
        ).chmod(0o666)
        tmp_path.chmod(0o777)
        named = ["--config", "bytelyst-sync.toml"]
        # credentials: then no entity is asked
        without: list[Any] = [doctor(*named), cli("doctor", *named, code=1).out]
        toml(
            entities="\n".join(f"{name} = '{path}'" for name, path in entities.items()),
            base_url=late.url,
        )
        report, shown = doctor(*named), cli("doctor", *named, code=1).out
    planted = [
        ("warn", "settings", "everybody on this machine can change", "chmod o-w"),
        ("warn", "directory", "can be written to by others", "chmod go-w"),
        ("warn", "store", "was set aside", "look at what is missing, check the disk"),
        ("fail", "permissions", "others can read what is queued", "chmod 600"),
        ("warn", "failed", "1 item failed", "failed retry"),
        ("warn", "conflicts", "1 conflict parked", "conflicts resolve"),
        ("warn", "queue", "3 d ago", "flush"),
        ("warn", "entities", "'tasks', which is not configured", "[entities]"),
        ("fail", "clock", "ahead of the server's", "set the clock"),
        ("fail", "entities", "gone: HTTP 404", "check base_url and the endpoint of gone"),
        ("fail", "entities", "slash: the server redirects", "trailing slash"),
        ("fail", "entities", "odd: `items`", "[dialect]"),
    ]
    lines = shown.splitlines()
    for level, check, message, remedy in planted:
        found = [each for each in report.checks if message in each["message"]]
        assert len(found) == 1, (message, shown)
        (found,) = found
        assert (found["level"], found["check"]) == (level, check)
        assert remedy in found["remedy"]
        (line,) = [number for number, text in enumerate(lines) if message in text]
        assert lines[line].startswith(level)
        assert "→" in lines[line + 1]
        assert remedy in lines[line + 1]
    found = [(each["level"], each["message"]) for each in report.checks if each["level"] != "ok"]
    assert len(found) == len(planted), found
    assert lines[-1] == "5 faults, 7 warnings"
    # a thirteenth, which hides those of the entities
    message, remedy = without[0].at("fail", "credentials")
    assert "API_TOKEN" in message
    assert "export" in remedy
    assert remedy in without[1]


@pytest.mark.parametrize("version", ["3.40.1", "3.44.0", "3.50.4", "3.51.3"])
def test_a_fault_of_sqlite_that_is_guarded_against_is_not_reported(
    cli: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version", version)
    done = cli("doctor")
    assert f"ok   sqlite      SQLite {version}\n" in done.out
    assert "all is well" in done.out
