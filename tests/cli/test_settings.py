"""Where settings come from, which ones win, and what is said of a wrong one."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from bytelyst_sync import AuthError, ConfigError, ConflictStrategy
from bytelyst_sync.cli.settings import Flags, load
from bytelyst_sync.inspection.settings import Settings
from bytelyst_sync.model import Json
from bytelyst_sync.testing import SyncServer
from tests.cli.conftest import Done

SECRET = "s3cr3t-t0ken"


def test_the_file_then_the_environment_then_flags(
    toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    toml("max_retries = 1", "retry_delay = 2.0", "batch_size = 7")
    monkeypatch.setenv("BYTELYST_SYNC_MAX_RETRIES", "2")
    monkeypatch.setenv("BYTELYST_SYNC_RETRY_DELAY", "3")
    config = load(Flags(sets=("max_retries=3",))).config
    assert (config.max_retries, config.retry_delay, config.batch_size) == (3, 3.0, 7)


def test_everything_from_flags_alone(tmp_path: Path) -> None:
    given = Flags(base_url="https://a.example", storage="q.db", entities=("notes=/notes",))
    settings = load(given)
    assert settings.file is None
    assert settings.store == tmp_path / "q.db"
    assert settings.config.entities["notes"].endpoint == "/notes"


def test_an_entity_flag_adds_and_keeps_the_other_settings(toml: Callable[..., Path]) -> None:
    toml(entities="notes = {endpoint = '/notes', conflict = 'merge'}")
    found = load(Flags(entities=("notes=/v2/notes", "tags=/tags"))).config.entities
    assert found["notes"].endpoint == "/v2/notes"
    assert found["notes"].conflict is ConflictStrategy.MERGE
    assert found["tags"].endpoint == "/tags"


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_file_elsewhere_and_its_store_beside_it(
    toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    path = toml().rename(folder / "other.toml")
    given = Flags(config=str(path)) if how == "flag" else Flags()
    if how == "variable":
        monkeypatch.setenv("BYTELYST_SYNC_CONFIG", str(path))
    assert load(given).store == folder / "app.db"


def test_a_store_given_as_flag_counts_from_here(toml: Callable[..., Path], tmp_path: Path) -> None:
    assert load(Flags(storage="sub/x.db")).store == tmp_path / "sub" / "x.db"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["max_retries = -1"], ["bytelyst-sync.toml", "max_retries is -1", "from 0"]),
        (["base_ur = 'x'"], ["base_ur", "base_url"]),
        (["conflict = 'mine'"], ["'mine'", "'server-wins'"]),
        (["auth = 'Bearer s3cr3t-t0ken'"], ["auth does not belong", "auth_env"]),
        (["auth_env = 's3cr3t-t0ken'"], ["auth_env takes the name"]),
        (["dialect = 'soap'"], ["soap", "'rest'"]),
        (["timeout = ["], ["is no TOML", "line"]),
    ],
)
def test_a_wrong_line_is_named(
    cli: Callable[..., Done], toml: Callable[..., Path], lines: list[str], said: list[str]
) -> None:
    toml(*lines)
    err = cli("status", code=3).err
    assert all(each in err for each in said), err
    assert err.count("\n") == 1
    assert SECRET not in err


def test_a_wrong_entity_is_named(cli: Callable[..., Done], toml: Callable[..., Path]) -> None:
    toml(entities="notes = '/notes'\ntasks = {endpoint = '/tasks', dedup = 'all'}")
    err = cli("status", code=3).err
    assert "entity 'tasks': dedup is 'all'; allowed: 'id'" in err


def test_an_entity_without_endpoint(cli: Callable[..., Done], toml: Callable[..., Path]) -> None:
    toml(entities="notes = {conflict = 'merge'}")
    assert "entity 'notes': endpoint is missing" in cli("status", code=3).err


def test_a_wrong_variable_and_a_wrong_flag_are_named(
    cli: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--set max_retries is 'x'" in cli("status", "--set", "max_retries=x", code=3).err
    assert "--set auth" in cli("status", "--set", f"auth=Bearer {SECRET}", code=3).err
    monkeypatch.setenv("BYTELYST_SYNC_WORKERS", "many")
    assert "BYTELYST_SYNC_WORKERS is 'many'" in cli("status", code=3).err


def test_what_is_missing_names_the_ways_to_say_it(cli: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "bytelyst-sync.toml").unlink()
    err = cli("status", code=3).err
    for way in ("base_url is missing", "init", "--base-url", "BYTELYST_SYNC_BASE_URL"):
        assert way in err


def test_a_file_that_is_named_must_be_there(cli: Callable[..., Done], tmp_path: Path) -> None:
    err = cli("--config", tmp_path / "no.toml", "status", code=3).err
    assert "no.toml: there is no such file (--config)" in err


def test_memory_is_no_place_for_a_queue_here(cli: Callable[..., Done]) -> None:
    assert "name a file" in cli("status", "--storage", ":memory:", code=3).err


def test_false_in_a_dialect_says_none(toml: Callable[..., Path]) -> None:
    toml(tail="[dialect]\ntombstone = false\npartial_answer = false\nsince = ['after', '{cursor}']")
    dialect = load(Flags()).config.dialect
    assert dialect.tombstone is None
    assert dialect.partial_answer is False
    assert dialect.since == ("after", "{cursor}")


# --- secrets


def token_of(settings: Settings) -> Any:
    return cast("Any", settings.config.auth)()


@pytest.mark.parametrize("text", [SECRET, f"Bearer {SECRET}"])
def test_the_token_is_in_the_variable_that_the_file_names(
    toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    toml("auth_env = 'API_TOKEN'")
    monkeypatch.setenv("API_TOKEN", text)
    assert token_of(load(Flags())) == SECRET


def test_a_user_and_a_password(toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    toml("auth_env = 'API_LOGIN'")
    monkeypatch.setenv("API_LOGIN", "anna:pass word")
    assert load(Flags()).config.auth == ("anna", "pass word")


def test_the_variable_of_the_package_goes_first(
    toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    toml("auth_env = 'API_TOKEN'")
    monkeypatch.setenv("BYTELYST_SYNC_AUTH", f"Bearer {SECRET}")
    settings = load(Flags())
    settings.require_credentials()
    assert token_of(settings) == SECRET


def test_missing_credentials_hinder_only_what_needs_them(
    cli: Callable[..., Done], toml: Callable[..., Path]
) -> None:
    toml("auth_env = 'API_TOKEN'")
    cli("push", "notes", "{}")
    cli("status")
    err = cli("flush", code=6).err
    assert "API_TOKEN, which is not set" in err
    with pytest.raises(AuthError):
        load(Flags()).require_credentials()


def test_headers_from_variables(toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    toml(tail="[headers]\nX-Client = 'desk'\n[headers_env]\nX-Api-Key = 'API_KEY'")
    monkeypatch.setenv("API_KEY", SECRET)
    assert load(Flags()).config.headers == {"X-Client": "desk", "X-Api-Key": SECRET}


def test_headers_env_is_a_table_of_names(toml: Callable[..., Path]) -> None:
    toml("headers_env = 'API_KEY'")
    with pytest.raises(ConfigError, match="no table"):
        load(Flags())


def test_no_verb_prints_a_secret(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    server: SyncServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.token = "another"
    toml("auth_env = 'API_TOKEN'", tail="[headers]\nX-Api-Key = 'k3y-k3y'")
    monkeypatch.setenv("API_TOKEN", SECRET)
    cli("push", "notes", '{"id": "1"}')
    shown = ""
    for arguments, code in [
        (["-vv", "status"], 0),
        (["-vv", "flush"], 6),
        (["flush", "--json"], 6),
        (["-vv", "doctor"], 1),
        (["doctor", "--json"], 1),
        (["queue", "--json", "--data"], 0),
    ]:
        done = cli(*arguments, code=code)
        shown += done.out + done.err
    assert SECRET not in shown
    assert "k3y-k3y" not in shown


# --- init


def test_init_writes_a_file_that_works(
    cli: Callable[..., Done], tmp_path: Path, server: SyncServer
) -> None:
    path = tmp_path / "new.toml"
    done = cli("init", "--config", path, "--base-url", server.url, "--entity", "notes=/notes")
    assert "wrote" in done.out
    settings = load(Flags(config=str(path)))
    assert settings.config.base_url == server.url
    assert list(settings.config.entities) == ["notes"]
    assert settings.store == tmp_path / "bytelyst-sync.db"


def test_every_line_that_init_comments_out_can_be_used(
    cli: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.toml"
    cli("init", "--config", path)
    text = path.read_text()
    for line in text.splitlines():
        if line.startswith("# ") and (" = " in line or line.startswith("# [")):
            text = text.replace(line, line[2:])
    path.write_text(text.replace("[entities]\nnotes", "[entities]\nprojects = '/projects'\nnotes"))
    monkeypatch.setenv("API_TOKEN", "t")
    monkeypatch.setenv("API_KEY", "k")
    config = load(Flags(config=str(path))).config
    assert config.dialect.items == "results"
    assert config.headers == {"X-Client": "cash desk 3", "X-Api-Key": "k"}
    assert config.entities["tasks"].references == {"project_id": "projects"}


def test_init_does_not_overwrite(cli: Callable[..., Done], toml: Callable[..., Path]) -> None:
    path = toml()
    before = path.read_text()
    assert "--force" in cli("init", code=2).err
    assert path.read_text() == before
    cli("init", "--force")
    assert "# Where the queue lives" in path.read_text()


def test_init_refuses_what_would_not_work(cli: Callable[..., Done], tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    cli("init", "--config", path, "--base-url", "ftp://x", code=3)
    assert not path.exists()


def test_init_into_a_folder_that_is_not_there(cli: Callable[..., Done], tmp_path: Path) -> None:
    assert "cannot be written" in cli("init", "--config", tmp_path / "no" / "x.toml", code=2).err


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_store_that_a_verb_makes_is_for_its_owner(
    cli: Callable[..., Done], tmp_path: Path
) -> None:
    cli("push", "notes", "{}")
    assert stat.S_IMODE((tmp_path / "app.db").stat().st_mode) == 0o600


# --- a misspelt name


@pytest.mark.parametrize(
    ("lines", "tail", "environ", "flags", "meant"),
    [
        (["max_retires = 3"], "", {}, [], "max_retries"),
        ([], "[entities.notes]\nendpiont = '/notes'", {}, [], "endpoint"),
        ([], "[dialect]\nitmes = 'rows'", {}, [], "items"),
        ([], "[dialect]\npreset = 'kintoo'", {}, [], "kinto"),
        (["dialect = 'json-server'"], "", {}, [], "json_server"),
        ([], "[dialect.batch]\nanswer = 'rows'", {}, [], "answers"),
        ([], "[entities.notes]\nendpoint = '/n'\ndialect = {itmes = 'x'}", {}, [], "items"),
        ([], "", {"BYTELYST_SYNC_BASEURL": "http://x"}, [], "BYTELYST_SYNC_BASE_URL"),
        ([], "", {}, ["--set", "retry_dealy=3"], "retry_delay"),
    ],
)
def test_the_nearest_setting_is_named(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    tail: str,
    environ: Json,
    flags: list[str],
    meant: str,
) -> None:
    toml(*lines, entities="tasks = '/tasks'", tail=tail)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    done = cli("doctor", *flags, code=1)
    assert f"do you mean {meant}?" in done.out
    assert f"do you mean {meant}?" in cli("status", *flags, code=3).err
