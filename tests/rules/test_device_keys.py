"""Keys and ids of devices."""

import uuid
from typing import Any

import pytest

from bytelyst_sync import ConfigError
from bytelyst_sync.rules.device_keys import (
    device_id_of,
    device_key,
    hkdf,
    is_signed,
    parse_key,
    signature,
)
from tests.typed import present

MASTER = bytes(range(32))
DEVICE = device_id_of("sam", "0" * 32)

RFC_5869 = {
    # appendix A: secret, salt, info, length, output
    "A.1": (
        "0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", 42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    "A.2": (
        bytes(range(0x50)).hex(), bytes(range(0x60, 0xB0)).hex(), bytes(range(0xB0, 0x100)).hex(),
        82,
        ("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6"
        "5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"),
    ),
    "A.3": (
        "0b" * 22, "", "", 42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RFC_5869)
def test_the_vectors_of_rfc_5869(case: str) -> None:
    secret, salt, info, length, expected = RFC_5869[case]
    made = hkdf(bytes.fromhex(secret), bytes.fromhex(salt), bytes.fromhex(info), length)
    assert made.hex() == expected


def test_the_key_of_a_device_stays_the_same_over_releases() -> None:
    """Devices hold keys that were made by earlier releases."""
    assert DEVICE == "18e66947-6cdf-5b6e-bf66-d4c551a8bf3a"
    secret = "98dbb5c29e98b3aaf7679a72c9725af25c6ea61c9012f5c7ba775399fe67cc15"
    assert device_key(MASTER, DEVICE) == f"bsd1.{DEVICE}.{secret}"


def test_each_device_has_a_key_of_its_own() -> None:
    others = [device_id_of("sam", f"{n:032x}") for n in range(50)]
    secrets = {present(parse_key(device_key(MASTER, each))).secret for each in others}
    assert len(secrets) == 50
    assert parse_key(device_key(MASTER, DEVICE)) != parse_key(device_key(b"x" * 32, DEVICE))
    assert MASTER.hex() not in device_key(MASTER, DEVICE)


def test_a_device_id_belongs_to_a_principal() -> None:
    ids = {device_id_of(name, "ab") for name in ("", "sam", "kim", "sa", "s")}
    ids |= {device_id_of("sa", "mab"), device_id_of("samab", "")}
    assert len(ids) == 7
    assert all(str(uuid.UUID(each)) == each for each in ids)
    assert device_id_of("sam", "ab") == device_id_of("sam", "ab")
    assert device_id_of("\ud800", "ab") != device_id_of("?", "ab")


@pytest.mark.parametrize("wrong", [b"", b"x" * 31, "x" * 32, None, bytearray(32)])
def test_a_master_key_that_is_no_secret(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"secrets\.token_bytes\(32\)"):
        device_key(wrong, DEVICE)


@pytest.mark.parametrize(
    "text", ["", "bsd1.", MASTER.hex(), f"bsd1.{DEVICE}", f"bsd2.{DEVICE}.{'0' * 64}", None, b"x"]
)
def test_what_is_no_key(text: str | bytes | None) -> None:
    assert parse_key(text) is None


def test_a_signature_is_for_its_purpose_device_and_values() -> None:
    key, other = (parse_key(device_key(MASTER, device_id_of(n, "1"))) for n in ("sam", "kim"))
    assert key is not None
    assert other is not None
    made = signature(key, "command", ["1", {"b": 1, "a": 2}])
    assert is_signed(key, "command", ["1", {"a": 2, "b": 1}], made)
    assert not is_signed(other, "command", ["1", {"a": 2, "b": 1}], made)
    assert not is_signed(key, "heartbeat", ["1", {"a": 2, "b": 1}], made)
    assert not is_signed(key, "command", ["1", {"a": 2, "b": "1"}], made)
    # the same secret under another device's name
    assert not is_signed(
        key._replace(device=other.device), "command", ["1", {"a": 2, "b": 1}], made
    )


@pytest.mark.parametrize("given", [None, 1, "", "é", b"x", "0" * 64])
def test_no_signature_at_all(given: int | str | bytes | None) -> None:
    key = present(parse_key(device_key(MASTER, DEVICE)))
    assert not is_signed(key, "command", [], given)
    assert not is_signed(key, "command", [object()], given)
