"""Validators and converters of settings. Each error names the field, the value, what is allowed."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.model import ConflictName, ConflictStrategy

__all__ = [
    "Validator",
    "account_name",
    "as_strategy",
    "as_timeout",
    "as_tuple",
    "choice",
    "endpoint_path",
    "field_name",
    "field_names",
    "flag",
    "header_texts",
    "hidden",
    "http_url",
    "is_a",
    "is_auth",
    "is_callable",
    "is_clock",
    "is_probe",
    "is_storage",
    "is_transport",
    "must_be",
    "nearest",
    "number",
    "own",
    "string_keys",
    "strings",
    "unknown_name",
    "wrong",
    "wrong_value",
]

Validator = Callable[[object, "attrs.Attribute[Any]", Any], None]
_UNKNOWN = "…"
"""The value in an error about an unknown name."""
_LARGEST = 1e12
"""Larger numbers of seconds, items or threads are refused."""
_NOT_IN_HOST = re.compile(r"""[\s<>"\\^`{|}]""")


def wrong_value(field: str, value: object, allowed: str, owner: str = "") -> ConfigError:
    """The error for a wrong value: it names the field, the value and what is allowed.

    ``owner`` is shown before the field: ``"Dialect."``.
    """
    return ConfigError(f"{owner}{field} is {value!r}; allowed: {allowed}", field=field, value=value)


def wrong(
    instance: object, attribute: attrs.Attribute[Any], value: object, allowed: str
) -> ConfigError:
    """The same, for use in a validator."""
    owner = getattr(type(instance), "shown_before_fields", "")
    return wrong_value(attribute.name, value, allowed, owner)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to a misspelt one; ``None`` if none is similar."""
    return next(iter(get_close_matches(name, list(known), 1)), None)


def unknown_name(
    name: str,
    known: Sequence[str],
    value: object = _UNKNOWN,
    *,
    kind: str = "settings",
    owner: str = "",
) -> ConfigError:
    """The error for a name that does not exist: it lists the known ones and suggests the nearest.

    ``owner`` is shown before the name: ``"Dialect."``.
    """
    near = nearest(name, known)
    hint = "" if near is None else f". Did you mean {near}?"
    return wrong_value(name, value, f"the {kind} {', '.join(known)}{hint}", owner)


def must_be(allowed: str, good: Callable[[Any], object]) -> Validator:
    """A validator: a value for which ``good`` is true."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not good(value):
            raise wrong(instance, attribute, value, allowed)

    return check


# --- validators


def number(
    low: float,
    high: float = math.inf,
    *,
    optional: bool = False,
    above: bool = False,
    whole: bool = False,
) -> Validator:
    """A finite number in a range; ``above`` leaves out its lower end."""
    allowed = ("a whole number" if whole else "a number") + (
        f" above {low:g}" if above else f" from {low:g}"
    )
    allowed += f" to {high:g}" if high < math.inf else ""
    allowed += ", or None" if optional else ""

    def good(value: Any) -> bool:
        if value is None:
            return optional
        if not isinstance(value, int if whole else (int, float)) or isinstance(value, bool):
            return False
        # an int is compared as it is: it may be too large for a float
        return low <= value <= min(high, _LARGEST) and not (above and value == low)

    return must_be(allowed, good)


def choice(*values: str) -> Validator:
    """One of these strings."""
    return must_be(", ".join(map(repr, values)), lambda value: value in values)


def is_a(kind: type, allowed: str, *, optional: bool = False) -> Validator:
    """An object of this class."""
    return must_be(allowed, lambda value: isinstance(value, kind) or (optional and value is None))


def _has(*methods: str) -> Callable[[Any], bool]:
    return lambda value: (
        value is None or all(callable(getattr(value, name, None)) for name in methods)
    )


def _is_endpoint(value: Any) -> object:
    return (
        isinstance(value, str)
        and value.strip("/")
        and not value.startswith("//")
        and not set(value) & set("?# \t\r\n\\")
        and not {".", ".."} & set(value.split("/"))
        and ":" not in value.split("/")[0]  # that would be a scheme
    )


def _are_field_names(value: Any) -> bool:
    """No name twice, and none through a list."""
    good = isinstance(value, tuple) and all(
        isinstance(each, str) and each and "[]" not in each for each in value
    )
    return good and len(set(value)) == len(value)


def _is_storage(value: Any) -> object:
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    return value is not None and _has("read", "write", "delivery_right")(value)


flag = must_be("True or False", lambda value: isinstance(value, bool))
is_callable = must_be("a callable, or None", lambda value: value is None or callable(value))
field_name = must_be("the name of a field", lambda value: isinstance(value, str) and value)
field_names = must_be('names of fields, such as ("project_id",)', _are_field_names)
endpoint_path = must_be('a path below base_url without query, such as "/notes"', _is_endpoint)
is_storage = must_be('a path, "lmdb:" and a path, ":memory:", or a Storage', _is_storage)
is_transport = must_be("an object with a send(request) method, or None", _has("send"))
is_clock = must_be("an object with wall() and monotonic(), or None", _has("wall", "monotonic"))
is_probe = must_be(
    '"auto", TcpProbe(...), HttpProbe(...), a callable, or None',
    lambda value: value in (None, "auto") or callable(value),
)
account_name = must_be(
    "a printable name of at most 255 characters, or None",
    lambda value: (
        value is None or (isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable())
    ),
)
string_keys = must_be(
    "a dict with strings as keys",
    lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
)
strings = must_be(
    "a dict of strings to strings",
    lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(key, str) and isinstance(each, str) for key, each in value.items())
    ),
)


def header_texts(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Names of headers to their values, without line breaks. Errors never show a value."""
    allowed = "a dict of strings to strings, without line breaks"
    if not isinstance(value, Mapping):
        raise wrong(instance, attribute, type(value).__name__, allowed)
    for name, each in value.items():
        good = isinstance(name, str) and isinstance(each, str)
        if not good or set(f"{name}{each}") & set("\r\n\0"):
            raise wrong(instance, attribute, name, allowed)


def is_auth(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A value of ``auth``. Errors never show it."""
    pair = isinstance(value, tuple) and len(value) == 2
    if value is not None and not pair and not callable(value):
        allowed = (
            "None, (user, password), a requests auth object, or a callable that returns a token "
            "(for a fixed one: lambda: token)"
        )
        raise wrong(instance, attribute, f"a {type(value).__name__}", allowed)


def http_url(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An http or https URL without credentials and query.

    ``http+unix`` is for sessions whose adapters know it.
    """
    allowed = 'an http or https URL without query, such as "https://api.example.com"'
    if not isinstance(value, str) or value != value.strip() or not value.isprintable():
        raise wrong(instance, attribute, value, allowed)
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https", "http+unix") and parts.hostname and parts.port != 0
        good = good and not _NOT_IN_HOST.search(parts.netloc)
    except ValueError:
        good, parts = None, None
    if not good or parts is None or parts.query or parts.fragment or parts.username is not None:
        raise wrong(
            instance,
            attribute,
            "…" if "@" in value or "?" in value else value,
            allowed + " (credentials go into auth)",
        )


# --- converters


def as_strategy(value: ConflictName | None) -> ConflictStrategy | None:
    """The conflict strategy of that name."""
    if value is None:
        return None
    try:
        return ConflictStrategy(value)
    except ValueError:
        names = ", ".join(repr(each.value) for each in ConflictStrategy)
        raise wrong_value("conflict", value, names) from None


def as_timeout(value: float | tuple[float, float]) -> tuple[float, float]:
    """Seconds to (connect, read)."""
    seconds: Any = value
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    pair = (seconds, seconds) if is_number else seconds
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


def as_tuple(value: str | Sequence[str]) -> tuple[str, ...]:
    """One string becomes a tuple of it, a list a tuple."""
    if isinstance(value, str):
        return (value,)
    # anything but a list is left as it is, for the validator to refuse
    names: Any = tuple(value) if isinstance(value, list) else value
    return cast("tuple[str, ...]", names)


def own(value: Any) -> Any:
    """A copy of a dict, so that later changes by the caller have no effect."""
    return dict(value) if isinstance(value, Mapping) else value


def hidden(value: object) -> str:
    """The ``repr`` of a secret."""
    return "None" if value is None else "'***'"
