"""Templates with placeholders, filled in."""

import pytest

from bytelyst_sync.rules.paths import MISSING
from bytelyst_sync.rules.templates import filled

VALUES = {"cursor": "c1", "page_size": 50, "absent": None}
KNOWN = ("cursor", "page_size", "absent")
FILLED = {
    # the template, and what it becomes
    "a text": ("after:{cursor}", "after:c1"),
    "a number in a text": ("{page_size}", "50"),
    "no placeholder": ("plain", "plain"),
    "an object": ({"since": "{cursor}", "n": 1}, {"since": "c1", "n": 1}),
    "lists": (["{cursor}", ["{page_size}"], None], ["c1", ["50"], None]),
    "a tuple": (("{cursor}", True), ["c1", True]),
    "a text without its value": ("{absent}", MISSING),
    "an object without a value": ({"since": "{absent}"}, MISSING),
    "a list without a value": (["{cursor}", "{absent}"], MISSING),
    "a value that is nested": ({"where": [{"since": "{absent}"}]}, MISSING),
}


@pytest.mark.parametrize(("template", "becomes"), FILLED.values(), ids=FILLED)
def test_a_template_is_filled_in(template: object, becomes: object) -> None:
    assert filled(template, VALUES, KNOWN) == becomes
