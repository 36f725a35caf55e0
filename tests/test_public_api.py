"""What a program may rely on: names, signatures, and an import that costs little."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bytelyst_sync
from bytelyst_sync import SyncEngine

ROOT = Path(__file__).parents[1]
IMPORT_SHARE = 0.7
RUNS = 5


def test_all_exports():
    assert bytelyst_sync.__all__ == sorted(bytelyst_sync.__all__)
    for name in bytelyst_sync.__all__:
        value = getattr(bytelyst_sync, name)
        assert value.__name__ == name
        assert value.__module__.split(".")[0] == "bytelyst_sync"
        assert value.__doc__, f"{name} has no docstring"
        assert len(value.__doc__.split()) > 2, f"{name} has hardly a docstring"


def test_all_names_are_listed():
    assert set(bytelyst_sync.__all__) <= set(dir(bytelyst_sync))


def test_nothing_public_is_left_out():
    public = {
        name
        for name, value in vars(bytelyst_sync).items()
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
    }
    imported_for_its_own_use = {"import_module", "Any"}
    assert public - imported_for_its_own_use <= set(bytelyst_sync.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'bytelyst_sync' has no attribute 'Engine'"):
        _ = bytelyst_sync.Engine


@pytest.mark.parametrize("name", bytelyst_sync.__all__)
def test_every_public_method_is_documented(name):
    value = getattr(bytelyst_sync, name)
    if not inspect.isclass(value):
        return
    for attribute, member in vars(value).items():
        if attribute.startswith("_"):
            continue
        if inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod, property)):
            assert inspect.getdoc(getattr(value, attribute)), f"{name}.{attribute}"


REQUIRED = inspect.Parameter.empty
METHODS = {
    # SPEC §1, "SyncEngine": parameters and their defaults
    "push": {"entity": REQUIRED, "data": REQUIRED, "operation": "create"},
    "push_many": {"entity": REQUIRED, "rows": REQUIRED, "operation": "create"},
    "transaction": {},
    "delete": {"entity": REQUIRED, "record_id": REQUIRED},
    "flush": {"timeout": None},
    "pull": {"entity": None, "timeout": None},
    "full_sync": {"timeout": None},
    "get": {"entity": REQUIRED, "record_id": REQUIRED},
    "records": {"entity": REQUIRED, "where": None},
    "queue": {},
    "failed": {},
    "conflicts": {"resolved": False},
    "wait": {"item": REQUIRED, "timeout": None},
    "cancel": {"item": REQUIRED},
    "reprocess_failed": {"ids": None, "data": None},
    "discard_failed": {"ids": None},
    "clear_queue": {},
    "resolve": {"conflict": REQUIRED, "data": REQUIRED},
    "reconcile": {"entity": REQUIRED},
    "on_status_change": {"callback": REQUIRED},
    "on_change": {"callback": REQUIRED, "entity": None},
    "on_failure": {"callback": REQUIRED},
    "start": {},
    "close": {"timeout": 5.0},
    "pause": {},
    "resume": {},
    "__enter__": {},
}
PROPERTIES = ["status", "queue_length", "is_online"]


@pytest.mark.parametrize("name", METHODS)
def test_the_signature_of(name):
    parameters = dict(inspect.signature(getattr(SyncEngine, name)).parameters)
    del parameters["self"]
    assert {each: parameter.default for each, parameter in parameters.items()} == METHODS[name]
    assert list(parameters) == list(METHODS[name])
    kinds = {parameter.kind for parameter in parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property(name):
    assert isinstance(inspect.getattr_static(SyncEngine, name), property)


def test_an_engine_is_made_of_a_config_or_of_keywords():
    assert list(inspect.signature(SyncEngine).parameters) == ["config"]
    kinds = [
        each.kind
        for each in inspect.signature(bytelyst_sync.create_sync_engine).parameters.values()
    ]
    assert kinds == [inspect.Parameter.VAR_KEYWORD]


def test_create_sync_engine_is_sync_engine_of_sync_config():
    settings = {
        "base_url": "https://api.example.com",
        "entities": {"notes": "/notes"},
        "storage": ":memory:",
        "workers": 3,
    }
    engine = bytelyst_sync.create_sync_engine(**settings)
    try:
        assert isinstance(engine, SyncEngine)
        assert engine.config == bytelyst_sync.SyncConfig(**settings)
    finally:
        engine.close()


def test_an_engine_of_keywords_is_told_how():
    with pytest.raises(TypeError, match=r"takes a SyncConfig, not a dict; create_sync_engine"):
        SyncEngine({"base_url": "https://api.example.com"})


def test_the_types_are_shipped():
    assert (Path(bytelyst_sync.__file__).parent / "py.typed").is_file()


# --- what the import costs


@pytest.fixture(scope="module")
def run_fresh(tmp_path_factory):
    """Runs a program in a fresh interpreter that measures nothing but itself."""
    compiled = tmp_path_factory.mktemp("compiled")
    environ = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("COVERAGE_", "COV_", "PYTHON"))
    }
    environ |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(compiled)}

    def run(text):
        done = subprocess.run(
            [sys.executable, "-c", text],
            env=environ,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return run


@pytest.mark.parametrize(
    "heavy", ["requests", "urllib3", "sqlite3", "ssl", "http.client", "asyncio", "filelock"]
)
def test_the_import_does_not_load(run_fresh, heavy):
    loaded = run_fresh("import sys, bytelyst_sync; print(*sys.modules)")
    assert "bytelyst_sync" in loaded
    assert heavy not in loaded


def test_the_import_starts_no_thread(run_fresh):
    assert run_fresh("import threading, bytelyst_sync; print(threading.active_count())") == ["1"]


def test_the_import_prints_nothing_and_adds_a_null_handler_only(run_fresh):
    printed = run_fresh(
        "import logging, bytelyst_sync\n"
        "print(*(type(each).__name__ for each in logging.getLogger('bytelyst_sync').handlers))\n"
        "print(len(logging.getLogger().handlers))"
    )
    assert printed == ["NullHandler", "0"]


def test_the_import_is_much_faster_than_that_of_requests(run_fresh):
    timed = (
        "import time; began = time.process_time()\nimport {}\nprint(time.process_time() - began)"
    )
    taken = {"bytelyst_sync": [], "requests": []}
    for module in taken:
        run_fresh(timed.format(module))  # compiles what it imports
    for _ in range(RUNS):
        for module, seconds in taken.items():
            seconds.extend(map(float, run_fresh(timed.format(module))))
    assert min(taken["bytelyst_sync"]) <= IMPORT_SHARE * min(taken["requests"]), taken


@pytest.mark.parametrize(
    "module", ["bytelyst_sync", "bytelyst_sync.storage", "bytelyst_sync.testing"]
)
def test_a_name_whose_extra_is_missing_raises_what_tools_forgive(run_fresh, module):
    """freezegun, for one, asks every module for every name that ``dir`` lists."""
    optional = (
        "cryptography",
        "opentelemetry",
        "responses",
        "pytest",
        "hypothesis",
        "click",
        "rich",
    )
    found = run_fresh(
        f"import importlib, sys\n"
        f"for name in {optional!r}: sys.modules[name] = None\n"
        f"module = importlib.import_module({module!r})\n"
        f"for name in {{*dir(module), *module.__all__}}:\n"
        f"    try:\n"
        f"        getattr(module, name)\n"
        f"    except (ImportError, AttributeError) as error:\n"
        f"        assert 'pip install' in str(error), error\n"
        f"        print(name)"
    )
    assert ("EncryptedStorage" in found) == (module != "bytelyst_sync.testing")


def test_freezegun_works_where_the_extras_are_not_installed(run_fresh):
    assert run_fresh(
        "import sys\n"
        "for name in ('cryptography', 'responses', 'hypothesis'): sys.modules[name] = None\n"
        "import datetime, bytelyst_sync, bytelyst_sync.storage, bytelyst_sync.testing\n"
        "from freezegun import freeze_time\n"
        "with freeze_time('2031-05-01'): print(datetime.date.today())"
    ) == ["2031-05-01"]
