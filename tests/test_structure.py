"""What the folders promise: no dialect leaks an ``if`` into the flows (SPEC §8), and all that waits
asks one clock how long."""

import ast
from pathlib import Path

import attrs
import pytest

import bytelyst_sync
from bytelyst_sync import Dialect
from bytelyst_sync.batch import BatchFormat

PACKAGE = Path(bytelyst_sync.__file__).parent
FLOWS = PACKAGE / "flows"
PRESETS = {"kinto", "drf", "json_server", "json-server", "couchdb"}
ORDINARY = {
    # fields of a dialect that are words of the flows as well; they may be used, but not compared
    *("batch", "body", "classify", "conflict", "create", "delete", "headers", "items", "answer"),
    *("next_page", "pull", "query", "read", "record", "update", "version", "status", "error"),
    *("size", "endpoint", "operation", "operations", "answers", "item", "cursor"),
}
FIELDS = {each.name for kind in (Dialect, BatchFormat) for each in attrs.fields(kind)} - ORDINARY


def leaks(source):
    """What a module says that only a dialect, or what reads it, should know."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in {"dialect", "batch_format"}:
            yield f"line {node.lineno}: .{node.attr}"
        if isinstance(node, ast.Attribute) and node.attr in FIELDS:
            yield f"line {node.lineno}: the field .{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module in {
            "bytelyst_sync.dialect",
            "bytelyst_sync.batch",
            "bytelyst_sync.dialect_checks",
        }:
            yield f"line {node.lineno}: imports {node.module}"
        if isinstance(node, ast.Name) and node.id in {"Dialect", "BatchFormat"}:
            yield f"line {node.lineno}: {node.id}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = {word.strip("`.,:;()'\"").lower() for word in node.value.split()}
            for preset in sorted(words & PRESETS):
                yield f"line {node.lineno}: names {preset}"


@pytest.mark.parametrize("module", sorted(each.name for each in FLOWS.glob("*.py")))
def test_no_dialect_leaks_into(module):
    assert list(leaks((FLOWS / module).read_text(encoding="utf-8"))) == []


LEAKS = {
    "if entity.dialect == other: pass": ["line 1: .dialect"],
    "full = rule.first_cursor": ["line 1: the field .first_cursor"],
    "from bytelyst_sync.dialect import Dialect": ["line 1: imports bytelyst_sync.dialect"],
    "isinstance(x, Dialect)": ["line 1: Dialect"],
    "if name == 'couchdb': pass": ["line 1: names couchdb"],
    "'''Kinto, as ever.'''": ["line 1: names kinto"],
    "answer = mapper.answer(batch.size)": [],
}


@pytest.mark.parametrize(("source", "found"), LEAKS.items(), ids=LEAKS)
def test_what_counts_as_a_leak(source, found):
    assert list(leaks(source)) == found


# --- time


@pytest.mark.parametrize(
    "module",
    sorted(
        str(each.relative_to(PACKAGE))
        for each in PACKAGE.rglob("*.py")
        if each.relative_to(PACKAGE).parts[0] not in ("clock.py", "cli")
    ),
)
def test_no_deadline_is_on_a_clock_that_a_test_tool_can_freeze(module):
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    asked = {
        f"line {node.lineno}: time.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
        and node.attr in {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}
    }
    assert asked == set()
