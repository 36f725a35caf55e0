"""The page "Connect your API" keeps its word: its examples run, against the real servers."""

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
import responses

from bytelyst_sync import BatchFormat, Dialect, SyncConfig, TransportError
from bytelyst_sync.config.entity import compile_entities
from bytelyst_sync.http.transport import Response
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.page import Position
from bytelyst_sync.protocol.paging import Pager
from tests.servers.conftest import KINDS, GetServer
from tests.servers.mapped import (
    Cap,
    FastApi,
    Feathers,
    FlaskAppBuilder,
    JsonApi,
    MappedServer,
    Scim,
)
from tests.servers.process import RealServer
from tests.typed import present

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
SITE = "https://blog.example.com"
URL = re.compile(r'base_url="[^"]*"')


def run(
    name: str, base_url: str | None = None, names: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Runs a block on a server, in the names that another block left."""
    code = BLOCKS[name]
    if base_url is not None:
        code = (
            code.replace(SITE, base_url)
            if SITE in code
            else URL.sub(f'base_url="{base_url}"', code)
        )
    names = {} if names is None else names
    exec(compile(code, f"docs/connect.rst, {name}", "exec"), names)
    return names


def test_every_block_is_found_and_run() -> None:
    run_here = {
        "own",
        "batch",
        "steps",
        "pages",
        "large-apis",
        *MANNERS,
        *(kind.name for kind in KINDS),
    }
    assert set(BLOCKS) == run_here
    assert PAGE.count(".. code-block:: python") == len(BLOCKS)


def test_the_worked_example_of(
    real_server: RealServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run(real_server.name, real_server.base_url)
    assert real_server.records("projects") or real_server.records("tasks")
    assert capsys.readouterr().out.strip()


@responses.activate
def test_an_api_of_your_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_the_mapping_error_reads_as_the_page_says() -> None:
    shown = present(re.search(r"^    (orders: `items` was expected.*)$", PAGE, re.MULTILINE))[1]
    config = SyncConfig(
        base_url=API,
        entities={"orders": "/orders"},
        storage=":memory:",
        dialect=Dialect(items="data.rows"),
    )
    pager = Pager(EntityCodec(compile_entities(config)["orders"], config, lambda: 0.0))
    with pytest.raises(TransportError, match="`items`") as raised:
        pager.page(Position(None), Response(200, body=b'{"data": {}, "meta": {}}'))
    assert str(raised.value) == shown


def test_a_batch_format_and_a_subclass() -> None:
    assert isinstance(run("batch")["graph"].batch, BatchFormat)
    dialect = run("steps")["dialect"]
    body = dialect.encode("create", {"id": "7", "title": "x"})
    assert dialect.decode(body) == {"id": "7", "title": "x"}


MANNERS: dict[str, type[MappedServer]] = {
    "tokens": FastApi,
    "soft-delete": FastApi,
    "odata": Cap,
    "json-api": JsonApi,
    "feathers": Feathers,
    "flask_appbuilder": FlaskAppBuilder,
    "scim": Scim,
}


@pytest.mark.parametrize("manner", ["odata", "json-api"])
def test_the_manner_of(
    manner: str,
    get_server: GetServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    server = get_server(MANNERS[manner])
    run(manner, server.base_url.removesuffix(server.root))
    assert server.records("projects")
    assert capsys.readouterr().out.strip()


def test_tokens_and_soft_deletes(
    get_server: GetServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    server = get_server(FastApi)
    names = run("tokens", server.base_url)
    run("soft-delete", server.base_url, names)
    (kept,) = server.records("projects").values()
    assert kept["title"] == "Roof, north side"
    assert capsys.readouterr().out.splitlines()[-1] == "None"
    assert names["soft"] == FastApi.mapping.dialect


@pytest.mark.parametrize("manner", ["feathers", "flask_appbuilder", "scim", "json-api"])
def test_the_dialect_of_a_recipe_is_the_one_that_is_tested(
    manner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = BLOCKS[manner].partition("\nengine = ")[0]
    names: dict[str, Any] = {}
    exec(compile(code, f"docs/connect.rst, {manner}", "exec"), names)
    assert names["dialect"] == MANNERS[manner].mapping.dialect


@responses.activate
def test_pages_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def page(request: Any) -> tuple[int, dict[str, str], str]:
        number = int(request.params["page"])
        rows = [{"id": n, "version": 1} for n in range(120)][number * 50 :][:50]
        return 200, {}, json.dumps({"content": rows, "totalElements": 120, "number": number})

    responses.add_callback(responses.GET, f"{SITE}/api/posts", callback=page)
    run("pages")
    assert "pulled=120" in capsys.readouterr().out
    assert responses.calls[0].request.url == f"{SITE}/api/posts?sort=id&size=50&page=0"


def test_every_knob_is_in_the_table() -> None:
    table = PAGE[PAGE.index("The fields\n====") : PAGE.index("Bodies\n====")]
    assert [each.name for each in attrs.fields(Dialect) if f"``{each.name}``" not in table] == []
