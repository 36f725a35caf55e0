"""What the signatures of tests need: types of the fixtures of ``conftest.py`` that are called."""

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from bytelyst_sync import Response, SyncEngine
from bytelyst_sync.model import Json

T = TypeVar("T")
P = ParamSpec("P")


def present(value: T | None) -> T:
    """The value, which is not ``None``."""
    assert value is not None
    return value


class NewEngine(Protocol):
    """Settings are not checked here: tests also pass wrong ones."""

    def __call__(self, url: str = ..., **settings: Any) -> SyncEngine: ...


class NewPage(Protocol):
    def __call__(
        self,
        *items: object,
        status: int = ...,
        headers: dict[str, str] | None = ...,
        **members: object,
    ) -> Response: ...


class Eventually(Protocol):
    """Gives the first value that is true."""

    def __call__(self, predicate: Callable[..., T | None], timeout: float = ...) -> T: ...


class InThread(Protocol):
    def __call__(
        self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs
    ) -> Callable[..., T]: ...


class ViewOf(Protocol):
    def __call__(self, engine: SyncEngine, entity: str = ...) -> dict[str, Json]: ...
