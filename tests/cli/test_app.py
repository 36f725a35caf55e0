"""``--app``: the verbs work on a program's own engine, with all that only Python can say."""

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from bytelyst_sync import create_sync_engine
from bytelyst_sync.storage import EncryptedStorage
from bytelyst_sync.testing import SyncServer
from tests.cli.conftest import Done, Terminal
from tests.typed import present

ROOT = Path(__file__).parents[2]
KEY = "A" * 43 + "="
OTHER_KEY = "B" * 42 + "A="
PROGRAM = """
import os
from bytelyst_sync import Dialect, EntityConfig, SyncConfig, SyncEngine, create_sync_engine
from bytelyst_sync.storage import EncryptedStorage, MemoryStorage, SQLiteStorage

URL = os.environ["URL_OF_THE_TEST"]

class Shouting(Dialect):
    def encode(self, operation, record):
        record = dict(record)
        if "title" in record:
            record["title"] = record["title"].upper()
        return super().encode(operation, record)

def theirs_and_ours(conflict):
    return {**conflict.remote, "title": conflict.remote["title"] + "+" + conflict.local["title"]}

def settings(**changes):
    return {"base_url": URL, "entities": {"notes": "/notes"}, "storage": "app.db", **changes}
"""


@pytest.fixture
def program(
    server: SyncServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Path]]:
    """Writes the program's module, and removes it from the interpreter after the test."""
    (tmp_path / "bytelyst-sync.toml").write_text("this file is not read")
    monkeypatch.setenv("URL_OF_THE_TEST", server.url)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in ("", str(tmp_path))])
    before = set(sys.modules)

    def write(code: str, name: str = "shop") -> Path:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(PROGRAM + textwrap.dedent(code))
        return path

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("shop"):
            del sys.modules[name]


@pytest.fixture
def app(
    cli: Callable[..., Done], toml: Callable[..., Path], program: Callable[..., Path]
) -> Callable[..., Done]:
    def run(*arguments: Any, name: str = "shop:engine", **options: Any) -> Done:
        return cli("--app", name, *arguments, **options)

    return run


# --- what it is good for


def test_every_verb_works_on_an_encrypted_store(
    app: Callable[..., Done], program: Callable[..., Path], server: SyncServer
) -> None:
    program(
        f"""
        engine = create_sync_engine(
            **settings(storage=EncryptedStorage("app.db", key={KEY!r}), dialect=Shouting())
        )
        """
    )
    app("push", "notes", '{"id": "1", "title": "secret"}')
    (queued,) = app("queue", "--data", "--json").lines
    assert queued["data"]["title"] == "secret"
    assert app("records", "notes").lines == [{"id": "1", "title": "secret"}]
    status = app("status", "--json").json
    assert status["queue_length"] == 1
    assert status["storage"].endswith("app.db")
    assert app("flush", "--json").json["pushed"] == 1
    assert server.records("notes")["1"]["title"] == "SECRET"
    assert app("pull", "--json").json["success"]
    (line,) = app("export", "notes").lines
    assert (
        app("import", "notes", "-", stdin=f'{{"id": "1", "title": "{line["title"]}!"}}').code == 0
    )
    assert app("sync", "--json").json["pushed"] == 1
    assert app("failed", "list", "--json").lines == []
    assert app("conflicts", "list", "--json").lines == []
    done = app("doctor")
    assert "all is well" in done.out
    assert "ok   settings    --app shop:engine: 1 entity at" in done.out
    assert "1 record; it fits" in done.out
    app("sign-out", "--yes")
    assert app("records", "notes").lines == []


def test_conflicts_are_decided_by_the_program(
    app: Callable[..., Done], program: Callable[..., Path], server: SyncServer
) -> None:
    program(
        """
        engine = create_sync_engine(
            **settings(conflict="manual", on_conflict=theirs_and_ours)
        )
        """
    )
    server.put("notes", {"id": "1", "title": "a"})
    app("pull")
    app("push", "notes", '{"id": "1", "title": "ours"}', "--update")
    server.patch("notes", "1", {"title": "theirs"})
    app("sync")
    assert server.records("notes")["1"]["title"] == "theirs+ours"


def test_its_sessions_carry_the_requests(
    app: Callable[..., Done], program: Callable[..., Path], server: SyncServer
) -> None:
    program(
        """
        import requests
        def session():
            made = requests.Session()
            made.headers["X-Shop"] = "7"
            return made
        engine = create_sync_engine(**settings(session_factory=session))
        """
    )
    app("pull")
    app("doctor")
    pulls = [seen for seen in server.requests if seen.method == "GET"]
    assert pulls
    assert all(seen.headers["x-shop"] == "7" for seen in pulls)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("engine = SyncEngine(SyncConfig(**settings()))", "shop:engine"),
        ("config = SyncConfig(**settings())", "shop:config"),
        ("def make(): return create_sync_engine(**settings())", "shop:make"),
        ("def make(): return SyncConfig(**settings())", "shop:make"),
        ("class App: engine = create_sync_engine(**settings())", "shop:App.engine"),
        ("config = SyncConfig(**settings(storage=SQLiteStorage('app.db')))", "shop:config"),
    ],
)
def test_what_it_may_be(
    app: Callable[..., Done], program: Callable[..., Path], code: str, name: str
) -> None:
    program(code)
    app("push", "notes", "{}", name=name)
    assert app("status", "--json", name=name).json["queue_length"] == 1


def test_a_module_in_a_package(
    app: Callable[..., Done], program: Callable[..., Path], tmp_path: Path
) -> None:
    program("config = SyncConfig(**settings())", name="shops.sync")
    assert app("status", name="shops.sync:config").code == 0


def test_the_variable_stands_for_the_option(
    cli: Callable[..., Done], program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("engine = create_sync_engine(**settings())")
    monkeypatch.setenv("BYTELYST_SYNC_APP", "shop:engine")
    assert cli("status", "--json").json["queue_length"] == 0
    assert cli("--config", "other.toml", "status", code=3).err.startswith(
        "bytelyst-sync: other.toml: there is no such file"
    )


def test_flags_go_before_it(
    app: Callable[..., Done], program: Callable[..., Path], server: SyncServer, tmp_path: Path
) -> None:
    program("engine = create_sync_engine(**settings(base_url='https://elsewhere.example.com'))")
    flags = ("--base-url", server.url, "--storage", "other.db", "--set", "batch_size=3")
    app(*flags, "--entity", "tasks=/tasks", "push", "tasks", "{}")
    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "app.db").exists()
    app(*flags, "--entity", "tasks=/tasks", "flush")
    assert len(server.records("tasks")) == 1


def test_an_engine_at_work_is_closed(
    app: Callable[..., Done], program: Callable[..., Path], server: SyncServer
) -> None:
    program(
        """
        engine = create_sync_engine(**settings())
        engine.push("notes", {"id": "from the program"})
        engine.flush(timeout=10)
        """
    )
    assert app("status", "--json").json["queue_length"] == 0
    assert sys.modules["shop"].engine.status.status == "closed"


def test_what_it_prints_is_not_among_the_results(
    app: Callable[..., Done], program: Callable[..., Path]
) -> None:
    program("print('hello')\nengine = create_sync_engine(**settings())")
    done = app("status", "--json")
    assert done.json["queue_length"] == 0
    assert "hello" in done.err


def test_a_store_that_is_no_file(
    app: Callable[..., Done], program: Callable[..., Path], tmp_path: Path
) -> None:
    program(
        """
        class Elsewhere(MemoryStorage):
            pass
        class Far:
            '''A store at another place; for this test, a file that nobody is told of.'''
            def __init__(self):
                self._inner = SQLiteStorage("far.db")
            def __getattr__(self, name):
                if name == "path":
                    raise AttributeError(name)
                return getattr(self._inner, name)
        engine = create_sync_engine(**settings(storage=Far()))
        """
    )
    app("push", "notes", "{}")
    assert app("status", "--json").json["storage"] == "Far"
    assert app("status", "--json").json["queue_length"] == 1
    assert "all is well" in app("doctor").out
    app("flush")


# --- what is wrong with it


@pytest.mark.parametrize(
    ("code", "name", "error"),
    [
        ("", "shop", "--app 'shop': say MODULE:NAME, such as myprogram.sync:engine"),
        ("", "shop:", "say MODULE:NAME"),
        ("", "shop:__import__('os')", "say MODULE:NAME"),
        ("", "shopp:engine", "there is no module shopp"),
        ("", "shop.part:engine", "there is no module shop.part"),
        ("", "shop:engine", "the module shop has no engine"),
        (
            "engine = 7",
            "shop:engine",
            "it is int; allowed: a SyncEngine, a SyncConfig, or a function",
        ),
        ("def make(): return None", "shop:make", "it is NoneType; allowed"),
        ("def make(x): return 1", "shop:make", "the program raised TypeError"),
        ("1/0", "shop:engine", "the program raised ZeroDivisionError at shop.py, line 2"),
        (
            "raise RuntimeError('t0ken')",
            "shop:engine",
            "the program raised RuntimeError at shop.py",
        ),
        (
            "import nosuchthing",
            "shop:engine",
            "raised ModuleNotFoundError (nosuchthing) at shop.py",
        ),
        ("raise SystemExit(3)", "shop:engine", "the program raised SystemExit at shop.py"),
        ("x = SyncConfig(**settings(base_url='x'))", "shop:x", "ConfigError (base_url is 'x'"),
        ("x = SyncConfig(**settings(storage=':memory:'))", "shop:x", "ends with every command"),
        ("x = SyncConfig(**settings(storage=MemoryStorage()))", "shop:x", "is a MemoryStorage"),
    ],
)
def test_what_is_wrong_is_said(
    app: Callable[..., Done], program: Callable[..., Path], code: str, name: str, error: str
) -> None:
    program(code)
    done = app("status", name=name, code=3)
    assert error in done.err
    assert "t0ken" not in done.err


def test_it_is_one_or_the_other(app: Callable[..., Done]) -> None:
    assert "give one of them" in app("--config", "x.toml", "status", code=3).err


def test_an_encrypted_store_has_its_key_already(
    app: Callable[..., Done], program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(f"engine = SyncEngine(SyncConfig(**settings(storage=EncryptedStorage('a', {KEY!r}))))")
    monkeypatch.setenv("APP_KEY", KEY)
    error = app("--key-env", "APP_KEY", "status", code=3).err
    assert "the program opens its EncryptedStorage itself" in error


# --- whose module it is


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
@pytest.mark.parametrize("open_to_others", ["directory", "file", "package"])
def test_a_module_that_others_may_write_is_not_run(
    spawn: Callable[..., Popen[str]],
    program: Callable[..., Path],
    tmp_path: Path,
    open_to_others: str,
) -> None:
    script = tmp_path / "bin" / "bytelyst-sync"
    script.parent.mkdir()
    script.write_text("import sys\nfrom bytelyst_sync.cli import main\nsys.exit(main())\n")
    code = "print('RUN')\nengine = create_sync_engine(**settings())"
    program(code)
    program(code, name="shops.sync")
    name = "shops.sync" if open_to_others == "package" else "shop"
    places = {"directory": tmp_path, "file": tmp_path / "shop.py", "package": tmp_path / "shops"}
    place = places[open_to_others]
    command = ("--app", f"{name}:engine", "status", "--json")

    def run(**env: str) -> tuple[int, str, str]:
        process = spawn(*command, python=(str(script),), env=env)
        return process.wait(20), present(process.stdout).read(), present(process.stderr).read()

    status, out, err = run()
    assert (status, "RUN" in err) == (0, True), err
    place.chmod(place.stat().st_mode | 0o002)
    status, out, err = run()
    assert status == 3
    assert "RUN" not in out + err
    assert "is not run, because" in err
    assert "if you trust it, say PYTHONPATH=." in err
    status, out, err = run(PYTHONPATH=f"{ROOT}{os.pathsep}.")
    assert (status, "RUN" in err) == (0, True), err


# --- a key


@pytest.fixture
def sealed(server: SyncServer, tmp_path: Path) -> None:
    with create_sync_engine(
        base_url=server.url,
        entities={"notes": "/notes"},
        storage=EncryptedStorage(tmp_path / "app.db", key=KEY),
        auto_flush=False,
    ) as engine:
        engine.push("notes", {"id": "1", "title": "for nobody else"})


def test_the_key_of_a_variable_opens_all_verbs(
    cli: Callable[..., Done], sealed: None, server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_KEY", KEY)
    (item,) = cli("--key-env", "APP_KEY", "queue", "--data", "--json").lines
    assert item["data"]["title"] == "for nobody else"
    cli("flush", "--key-env", "APP_KEY")
    assert server.records("notes")["1"]["title"] == "for nobody else"
    assert cli("records", "notes", "--key-env", "APP_KEY").lines[0]["id"] == "1"
    assert "all is well" in cli("doctor", "--key-env", "APP_KEY").out
    assert cli("status", "--key-env", "APP_KEY", "--json").json["queue_length"] == 0


def test_a_store_is_created_with_the_key(
    cli: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_KEY", KEY)
    cli("--key-env", "APP_KEY", "push", "notes", '{"title": "hidden words"}')
    files = [each.read_bytes() for each in tmp_path.glob("app.db*")]
    assert not any(b"hidden words" in each for each in files)
    assert "encrypted" in cli("queue", code=4).err


def test_the_file_may_name_the_variable(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    sealed: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toml("key_env = 'APP_KEY'")
    monkeypatch.setenv("APP_KEY", KEY)
    assert cli("queue", "--data", "--json").lines[0]["data"]["title"] == "for nobody else"


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_file_of_somebody_else_names_no_key(
    cli: Callable[..., Done],
    toml: Callable[..., Path],
    sealed: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
) -> None:
    toml("key_env = 'APP_KEY'")
    monkeypatch.setenv("APP_KEY", KEY)
    tmp_path.chmod(mode)
    error = cli("queue", "--data", code=3).err
    assert "key_env of bytelyst-sync.toml is not used, because" in error


def test_what_a_key_opens_is_not_sent_to_a_server_of_somebody_else(
    cli: Callable[..., Done],
    sealed: None,
    server: SyncServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APP_KEY", KEY)
    tmp_path.chmod(0o777)
    error = cli("flush", "--key-env", "APP_KEY", code=6).err
    assert "key (--key-env) is not for" in error
    assert server.requests == []


@pytest.mark.parametrize(
    ("value", "code", "error"),
    [
        (None, 3, "--key-env names the variable APP_KEY, which is not set: export it"),
        ("abc", 3, "key"),
        (OTHER_KEY, 4, "key"),
    ],
)
def test_a_key_that_does_not_fit(
    cli: Callable[..., Done],
    sealed: None,
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    code: int,
    error: str,
) -> None:
    if value is not None:
        monkeypatch.setenv("APP_KEY", value)
    done = cli("--key-env", "APP_KEY", "queue", code=code)
    assert error in done.err
    assert "abc" not in done.err


def test_a_key_is_no_name_of_a_variable(cli: Callable[..., Done], sealed: None) -> None:
    done = cli("--key-env", KEY, "queue", code=3)
    assert "takes the name of an environment variable, not the key itself" in done.err
    assert KEY not in done.err


def test_a_terminal_is_asked_for_the_key(terminal: Callable[..., Terminal], sealed: None) -> None:
    at = terminal("queue", "--data", "--json")
    at.until("Key of ")
    at.type(KEY + "\n")
    assert at.finish() == 0
    assert "for nobody else" in at.text
    assert KEY not in at.text


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [("\x04", 130, "interrupted"), ("\x03", 130, "interrupted"), ("\n", 3, "key is no key")],
)
def test_a_terminal_that_gives_no_key_ends_with_an_error(
    terminal: Callable[..., Terminal], sealed: None, typed: str, code: int, said: str
) -> None:
    at = terminal("queue")
    at.until("Key of ")
    at.type(typed)
    assert at.finish() == code
    assert said in at.text
    assert "Traceback" not in at.text
