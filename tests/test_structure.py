"""What the folders promise: imports lead downwards only, no dialect leaks an ``if`` into the flows,
and all that waits asks one clock how long.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import bytelyst_sync
from bytelyst_sync import Dialect
from bytelyst_sync.config.batch_format import BatchFormat

PACKAGE = Path(bytelyst_sync.__file__).parent
FLOWS = PACKAGE / "delivery"
PRESETS = {"kinto", "drf", "json_server", "json-server", "couchdb"}
ORDINARY = {
    # fields of a dialect that are words of the flows as well; they may be used, but not compared
    *("batch", "body", "classify", "conflict", "create", "delete", "headers", "items", "answer"),
    *("next_page", "pull", "query", "read", "record", "update", "version", "status", "error"),
    *("size", "endpoint", "operation", "operations", "answers", "item", "cursor", "start"),
}
FIELDS = {each.name for kind in (Dialect, BatchFormat) for each in attrs.fields(kind)} - ORDINARY


def leaks(source: str) -> Iterator[str]:
    """What a module says that only a dialect, or what reads it, should know."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in {"dialect", "batch_format"}:
            yield f"line {node.lineno}: .{node.attr}"
        if isinstance(node, ast.Attribute) and node.attr in FIELDS:
            yield f"line {node.lineno}: the field .{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module in {
            "bytelyst_sync.config.dialect",
            "bytelyst_sync.config.batch_format",
            "bytelyst_sync.config.dialect_validators",
        }:
            yield f"line {node.lineno}: imports {node.module}"
        if isinstance(node, ast.Name) and node.id in {"Dialect", "BatchFormat"}:
            yield f"line {node.lineno}: {node.id}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = {word.strip("`.,:;()'\"").lower() for word in node.value.split()}
            for preset in sorted(words & PRESETS):
                yield f"line {node.lineno}: names {preset}"


def test_no_dialect_leaks_into_the_flows() -> None:
    modules = {each.name: each.read_text(encoding="utf-8") for each in FLOWS.glob("*.py")}
    assert len(modules) > 10
    assert {name: found for name, text in modules.items() if (found := list(leaks(text)))} == {}


LEAKS = {
    "if entity.dialect == other: pass": ["line 1: .dialect"],
    "full = rule.first_cursor": ["line 1: the field .first_cursor"],
    "from bytelyst_sync.config.dialect import Dialect": [
        "line 1: imports bytelyst_sync.config.dialect"
    ],
    "isinstance(x, Dialect)": ["line 1: Dialect"],
    "if name == 'couchdb': pass": ["line 1: names couchdb"],
    "'''Kinto, as ever.'''": ["line 1: names kinto"],
    "answer = mapper.answer(batch.size)": [],
}


@pytest.mark.parametrize(("source", "found"), LEAKS.items(), ids=LEAKS)
def test_what_counts_as_a_leak(source: str, found: list[str]) -> None:
    assert list(leaks(source)) == found


# --- what a module may import

ROOMS = (
    *("version", "model", "errors", "clock", "interrupts", "safe_logging", "process_hooks"),
    "background_thread",
    *("config", "rules", "storage", "http", "protocol", "state", "replica", "queue"),
    *("events", "pull", "delivery", "wiring", "agent", "runtime"),
    *("blocking_calls", "engine_core", "aio", "engine", "on_demand", "__init__"),
    *("experiments", "fleet", "inspection", "contrib", "testing", "dashboard", "cli", "__main__"),
)
"""The folders and modules of the package. Each imports only from those before it."""

TYPES_FROM_ABOVE = {"config", "aio", "__init__"}
"""They may import from any room for annotations: settings and faces name types of all rooms."""

IMPORTED_LATE = {
    "__init__.py": {"bytelyst_sync.config", "bytelyst_sync.on_demand"},
    "engine.py": {"bytelyst_sync.aio"},
    "config/dialect_validators.py": {"zoneinfo"},
    "rules/times.py": {"zoneinfo"},
    "cli/__init__.py": {"bytelyst_sync.cli.app"},
    "storage/lmdb/binding.py": {"lmdb", "lmdb.verify"},
    "storage/cipher.py": {
        "cryptography.exceptions",
        "cryptography.hazmat.primitives.ciphers.aead",
    },
}
"""What functions import: optional extras, and what would make every import of the package slow."""

IMPURE = {"os", "random", "secrets", "socket", "sqlite3", "threading", "time"}
IMPURE_CALLS = {"uuid1", "uuid4", "now", "utcnow", "today"}
"""Modules and methods that no rule uses: their results differ from call to call."""

SOURCES = {
    each.relative_to(PACKAGE).as_posix(): each.read_text(encoding="utf-8")
    for each in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(source) for module, source in SOURCES.items()}


def offenders(
    modules: Iterable[str], faults_of: Callable[[str], Iterable[Any]]
) -> dict[str, list[Any]]:
    """The modules in which there is something wrong, with what it is."""
    return {module: found for module in modules if (found := sorted(faults_of(module)))}


# --- time

MONOTONIC = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}


def own_clocks(module: str) -> Iterator[str]:
    """Where a module asks a clock that a test tool can freeze."""
    for node in ast.walk(TREES[module]):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "time"
            and node.attr in MONOTONIC
        ):
            yield f"line {node.lineno}: time.{node.attr}"


def test_no_deadline_is_on_a_clock_that_a_test_tool_can_freeze() -> None:
    asking = [each for each in SOURCES if each.split("/")[0] not in ("clock.py", "cli")]
    assert offenders(asking, own_clocks) == {}


def test_a_clock_of_its_own_is_found() -> None:
    assert list(own_clocks("clock.py"))


def room_of(name: str) -> str:
    """The folder or module at the top of the package that a dotted name is in."""
    parts = name.split(".")
    known = len(parts) > 1 and parts[1] in ROOMS
    return parts[1] if known else "__init__"


def imports(tree: ast.Module) -> Iterator[tuple[int, str, bool, bool]]:
    """Each import: its line, the dotted name, whether only for types, whether in a function."""

    def found(
        node: ast.AST, typing_only: bool, in_function: bool
    ) -> Iterator[tuple[int, str, bool, bool]]:
        for child in ast.iter_child_nodes(node):
            late = in_function or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield child.lineno, alias.name, typing_only, late
            elif isinstance(child, ast.ImportFrom):
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    name = whole if child.module == "bytelyst_sync" else child.module or ""
                    yield child.lineno, name, typing_only, late
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                yield from found(ast.Module(child.body, []), typing_only=True, in_function=late)
                yield from found(ast.Module(child.orelse, []), typing_only, late)
            else:
                yield from found(child, typing_only, late)

    return found(tree, typing_only=False, in_function=False)


def upward(module: str, tree: ast.Module) -> Iterator[str]:
    """The imports from a room above, which would make a circle of rooms."""
    here = module.removesuffix(".py").split("/")[0]
    for line, name, typing_only, late in imports(tree):
        if name.split(".")[0] != "bytelyst_sync" or (
            late and name in IMPORTED_LATE.get(module, ())
        ):
            continue
        above = ROOMS.index(room_of(name)) > ROOMS.index(here)
        if above and not (typing_only and here in TYPES_FROM_ABOVE):
            yield f"line {line}: {here} imports {name}"


def test_every_room_is_in_the_list() -> None:
    there = {module.removesuffix(".py").split("/")[0] for module in SOURCES}
    assert there == set(ROOMS)


def test_a_module_imports_only_from_rooms_below() -> None:
    assert offenders(SOURCES, lambda module: upward(module, TREES[module])) == {}


def test_only_what_is_optional_or_slow_is_imported_in_a_function() -> None:
    def late(module: str) -> set[str]:
        return {name for _, name, _, in_function in imports(TREES[module]) if in_function}

    found = {module: names for module in SOURCES if (names := late(module))}
    assert found == IMPORTED_LATE


def test_a_rule_has_no_clock_no_randomness_and_no_input() -> None:
    def impure(module: str) -> set[Any]:
        nodes = ast.walk(TREES[module])
        calls = {node.attr for node in nodes if isinstance(node, ast.Attribute)} & IMPURE_CALLS
        return calls | ({name for _, name, _, _ in imports(TREES[module])} & IMPURE)

    rules = [each for each in SOURCES if each.startswith("rules/")]
    assert len(rules) > 20
    assert offenders(rules, impure) == {}


UPWARD = {
    ("events/status.py", "from bytelyst_sync.delivery.batching import Batcher"): [
        "line 1: events imports bytelyst_sync.delivery.batching"
    ],
    ("events/status.py", "if TYPE_CHECKING:\n  import bytelyst_sync.engine"): [
        "line 2: events imports bytelyst_sync.engine"
    ],
    ("events/status.py", "def f():\n  from bytelyst_sync import runtime"): [
        "line 2: events imports bytelyst_sync.runtime"
    ],
    ("config/settings.py", "if TYPE_CHECKING:\n  import bytelyst_sync.storage.base"): [],
    ("config/settings.py", "import bytelyst_sync.storage.base"): [
        "line 1: config imports bytelyst_sync.storage.base"
    ],
    ("delivery/worker.py", "from bytelyst_sync.events.status import Status"): [],
}


@pytest.mark.parametrize(("case", "found"), UPWARD.items())
def test_what_counts_as_an_import_from_above(case: tuple[str, str], found: list[str]) -> None:
    module, source = case
    assert list(upward(module, ast.parse(source))) == found


# --- sizes

MOST_LINES = 400
LONG_MODULES = {
    "engine.py": "the public interface: a docstring and a line or two for each call",
    "contrib/django/migrations/0001_initial.py": "generated by makemigrations",
}
"""The modules that are longer, and why."""

MOST_ARGUMENTS = 6
LONG_CONSTRUCTORS = {
    "SyncError": "optional details of an error, keyword-only",
    "StateStore": "created in one place, keyword-only but for the first three",
    "RecordsModel": "the arguments of engine.records(), and two of Qt",
    "Api": "settings of a server for tests, each with a default, keyword-only",
}
"""The classes whose constructors have more arguments, and why."""


def test_modules_are_short() -> None:
    long = {module for module, source in SOURCES.items() if source.count("\n") > MOST_LINES}
    assert long == set(LONG_MODULES)


def long_constructors(tree: ast.Module) -> Iterator[str]:
    """The classes whose ``__init__`` has more arguments than a reader can keep apart."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                arguments = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
                if len(arguments) - 1 > MOST_ARGUMENTS:
                    yield node.name


def test_constructors_have_few_arguments() -> None:
    long = {name for tree in TREES.values() for name in long_constructors(tree)}
    assert long == set(LONG_CONSTRUCTORS)


CONSTRUCTORS = {
    "six": ("def __init__(self, a, b, c, d, *, e, f): pass", []),
    "seven": ("def __init__(self, a, b, c, d, *, e, f, g): pass", ["A"]),
    "another method": ("def run(self, a, b, c, d, e, f, g): pass", []),
}


@pytest.mark.parametrize(("method", "names"), CONSTRUCTORS.values(), ids=CONSTRUCTORS)
def test_what_counts_as_a_long_constructor(method: str, names: list[str]) -> None:
    assert list(long_constructors(ast.parse(f"class A:\n  {method}"))) == names
