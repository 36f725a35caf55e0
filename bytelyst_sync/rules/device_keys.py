"""Device ids, the key of each device, and signatures with it.

A device's key is derived from the server's master key and the device's id (HKDF, RFC 5869, with
SHA-256), so the server keeps one secret and a device cannot compute the key of another one. As text
a key names its device: a key that was copied to another device is recognized.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import uuid
from typing import Any, NamedTuple

from bytelyst_sync.errors import ConfigError

__all__ = [
    "DEVICE_ID",
    "DeviceKey",
    "device_id_of",
    "device_key",
    "hkdf",
    "is_signed",
    "parse_key",
    "signature",
]

_SALT = b"bytelyst-sync"
_KEY_BYTES = 32
_LEAST_MASTER_BYTES = 32
DEVICE_ID = "[0-9a-f-]{36}"
"""The regular expression of a device's id: that of a UUID as text."""
_TEXT = re.compile(rf"bsd1\.({DEVICE_ID})\.([0-9a-f]{{64}})")


class DeviceKey(NamedTuple):
    """A device's key, and the device that it was made for."""

    device: str
    secret: bytes


def device_id_of(principal: str, install: str) -> str:
    """The id of a device: a UUID that is derived from its principal and its store's ``install``.

    Whoever knows the principal of a request can compute it, so that a device cannot report under
    the id of another principal's device.
    """
    name = principal.encode("utf-8", "surrogatepass")
    text = b"bytelyst-sync device 1\0%d\0%b%b" % (len(name), name, install.encode())
    return str(uuid.UUID(bytes=hashlib.sha256(text).digest()[:16], version=5))


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF with SHA-256 (RFC 5869): extract, then expand to ``length`` bytes."""
    pseudorandom = hmac.new(salt, secret, hashlib.sha256).digest()
    block, made = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(pseudorandom, block + info + bytes([counter]), hashlib.sha256).digest()
        made += block
    return made[:length]


def device_key(master: bytes, device: str) -> str:
    """The key of one device, as the text that ``RemoteCommands`` takes.

    ``master`` is the server's secret of at least 32 random bytes (``secrets.token_bytes(32)``). It
    stays at the server. Raises ``ConfigError`` for a shorter one.
    """
    if not isinstance(master, bytes) or len(master) < _LEAST_MASTER_BYTES:
        raise ConfigError(
            f"master is no secret of at least {_LEAST_MASTER_BYTES} bytes: make one with"
            " secrets.token_bytes(32), and keep it at the server",
            field="master",
        )
    secret = hkdf(master, _SALT, b"device key 1\0" + device.encode(), _KEY_BYTES)
    return f"bsd1.{device}.{secret.hex()}"


def parse_key(text: object) -> DeviceKey | None:
    """The key in this text; ``None`` if it is no key of a device."""
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    return None if found is None else DeviceKey(found[1], bytes.fromhex(found[2]))


def signature(key: DeviceKey, purpose: str, values: object) -> str:
    """The HMAC (SHA-256, in hexadecimal digits) of JSON values, for one purpose and this device."""
    text = json.dumps(
        ["bytelyst-sync 1", purpose, key.device, values],
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hmac.new(key.secret, text.encode(), hashlib.sha256).hexdigest()


def is_signed(key: DeviceKey, purpose: str, values: object, given: Any) -> bool:
    """Whether ``given`` is the signature of these values; compared in constant time."""
    if not isinstance(given, str) or not given.isascii():
        return False
    try:
        expected = signature(key, purpose, values)
    except (TypeError, ValueError, RecursionError):
        return False
    return hmac.compare_digest(expected, given)
