"""What a setting must be: converters and validators, and the one way in which they complain."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.dialect import Dialect
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.model import ConflictStrategy

__all__ = [
    "as_strategy",
    "as_timeout",
    "choice",
    "endpoint_path",
    "field_name",
    "flag",
    "hidden",
    "http_url",
    "is_auth",
    "is_callable",
    "is_clock",
    "is_dialect",
    "is_probe",
    "is_storage",
    "is_transport",
    "number",
    "own_dict",
    "parameters",
    "strings",
    "wrong_value",
]


_LARGEST = 1e12
"""No number of seconds, items or threads is above it."""


def wrong_value(field: str, value: object, allowed: str) -> ConfigError:
    """The error that names the field, the value and what is allowed."""
    return ConfigError(f"{field} is {value!r}; allowed: {allowed}", field=field, value=value)


def number(
    low: float,
    high: float = math.inf,
    *,
    optional: bool = False,
    above: bool = False,
    whole: bool = False,
) -> Any:
    """A validator: a finite number in a range; ``above`` leaves out its lower end."""
    allowed = ("a whole number" if whole else "a number") + (
        f" above {low:g}" if above else f" from {low:g}"
    )
    if high < math.inf:
        allowed += f" to {high:g}"
    if optional:
        allowed += ", or None"

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        # an int is compared as it is: it may be too large for a float
        if not good or not low <= value <= min(high, _LARGEST) or (above and value == low):
            raise wrong_value(attribute.name, value, allowed)

    return check


def is_callable(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: a callable, or ``None``."""
    if value is not None and not callable(value):
        raise wrong_value(attribute.name, value, "a callable, or None")


def flag(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: true or false."""
    if not isinstance(value, bool):
        raise wrong_value(attribute.name, value, "True or False")


def is_dialect(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: a ``Dialect``."""
    if not isinstance(value, Dialect):
        raise wrong_value(attribute.name, value, "a Dialect")


def as_strategy(value: Any) -> Any:
    """A converter: the conflict strategy of that name."""
    if value is None:
        return None
    try:
        return ConflictStrategy(value)
    except ValueError:
        names = ", ".join(repr(each.value) for each in ConflictStrategy)
        raise wrong_value("conflict", value, names) from None


def choice(*values: str) -> Any:
    """A validator: one of these strings."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in values:
            raise wrong_value(attribute.name, value, ", ".join(map(repr, values)))

    return check


def endpoint_path(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: a path without query."""
    good = (
        isinstance(value, str)
        and value.strip("/")
        and not value.startswith("//")
        and not set(value) & set("?#: \t\r\n\\")
        and not {".", ".."} & set(value.split("/"))
    )
    if not good:
        raise wrong_value(
            attribute.name, value, 'a path below base_url without query, such as "/notes"'
        )


def field_name(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: a non-empty string."""
    if not isinstance(value, str) or not value:
        raise wrong_value(attribute.name, value, "the name of a field")


def strings(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: strings to strings; headers without line breaks."""
    good = isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(each, str) for key, each in value.items()
    )
    if not good:
        raise wrong_value(
            attribute.name,
            "…" if attribute.name == "headers" else value,
            "a dict of strings to strings",
        )
    for key, each in value.items():
        if attribute.name == "headers" and set(key + each) & set("\r\n\0"):
            raise wrong_value(attribute.name, key, "headers without line breaks")


def parameters(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: a dict with strings as keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise wrong_value(attribute.name, value, "a dict of parameters to values")


def own_dict(value: Any) -> Any:
    """A converter: a copy that nobody else can change."""
    return dict(value) if isinstance(value, Mapping) else value


def http_url(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: an http or https URL without credentials and query."""
    allowed = 'an http or https URL without query, such as "https://api.example.com"'
    if not isinstance(value, str) or value != value.strip():
        raise wrong_value(attribute.name, value, allowed)
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good, parts = None, None
    if not good or parts is None or parts.query or parts.fragment or parts.username is not None:
        raise wrong_value(
            attribute.name,
            "…" if "@" in value or "?" in value else value,
            allowed + " (credentials go into auth)",
        )


def as_timeout(value: Any) -> Any:
    """A converter: seconds to (connect, read)."""
    alone = isinstance(value, (int, float)) and not isinstance(value, bool)
    pair = (value, value) if alone else value
    good = (
        isinstance(pair, (tuple, list))
        and len(pair) == 2
        and all(
            isinstance(each, (int, float)) and not isinstance(each, bool) and 0 < each < math.inf
            for each in pair
        )
    )
    if not good:
        raise wrong_value("timeout", value, "seconds above 0, as a number or (connect, read)")
    return (float(pair[0]), float(pair[1]))


def is_storage(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: a path or a store."""
    if isinstance(value, (str, os.PathLike)):
        if os.fspath(value):
            return
    elif all(callable(getattr(value, name, None)) for name in ("read", "write", "delivery_right")):
        return
    raise wrong_value(attribute.name, value, 'a path, ":memory:", or a Storage')


def is_auth(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: what ``auth`` may be. The value itself is never shown."""
    pair = isinstance(value, tuple) and len(value) == 2
    if value is None or pair or callable(value):
        return
    raise wrong_value(
        "auth",
        f"a {type(value).__name__}",
        "None, (user, password), a requests auth object, or a callable that returns a token "
        "(for a fixed one: lambda: token)",
    )


def is_probe(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: what ``probe`` may be."""
    if value not in (None, "auto") and not callable(value):
        raise wrong_value(
            "probe", value, '"auto", TcpProbe(...), HttpProbe(...), a callable, or None'
        )


def is_transport(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: something with a ``send``."""
    if value is not None and not callable(getattr(value, "send", None)):
        raise wrong_value("transport", value, "an object with a send(request) method, or None")


def is_clock(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: something that tells the time."""
    if value is not None and not all(
        callable(getattr(value, name, None)) for name in ("wall", "monotonic")
    ):
        raise wrong_value("clock", value, "an object with wall() and monotonic(), or None")


def hidden(value: object) -> str:
    """What ``repr`` shows of a secret."""
    return "None" if value is None else "'***'"
