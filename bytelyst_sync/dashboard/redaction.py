"""Hides payloads until an actor asks for them, and secrets in them always."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from bytelyst_sync.errors import InvalidDataError

__all__ = ["MASK", "Redact", "hidden", "pretty", "redact_secrets", "restored"]

MASK = "[redacted]"
Redact = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Takes an entity's name and a record, and returns the record as it may be shown."""
_SECRET = re.compile(
    r"pass(word|wd|phrase|code)?s?$|secret|token|api[_-]?key|private[_-]?key|authorization|cookie"
    r"|credential|signature|\bpin$|cvv|cvc|iban|card[_-]?number|ssn",
    re.IGNORECASE,
)
_HIDDEN = "••••••"


def redact_secrets(entity: str, data: dict[str, Any]) -> dict[str, Any]:
    """Replaces the values of fields that are named like secrets, at any depth."""
    del entity
    found: dict[str, Any] = _redacted(data)
    return found


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: MASK if _SECRET.search(str(name)) and each is not None else _redacted(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    return value


def hidden(value: Any) -> Any:
    """The shape of a value without its content: the names of fields stay, in lists too."""
    if isinstance(value, dict):
        return {name: hidden(each) for name, each in value.items()}
    if isinstance(value, list):
        return [hidden(each) for each in value]
    return None if value is None else _HIDDEN


def pretty(value: Any) -> str:
    """Indented JSON; characters that change how text is shown are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
    )


def restored(edited: Any, original: Any, shown: Any, path: str = "$") -> Any:
    """The edited payload, with the original values where a redacted one was left unchanged.

    Raises ``InvalidDataError`` if a redacted value was moved to where its original is not known.
    """
    if edited == shown:
        return original
    if isinstance(edited, dict):
        old = original if isinstance(original, dict) else {}
        seen = shown if isinstance(shown, dict) else {}
        return {
            name: restored(each, old.get(name), seen.get(name, _NOWHERE), f"{path}.{name}")
            for name, each in edited.items()
        }
    if isinstance(edited, list):
        old_list = original if isinstance(original, list) else []
        seen_list = shown if isinstance(shown, list) else []
        fits = len(edited) == len(seen_list) == len(old_list)
        return [
            restored(
                each,
                old_list[n] if fits else None,
                seen_list[n] if fits else _NOWHERE,
                f"{path}[{n}]",
            )
            for n, each in enumerate(edited)
        ]
    if edited == MASK:
        raise InvalidDataError(
            f"{path} is {MASK!r}, which stands for a value that is not shown: give the value, or"
            " leave the field where it was",
            path=path,
        )
    return edited


_NOWHERE = object()
