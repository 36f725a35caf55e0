"""Components: what they escape, what they say to screen readers, and what they refuse."""

import subprocess
import sys
from collections.abc import Callable

import jinja2
import pytest
from markupsafe import Markup

from bytelyst_sync.dashboard import components as c

BAD = "<b>&\"'"


@pytest.mark.parametrize(
    "markup",
    [
        c.ErrorPage(BAD, BAD, reference=BAD, retry_url=BAD, home_url=BAD),
        c.NotFoundPage(BAD, home_url=BAD, back_url=BAD, back=BAD),
        c.EmptyState(BAD, BAD, action_url=BAD, action=BAD),
        c.LoadingSpinner(BAD),
        c.LoadingSkeleton(2, BAD),
        c.PageHeader(BAD, BAD, breadcrumbs=[(BAD, BAD)]),
        c.Badge(BAD),
        c.Table(BAD, [c.Column(BAD)], [(BAD, [BAD])], row_heading=0),
        c.Sidebar([c.NavLink(BAD, BAD, "beaker", count=1)], label=BAD),
        c.Dialog("x", BAD, Markup("<p>"), Markup("<p>"), close_url=BAD),
        c.Toast("x", BAD, dismiss_url=BAD),
    ],
)
def test_every_text_is_escaped(markup: Markup) -> None:
    assert isinstance(markup, Markup)
    assert "<b>" not in markup
    assert '&"' not in markup
    assert "&lt;b&gt;&amp;&#34;&#39;" in markup


@pytest.mark.parametrize("component", [c.EmptyState, c.ErrorPage])
@pytest.mark.parametrize("level", [1, 3, 6])
def test_a_heading_has_the_level_that_is_given(component: Callable[..., str], level: int) -> None:
    assert f"<h{level}>Title</h{level}>" in component("Title", level=level)


@pytest.mark.parametrize("level", [0, 7])
def test_a_level_that_does_not_exist_is_refused(level: int) -> None:
    with pytest.raises(ValueError, match="level from 1 to 6"):
        c.EmptyState("Title", level=level)


def test_a_skeleton_is_busy_and_says_so_once() -> None:
    markup = c.LoadingSkeleton(4)
    assert markup.count('aria-hidden="true"') == 4
    assert markup.count('role="status"') == markup.count('aria-busy="true"') == 1


def test_a_spinner_speaks_by_its_text() -> None:
    markup = c.LoadingSpinner("Loading orders")
    assert '<span class="bs-sr-only">Loading orders</span>' in markup
    assert 'aria-hidden="true"' in markup


def test_a_page_header_has_one_heading_and_the_way_back() -> None:
    markup = c.PageHeader("Orders", breadcrumbs=[("Home", "/")], actions=Markup("<a>Do</a>"))
    assert markup.count("<h1>") == 1
    assert '<nav aria-label="Breadcrumbs">' in markup
    assert 'aria-current="page"' in markup
    assert "<a>Do</a>" in markup


def test_the_beaker_is_there() -> None:
    assert "<svg" in c.icon("beaker")
    with pytest.raises(KeyError):
        c.icon("none")


def test_a_template_of_jinja_takes_them_as_they_are() -> None:
    badge = c.Badge("<ok>", "good")
    environment = jinja2.Environment(autoescape=True)
    assert environment.from_string("{{ badge }}").render(badge=badge) == str(badge)


DJANGO = """
import django
from django.conf import settings
from django.template import Context, Engine
from bytelyst_sync.dashboard.components import Badge

settings.configure()
django.setup()
template = Engine().from_string("{{ badge }}")
print(template.render(Context({"badge": Badge("<ok>", "good")})), end="")
"""


def test_a_template_of_django_takes_them_as_they_are() -> None:
    # a process has one configuration of Django
    done = subprocess.run(
        [sys.executable, "-c", DJANGO], capture_output=True, text=True, check=True
    )
    assert done.stdout == str(c.Badge("<ok>", "good"))
