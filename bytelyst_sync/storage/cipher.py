"""Keys, and texts encrypted with them: AES-256-GCM with a random nonce for each text (NIST SP
800-38D), and AES-256-SIV (RFC 5297) where equal texts must be found as equal.

An encrypted text is ``sealed:2:NAME:BASE64``. The name is eight hexadecimal digits of a hash of
the key. It tells which key to use while one key replaces another. The *context* is authenticated
together with the text: the text can be decrypted only with the context it was encrypted for.
Release 0.1 wrote ``sealed:1:``, with the name of the column as the context. Needs the extra
``crypto``.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bytelyst_sync.errors import ConfigError, StorageError
from bytelyst_sync.storage.schema import SEALED_PREFIX

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

__all__ = ["AlteredValueError", "Cipher", "Key", "generate_key", "is_encrypted", "key_name"]

Key = str | bytes
"""32 random bytes, or their URL-safe Base64, as ``generate_key`` makes it."""

_PREFIX, _FORMER_PREFIX = f"{SEALED_PREFIX}2:", f"{SEALED_PREFIX}1:"
_NAME_DIGITS = 8
_KEY_BYTES = 32
_NONCE_BYTES = 12


class AlteredValueError(StorageError):
    """A value was altered, damaged, or moved to another place. Not raised to callers."""


def generate_key() -> str:
    """A new random key, as text: URL-safe Base64 of 32 bytes."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode("ascii")


def is_encrypted(text: object) -> bool:
    """Whether this is an encrypted text."""
    return isinstance(text, str) and text.startswith((_PREFIX, _FORMER_PREFIX))


def key_name(text: object) -> str:
    """The name of the key with which a text was encrypted."""
    return str(text)[len(_PREFIX) :].partition(":")[0]


def _primitives() -> tuple[type[AESGCM], type[AESSIV], type[Exception]]:
    """Imports the ciphers, and the exception for a wrong authentication tag."""
    try:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - of an extra
        from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415 - of an extra
            AESGCM,
            AESSIV,
        )
    except ImportError as error:
        raise ImportError(
            'encryption needs the extra "crypto": pip install "bytelyst-sync[crypto]"'
        ) from error
    return AESGCM, AESSIV, InvalidTag


class _KeyCiphers:
    """The name and the ciphers of one key."""

    def __init__(self, key: object, field: str) -> None:
        secret = _as_bytes(key, field)
        digest = hashlib.sha256(b"bytelyst_sync name" + secret).hexdigest()
        self.name = digest[:_NAME_DIGITS]
        aesgcm, aessiv, self.invalid_tag = _primitives()
        self._gcm = aesgcm(hashlib.sha256(b"bytelyst_sync gcm" + secret).digest())
        self._siv = aessiv(hashlib.sha512(b"bytelyst_sync siv" + secret).digest())

    def encrypt(self, text: str, context: bytes, *, matched: bool) -> str:
        if matched:
            packed = self._siv.encrypt(text.encode("utf-8"), [context])
        else:
            nonce = os.urandom(_NONCE_BYTES)
            packed = nonce + self._gcm.encrypt(nonce, text.encode("utf-8"), context)
        return f"{_PREFIX}{self.name}:{base64.b64encode(packed).decode('ascii')}"

    def decrypt(self, packed: bytes, context: bytes, *, matched: bool) -> str:
        if matched:
            return self._siv.decrypt(packed, [context]).decode("utf-8")
        nonce, encrypted = packed[:_NONCE_BYTES], packed[_NONCE_BYTES:]
        return self._gcm.decrypt(nonce, encrypted, context).decode("utf-8")


class Cipher:
    """Encrypts with ``key``; decrypts with ``key`` or one of ``old_keys``.

    ``key`` may be a callable that returns the key; it is called once, at the first use. Any thread
    may use a cipher. ``repr`` shows no key.
    """

    def __init__(self, key: Key | Callable[[], Key], old_keys: Iterable[Key] = ()) -> None:
        self._key_source = key
        self._old = [_KeyCiphers(each, "old_keys") for each in old_keys]
        self._loaded: _KeyCiphers | None = None if callable(key) else _KeyCiphers(key, "key")

    @property
    def _current(self) -> _KeyCiphers:
        loaded = self._loaded
        if loaded is None:
            key = self._key_source() if callable(self._key_source) else b""
            loaded = self._loaded = _KeyCiphers(key, "key")
        return loaded

    @property
    def name(self) -> str:
        """The name of the current key."""
        return self._current.name

    def encrypt(self, text: str, context: bytes, *, matched: bool = False) -> str:
        """Encrypts a text for this context; with ``matched`` equal texts give equal results."""
        return self._current.encrypt(text, context, matched=matched)

    def matches(self, text: str, context: bytes) -> list[str]:
        """The results of ``encrypt(..., matched=True)`` with each key."""
        keys = (self._current, *self._old)
        return [each.encrypt(text, context, matched=True) for each in keys]

    def decrypt(
        self, text: object, context: bytes, *, matched: bool = False, former: bytes | None = None
    ) -> str:
        """Decrypts a text that was encrypted for this context.

        ``former`` is the context of release 0.1, if its values are accepted. Raises
        ``AlteredValueError`` if decryption fails, ``StorageError`` if the key is unknown.
        """
        encrypted = text if isinstance(text, str) else ""
        if encrypted.startswith(_FORMER_PREFIX) and former is not None:
            context = former
        elif not encrypted.startswith(_PREFIX):
            raise AlteredValueError("is not encrypted")
        name, _, packed = encrypted[len(_PREFIX) :].partition(":")
        cipher = next((each for each in (self._current, *self._old) if each.name == name), None)
        if cipher is None:
            raise self.unknown_key(name)
        try:
            return cipher.decrypt(base64.b64decode(packed, validate=True), context, matched=matched)
        except (ValueError, cipher.invalid_tag) as error:
            raise AlteredValueError("was altered, damaged or copied from another place") from error

    def knows(self, name: str) -> bool:
        """Whether the key of this name was given."""
        return any(each.name == name for each in (self._current, *self._old))

    def unknown_key(self, name: str) -> StorageError:
        """The error for a value that was encrypted with an unknown key."""
        return StorageError(
            f"the store is encrypted with another key, named {name}; the given one is named"
            f" {self.name}. Give the right key, or add the former one to old_keys"
        )

    def is_current(self, text: object) -> bool:
        """Whether a text was encrypted with the current key, in the current format."""
        return isinstance(text, str) and text.startswith(f"{_PREFIX}{self.name}:")


def _as_bytes(key: object, field: str) -> bytes:
    raw: Any = key
    if isinstance(key, str):
        try:
            raw = base64.urlsafe_b64decode(key)
        except ValueError:
            raw = b""
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != _KEY_BYTES:
        raise ConfigError(
            f"{field} is no key: give 32 random bytes, or the result of generate_key() "
            "(derive the bytes from a password with scrypt and a stored salt)",
            field=field,
            value="…",
        )
    return bytes(raw)
