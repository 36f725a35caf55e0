"""The page "Connect your API" keeps its word: its examples run, against the real servers."""

import json
import re
from pathlib import Path

import attrs
import pytest
import responses

from bytelyst_sync import BatchFormat, Dialect, SyncConfig, TransportError
from bytelyst_sync.entity import compile_entities
from bytelyst_sync.transport.answers import Heard
from bytelyst_sync.transport.mapping import Mapper
from bytelyst_sync.transport.paging import Pager, Position
from tests.servers.conftest import KINDS

PAGE = (Path(__file__).parents[2] / "docs/connect.rst").read_text("utf-8")
BLOCK = re.compile(
    r"^\.\. code-block:: python\n   :name: (?P<name>\S+)\n\n(?P<code>(?:(?:   .*)?\n)+)",
    re.MULTILINE,
)
BLOCKS = {
    block["name"]: re.sub(r"^   ", "", block["code"], flags=re.MULTILINE)
    for block in BLOCK.finditer(PAGE)
}
API = "https://api.example.com"
URL = re.compile(r'base_url="[^"]*"')


def run(name, base_url=None):
    code = BLOCKS[name] if base_url is None else URL.sub(f'base_url="{base_url}"', BLOCKS[name])
    names = {}
    exec(compile(code, f"docs/connect.rst, {name}", "exec"), names)
    return names


def test_every_block_is_found_and_run():
    run_here = {"own", "batch", "steps", *(kind.name for kind in KINDS)}
    assert set(BLOCKS) == run_here
    assert PAGE.count(".. code-block:: python") == len(BLOCKS)


def test_the_worked_example_of(real_server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(real_server.name, real_server.base_url)
    assert real_server.records("projects") or real_server.records("tasks")
    assert capsys.readouterr().out.strip()


@responses.activate
def test_an_api_of_your_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    order = {"orderNo": "A-7", "lines": 3, "rev": 1}
    created = responses.put(f"{API}/v2/orders/A-7", json={"data": order}, status=201)
    listed = responses.get(
        f"{API}/v2/orders", json={"data": {"rows": [order]}}, headers={"X-Cursor": "c1"}
    )
    engine = run("own")["engine"]
    assert created.call_count == listed.call_count == 1
    assert json.loads(created.calls[0].request.body) == {"data": {"orderNo": "A-7", "lines": 3}}
    assert created.calls[0].request.headers["If-None-Match"] == "*"
    assert capsys.readouterr().out.count("SyncResult(success=True") == 2
    assert engine.status.queue_length == 0


def test_the_mapping_error_reads_as_the_page_says():
    shown = re.search(r"^    (orders: `items` was expected.*)$", PAGE, re.MULTILINE)[1]
    config = SyncConfig(
        base_url=API,
        entities={"orders": "/orders"},
        storage=":memory:",
        dialect=Dialect(items="data.rows"),
    )
    pager = Pager(Mapper(compile_entities(config)["orders"], config, lambda: 0.0))
    with pytest.raises(TransportError, match="`items`") as raised:
        pager.page(Position(None), Heard(200, {}, {"data": {}, "meta": {}}))
    assert str(raised.value) == shown


def test_a_batch_format_and_a_subclass():
    assert isinstance(run("batch")["graph"].batch, BatchFormat)
    dialect = run("steps")["dialect"]
    body = dialect.encode("create", {"id": "7", "title": "x"})
    assert dialect.decode(body["data"]) == {"id": "7", "title": "x"}


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Dialect)])
def test_every_knob_is_in_the_table(field):
    table = PAGE[PAGE.index("The knobs") : PAGE.index("Kinto\n=====")]
    assert f"``{field}``" in table
