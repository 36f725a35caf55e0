"""Which redirects are followed, where they point, and which betray a portal."""

from __future__ import annotations

import pytest

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.transport.base import Request, Response
from bytelyst_sync.transport.redirects import follow, is_portal, origin, redirect_target

API = "https://api.example.com/notes"


class Canned:
    """Answers from a list, the last one again and again."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    def send(self, request):
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Response(answer.status, answer.headers, b"", request.url)


def to(place, status=307):
    return Response(status, {"location": place})


DONE = Response(200)


class TestFollow:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
    @pytest.mark.parametrize("status", [307, 308])
    def test_write_is_repeated_with_its_method_and_body(self, method, status):
        transport = Canned(to("/notes/?a=b#c", status), DONE)
        request = Request(method, API, {"Authorization": "Bearer x"}, b"{}", (1.0, 2.0))
        assert follow(transport, request).status == 200
        sent = transport.sent[1]
        assert sent.url == "https://api.example.com/notes/?a=b"
        assert (sent.method, sent.headers, sent.body) == (method, request.headers, b"{}")
        assert sent.timeout == (1.0, 2.0)

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("status", [300, 301, 302, 303, 304])
    def test_write_is_not_turned_into_something_else(self, method, status):
        transport = Canned(to("/notes/", status), DONE)
        assert follow(transport, Request(method, API, {}, b"{}")).status == status
        assert len(transport.sent) == 1

    @pytest.mark.parametrize("method", ["GET", "HEAD", "get"])
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_read_is_followed(self, method, status):
        transport = Canned(to(API + "/", status), to("next", status), DONE)
        assert follow(transport, Request(method, API)).status == 200
        assert [sent.url for sent in transport.sent] == [API, API + "/", API + "/next"]
        assert {sent.method for sent in transport.sent} == {method}

    @pytest.mark.parametrize("status", [300, 304])
    def test_what_is_no_redirect_to_follow(self, status):
        assert follow(Canned(to("/x", status)), Request("GET", API)).status == status

    @pytest.mark.parametrize(
        "place",
        [
            "http://api.example.com/notes/",
            "https://api.example.com:8443/notes/",
            "https://example.com/notes/",
            "//evil.example.com/notes/",
            "https://api.example.com@evil.example.com/",
            "https://api.example.com.evil.example.com/",
            "ftp://api.example.com/",
            "javascript:alert(1)",
            "https://[",
            "https://api.example.com:x/",
            "",
            " ",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_other_places_are_not_followed(self, place, method):
        transport = Canned(to(place), DONE)
        assert follow(transport, Request(method, API)).status == 307
        assert len(transport.sent) == 1

    @pytest.mark.parametrize(
        "place",
        ["https://API.example.com/a", "https://api.example.com:443/a", "//api.example.com/a"],
    )
    def test_one_origin_in_other_words(self, place):
        assert follow(Canned(to(place), DONE), Request("POST", API)).status == 200

    def test_no_place(self):
        assert follow(Canned(Response(307)), Request("POST", API)).status == 307

    @pytest.mark.parametrize(("limit", "sent"), [(0, 1), (1, 2), (5, 6)])
    def test_limit(self, limit, sent):
        transport = Canned(to("/notes"))
        assert follow(transport, Request("POST", API), limit=limit).status == 307
        assert len(transport.sent) == sent

    def test_five_by_default(self):
        transport = Canned(*[to("/notes")] * 5, DONE)
        assert follow(transport, Request("POST", API)).status == 200


class TestTarget:
    @pytest.mark.parametrize(
        ("place", "target"),
        [
            ("/a?t0k3n#t0k3n", "https://api.example.com/a"),
            ("https://ann:t0k3n@b.example.com:81/c?t0k3n", "https://b.example.com:81/c"),
            ("?t0k3n", API),
            ("../x", "https://api.example.com/x"),
            ("/\xc3\xbc", "https://api.example.com/ü"),
            ("/\xfc", "https://api.example.com/ü"),
            ("http://[", None),
            ("", None),
        ],
    )
    def test_where_it_points(self, place, target):
        response = Response(302, {"location": place}, url=API)
        assert redirect_target(response) == target
        assert redirect_target(Response(302, {"location": place}), API) == target

    def test_no_redirect(self):
        assert redirect_target(Response(201, {"location": "/a"}, url=API)) is None
        assert redirect_target(Response(302, url=API)) is None


class TestPortal:
    PLAIN = "http://api.example.com/notes"

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirect_to_another_host(self, status):
        response = to("http://portal.example.net/login?from=x", status)
        assert is_portal(response, self.PLAIN)
        assert not is_portal(response, API)

    def test_network_authentication_required(self):
        assert is_portal(Response(511), self.PLAIN)
        assert is_portal(Response(511), API)

    @pytest.mark.parametrize(
        "response",
        [DONE, Response(302), to("/login"), to(API), to(PLAIN + ":81/"), Response(503)],
    )
    def test_other_answers(self, response):
        assert not is_portal(response, self.PLAIN)


class TestOrigin:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://h", ("http", "h", 80)),
            ("https://H.Example.com/a?b", ("https", "h.example.com", 443)),
            ("HTTP://u:p@h:81/", ("http", "h", 81)),
            ("http://[::1]:8080/", ("http", "::1", 8080)),
            ("https://bücher.example/", ("https", "xn--bcher-kva.example", 443)),
        ],
    )
    def test_parts(self, url, expected):
        assert origin(url) == expected

    @pytest.mark.parametrize(
        "url", ["", "h", "/a", "ftp://h/", "http://", "http://h:x", "http://["]
    )
    def test_no_origin(self, url):
        with pytest.raises(ConfigError) as caught:
            origin(f"{url}/?t0k3n")
        assert "t0k3n" not in f"{caught.value} {caught.value.value}"

    def test_credentials_are_not_shown(self):
        with pytest.raises(ConfigError) as caught:
            origin("ftp://ann:t0k3n@h/")
        assert "t0k3n" not in str(caught.value)
