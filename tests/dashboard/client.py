"""A browser without a screen: it calls a WSGI application and keeps its cookies."""

import html
import io
import re
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode, urlsplit

from bytelyst_sync.dashboard import Actor
from bytelyst_sync.dashboard.access import cookie_token
from bytelyst_sync.dashboard.app import OpsApp
from bytelyst_sync.dashboard.http import Request
from bytelyst_sync.model import Json
from tests.typed import present

HOST = "localhost"
PREFIX = "/ops"
OPERATOR = Actor("sam", ("view", "operate", "payload", "command"))


class Page:
    """An answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        self.text = body.decode()

    @property
    def location(self) -> str:
        return self.headers["location"]

    @property
    def token(self) -> str:
        """The value of the hidden field of its forms."""
        return present(re.search(r'name="form_token" value="([^"]+)"', self.text))[1]

    def values(self, name: str) -> list[str]:
        """The values of the fields of this name."""
        return [
            html.unescape(each) for each in re.findall(rf'name="{name}" value="([^"]*)"', self.text)
        ]

    @property
    def words(self) -> str:
        """What it says, without its tags."""
        inside = self.text.partition("<main")[2].partition(">")[2] or self.text
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", inside)).split())


def valid_token(client: "Client", actor: Actor) -> str:
    """The token that a form of this client would have, if the actor were shown one."""
    client.get()
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    return cookie_token(Request(method="GET", path="/", headers={"cookie": cookies}), actor).value


class Client:
    """Sends requests to an application under a prefix."""

    def __init__(self, app: OpsApp, *, host: str = HOST, prefix: str = PREFIX) -> None:
        self.app, self.host, self.prefix = app, host, prefix
        self.cookies: dict[Any, Any] = {}

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Page:
        target = path.removeprefix(self.prefix)
        parts = urlsplit(target if target.startswith("/") else f"/{target}")
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": self.prefix,
            "PATH_INFO": unquote_to_bytes(parts.path).decode("latin-1"),
            "QUERY_STRING": parts.query,
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "wsgi.input": io.BytesIO(body),
            "wsgi.url_scheme": "http",
            "HTTP_HOST": self.host,
            "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }
        seen: Json = {}

        def start_response(status: str, found: list[tuple[str, str]]) -> None:
            seen["status"] = int(status.split(maxsplit=1)[0])
            seen["headers"] = {name.lower(): value for name, value in found}

        text = b"".join(self.app(environ, start_response))
        for name, morsel in SimpleCookie(seen["headers"].get("set-cookie", "")).items():
            self.cookies[name] = morsel.value
        return Page(seen["status"], seen["headers"], text)

    def get(self, path: str = "/", **headers: Any) -> Page:
        return self.request("GET", path, **headers)

    def post(
        self,
        path: str,
        pairs: Json | tuple[()] | list[tuple[str, str]] = (),
        *,
        token: str | None = None,
        **headers: str,
    ) -> Page:
        """A form of these pages, with the token of the doctor's, unless another one is given."""
        token = self.get("/doctor").token if token is None else token
        found = [("form_token", token), *(pairs.items() if isinstance(pairs, dict) else pairs)]
        body = urlencode(found).encode()
        return self.request("POST", path, body, **{"sec_fetch_site": "same-origin", **headers})
