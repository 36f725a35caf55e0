"""Orders. Each saved row is pushed to the partner in the transaction that saves it."""

from django.db import models

from bytelyst_sync.contrib.django import pushed


class Stock(models.Model):
    """What is left of a product: changed in the same transaction as an order."""

    product = models.CharField(max_length=50, unique=True)
    left = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.left} × {self.product}"


@pushed("orders", fields=("product", "quantity", "note"))
class Order(models.Model):
    """An order of a product."""

    product = models.CharField(max_length=50)
    quantity = models.IntegerField()
    note = models.CharField(max_length=100, default="")

    def __str__(self) -> str:
        return f"order {self.pk}: {self.quantity} × {self.product}"
