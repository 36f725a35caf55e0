"""Keys, and texts sealed with them: AES-256-GCM, each text with a nonce of its own (NIST SP
800-38D); where equal texts must find each other, AES-256-SIV (RFC 5297), which seals them alike.

A sealed text says which key it was sealed with, by eight hexadecimal digits that are derived from
the key and give nothing of it away; so several keys may be in use while one takes the other's
place. A text is bound to the column that it was sealed for. Needs the extra ``crypto``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any

from bytelyst_sync.errors import ConfigError, StorageError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
except ImportError as error:
    raise ImportError(
        'encryption needs the extra "crypto": pip install "bytelyst-sync[crypto]"'
    ) from error

__all__ = ["Key", "Seal", "generate_key", "is_sealed"]

Key = str | bytes
"""32 random bytes, or their URL-safe Base64, as ``generate_key`` makes it."""

_PREFIX = "sealed:1:"
_KEY_BYTES = 32
_NONCE_BYTES = 12


def generate_key() -> str:
    """A new random key, as text: URL-safe Base64 of 32 bytes."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode("ascii")


def is_sealed(text: object) -> bool:
    """Whether this is a sealed text."""
    return isinstance(text, str) and text.startswith(_PREFIX)


class _Cipher:
    """One key's name, and its ciphers."""

    def __init__(self, key: object, field: str) -> None:
        secret = _as_bytes(key, field)
        self.name = hashlib.sha256(b"bytelyst_sync name" + secret).hexdigest()[:8]
        self._gcm = AESGCM(hashlib.sha256(b"bytelyst_sync gcm" + secret).digest())
        self._siv = AESSIV(hashlib.sha512(b"bytelyst_sync siv" + secret).digest())

    def seal(self, text: bytes, column: bytes, *, alike: bool) -> bytes:
        if alike:
            return self._siv.encrypt(text, [column])
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._gcm.encrypt(nonce, text, column)

    def open(self, sealed: bytes, column: bytes, *, alike: bool) -> bytes:
        if alike:
            return self._siv.decrypt(sealed, [column])
        return self._gcm.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], column)


class Seal:
    """Seals with ``key`` and opens what was sealed with it or one of ``old_keys``.

    ``key`` may be a callable that returns it; it is called once, at the first use. Any thread may
    use it. ``repr`` shows no key.
    """

    def __init__(self, key: Key | Callable[[], Key], old_keys: Iterable[Key] = ()) -> None:
        self._given = key
        self._old = [_Cipher(each, "old_keys") for each in old_keys]
        self._made: _Cipher | None = None if callable(key) else _Cipher(key, "key")

    @property
    def _current(self) -> _Cipher:
        made = self._made
        if made is None:
            made = self._made = _Cipher(self._given() if callable(self._given) else b"", "key")
        return made

    @property
    def name(self) -> str:
        """The name of the key that is in use."""
        return self._current.name

    def close(self, text: str, column: str, *, alike: bool = False) -> str:
        """The text, sealed for this column; ``alike``: equal texts are sealed alike."""
        cipher = self._current
        sealed = cipher.seal(text.encode("utf-8"), column.encode(), alike=alike)
        return f"{_PREFIX}{cipher.name}:{base64.b64encode(sealed).decode('ascii')}"

    def open(self, text: str, column: str, *, alike: bool = False) -> str:
        """What was sealed; ``StorageError`` if it cannot be opened, with what to do."""
        if not is_sealed(text):
            raise StorageError(
                "the store holds what was not written under encryption; begin an encrypted store "
                "with a new file, and carry the records over"
            )
        name, _, packed = text[len(_PREFIX) :].partition(":")
        cipher = next((each for each in (self._current, *self._old) if each.name == name), None)
        if cipher is None:
            raise StorageError(
                f"the store is encrypted with another key, named {name}; the one given is named "
                f"{self.name}. Give the right key, or the former one among old_keys"
            )
        try:
            sealed = base64.b64decode(packed, validate=True)
            return cipher.open(sealed, column.encode(), alike=alike).decode("utf-8")
        except (ValueError, binascii.Error, InvalidTag) as error:
            raise StorageError(
                f"a sealed value of {column} has been altered or damaged; it cannot be opened"
            ) from error

    def knows(self, name: str) -> bool:
        """Whether the key of this name was given."""
        return any(each.name == name for each in (self._current, *self._old))

    def is_current(self, text: str) -> bool:
        """Whether it was sealed with the key in use."""
        return text.startswith(f"{_PREFIX}{self.name}:")


def _as_bytes(key: object, field: str) -> bytes:
    raw: Any = key
    if isinstance(key, str):
        try:
            raw = base64.urlsafe_b64decode(key)
        except ValueError:
            raw = b""
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != _KEY_BYTES:
        raise ConfigError(
            f"{field} is no key: give 32 random bytes, or what generate_key() returned "
            "(of a password, derive them with scrypt and a salt that you keep)",
            field=field,
            value="…",
        )
    return bytes(raw)
