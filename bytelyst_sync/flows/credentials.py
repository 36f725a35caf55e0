"""Bearer tokens: who asks for one, when, and what a refused one means (SPEC §4, row 401).

Who owns what: ``_lock`` guards the fields below it. The user's callable runs in the thread that
needs a token, outside of the lock; while it runs, ``_asking`` keeps the others waiting for its
result instead of asking themselves, so that it is asked once per refused token.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs
import requests

from bytelyst_sync.clock import FOREVER_S, Clock
from bytelyst_sync.errors import AuthError, OfflineError
from bytelyst_sync.flows.notifier import call_user
from bytelyst_sync.transport.base import Request

__all__ = ["Credentials", "Refusal"]

_WAIT_S = 60.0
_LEAST_S = 0.5


class Credentials:
    """The token that requests carry. Without a provider it does nothing.

    ``_token`` is the one in use, ``_refused`` the one that the server would not take while there
    is no other: then nothing is asked until ``retry`` or ``forget``.
    """

    def __init__(self, provider: Callable[[], Any] | None) -> None:
        self._provider = provider
        self._lock = threading.Lock()
        self._asked = threading.Condition(self._lock)  # never entered itself, see ``Worker``
        self._token: str | None = None
        self._refused: str | None = None
        self._asking = False

    @property
    def renewable(self) -> bool:
        """Whether there is a callable that may give another token."""
        return self._provider is not None

    def sign(self, request: Request) -> tuple[Request, str | None]:
        """The request with its token, and the token. ``AuthError`` if there is none to be had."""
        if self._provider is None:
            return request, None
        token = self._token or self._ask(lambda: self._refused is not None)
        if token is None:
            raise AuthError("the server refused the token, and auth has given no other yet")
        headers = {**request.headers, "Authorization": f"Bearer {token}"}
        return attrs.evolve(request, headers=headers), token

    def renew(self, refused: str | None) -> bool:
        """A token was refused: whether there is another one now, asked for at most once."""
        if self._provider is None or refused is None:
            return False

        def settled() -> bool:
            return self._refused == refused or self._token not in (refused, None)

        return self._ask(settled, refused) not in (refused, None)

    def refused_again(self, token: str | None) -> None:
        """The renewed token is refused as well: nothing is asked any more for now."""
        with self._lock:
            if token is not None and token == self._token:
                self._token, self._refused = None, token

    def forget_refused(self) -> None:
        """A person asks for something: a refused token is no reason not to ask for another."""
        with self._lock:
            self._refused = None

    def retry(self) -> bool:
        """Asks again after all was refused; whether that brought something worth trying."""
        return self._provider is not None and self._ask(lambda: False, self._refused) is not None

    def forget(self) -> None:
        """The next request asks anew: a person said to go on."""
        with self._lock:
            self._token = self._refused = None

    def _ask(self, settled: Callable[[], bool], refused: str | None = None) -> str | None:
        """Asks the provider, unless it turns out to be ``settled`` once nobody else is asking.

        Returns the token in use after that; ``None`` if there is only the refused one.
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
        try:
            token = call_user(self._provider or str)
        except OfflineError:
            raise
        except (ConnectionError, TimeoutError, requests.ConnectionError, requests.Timeout) as error:
            kind = type(error).__name__
            raise OfflineError(f"the auth callable found no network ({kind})") from error
        except Exception as error:
            raise AuthError(f"the auth callable raised {type(error).__name__}") from error
        if not isinstance(token, str) or not token or set(token) & set("\r\n\0"):
            raise AuthError(
                f"the auth callable returned a {type(token).__name__}; "
                "it should return a bearer token, a non-empty string"
            )
        return token


class Refusal:
    """Whether delivery pauses because the server refused the credentials (SPEC §4, row 401).

    Lifted by a person (``flush``, ``resume``: from any thread), or by ``auth``, asked again with
    backoff, giving another token. Else owned by the worker's thread. ``backoff`` gives seconds
    for a number of tries.
    """

    def __init__(
        self, credentials: Credentials, clock: Clock, backoff: Callable[[int], float]
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._backoff = backoff
        self._times = 0
        self._ask_at = 0.0
        self.active = False

    def note(self) -> None:
        """Refused, and the renewed ones too."""
        self.active = True
        self._times += 1
        wait = max(_LEAST_S, self._backoff(self._times))
        self._ask_at = self._clock.monotonic() + (
            wait if self._credentials.renewable else FOREVER_S
        )

    def forgive(self) -> None:
        """The server accepts them."""
        self._times = 0

    def lift(self) -> None:
        """A person said to go on: what was refused is tried again."""
        self._credentials.forget()
        self.active = False

    def ask_again(self) -> None:
        """Asks ``auth`` once more if it is time; ``AuthError`` if it has nothing to give."""
        if self._credentials.renewable and self._clock.monotonic() >= self._ask_at:
            self.note()
            self.active = not self._credentials.retry()

    def wait_s(self) -> float:
        """Seconds until it is time to ask again."""
        return max(0.0, self._ask_at - self._clock.monotonic())
