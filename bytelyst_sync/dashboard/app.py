"""The WSGI application of the pages: checks, routes, headers, errors."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import attrs

from bytelyst_sync.dashboard.access import (
    LOOPBACK,
    Authorize,
    FormTokens,
    RefusedError,
    check_host,
    check_site,
    cookie_token,
)
from bytelyst_sync.dashboard.background import Background
from bytelyst_sync.dashboard.history import History
from bytelyst_sync.dashboard.holds import Holds
from bytelyst_sync.dashboard.http import Request, Response, from_environ
from bytelyst_sync.dashboard.redaction import Redact, redact_secrets
from bytelyst_sync.dashboard.routes import Route, find_route
from bytelyst_sync.dashboard.site import Context, Site
from bytelyst_sync.dashboard.source import Source
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.fleet import FleetCommands
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["OpsApp", "ops_app"]

logger = SafeLogger("bytelyst_sync.dashboard")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    ("Cache-Control", "no-store"),
)
"""The default headers of every response."""
_AGED_EVERY_S = 10.0
"""How often a page that changes with time alone is sent again, in seconds."""
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
StartResponse = Callable[..., object]


class OpsApp:
    """The pages of one engine. It may be called from any number of threads."""

    def __init__(
        self,
        site: Site,
        authorize: Authorize,
        *,
        hosts: Collection[str] | None = LOOPBACK,
        form_tokens: FormTokens = cookie_token,
    ) -> None:
        self.site = site
        self._authorize = authorize
        self._hosts = hosts
        self._form_tokens = form_tokens

    def __call__(
        self, environ: Mapping[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answers a WSGI request."""
        try:
            response = self.respond(from_environ(environ))
        except (ValueError, UnicodeError) as error:
            response = _plain(400, f"The request cannot be read: {error}").with_headers(_HEADERS)
        status = HTTPStatus(response.status)
        headers = [("Content-Type", response.content_type), *response.headers]
        if response.status != HTTPStatus.NOT_MODIFIED:
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{status.value} {status.phrase}", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else response.body]

    def respond(self, request: Request) -> Response:
        """Answers a request of any framework."""
        return self._checked(request).with_headers(_HEADERS)

    def _checked(self, request: Request) -> Response:
        try:
            check_host(request, self._hosts)
        except RefusedError as error:
            return _plain(403, f"Refused: {error}.")
        if request.path.startswith("/static/"):
            return _static(request.path.removeprefix("/static/"))
        actor = self._authorize(request.environ)
        if actor is None or not actor.may("view"):
            return _plain(403, "Refused: sign in as somebody who may see these pages.")
        context = Context(
            site=self.site,
            request=request,
            actor=actor,
            form_token=self._form_tokens(request, actor),
        )
        try:
            return self._routed(context)
        except RefusedError as error:
            return _refused(context, error)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the page says so
            return _failed(context, error)

    def _routed(self, context: Context) -> Response:
        request = context.request
        route, params, allowed = find_route(request)
        if route is None:
            return _not_found(context, allowed)
        if route.method == "POST":
            # the rights to send commands and to operate are independent of each other
            context.require(route.right if route.right == "command" else "operate")
            check_site(request)
            if not context.form_token.valid:
                raise RefusedError("the form is an old one, or not of these pages: load it again")
        context.require(route.right)
        self.site.background.start()
        token = self._token(context, route) if route.live else ""
        if token and request.headers.get("if-none-match") == f'"{token}"':
            return Response(status=304, headers=(("ETag", f'"{token}"'),))
        return route.serve(attrs.evolve(context, params=params, token=token))

    def _token(self, context: Context, route: Route) -> str:
        site, actor = self.site, context.actor
        parts = (
            site.instance,
            site.source.token(),
            [hold.id for hold in site.holds.pending()],
            site.history.version if route.charts else 0,
            int(site.source.core.clock.wall() // _AGED_EVERY_S) if route.ages else 0,
            actor.name,
            sorted(actor.rights),
            context.request.here(),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


# --- errors


def _plain(status: int, text: str) -> Response:
    return Response(
        status=status, body=f"{text}\n".encode(), content_type="text/plain; charset=utf-8"
    )


def _static(name: str) -> Response:
    folder, _, file = name.rpartition("/")
    kind = _TYPES.get(file.rpartition(".")[2])
    place = files("bytelyst_sync.dashboard") / "static"
    place = place / folder if folder == "vendor" else place
    if kind is None or folder not in ("", "vendor") or not (place / file).is_file():
        return _plain(404, "There is no such file.")
    return Response(
        body=(place / file).read_bytes(),
        content_type=kind,
        headers=(("Cache-Control", "private, max-age=86400"),),
    )


def _not_found(context: Context, allowed: Iterable[str]) -> Response:
    if allowed:
        answer = _plain(405, f"This address takes {', '.join(allowed)} only.")
        return answer.with_headers([("Allow", ", ".join(allowed))])
    return context.page("not_found.html", "Not found", status=404, message="", back_url=None)


def _refused(context: Context, error: RefusedError) -> Response:
    return context.page("refused.html", "Not allowed", status=403, message=str(error))


def _failed(context: Context, error: Exception) -> Response:
    if isinstance(error, InvalidDataError):
        return context.page("refused_data.html", "Not accepted", status=400, message=str(error))
    reference = _reference(error)
    # the reference is a part of the text, because a burst of lines of one text is logged once
    logger.failure(
        error, f"%s %s failed (reference {reference})", context.request.method, context.request.path
    )
    try:
        return context.page("error.html", "Error", status=500, reference=reference)
    except Exception:  # noqa: BLE001 - the store cannot be read: the frame needs it too
        return _plain(500, f"This page could not be shown. Search the log for {reference}.")


def _reference(error: Exception) -> str:
    """The same text for the same fault, so that it is logged once, however often it happens."""
    lines = traceback.format_tb(error.__traceback__)
    return hashlib.sha256(repr((type(error), lines)).encode()).hexdigest()[:12]


def ops_app(
    engine: SyncEngine,
    *,
    authorize: Authorize,
    redact: Redact | None = None,
    read_only: bool = False,
    hosts: Collection[str] | None = LOOPBACK,
    form_tokens: FormTokens = cookie_token,
    fleet_master: bytes | None = None,
    fleet_commands: FleetCommands | None = None,
) -> OpsApp:
    """The operations pages of an engine, as a WSGI application to be mounted under a prefix.

    ``authorize`` is given the WSGI environ and returns the ``Actor``, or ``None`` for nobody.
    ``redact(entity, data)`` returns a record as it may be shown; by default the values of fields
    that are named like secrets are replaced. ``read_only`` refuses every POST. ``hosts`` are the
    names that the pages are reached by (``None``: the framework checks the ``Host`` header).
    ``fleet_master`` is the master key of the fleet: with it the page of the fleet checks the
    signatures of heartbeats. ``fleet_commands`` says where commands for devices are stored: with it
    an actor with the right ``command`` can make devices flush or retry. It contains the master
    key, too.
    Raises ``ConfigError`` if the engine cannot issue commands there.
    """
    return build_app(
        Source(engine),
        authorize,
        redact=redact,
        read_only=read_only,
        hosts=hosts,
        form_tokens=form_tokens,
        fleet_master=fleet_master,
        fleet_commands=fleet_commands,
    )


def build_app(
    source: Source,
    authorize: Authorize,
    *,
    redact: Redact | None = None,
    read_only: bool = False,
    hosts: Collection[str] | None = LOOPBACK,
    form_tokens: FormTokens = cookie_token,
    fleet_master: bytes | None = None,
    fleet_commands: FleetCommands | None = None,
) -> OpsApp:
    """The same for a source, which may be a store that another program uses."""
    if fleet_commands is not None:
        fleet_commands.check(source.engine)
        fleet_master = fleet_master or fleet_commands.master
    history, holds = History(source.core), Holds(source.core)
    background = Background(source.core.clock, history, None if read_only else holds)
    source.core.accompany(background)
    site = Site(
        source=source,
        history=history,
        holds=holds,
        background=background,
        redact=redact or redact_secrets,
        read_only=read_only,
        fleet_master=fleet_master,
        fleet_commands=fleet_commands,
    )
    return OpsApp(site, authorize, hosts=hosts, form_tokens=form_tokens)
