"""Who may open the pages from the command, Django, Flask and FastAPI, each under a prefix.

``test_browser.py`` looks at them in a browser.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bytelyst_sync.testing import SyncServer
from tests.dashboard.conftest import Stage
from tests.dashboard.hosts import BOUND_S, KINDS, Host, engine_on


@pytest.fixture
def start(server: SyncServer, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    started = []

    def run(kind: str, *arguments: Any) -> Host:
        started.append(Host(kind, tmp_path, server, *arguments))
        return started[-1]

    yield run
    for each in started:
        each.close()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("kind", KINDS)
def test_others_are_refused(
    kind: str, server: SyncServer, tmp_path: Path, start: Callable[..., Host]
) -> None:
    with engine_on(server, tmp_path) as engine:
        Stage(server, engine).fail({"id": "1"})
    host = start(kind)
    session = host.session()
    if kind == "command":
        session.get(host.link, timeout=BOUND_S)
    assert session.get(f"{host.url}/failed", timeout=BOUND_S).status_code == 200
    evil = session.get(f"{host.url}/failed", headers={"Host": "evil.example"}, timeout=BOUND_S)
    assert evil.status_code in (400, 403)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {}):
        answer = session.post(
            f"{host.url}/failed", data={"action": "discard"}, headers=headers, timeout=BOUND_S
        )
        assert answer.status_code == 403
    if kind in ("command", "django-wsgi", "django-asgi"):
        stranger = requests.get(
            f"{host.url}/failed", allow_redirects=False, timeout=BOUND_S, proxies={"http": ""}
        )
        assert stranger.status_code in (302, 403)
        assert "orders" not in stranger.text
    if kind.startswith("django"):
        session.cookies.set("sessionid", host.cookies["staff"])
        assert session.get(f"{host.url}/failed", timeout=BOUND_S).status_code == 403


def test_the_link_works_once(
    server: SyncServer, tmp_path: Path, start: Callable[..., Host]
) -> None:
    with engine_on(server, tmp_path) as engine:
        engine.push("orders", {"id": "1"})
    host = start("command")
    session = host.session()
    for wrong in (host.link[:-1], host.link + "x", host.link.partition("?")[0]):
        assert session.get(wrong, timeout=BOUND_S).status_code == 403
    opened = session.get(host.link, allow_redirects=False, timeout=BOUND_S)
    assert opened.status_code == 303
    assert "token" not in opened.headers["location"]
    assert opened.headers["referrer-policy"] == "no-referrer"
    cookie = opened.headers["set-cookie"]
    assert "; HttpOnly; SameSite=Strict" in cookie
    path = cookie.partition("Path=")[2].partition(";")[0]
    assert len(path) > 12
    assert host.session().get(host.link, timeout=BOUND_S).status_code == 403
    assert session.get(f"{host.url}/queue", timeout=BOUND_S).status_code == 200
    root = f"http://127.0.0.1:{host.url.split(':')[2].partition('/')[0]}"
    assert session.get(f"{root}/", timeout=BOUND_S).status_code == 404
    assert session.get(f"{root}/ops/queue", timeout=BOUND_S).status_code == 404


def test_the_command_only_shows_if_told_to(
    server: SyncServer, tmp_path: Path, start: Callable[..., Host]
) -> None:
    with engine_on(server, tmp_path) as engine:
        Stage(server, engine).fail({"id": "1"})
    host = start("command", "--read-only")
    session = host.session()
    overview = session.get(host.link, timeout=BOUND_S)
    assert "read-only" in overview.text
    assert "They cannot know whether the server is reachable" in overview.text
    answer = session.post(
        f"{host.url}/failed", headers={"Sec-Fetch-Site": "same-origin"}, timeout=BOUND_S
    )
    assert answer.status_code == 403


def test_ctrl_c_ends_the_command(
    server: SyncServer, tmp_path: Path, start: Callable[..., Host]
) -> None:
    with engine_on(server, tmp_path) as engine:
        engine.push("orders", {"id": "1"})
    host = start("command")
    host.process.send_signal(2)
    assert host.process.wait(BOUND_S) == 130
