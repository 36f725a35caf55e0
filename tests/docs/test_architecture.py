"""The page about the architecture names files, calls, threads and tables that are there."""

import ast
import re
from pathlib import Path

import bytelyst_sync
from bytelyst_sync.storage.schema import TABLES

PACKAGE = Path(bytelyst_sync.__file__).parent
ROOT = PACKAGE.parent
TEXT = (ROOT / "docs/architecture.rst").read_text("utf-8")
FILES = sorted(set(re.findall(r"``([\w/]+(?:\.py|/))(?:: [\w.]+)?``", TEXT)))
CALLS = sorted(set(re.findall(r"``([\w/]+\.py): ([\w.]+)``", TEXT)))


def names(path: Path) -> set[str]:
    """The functions, classes and methods of a module, as ``name`` and ``Class.name``."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if hasattr(each, "name")}
    return found


def test_every_named_file_is_there() -> None:
    here = {"bytelyst_sync/"}
    missing = [
        file
        for file in FILES
        if not (PACKAGE / file).exists() and not (ROOT / file).exists() and file not in here
    ]
    assert len(FILES) > 50
    assert missing == []


def test_every_named_call_is_there() -> None:
    assert len(CALLS) > 20
    assert [f"{file}: {call}" for file, call in CALLS if call not in names(PACKAGE / file)] == []


def test_every_folder_is_described() -> None:
    folders = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(FILES)


def test_every_table_is_described() -> None:
    rows = set(re.findall(r"^   \* - ``(\w+)``$", TEXT, re.MULTILINE))
    assert rows == {table.name for table in TABLES}


def test_every_thread_is_described() -> None:
    source = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    given = r'(?:name=|Notifier\(|super\(\).__init__\()"(bytelyst-sync[\w-]*)"'
    threads = set(re.findall(given, source))
    assert threads == set(re.findall(r"^   \* - ``(bytelyst-sync[\w-]*)``$", TEXT, re.MULTILINE))
