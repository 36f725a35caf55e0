"""The books of the site: what its database holds, and what the partner should hold of it.

Imported once the environment names the database.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import django
import requests

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - Django is set up first
from orders.models import Order, Stock  # noqa: E402
from programs import PATIENCE_S, DemoError  # noqa: E402

from bytelyst_sync.contrib.django import get_engine  # noqa: E402

FIELDS = ("product", "quantity", "note")


STOCK = 100_000
"""Of each product, in the beginning."""


def prepare(products: Sequence[str]) -> None:
    """What is in stock, and who may enter the admin."""
    for product in products:
        Stock.objects.create(product=product, left=STOCK)
    User.objects.create_superuser("admin", password="admin")  # noqa: S106 - of the demo


def waiting() -> int:
    """How many changes are on their way to the partner."""
    return get_engine().queue_length


def wait_until(reached: Callable[[dict[str, int]], bool]) -> None:
    """Waits for a state of the queue."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        info = get_engine().status
        if reached({"queued": info.queue_length, "failed": info.failed}):
            return
        time.sleep(0.1)
    raise DemoError("the workers did not deliver in time")


def differences(partner: Mapping[str, Mapping[str, Any]], rolled_back: Sequence[str]) -> list[str]:
    """How the partner's orders differ from the site's."""
    ours = {str(order.pk): order for order in Order.objects.all()}
    found = [f"the partner lacks order {number}" for number in ours if number not in partner]
    found += [f"the partner has order {number} alone" for number in partner if number not in ours]
    for number, order in ours.items():
        for name in FIELDS if number in partner else ():
            if partner[number].get(name) != getattr(order, name):
                found.append(f"order {number}: {name} is {partner[number].get(name)!r} there")
    notes = {record["note"] for record in partner.values()}
    found += [
        f"the partner has what was rolled back: {note}" for note in rolled_back if note in notes
    ]
    sold = dict.fromkeys(Stock.objects.values_list("product", flat=True), 0)
    for order in ours.values():
        sold[order.product] += order.quantity
    for stock in Stock.objects.all():
        if stock.left + sold[stock.product] != STOCK:
            found.append(f"the stock of {stock.product} does not fit its orders")
    return found


def admin_differences(url: str) -> list[str]:
    """Signs in to the admin, and reads the status there."""
    with requests.Session() as browser:
        page = browser.get(f"{url}/admin/login/", timeout=PATIENCE_S)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        if token is None:
            return ["the admin has no form to sign in"]
        form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": token[1]}
        browser.post(f"{url}/admin/login/", data=form, timeout=PATIENCE_S)
        page = browser.get(f"{url}/admin/bytelyst_sync/queuestatus/", timeout=PATIENCE_S)
        if page.status_code != requests.codes.ok or "A worker was seen" not in page.text:
            return [f"the admin's page of the status: HTTP {page.status_code}"]
        style = browser.get(f"{url}/static/bytelyst_sync/admin.css", timeout=PATIENCE_S)
        return [] if style.ok else ["the admin's styles are not served"]
