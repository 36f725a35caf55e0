"""Which redirects are followed, where they point, and which betray a portal."""

from __future__ import annotations

from typing import Any

import pytest

from bytelyst_sync.errors import OfflineError
from bytelyst_sync.http.redirects import follow, is_portal, redirect_target
from bytelyst_sync.http.transport import Request, Response

API = "https://api.example.com/notes"


class Canned:
    """Answers from a list, the last one again and again."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.sent: list[Any] = []

    def send(self, request: Request) -> Response:
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Response(answer.status, answer.headers, b"", request.url)


def to(place: str, status: int = 307) -> Response:
    return Response(status, {"location": place})


DONE = Response(200)


class TestFollow:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
    @pytest.mark.parametrize("status", [307, 308])
    def test_write_is_repeated_with_its_method_and_body(self, method: str, status: int) -> None:
        transport = Canned(to("/notes/?a=b#c", status), DONE)
        request = Request(method, API, {"Authorization": "Bearer x"}, b"{}", (1.0, 2.0))
        assert follow(transport, request).status == 200
        sent = transport.sent[1]
        assert sent.url == "https://api.example.com/notes/?a=b"
        assert (sent.method, sent.headers, sent.body) == (method, request.headers, b"{}")
        assert sent.timeout == (1.0, 2.0)

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("status", [300, 301, 302, 303, 304])
    def test_write_is_not_turned_into_something_else(self, method: str, status: int) -> None:
        transport = Canned(to("/notes/", status), DONE)
        assert follow(transport, Request(method, API, {}, b"{}")).status == status
        assert len(transport.sent) == 1

    @pytest.mark.parametrize("method", ["GET", "HEAD", "get"])
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_read_is_followed(self, method: str, status: int) -> None:
        transport = Canned(to(API + "/", status), to("next", status), DONE)
        assert follow(transport, Request(method, API)).status == 200
        assert [sent.url for sent in transport.sent] == [API, API + "/", API + "/next"]
        assert {sent.method for sent in transport.sent} == {method}

    @pytest.mark.parametrize("status", [300, 304])
    def test_what_is_no_redirect_to_follow(self, status: int) -> None:
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
    def test_other_places_are_not_followed(self, place: str, method: str) -> None:
        transport = Canned(to(place), DONE)
        assert follow(transport, Request(method, API)).status == 307
        assert len(transport.sent) == 1

    @pytest.mark.parametrize(
        "place",
        ["https://API.example.com/a", "https://api.example.com:443/a", "//api.example.com/a"],
    )
    def test_one_origin_in_other_words(self, place: str) -> None:
        assert follow(Canned(to(place), DONE), Request("POST", API)).status == 200

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_only_path_and_query_are_taken_from_the_server(self, method: str) -> None:
        base = "http://ann:pw@API.example.com:80/notes"
        transport = Canned(to("http://eve:pw@api.example.com/a?b"), DONE)
        assert follow(transport, Request(method, base)).status == 200
        assert transport.sent[1].url == "http://ann:pw@api.example.com:80/a?b"

    def test_a_proxy_that_asks_for_a_password_is_no_connection(self) -> None:
        with pytest.raises(OfflineError, match=r"api\.example\.com:443: the proxy asks"):
            follow(Canned(Response(407)), Request("POST", API))

    def test_no_place(self) -> None:
        assert follow(Canned(Response(307)), Request("POST", API)).status == 307

    @pytest.mark.parametrize(("limit", "sent"), [(0, 1), (1, 2), (5, 6)])
    def test_limit(self, limit: int, sent: int) -> None:
        transport = Canned(to("/notes"))
        assert follow(transport, Request("POST", API), limit=limit).status == 307
        assert len(transport.sent) == sent

    def test_five_by_default(self) -> None:
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
            ("/\xc3\xbc", "https://api.example.com/%C3%BC"),
            ("/\xfc", "https://api.example.com/%C3%BC"),
            ("http://[", None),
            ("", None),
        ],
    )
    def test_where_it_points(self, place: str, target: str | None) -> None:
        response = Response(302, {"location": place}, url=API)
        assert redirect_target(response) == target
        assert redirect_target(Response(302, {"location": place}), API) == target

    def test_no_redirect(self) -> None:
        assert redirect_target(Response(201, {"location": "/a"}, url=API)) is None
        assert redirect_target(Response(302, url=API)) is None


class TestPortal:
    PLAIN = "http://api.example.com/notes"

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirect_to_another_host(self, status: int) -> None:
        response = to("http://portal.example.net/login?from=x", status)
        assert is_portal(response, self.PLAIN)
        assert not is_portal(response, API)

    def test_network_authentication_required(self) -> None:
        assert is_portal(Response(511), self.PLAIN)
        assert is_portal(Response(511), API)

    @pytest.mark.parametrize(
        "response",
        [DONE, Response(302), to("/login"), to(API), to(PLAIN + ":81/"), Response(503)],
    )
    def test_other_answers(self, response: Response) -> None:
        assert not is_portal(response, self.PLAIN)
