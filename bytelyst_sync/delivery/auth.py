"""Credentials: renews them after the server refused them, once for all threads.

They are a bearer token that a callable returns, or whatever the program's sessions and its auth
object put into requests, such as the cookies of a login. The latter are renewed by opening new
sessions.

Who owns what: ``_lock`` guards the fields below it. The user's callable runs in the thread that
needs a token, outside of the lock. While it runs, ``_asking`` makes the other threads wait for its
result, so that it is called once per refused token.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import attrs

from bytelyst_sync.clock import FOREVER_S, Clock
from bytelyst_sync.errors import AuthError
from bytelyst_sync.events.notifier import call_user
from bytelyst_sync.http.failures import raise_auth_failure
from bytelyst_sync.http.transport import Request
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["AuthHold", "Credentials"]

logger = SafeLogger("bytelyst_sync.auth")

_WAIT_S = 60.0
_LEAST_S = 0.5


class Credentials:
    """The token that requests carry. Without a callable, it stands for the sessions, which carry
    the credentials themselves.

    ``renew_sessions`` opens new sessions; ``None``: new sessions would not help. ``_token`` is the
    one in use. ``_refused`` is the one that the server refused while there is no other: then the
    callable is not called until ``retry`` or ``forget``.
    """

    def __init__(
        self,
        provider: Callable[[], Any] | None,
        renew_sessions: Callable[[], object] | None = None,
    ) -> None:
        self._provider = provider
        self._renew_sessions = renew_sessions
        self._sessions = itertools.count(1)
        self._lock = threading.Lock()
        self._asked = threading.Condition(self._lock)  # never entered itself, see ``Worker``
        self._token: str | None = None
        self._refused: str | None = None
        self._asking = False

    @property
    def renewable(self) -> bool:
        """Whether the credentials can be renewed."""
        return self._provider is not None or self._renew_sessions is not None

    def sign(self, request: Request) -> tuple[Request, str | None]:
        """The request with its token, and the token. Raises ``AuthError`` if there is no token."""
        if not self.renewable:
            return request, None
        token = self._token or self._ask(lambda: self._refused is not None)
        if token is None:
            raise AuthError("the server refused the token, and auth has given no other yet")
        if self._provider is None:
            return request, token
        headers = {**request.headers, "Authorization": f"Bearer {token}"}
        return attrs.evolve(request, headers=headers), token

    def renew(self, refused: str | None) -> bool:
        """Renews a refused token, once for all threads; true if there is another one now."""
        if not self.renewable or refused is None:
            return False

        def settled() -> bool:
            return self._refused == refused or self._token not in (refused, None)

        return self._ask(settled, refused) not in (refused, None)

    def refused_again(self, token: str | None) -> None:
        """The renewed token was refused too: stops calling ``auth`` for now."""
        with self._lock:
            if token is not None and token == self._token:
                self._token, self._refused = None, token

    def forget_refused(self) -> None:
        """Allows ``auth`` to be called again after a refusal: the user called the engine."""
        with self._lock:
            self._refused = None

    def retry(self) -> bool:
        """Calls ``auth`` again after a refusal; true if it returned another token."""
        return self.renewable and self._ask(lambda: False, self._refused) is not None

    def forget(self) -> None:
        """Makes the next request call ``auth`` again, because the user resumed delivery."""
        with self._lock:
            self._token = self._refused = None

    def _ask(self, settled: Callable[[], bool], refused: str | None = None) -> str | None:
        """Calls the user's callable, unless ``settled`` holds once no other thread is calling it.

        Returns the token in use afterwards; ``None`` if there is only the refused one.
        """
        with self._lock:
            if not self._asked.wait_for(lambda: not self._asking, _WAIT_S):
                raise AuthError("the auth callable has not returned for a minute")
            if settled() or self._token not in (refused, None):
                return self._token
            self._asking = True
        token: str | None = None
        try:
            token = self._called()
        finally:
            with self._lock:
                self._asking = False
                if token is not None:
                    again = token == refused
                    self._token, self._refused = (None, token) if again else (token, None)
                self._asked.notify_all()
        return self._token

    def _called(self) -> str:
        number = next(self._sessions)
        if self._renew_sessions is not None and number > 1:
            self._renew_sessions()
        if self._provider is None:
            return f"sessions {number}"
        try:
            token = call_user(self._provider)
        except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
            raise_auth_failure(error)
        if not isinstance(token, str) or not token or set(token) & set("\r\n\0"):
            raise AuthError(
                f"the auth callable returned a {type(token).__name__}; "
                "it should return a bearer token, a non-empty string"
            )
        return token


class AuthHold:
    """Whether delivery pauses because the server refused the credentials.

    The pause ends by ``flush`` or ``resume`` (from any thread), or if ``auth``, which is called
    again with backoff, returns another token. Otherwise owned by the worker's thread. ``backoff``
    returns the seconds to wait after so many tries.
    """

    def __init__(self, credentials: Credentials, clock: Clock, policy: RetryPolicy) -> None:
        self._credentials = credentials
        self._clock = clock
        self._policy = policy
        self._times = 0
        self._ask_at = 0.0
        self._try_at = 0.0
        self.active = False

    def note(self) -> None:
        """Begins the pause: the renewed credentials were refused too."""
        if not self._times:
            logger.warning(
                "the server refused the credentials: delivery pauses until auth returns others, "
                "or flush() is called; the same ones are tried again every %.0f s",
                self._policy.max_retry_delay,
            )
        now = self._clock.monotonic()
        if not self.active:
            self._try_at = now + self._policy.max_retry_delay
        self.active = True
        self._times += 1
        wait = max(_LEAST_S, self._policy.delay_s(self._times))
        self._ask_at = now + (wait if self._credentials.renewable else FOREVER_S)

    def forgive(self) -> None:
        """Resets the backoff: the server accepts the credentials."""
        self._times = 0

    def lift(self) -> None:
        """Ends the pause, because the user flushed or resumed."""
        self._credentials.forget()
        self.active = False

    def ask_again(self) -> None:
        """Calls ``auth`` once more if it is time, and ends the pause for one try of the refused
        credentials if it is time for that. Raises ``AuthError`` if ``auth`` returns none.
        """
        if self._clock.monotonic() >= self._try_at:
            self.lift()
            return
        if self._credentials.renewable and self._clock.monotonic() >= self._ask_at:
            self.note()
            self.active = not self._credentials.retry()

    def wait_s(self) -> float:
        """Seconds until the next call of ``auth`` or the next try."""
        return max(0.0, min(self._ask_at, self._try_at) - self._clock.monotonic())
