"""Placeholders in templates: texts and JSON values such as ``"(page:{page})"``.

Only known names are placeholders. All other braces are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

__all__ = ["BODY_PLACEHOLDER", "LISTING_PLACEHOLDERS", "body_names_in", "names_in", "placeholders"]

LISTING_PLACEHOLDERS = ("cursor", "page", "offset", "token", "limit")
"""The placeholders in the path, the query and the headers of a pull."""

BODY_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
"""A placeholder in the body of a write: one of ours, or the name of a field."""


@lru_cache
def placeholders(names: tuple[str, ...]) -> re.Pattern[str]:
    """The pattern of the placeholders with these names."""
    return re.compile(r"\{(" + "|".join(names) + r")\}")


def names_in(template: Any, known: tuple[str, ...] = LISTING_PLACEHOLDERS) -> set[str]:
    """The placeholders with these names that a template contains."""
    return _matches_in(template, placeholders(known))


def body_names_in(template: Any) -> set[str]:
    """The placeholders in the template of a body."""
    return _matches_in(template, BODY_PLACEHOLDER)


def _matches_in(template: Any, pattern: re.Pattern[str]) -> set[str]:
    if isinstance(template, str):
        return set(pattern.findall(template))
    inner: Collection[Any] = ()
    if isinstance(template, Mapping):
        inner = template.values()
    elif isinstance(template, (list, tuple)):
        inner = template
    return {name for each in inner for name in _matches_in(each, pattern)}
