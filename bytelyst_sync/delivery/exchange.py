"""Sends one request with credentials, and reads from its response what it says of the server: its
clock and the pauses that it asks for. Safe to use from several threads.
"""

from __future__ import annotations

from collections.abc import Callable

from bytelyst_sync.clock import Clock
from bytelyst_sync.delivery.auth import Credentials
from bytelyst_sync.delivery.throttle import Throttle
from bytelyst_sync.errors import (
    AuthError,
    ConfigError,
    OfflineError,
    RejectedError,
    SyncError,
    TransportError,
)
from bytelyst_sync.http.failures import failure as transport_failure
from bytelyst_sync.http.failures import is_final
from bytelyst_sync.http.redirects import follow
from bytelyst_sync.http.transport import Request, Response, Transport
from bytelyst_sync.protocol.responses import AttemptResult, failure
from bytelyst_sync.rules.backoff import parse_date
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["Exchange", "Understand"]

logger = SafeLogger("bytelyst_sync.sender")
Understand = Callable[[Response], AttemptResult]


class Exchange:
    """Sends requests with credentials. ``clock`` is used for all requests."""

    def __init__(
        self, transport: Transport, credentials: Credentials, clock: Clock, throttle: Throttle
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self.clock = clock
        self._throttle = throttle

    def attempt(self, request: Request, understand: Understand) -> AttemptResult:
        """Sends with credentials, which are renewed once if the server refuses them."""
        try:
            signed, token = self._credentials.sign(request)
            answer = understand(self._follow(signed))
            if answer.meaning is Verdict.CREDENTIALS and self._credentials.renew(token):
                signed, token = self._credentials.sign(request)
                answer = understand(self._follow(signed))
                if answer.meaning is Verdict.CREDENTIALS:
                    self._credentials.refused_again(token)
        except (AuthError, ConfigError) as error:
            # nothing was sent, and nothing can be sent until the user or ``auth`` gives credentials
            return failure(Verdict.CREDENTIALS, error)
        except OfflineError as error:
            return failure(Verdict.OFFLINE, error)
        except TransportError as error:
            return failure(Verdict.UNKNOWN, error)
        except SyncError as error:
            refused = RejectedError(str(error))
            refused.__cause__ = error
            return failure(Verdict.REJECTED, refused)
        return answer

    def observe(self, response: Response) -> None:
        """Takes over the pause that the response to a read, or to a whole batch, asks for."""
        self._throttle.observe_response(response)

    def plain(self, request: Request) -> Response | None:
        """The response to a request without credentials; ``None`` if there is none."""
        try:
            return self._send(request)
        except SyncError:
            return None

    def _follow(self, request: Request) -> Response:
        before = self.clock.wall()
        response = self._send(request)
        if request.method in ("GET", "HEAD"):
            self.observe(response)
        server_time = parse_date(response.headers.get("date"))
        if server_time is not None and "age" not in response.headers:
            # an answer with an age comes from a cache, and its date is as old
            self._throttle.learn_clock(server_time, before, self.clock.wall())
        return response

    def _send(self, request: Request) -> Response:
        try:
            return follow(self._transport, request)
        except BaseException as error:
            if is_final(error):
                raise
            # a user's transport may raise anything
            logger.warning(
                "the transport raised %s, which is neither a TransportError nor an OfflineError;"
                " the request counts as failed",
                type(error).__name__,
            )
            raise transport_failure(error, request.url) from error

    def fetch(self, request: Request, refuses: Callable[[Response], bool]) -> Response:
        """The response to a read, with credentials, whatever its status. ``refuses`` says whether
        a response refuses the credentials. Raises ``SyncError``.
        """
        signed, token = self._credentials.sign(request)
        response = self._follow(signed)
        if refuses(response) and self._credentials.renew(token):
            signed, token = self._credentials.sign(request)
            response = self._follow(signed)
            if refuses(response):
                self._credentials.refused_again(token)
        return response
