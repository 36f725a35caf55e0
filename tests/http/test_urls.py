"""Which origin a URL is sent to, and which URLs are not sent at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from urllib3.util import parse_url

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.http.urls import join, origin, origin_name, rebased, sendable

BASE = "http://api.example.com:8080/v1/notes"
RELATIVE = ("", "h", "/a", "http://")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", ("http", "h", 80)),
        ("https://H.Example.com/a?b", ("https", "h.example.com", 443)),
        ("HTTP://u:p@h:81/", ("http", "h", 81)),
        ("http://[::1]:8080/", ("http", "::1", 8080)),
        ("https://bücher.example/", ("https", "xn--bcher-kva.example", 443)),
        ("http://claß.test/", ("http", "xn--cla-7ka.test", 80)),
        ("http://h./", ("http", "h.", 80)),
        ("http://h#@evil/", ("http", "h", 80)),
        ("http://h?@evil/", ("http", "h", 80)),
    ],
)
def test_origin(url: str, expected: tuple[str, str, int]) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "/a",
        "ftp://h/",
        "http://",
        "http://h:x",
        "http://h:99999/",
        "http://[",
        "http://evil\\@h/",
        "http://evil\\.@h/",
        "http:\\\\h/",
        "http://h/a\\b",
        "http://h/a\tb",
        "http://h\r\n/",
        "ht\ntp://h/",
        "http://h/\x00",
        "http://h/\x7f",
        "http://h/\x85",
        "http://evil@@h@/",
    ],
)
def test_a_url_that_is_not_sent(url: str) -> None:
    reads: list[Callable[[str], object]] = (
        [origin] if url in RELATIVE else [origin, lambda url: join(BASE, url)]
    )
    for read in reads:
        with pytest.raises(ConfigError) as caught:
            read(f"{url}/?t0k3n")
        assert "t0k3n" not in f"{caught.value} {caught.value.value}"


def test_credentials_are_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        origin("ftp://ann:t0k3n@h/")
    assert "t0k3n" not in str(caught.value)


@pytest.mark.parametrize(
    ("link", "followed"),
    [
        ("?page=2", "http://api.example.com:8080/v1/notes?page=2"),
        ("/v2", "http://api.example.com:8080/v2"),
        ("HTTP://API.Example.COM:8080/a?b#c", "http://api.example.com:8080/a?b"),
        ("//api.example.com:8080/a", "http://api.example.com:8080/a"),
        ("http://eve:pw@api.example.com:8080/a", "http://api.example.com:8080/a"),
        (
            "http://api.example.com:8080//evil.example/a",
            "http://api.example.com:8080//evil.example/a",
        ),
        ("http://api.example.com:8080", "http://api.example.com:8080/"),
        ("https://api.example.com:8080/a", None),
        ("http://api.example.com/a", None),
        ("http://api.example.com.:8080/a", None),
        ("http://api.example.com:8080@evil.example/a", None),
        ("http://api.example.com:8080.evil.example/a", ConfigError),
        ("//evil.example/a", None),
        ("//evil.example:8080\\@api.example.com:8080/", ConfigError),
    ],
)
def test_a_link_is_followed_on_the_origin_of_base_alone(
    link: str, followed: str | type[ConfigError] | None
) -> None:
    if followed is ConfigError:
        with pytest.raises(ConfigError):
            join(BASE, link)
    else:
        assert rebased(BASE, join(BASE, link)) == followed


def test_the_user_name_of_base_stays() -> None:
    base = "http://ann:pw@h/a"
    assert rebased(base, "http://h/b?c") == "http://ann:pw@h/b?c"
    assert rebased(base, "http://eve:x@H:80/b?c") == "http://ann:pw@h/b?c"


def test_hosts_that_only_one_kind_of_idna_takes_for_one() -> None:
    assert rebased("http://class.test/", "http://claß.test/") is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://u:p@h:80/a?b", "http://h"),
        ("https://H:8443", "https://h:8443"),
        ("http://[::1]/", "http://[::1]"),
        ("ftp://u:p@h/a?b", "ftp://h/a"),
    ],
)
def test_the_name_of_an_origin(url: str, name: str) -> None:
    assert origin_name(url) == name


@given(
    st.one_of(
        st.text(alphabet="ab.:/@\\[]#?%0ß\u0131\u212a-\t ", max_size=40),
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["http://", "//", "http:", "HTTP://", "///", ""]),
            st.text(alphabet="evil.:@\\[]#?%;/", max_size=15),
            st.sampled_from(["@api.example.com:8080/", "api.example.com:8080", ":8080/x", ""]),
        ),
    )
)
@example("http://evil\\@api.example.com:8080/")
def test_whatever_is_followed_goes_to_the_host_of_base(link: str) -> None:
    try:
        url = rebased(BASE, join(BASE, link))
    except ConfigError:
        return
    if url is None:
        return
    prepared = requests.Request("GET", url).prepare()
    host, _ = HTTPAdapter().build_connection_pool_key_attributes(prepared, True)
    assert (host["scheme"], host["host"], host["port"]) == ("http", "api.example.com", 8080)
    parsed = parse_url(sendable(url))
    assert (parsed.scheme, parsed.host, parsed.port) == ("http", "api.example.com", 8080)
