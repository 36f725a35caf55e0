"""A configuration file in somebody else's directory: what it may name, and what it may not."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from bytelyst_sync.cli import trust
from bytelyst_sync.cli.settings import Flags, Settings, load  # type: ignore[attr-defined]  # what it imports
from bytelyst_sync.testing import SyncServer
from tests.cli.conftest import Done

SECRET = "s3cr3t-t0ken"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")


def other_owner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory and the file belong to another user."""
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)


def other_owner_of_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del monkeypatch
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(folder / "bytelyst-sync.toml", 12345, -1)


def writable_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /tmp is, and directories that people share."""
    del monkeypatch
    folder.chmod(0o1777)


def writable_by_a_group(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_is_private_group", lambda _: False)
    folder.chmod(0o770)


def writable_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del monkeypatch
    (folder / "bytelyst-sync.toml").chmod(0o666)


WAYS = [
    other_owner,
    other_owner_of_file,
    writable_directory,
    writable_by_a_group,
    writable_file,
]


def token_of(settings: Settings) -> Any:
    return cast("Any", settings.config.auth)()


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def distrusted(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Makes the directory somebody else's."""
    return lambda: request.param(tmp_path, monkeypatch)


def sent(server: SyncServer, since: int = 0) -> str:
    requests = server.requests[since:]
    return " ".join(f"{each.path} {dict(each.headers)} {each.body}" for each in requests)


@pytest.mark.parametrize("verb", ["doctor", "pull", "flush"])
@pytest.mark.parametrize(
    ("line", "tail"),
    [
        ("auth_env = 'AWS_SECRET_ACCESS_KEY'", ""),
        ("", "[headers_env]\nX-Stolen = 'AWS_SECRET_ACCESS_KEY'"),
        ("", "[headers]\nAuthorization = 'Bearer of-the-other-user'"),
    ],
)
def test_it_reads_no_variable(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    server: SyncServer,
    distrusted: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    line: str,
    tail: str,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    toml(line, tail=tail)
    distrusted()
    done = cli(verb, code=1 if verb == "doctor" else 3)
    assert "if you trust this file, name it: --config bytelyst-sync.toml" in done.out + done.err
    assert SECRET not in sent(server) + done.out + done.err
    assert not server.requests


@pytest.mark.parametrize("verb", ["doctor", "pull", "flush", "sync"])
@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("BYTELYST_SYNC_AUTH", f"Bearer {SECRET}"),
        ("BYTELYST_SYNC_HEADERS", f'{{"X-Key": "{SECRET}"}}'),
    ],
)
def test_its_server_is_sent_no_credentials(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    server: SyncServer,
    distrusted: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    variable: str,
    text: str,
) -> None:
    monkeypatch.setenv(variable, text)
    toml()
    distrusted()
    done = cli(verb, code=1 if verb == "doctor" else 6)
    assert f"({variable})" in done.out + done.err
    assert SECRET not in sent(server) + done.out + done.err


def test_its_server_is_sent_no_netrc(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    server: SyncServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login anna password {SECRET}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    toml()
    cli("pull")
    assert "Basic" in sent(server)
    before = len(server.requests)
    writable_directory(tmp_path, monkeypatch)
    cli("doctor")
    assert len(server.requests) > before
    assert "Basic" not in sent(server, since=before)


def test_its_server_gets_nothing_of_a_store_that_the_user_names(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    server: SyncServer,
    tmp_path_factory: pytest.TempPathFactory,
    distrusted: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = tmp_path_factory.mktemp("own") / "mine.db"
    toml()
    cli("push", "notes", '{"id": "1"}', "--storage", store)
    distrusted()
    monkeypatch.setenv("BYTELYST_SYNC_STORAGE", str(store))
    assert "storage (BYTELYST_SYNC_STORAGE)" in cli("flush", code=6).err
    assert not server.requests


@pytest.mark.parametrize("verb", ["status", "doctor", "flush", "push", "queue"])
def test_it_opens_no_file_outside(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    distrusted: Callable[..., None],
    verb: str,
) -> None:
    home = tmp_path_factory.mktemp("home")
    keys = home / "authorized_keys"
    keys.write_text("ssh-ed25519 AAAA anna\n")
    path = toml()
    path.write_text(path.read_text().replace("'app.db'", f"'{keys}'"))
    distrusted()
    data = ["notes", "{}"] if verb == "push" else []
    done = cli(verb, *data, code=1 if verb == "doctor" else 3)
    assert f"({keys}) is outside of" in done.out + done.err
    assert [each.name for each in home.iterdir()] == ["authorized_keys"]
    assert keys.read_text() == "ssh-ed25519 AAAA anna\n"


@pytest.mark.parametrize("storage", ["../out.db", "link/out.db", "~/out.db"])
def test_ways_out_of_the_directory(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    storage: str,
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    monkeypatch.setenv("HOME", str(outside))
    (tmp_path / "link").symlink_to(outside)
    path = toml()
    path.write_text(path.read_text().replace("'app.db'", f"'{storage}'"))
    writable_directory(tmp_path, monkeypatch)
    assert "is outside of" in cli("push", "notes", "{}", code=3).err


def test_what_it_says_otherwise_is_used(
    toml: Callable[..., Path], server: SyncServer, distrusted: Callable[..., None]
) -> None:
    toml("max_retries = 2")
    distrusted()
    settings = load(Flags())
    assert settings.config.base_url == server.url
    assert settings.config.max_retries == 2
    assert settings.untrusted_because


@pytest.mark.parametrize("named", ["--config", "variable"])
def test_a_file_that_is_named_is_trusted(
    toml: Callable[..., Path],
    tmp_path: Path,
    distrusted: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    named: str,
) -> None:
    monkeypatch.setenv("API_TOKEN", SECRET)
    path = toml("auth_env = 'API_TOKEN'")
    distrusted()
    given = Flags(config=str(path)) if named == "--config" else Flags()
    if named == "variable":
        monkeypatch.setenv("BYTELYST_SYNC_CONFIG", str(path))
    assert token_of(load(given)) == SECRET


def test_the_users_own_server_gets_the_users_own_token(
    toml: Callable[..., Path],
    server: SyncServer,
    distrusted: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BYTELYST_SYNC_AUTH", f"Bearer {SECRET}")
    toml(base_url="https://elsewhere.example")
    distrusted()
    settings = load(Flags(base_url=server.url))
    assert settings.missing is None
    assert token_of(settings) == SECRET


def test_the_group_that_has_the_users_name_is_the_users(
    toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", SECRET)
    toml("auth_env = 'API_TOKEN'")
    monkeypatch.setattr(trust, "_is_private_group", lambda number: number == os.getegid())
    tmp_path.chmod(0o775)
    assert token_of(load(Flags())) == SECRET


@pytest.mark.parametrize(("home", "trusted"), [("here", True), ("elsewhere", False)])
def test_without_owners_the_home_directory_is_the_users(
    toml: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    home: str,
    trusted: bool,
) -> None:
    path = toml()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.delattr(os, "geteuid")
    monkeypatch.setattr(Path, "home", lambda: tmp_path if home == "here" else tmp_path / home)
    reason = trust.untrusted_reason(path, path.stat())
    assert (reason is None) is trusted


def test_a_pipe_of_that_name_keeps_nobody_waiting(cli: Callable[..., Done], tmp_path: Path) -> None:
    path = tmp_path / "bytelyst-sync.toml"
    path.unlink()
    os.mkfifo(path)
    assert "is no regular file" in cli("status", code=3).err
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_store_for_each_account(
    cli: Callable[..., Done], toml: Callable[..., Path], tmp_path: Path
) -> None:
    path = toml("account = 'Anna'")
    path.write_text(path.read_text().replace("'app.db'", "'{account}.db'"))
    cli("push", "notes", "{}")
    assert cli("status", "--json").json["queue_length"] == 1
    assert (tmp_path / "=41nna.db").exists()


@pytest.mark.parametrize(
    ("lines", "tail", "said"),
    [
        (["max_retrys = 1"], "", "max_retrys is no setting; do you mean max_retries?"),
        ([], "[entities.x]\nendpont = '/x'", "endpont is no setting; do you mean endpoint?"),
        ([], "[dialect]\nitms = 'a'", "itms is no setting; do you mean items?"),
        (["zzzzzz = 1"], "", "zzzzzz is no setting; allowed: account"),
    ],
)
@pytest.mark.parametrize("verb", ["doctor", "status"])
def test_a_misspelt_setting_names_the_nearest_one(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    verb: str,
    lines: list[str],
    tail: str,
    said: str,
) -> None:
    toml(*lines, tail=tail)
    done = cli(verb, code=1 if verb == "doctor" else 3)
    assert said in done.out + done.err
