"""Models of a project, some of them pushed."""

import uuid

from django.db import models

from bytelyst_sync.contrib.django import PushedModelMixin, pushed


class Customer(models.Model):
    name = models.CharField(max_length=50)

    class Meta:
        app_label = "shop"


class OrderQuerySet(models.QuerySet):
    def late(self) -> "OrderQuerySet":
        found: OrderQuerySet = self.filter(title__startswith="late")
        return found


@pushed("orders", fields=("title", "price", "count", "customer"))
class Order(models.Model):
    title = models.CharField(max_length=50)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=1)
    count = models.IntegerField(default=1)
    viewed = models.IntegerField(default=0)
    customer = models.ForeignKey(Customer, models.CASCADE, null=True)

    objects = OrderQuerySet.as_manager()

    class Meta:
        app_label = "shop"


class LateOrder(Order):
    class Meta:
        app_label = "shop"
        proxy = True


class GiftOrder(Order):
    wish = models.CharField(max_length=50, default="")

    class Meta:
        app_label = "shop"


class Note(PushedModelMixin):
    push_entity = "notes"
    push_id = "number"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    number = models.CharField(max_length=20, unique=True)
    text = models.TextField(default="")

    class Meta:
        app_label = "shop"

    def push_serialize(self) -> dict[str, object]:
        return {"text": self.text, "length": len(self.text)}


class Visit(models.Model):
    """Not pushed."""

    place = models.CharField(max_length=50, default="")

    class Meta:
        app_label = "shop"


MODELS = (Customer, Order, GiftOrder, Note, Visit)
