"""Who gets in, and what a page of another site cannot do."""

import subprocess
import sys

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.dashboard import Actor, ops_app
from bytelyst_sync.dashboard.routes import ROUTES
from tests.dashboard.client import OPERATOR, Client, valid_token
from tests.dashboard.conftest import Stage

PLACES = {"<seq>": "1", "<number>": "1", "<hold>": "a", "<device>": "-" * 36, "<key>": "k"}


def concrete(pattern: str) -> str:
    for name, value in PLACES.items():
        pattern = pattern.replace(name, value)
    return pattern


POSTS = [concrete(route.pattern) for route in ROUTES if route.method == "POST"]


def test_importing_the_package_loads_nothing_of_it() -> None:
    code = (
        "import sys, bytelyst_sync; bytelyst_sync.create_sync_engine;"
        "print([n for n in sys.modules if n.startswith(('bytelyst_sync.dashboard', 'jinja2',"
        " 'markupsafe', 'waitress', 'bytelyst_sync.inspection'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_authorize_is_required(engine: SyncEngine) -> None:
    with pytest.raises(TypeError, match="authorize"):
        ops_app(engine)  # type: ignore[call-arg]  # wrong on purpose


def test_a_right_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="rights are command, operate, payload, view"):
        Actor("sam", ("view", "delete"))  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("actor", [None, Actor("sam", ()), Actor("sam", ["operate"])])
def test_nobody_sees_a_page_without_the_right_to_view(
    engine: SyncEngine, actor: Actor | None
) -> None:
    client = Client(ops_app(engine, authorize=lambda environ: actor))
    for path in ("/", "/queue", "/failed", "/metrics", "/nothing"):
        page = client.get(path)
        assert page.status == 403
        assert "orders" not in page.text


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil", ""])
def test_a_host_that_is_not_one_of_the_pages_is_refused(engine: SyncEngine, host: str) -> None:
    client = Client(ops_app(engine, authorize=lambda environ: OPERATOR), host=host)
    for path in ("/", "/static/ops.css"):
        assert client.get(path).status == 403


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "[::1]"])
def test_loopback_is_allowed_with_any_port(engine: SyncEngine, host: str) -> None:
    client = Client(ops_app(engine, authorize=lambda environ: OPERATOR), host=host)
    assert client.get().status == 200


def test_other_hosts_are_named(engine: SyncEngine) -> None:
    app = ops_app(engine, authorize=lambda environ: OPERATOR, hosts=["ops.example.com"])
    assert Client(app, host="ops.example.com").get().status == 200
    refused = Client(app, host="localhost").get()
    assert refused.status == 403
    assert "hosts=[…]" in refused.text


@pytest.mark.parametrize("path", POSTS)
def test_a_form_of_another_site_is_refused(client: Client, stage: Stage, path: str) -> None:
    stage.fail({"id": "1"})
    token = client.get("/doctor").token
    good = {"token": token, "sec_fetch_site": "same-origin"}
    for wrong in (
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"token": "0" * 64},
        {"token": ""},
    ):
        assert client.post(path, {"action": "discard-shown"}, **{**good, **wrong}).status == 403
    # an old browser says where the form was: elsewhere, or nowhere
    for origin in ({}, {"origin": "http://evil.example"}, {"origin": "null"}):
        body = f"form_token={token}".encode()
        assert client.request("POST", path, body, **origin).status == 403
    assert len(list(stage.engine.failed())) == 1


def test_an_old_browser_names_its_origin(client: Client, stage: Stage) -> None:
    token = client.get("/doctor").token
    body = f"form_token={token}&action=retry".encode()
    answer = client.request("POST", "/failed", body, origin="http://localhost")
    assert answer.status == 303


def test_a_token_is_of_one_session_and_one_actor(engine: SyncEngine) -> None:
    actors = [OPERATOR]
    app = ops_app(engine, authorize=lambda environ: actors[-1])
    mine, other = Client(app), Client(app)
    token = mine.get("/doctor").token
    other.get()
    assert other.post("/failed", token=token).status == 403
    assert mine.post("/failed", token=token).status == 303
    actors.append(Actor("eve", ("view", "operate")))
    assert mine.post("/failed", token=token).status == 403


@pytest.mark.parametrize("path", POSTS)
def test_read_only_refuses_every_form(engine: SyncEngine, stage: Stage, path: str) -> None:
    stage.fail({"id": "1"})
    client = Client(ops_app(engine, authorize=lambda environ: OPERATOR, read_only=True))
    token = valid_token(client, OPERATOR)
    answer = client.post(path, {"action": "discard-shown"}, token=token)
    assert answer.status == 403
    assert "these pages are read-only" in answer.text
    assert len(list(stage.engine.failed())) == 1


def test_read_only_offers_nothing_to_change(engine: SyncEngine, stage: Stage) -> None:
    (item,) = stage.fail({"id": "1"})
    found = stage.conflict()
    client = Client(ops_app(engine, authorize=lambda environ: OPERATOR, read_only=True))
    for path in ("/failed", f"/items/{item.seq}?payload=1", f"/conflicts/{found.id}", "/doctor"):
        page = client.get(path)
        assert page.status == 200
        assert 'type="submit"' not in page.text.replace("Filter</button>", "").replace(
            '<button class="bs-button" type="submit"><svg', ""
        )
        assert "read-only" in page.text


@pytest.mark.parametrize("path", POSTS)
def test_who_may_only_view_changes_nothing(engine: SyncEngine, path: str) -> None:
    eve = Actor("eve", ("view", "payload"))
    client = Client(ops_app(engine, authorize=lambda environ: eve))
    answer = client.post(path, token=valid_token(client, eve))
    assert answer.status == 403
    assert f"no right to {'command' if path.endswith('/commands') else 'operate'}" in answer.text


def test_every_answer_carries_the_headers(client: Client) -> None:
    for path in ("/", "/nothing", "/static/ops.css", "/metrics"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    assert client.get().headers["cache-control"] == "no-store"


def test_the_cookie_is_for_these_pages_alone(engine: SyncEngine) -> None:
    page = Client(ops_app(engine, authorize=lambda environ: OPERATOR)).get()
    cookie = page.headers["set-cookie"]
    assert "; Path=/ops/; HttpOnly; SameSite=Strict" in cookie


def test_nothing_on_a_page_is_inline(client: Client, stage: Stage) -> None:
    (item,) = stage.fail({"id": "1"})
    found = stage.conflict()
    for path in ("/", "/queue", "/failed", f"/items/{item.seq}", f"/conflicts/{found.id}",
                 "/components", "/doctor"):  # fmt: skip
        text = client.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert "<script>" not in text
        assert " on" not in "".join(part.partition(">")[0] for part in text.split("<input")[1:])


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/vendor/../../app.py", "/static/", "/static/none.css",
     "/static/%2e%2e/app.py", "/static/vendor/../ops.css"],
)  # fmt: skip
def test_only_static_files_are_served(client: Client, path: str) -> None:
    assert client.get(path).status == 404


def test_a_form_that_is_too_large_is_refused(client: Client) -> None:
    answer = client.request("POST", "/failed", b"x" * (2 * 1024 * 1024 + 1))
    assert answer.status == 400


def test_a_method_that_a_page_does_not_take(client: Client) -> None:
    page = client.request("DELETE", "/failed")
    assert page.status == 405
    assert page.headers["allow"] == "GET, POST"
