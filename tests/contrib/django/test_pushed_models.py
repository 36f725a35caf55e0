"""Rows that are pushed when they are saved or deleted, in real transactions."""

import asyncio
import os
import signal
import subprocess
import sys
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.serializers.base import DeserializedObject
from django.db import connections, models, transaction
from django.db.models import F
from django.db.models.signals import post_save
from django.test import TestCase, override_settings
from django.test.utils import isolate_apps

from bytelyst_sync import ConfigError, InvalidDataError, QueueFullError, SyncError
from bytelyst_sync.contrib.django import declarations as declarations_module
from bytelyst_sync.contrib.django import deliver_now, get_engine, pushed, without_pushes
from bytelyst_sync.contrib.django.pushed_models import PushedModelMixin
from bytelyst_sync.testing import SyncServer
from tests.contrib.django.conftest import DatabaseSettings, NewDatabase
from tests.contrib.django.shop.models import (
    MODELS,
    Customer,
    GiftOrder,
    LateOrder,
    Note,
    Order,
    OrderQuerySet,
    Visit,
)

PROGRAM = Path(__file__).with_name("saving_program.py")
ROOT = Path(__file__).parents[3]


class Router:
    """All models of the shop are in one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **_: object) -> str | None:
        return self.alias if model._meta.app_label == "shop" else None

    db_for_write = db_for_read


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def alias(request: pytest.FixtureRequest, new_database: NewDatabase) -> str:
    return new_database(request.param)


@pytest.fixture
def queue(alias: str) -> dict[str, Any]:
    return {
        "BASE_URL": "http://server.invalid",
        "ENTITIES": {"orders": "/orders", "notes": "/notes"},
        "USING": alias,
        "PROBE": None,
    }


@pytest.fixture
def tables(alias: str) -> Iterator[None]:
    """Empty tables of the models."""
    connection = connections[alias]
    with connection.schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)
    yield
    with connection.schema_editor() as editor:
        for model in reversed(MODELS):
            editor.delete_model(model)


def project(alias: str, queue: dict[str, Any]) -> override_settings:
    """The settings of a project with the shop."""
    return override_settings(
        INSTALLED_APPS=[*settings.INSTALLED_APPS, "tests.contrib.django.shop"],
        BYTELYST_SYNC={"default": queue},
        DATABASE_ROUTERS=[Router(alias)],
    )


@pytest.fixture
def shop(alias: str, queue: dict[str, Any], tables: None) -> Iterator[str]:
    with project(alias, queue):
        yield alias


@contextmanager
def rolled_back(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias):
        yield
        transaction.set_rollback(True, using=alias)


def queued() -> list[tuple[str, str, Any]]:
    return [
        (item.operation.value, f"{item.entity}/{item.record_id}", item.data)
        for item in get_engine().queue()
    ]


def operations() -> list[tuple[str, str]]:
    return [(operation, record) for operation, record, _ in queued()]


# --- saving


def test_a_save_is_pushed_with_its_fields(shop: str) -> None:
    order = Order.objects.create(title="tea", price="2.50")
    data = {"id": order.pk, "title": "tea", "price": "2.50", "count": 1, "customer": None}
    assert queued() == [("create", f"orders/{order.pk}", data)]


def test_serialize_gives_the_record_and_a_field_its_id(shop: str) -> None:
    note = Note.objects.create(number="N-1", text="some")
    assert queued() == [("create", "notes/N-1", {"text": "some", "length": 4, "id": "N-1"})]
    note.delete()
    assert queued() == []


def test_an_outer_rollback_takes_row_and_push_back(shop: str) -> None:
    with rolled_back(shop):
        Order.objects.create(title="tea")
        assert get_engine().queue_length == 1
    assert not Order.objects.exists()
    assert queued() == []


def test_a_rollback_to_a_savepoint_takes_back_what_came_after_it(shop: str) -> None:
    with transaction.atomic(using=shop):
        first = Order.objects.create(title="one").pk
        with rolled_back(shop):
            Order.objects.create(title="two")
            Order.objects.get(pk=first).delete()
        third = Order.objects.create(title="three").pk
    assert [order.title for order in Order.objects.order_by("pk")] == ["one", "three"]
    assert operations() == [("create", f"orders/{pk}") for pk in (first, third)]


def test_a_push_that_is_refused_takes_the_save_back(shop: str, queue: dict[str, Any]) -> None:
    with override_settings(BYTELYST_SYNC={"default": {**queue, "MAX_QUEUE_LENGTH": 1}}):
        Order.objects.create(title="one")
        with pytest.raises(QueueFullError):
            Order.objects.create(title="two")
        with transaction.atomic(using=shop):
            with pytest.raises(QueueFullError):
                Order.objects.create(title="three")
            Visit.objects.create()
    assert [order.title for order in Order.objects.all()] == ["one"]
    assert Visit.objects.count() == 1


def test_a_save_whose_transaction_fails_in_post_save_is_not_pushed(shop: str) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError

    post_save.connect(fail, sender=Order)
    try:
        with pytest.raises(ZeroDivisionError):
            Order.objects.create(title="tea")
    finally:
        post_save.disconnect(fail, sender=Order)
    assert not Order.objects.exists()
    assert queued() == []


def test_a_second_save_changes_the_queued_create(shop: str) -> None:
    order = Order.objects.create(title="tea")
    order.title = "coffee"
    order.save()
    ((operation, _, data),) = queued()
    assert (operation, data["title"]) == ("create", "coffee")


def test_a_row_that_is_older_than_its_declaration_is_created(shop: str) -> None:
    with without_pushes():
        order = Order.objects.create(title="tea")
    assert queued() == []
    order.save()
    assert operations() == [("create", f"orders/{order.pk}")]


def test_without_a_view_a_changed_row_is_an_update(shop: str, queue: dict[str, Any]) -> None:
    entities = {"orders": {"endpoint": "/orders", "dedup": "none"}, "notes": "/notes"}
    with override_settings(BYTELYST_SYNC={"default": {**queue, "ENTITIES": entities}}):
        order = Order.objects.create(title="tea")
        order.save()
        assert [operation for operation, _ in operations()] == ["create", "update"]


def test_a_save_of_some_fields_pushes_what_is_stored(shop: str) -> None:
    order = Order.objects.create(title="tea")
    order.title, order.count = "not saved", 7
    order.save(update_fields=["count"])
    ((_, _, data),) = queued()
    assert (data["title"], data["count"]) == ("tea", 7)


def test_a_save_of_fields_that_are_not_pushed_pushes_nothing(shop: str) -> None:
    order = Order.objects.create(title="tea")
    before = queued()
    order.title = "not saved"
    order.save(update_fields=["viewed"])
    order.save(update_fields=[])
    assert queued() == before


def test_what_the_database_computes_is_pushed(shop: str) -> None:
    order = Order.objects.create(title="tea", count=4)
    order.count = F("count") + 1
    order.save()
    ((_, _, data),) = queued()
    assert data["count"] == 5


@pytest.mark.parametrize("alias", ["postgresql"], indirect=True)
def test_asave_pushes(shop: str) -> None:
    # in another thread, on a connection of its own
    asyncio.run(Order(title="tea").asave())
    assert [operation for operation, _ in operations()] == ["create"]


def test_get_or_create_and_update_or_create_are_pushed(shop: str) -> None:
    order, _ = Order.objects.get_or_create(title="tea")
    Order.objects.update_or_create(title="tea", defaults={"count": 9})
    ((operation, record, data),) = queued()
    assert (operation, record, data["count"]) == ("create", f"orders/{order.pk}", 9)


def test_a_proxy_and_a_child_are_pushed_as_their_model(shop: str) -> None:
    late = LateOrder.objects.create(title="late")
    gift = GiftOrder.objects.create(title="gift", wish="tea")
    assert operations() == [("create", f"orders/{each.pk}") for each in (late, gift)]
    assert "wish" not in queued()[1][2]
    late.delete()
    gift.delete()
    assert operations() == []


def test_a_fixture_is_loaded_without_pushes(shop: str) -> None:
    DeserializedObject(Order(pk=5, title="tea")).save(using=shop)
    assert Order.objects.get().pk == 5
    assert queued() == []


def test_an_empty_id_is_refused(shop: str) -> None:
    with pytest.raises(InvalidDataError, match="number is empty; it is the id of the record"):
        Note.objects.create(number="")
    assert not Note.objects.exists()


def test_the_mixin_says_what_a_model_without_a_record_lacks() -> None:
    with pytest.raises(ConfigError, match="Note: set push_fields, or override push_serialize"):
        PushedModelMixin.push_serialize(Note())


def test_another_id_in_the_data_is_refused(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Note, "push_serialize", lambda self: {"id": "other"})
    found = declarations_module.declarations_of(Note)[0]
    evolved = attrs.evolve(found, serialize=Note.push_serialize)
    monkeypatch.setitem(declarations_module._DECLARED, Note, [evolved])
    with pytest.raises(InvalidDataError, match="deletes would name another record"):
        Note.objects.create(number="N-1")
    assert not Note.objects.exists()


# --- in tests of a project


def test_a_test_case_delivers_what_its_rows_push(shop: str, queue: dict[str, Any]) -> None:
    """As ``TestCase`` runs a test: in a transaction that is rolled back."""

    class Case(TestCase):
        databases = (shop,)

        def test(self) -> None:
            order = Order.objects.create(title="tea")
            assert deliver_now().success
            order.title = "coffee"
            order.save()
            Order.objects.create(title="gone").delete()
            assert deliver_now().success
            Order.objects.filter(pk=order.pk).delete()
            assert deliver_now().success

    with SyncServer() as server:
        queue = {**queue, "BASE_URL": server.url}
        with override_settings(BYTELYST_SYNC={"default": queue}):
            result = unittest.TestResult()
            unittest.TestSuite([Case("test")]).run(result)
            assert result.errors == result.failures == []
            assert not Order.objects.exists()
            assert get_engine().queue_length == 0
        done = [(each.kind, (each.data or {}).get("title")) for each in server.journal]
    assert done == [("create", "tea"), ("update", "coffee"), ("delete", None)]


# --- deleting


def test_deletes_of_query_sets_and_cascades_are_pushed(shop: str, queue: dict[str, Any]) -> None:
    entities = {"orders": {"endpoint": "/orders", "dedup": "none"}, "notes": "/notes"}
    with override_settings(BYTELYST_SYNC={"default": {**queue, "ENTITIES": entities}}):
        customer = Customer.objects.create(name="Mira")
        pks = [Order.objects.create(title=f"{n}", customer=customer).pk for n in range(3)]
        Order.objects.filter(pk=pks[0]).delete()
        customer.delete()
        deleted = {record for operation, record in operations() if operation == "delete"}
        assert deleted == {f"orders/{pk}" for pk in pks}
        assert len(operations()) == 2 * len(pks)
        assert not Order.objects.exists()


def test_a_delete_that_is_rolled_back_is_not_pushed(shop: str) -> None:
    order = Order.objects.create(title="tea")
    before = queued()
    with rolled_back(shop):
        Order.objects.all().delete()
        assert get_engine().get("orders", order.pk) is None
    assert queued() == before
    assert Order.objects.exists()


# --- what goes past save and delete

BULK = {
    "update": lambda: Order.objects.update(title="x"),
    "update of a key": lambda: Order.objects.update(pk=99),
    "update of a filter": lambda: Order.objects.filter(count=1).late().update(count=2),
    "update of a proxy": lambda: LateOrder.objects.update(title="x"),
    "update of a child": lambda: GiftOrder.objects.update(title="x"),
    "update of a base manager": lambda: Order._base_manager.update(title="x"),
    "update of a related manager": lambda: Customer.objects.get().order_set.update(title="x"),
    "update of an own query set": lambda: OrderQuerySet(Order).update(title="x"),
    "add of a related manager": lambda: Customer.objects.get().order_set.add(Order.objects.get()),
    "clear of a related manager": lambda: Customer.objects.get().order_set.set([]),
    "aupdate": lambda: asyncio.run(Order.objects.aupdate(title="x")),
    "bulk_create": lambda: Order.objects.bulk_create([Order(title="x")]),
    "bulk_update": lambda: Order.objects.bulk_update([Order.objects.get()], ["title"]),
    "raw delete": lambda: Order.objects.all()._raw_delete(using="sqlite"),
    "bulk_create with serialize": lambda: Note.objects.bulk_create([Note(number="1")]),
    "update with serialize": lambda: Note.objects.update(text="x"),
}


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", BULK)
def test_a_bulk_call_is_refused(shop: str, name: str) -> None:
    customer = Customer.objects.create(name="Mira")
    if name != "add of a related manager":
        Order.objects.create(title="tea", customer=customer)
    else:
        Order.objects.create(title="tea")
    before = list(Order.objects.values()), queued()
    with pytest.raises(SyncError, match=r"without a push: call (save|delete)"):
        BULK[name]()
    assert (list(Order.objects.values()), queued()) == before


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
def test_an_update_of_fields_that_are_not_pushed_is_allowed(shop: str) -> None:
    order = Order.objects.create(title="tea")
    Order.objects.update(viewed=3)
    order.viewed = 4
    Order.objects.bulk_update([order], ["viewed"])
    Visit.objects.bulk_create([Visit()])
    Visit.objects.update(place="x")
    Visit.objects.all().delete()
    assert Order.objects.get().viewed == 4


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
def test_without_pushes_everything_is_allowed_and_nothing_pushed(shop: str) -> None:
    with without_pushes():
        Order.objects.bulk_create([Order(title="a"), Order(title="b")])
        Order.objects.update(price=Decimal(3))
        Order.objects.create(title="c").delete()
        Order.objects.filter(title="b").delete()
    assert [order.title for order in Order.objects.all()] == ["a"]
    assert queued() == []
    Order.objects.create(title="d")
    assert len(queued()) == 1


# --- the database of the model and of the queue


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
def test_another_database_is_refused_at_the_call(shop: str, tables_elsewhere: None) -> None:
    order = Order.objects.create(title="tea")
    for call in (order.save, order.delete):
        with pytest.raises(SyncError, match="written to database 'default', but its queue is in"):
            call(using="default")
    assert Order.objects.using("default").get().title == "elsewhere"
    assert operations() == [("create", f"orders/{order.pk}")]


@pytest.fixture
def tables_elsewhere(shop: str) -> Iterator[None]:
    with connections["default"].schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)
    with without_pushes():
        Order(pk=1, title="elsewhere").save(using="default")
    yield
    with connections["default"].schema_editor() as editor:
        for model in reversed(MODELS):
            editor.delete_model(model)


# --- checks


def messages(**options: Any) -> list[tuple[str, str]]:
    return sorted((each.id, each.msg) for each in run_checks(tags=["bytelyst_sync"], **options))


@pytest.fixture
def declaring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declarations made inside are forgotten afterwards."""
    monkeypatch.setattr(declarations_module, "_DECLARED", {})


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
def test_sound_declarations_pass_the_checks(shop: str) -> None:
    assert messages() == []


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
def test_the_checks_report_another_database_and_an_unknown_entity(
    shop: str, queue: dict[str, Any]
) -> None:
    with override_settings(DATABASE_ROUTERS=[]):
        found = messages()
        assert {each for each, _ in found} == {"bytelyst_sync.E007"}
        assert "the model is in database 'default', and the queue in 'sqlite'" in found[0][1]
    with override_settings(BYTELYST_SYNC={"default": {**queue, "ENTITIES": {"notes": "/notes"}}}):
        ((code, text),) = messages()
        assert code == "bytelyst_sync.E006"
        assert "the queue has no entity 'orders'; it has 'notes'" in text
    with override_settings(BYTELYST_SYNC={"other": queue}):
        assert {each for each, _ in messages()} == {"bytelyst_sync.E006"}


ON_DELETE = [
    (models.SET_NULL, {"fields": ["parent"]}, ["bytelyst_sync.E009"]),
    (models.SET_NULL, {"serialize": dict}, ["bytelyst_sync.W009"]),
    (models.SET_NULL, {"fields": ["id"]}, []),
    (models.SET(None), {"fields": ["parent"]}, ["bytelyst_sync.E009"]),
    (models.PROTECT, {"fields": ["parent"]}, []),
    (getattr(models, "DB_CASCADE", None), {"fields": ["id"]}, ["bytelyst_sync.E008"]),
    (getattr(models, "DB_SET_NULL", None), {"fields": ["parent"]}, ["bytelyst_sync.E009"]),
]


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("on_delete", "options", "expected"), ON_DELETE)
def test_the_checks_report_what_a_deleted_parent_does(
    shop: str,
    declaring: None,
    isolated_models: None,
    on_delete: Any,
    options: dict[str, Any],
    expected: list[str],
) -> None:
    if on_delete is None:
        return  # Django before 6.1 has none of them

    class Child(models.Model):
        parent = models.ForeignKey(Customer, on_delete, null=True)

        class Meta:
            app_label = "shop"

    pushed(Child, "orders", **options)
    assert [code for code, _ in messages()] == expected


@pytest.fixture
def isolated_models() -> Iterator[None]:
    with isolate_apps("django.contrib.contenttypes"):
        yield


def plain_model() -> Any:
    class Plain(models.Model):
        name = models.TextField()
        many = models.ManyToManyField("self")

        class Meta:
            app_label = "shop"

    return Plain


def abstract_model() -> Any:
    class Abstract(models.Model):
        class Meta:
            app_label = "shop"
            abstract = True

    return Abstract


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "neither": (lambda: pushed(plain_model(), "x"), "give either fields or serialize"),
    "both": (
        lambda: pushed(plain_model(), "x", fields=["name"], serialize=dict),
        "give either fields or serialize",
    ),
    "text": (lambda: pushed(plain_model(), "x", fields="name"), "fields is 'name'; give a list"),
    "unknown": (
        lambda: pushed(plain_model(), "x", fields=["nam"]),
        r"'nam' is no field of it; allowed: id, name",
    ),
    "many": (
        lambda: pushed(plain_model(), "x", fields=["many"]),
        "'many' is many-to-many, which save",
    ),
    "id": (lambda: pushed(plain_model(), "x", fields=["name"], id="nr"), "'nr' is no field"),
    "abstract": (lambda: pushed(abstract_model(), "x", fields=[]), "the model is abstract"),
    "no model": (lambda: pushed(dict, "x", fields=[]), "give a model and an entity"),
    "twice": (
        lambda: pushed(pushed(plain_model(), "x", fields=["name"]), "x", fields=["name"]),
        "it is pushed to entity 'x' of queue 'default' already",
    ),
    "mixin": (
        lambda: type(
            "Bare",
            (PushedModelMixin,),
            {"__module__": __name__, "Meta": type("Meta", (), {"app_label": "shop"})},
        ),
        "Bare: set push_entity",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_named(declaring: None, isolated_models: None, name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        call()


# --- a kill at any moment of a save


@pytest.mark.parametrize("alias", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.timeout(150)  # it starts a dozen programs
def test_a_kill_at_any_moment_leaves_row_and_push_or_neither(
    shop: str, database_settings: DatabaseSettings
) -> None:
    moments = kill_at_each_moment(shop, database_settings(shop))
    assert "post_save" in moments
    assert {"before commit", "after commit"} <= set(moments)
    assert moments.count("INSERT") == 2


def kill_at_each_moment(alias: str, database: dict[str, Any]) -> list[str]:
    """Kills a program at the first, second, … moment of its save, until it survives."""
    moments: list[str] = []
    while True:
        before = Order.objects.count()
        ended = subprocess.run(
            [sys.executable, str(PROGRAM), repr(database), str(len(moments))],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        connections[alias].close()
        rows = {f"orders/{pk}" for pk in Order.objects.values_list("pk", flat=True)}
        assert {record for _, record in operations()} == rows
        if ended.returncode == 0:
            assert len(rows) == before + 1
            return moments
        moments.append(ended.stdout.splitlines()[-1])
        # statements may follow the commit: others are told of the push
        assert (len(rows) > before) == ("after commit" in moments), moments
