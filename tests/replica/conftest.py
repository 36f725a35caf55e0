"""The fixtures of the tests of pulls: a server, and an engine on it."""

from tests.pull.conftest import engine, steady_backoff

__all__ = ["engine", "steady_backoff"]
