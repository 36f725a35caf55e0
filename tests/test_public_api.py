"""What a program may rely on: names, signatures, and an import that costs little."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

import bytelyst_sync
from bytelyst_sync import SyncConfig, SyncEngine
from bytelyst_sync.config.keywords import EngineSettings
from bytelyst_sync.model import Json
from tests.interpreter import plain_environment

ROOT = Path(__file__).parents[1]
IMPORT_SHARE = 0.7
RUNS = 5


def test_all_exports() -> None:
    assert bytelyst_sync.__all__ == sorted(bytelyst_sync.__all__)
    for name in bytelyst_sync.__all__:
        value = getattr(bytelyst_sync, name)
        assert value.__name__ == name
        assert value.__module__.split(".")[0] == "bytelyst_sync"
        assert value.__doc__, f"{name} has no docstring"
        assert len(value.__doc__.split()) > 2, f"{name} has hardly a docstring"


def test_all_names_are_listed() -> None:
    assert set(bytelyst_sync.__all__) <= set(dir(bytelyst_sync))


def test_nothing_public_is_left_out() -> None:
    public = {
        name
        for name, value in vars(bytelyst_sync).items()
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
    }
    assert public <= set(bytelyst_sync.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'bytelyst_sync' has no attribute 'Engine'"):
        _ = bytelyst_sync.Engine  # type: ignore[attr-defined]  # wrong on purpose


def test_every_public_method_is_documented() -> None:
    methods = (classmethod, staticmethod, property)
    classes = [getattr(bytelyst_sync, name) for name in bytelyst_sync.__all__]
    silent = [
        f"{kind.__name__}.{name}"
        for kind in classes
        if inspect.isclass(kind)
        for name, member in vars(kind).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, methods))
        and not inspect.getdoc(getattr(kind, name))
    ]
    assert silent == []


REQUIRED = inspect.Parameter.empty
METHODS: dict[str, Json] = {
    # parameters and their defaults
    "push": {
        "entity": REQUIRED,
        "data": REQUIRED,
        "operation": "create",
        "key": None,
        "expires": None,
    },
    "create": {"entity": REQUIRED, "data": REQUIRED, "key": None},
    "update": {"entity": REQUIRED, "record_id": REQUIRED, "fields": REQUIRED},
    "save": {"entity": REQUIRED, "data": REQUIRED},
    "push_many": {"entity": REQUIRED, "rows": REQUIRED, "operation": "create"},
    "transaction": {},
    "sign_out": {"wipe": True, "force": False},
    "delete": {"entity": REQUIRED, "record_id": REQUIRED},
    "flush": {"timeout": None},
    "pull": {"entity": None, "timeout": None},
    "full_sync": {"timeout": None},
    "get": {"entity": REQUIRED, "record_id": REQUIRED},
    "records": {"entity": REQUIRED, "where": None, "order_by": None, "limit": None},
    "record_views": {"entity": REQUIRED, "where": None, "order_by": None, "limit": None},
    "count": {"entity": REQUIRED, "where": None},
    "queue": {},
    "failed": {},
    "conflicts": {"resolved": False},
    "settled_conflicts": {},
    "wait": {"item": REQUIRED, "timeout": None},
    "cancel": {"item": REQUIRED},
    "reprocess_failed": {"ids": None, "data": None},
    "discard_failed": {"ids": None},
    "clear_queue": {},
    "resolve": {"conflict": REQUIRED, "data": REQUIRED},
    "reconcile": {"entity": REQUIRED, "accept": False},
    "reupload": {"entity": REQUIRED, "ids": None},
    "on_status_change": {"callback": REQUIRED},
    "on_change": {"callback": REQUIRED, "entity": None},
    "on_failure": {"callback": REQUIRED},
    "start": {},
    "close": {"timeout": 5.0},
    "pause": {},
    "resume": {},
    "__enter__": {},
}
PROPERTIES = ["aio", "status", "queue_length", "is_online"]


@pytest.mark.parametrize("name", METHODS)
def test_the_signature_of(name: str) -> None:
    parameters = dict(inspect.signature(getattr(SyncEngine, name)).parameters)
    del parameters["self"]
    assert {each: parameter.default for each, parameter in parameters.items()} == METHODS[name]
    assert list(parameters) == list(METHODS[name])
    kinds = {parameter.kind for parameter in parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property(name: str) -> None:
    assert isinstance(inspect.getattr_static(SyncEngine, name), property)


def test_nothing_else_is_public_on_the_engine() -> None:
    public = {name for name in dir(SyncEngine) if not name.startswith("_")}
    assert public == {*METHODS, *PROPERTIES, "stats"} - {"__enter__"}


def test_the_keywords_are_those_of_the_config() -> None:
    keywords = {*EngineSettings.__required_keys__, *EngineSettings.__optional_keys__}
    assert keywords == {field.name for field in attrs.fields(SyncConfig)}
    assert EngineSettings.__required_keys__ == {"base_url", "entities", "storage"}


def test_an_engine_is_made_of_a_config_or_of_keywords() -> None:
    assert list(inspect.signature(SyncEngine).parameters) == ["config"]
    kinds = [
        each.kind
        for each in inspect.signature(bytelyst_sync.create_sync_engine).parameters.values()
    ]
    assert kinds == [inspect.Parameter.VAR_KEYWORD]


def test_create_sync_engine_is_sync_engine_of_sync_config() -> None:
    settings: Json = {
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


def test_keywords_given_to_the_class_raise_with_the_way_out() -> None:
    with pytest.raises(TypeError, match=r"takes a SyncConfig, not a dict; create_sync_engine"):
        SyncEngine({"base_url": "https://api.example.com"})  # type: ignore[arg-type]  # wrong on purpose


def test_the_types_are_shipped() -> None:
    assert (Path(bytelyst_sync.__file__).parent / "py.typed").is_file()


# --- what the import costs


@pytest.fixture(scope="module")
def run_fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """Runs a program in a fresh interpreter that measures nothing but itself."""
    compiled = tmp_path_factory.mktemp("compiled")
    environ = {
        **plain_environment(),
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": str(compiled),
    }

    def run(text: str) -> list[str]:
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
def test_the_import_does_not_load(run_fresh: Callable[[str], list[str]], heavy: str) -> None:
    loaded = run_fresh("import sys, bytelyst_sync; print(*sys.modules)")
    assert "bytelyst_sync" in loaded
    assert heavy not in loaded


def test_the_import_starts_no_thread(run_fresh: Callable[[str], list[str]]) -> None:
    assert run_fresh("import threading, bytelyst_sync; print(threading.active_count())") == ["1"]


def test_the_import_prints_nothing_and_adds_a_null_handler_only(
    run_fresh: Callable[[str], list[str]],
) -> None:
    printed = run_fresh(
        "import logging, bytelyst_sync\n"
        "print(*(type(each).__name__ for each in logging.getLogger('bytelyst_sync').handlers))\n"
        "print(len(logging.getLogger().handlers))"
    )
    assert printed == ["NullHandler", "0"]


def test_the_import_is_much_faster_than_that_of_requests(
    run_fresh: Callable[[str], list[str]],
) -> None:
    timed = (
        "import time; began = time.process_time()\nimport {}\nprint(time.process_time() - began)"
    )
    taken: Json = {"bytelyst_sync": [], "requests": []}
    for module in taken:
        run_fresh(timed.format(module))  # compiles what it imports
    for _ in range(RUNS):
        for module, seconds in taken.items():
            seconds.extend(map(float, run_fresh(timed.format(module))))
    assert min(taken["bytelyst_sync"]) <= IMPORT_SHARE * min(taken["requests"]), taken


OF_EXTRAS = ("cryptography", "opentelemetry", "responses", "pytest", "hypothesis", "click", "rich")
WITHOUT_EXTRAS = f"import sys\nfor name in {OF_EXTRAS!r}: sys.modules[name] = None\n"


@pytest.mark.parametrize("module", ["bytelyst_sync", "bytelyst_sync.storage"])
def test_no_name_needs_an_extra(run_fresh: Callable[[str], list[str]], module: str) -> None:
    names = run_fresh(f"{WITHOUT_EXTRAS}from {module} import *\nprint(*dir())")
    assert set(names) >= {*sys.modules[module].__all__}


def test_a_name_whose_extra_is_missing_raises_what_tools_forgive(
    run_fresh: Callable[[str], list[str]],
) -> None:
    """freezegun, for one, asks every module for every name that ``dir`` lists."""
    assert run_fresh(
        WITHOUT_EXTRAS + "import bytelyst_sync.testing as module\n"
        "for name in {*dir(module), *module.__all__}:\n"
        "    try:\n"
        "        getattr(module, name)\n"
        "    except (ImportError, AttributeError) as error:\n"
        "        assert 'pip install' in str(error), error\n"
        "        print(name)"
    )


def test_freezegun_works_where_the_extras_are_not_installed(
    run_fresh: Callable[[str], list[str]],
) -> None:
    assert run_fresh(
        "import sys\n"
        "for name in ('cryptography', 'responses', 'hypothesis'): sys.modules[name] = None\n"
        "import datetime, bytelyst_sync, bytelyst_sync.storage, bytelyst_sync.testing\n"
        "from freezegun import freeze_time\n"
        "with freeze_time('2031-05-01'): print(datetime.date.today())"
    ) == ["2031-05-01"]
