"""Places and changes orders. An error takes back the order, the stock and the push."""

import json

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from orders.models import Order, Stock


class SoldOutError(Exception):
    """There is too little in stock."""


def take_from_stock(order: Order) -> None:
    """Lessens the stock; ``SoldOutError`` if that is too little."""
    stock = Stock.objects.select_for_update().get(product=order.product)
    if stock.left < order.quantity:
        raise SoldOutError
    Stock.objects.filter(pk=stock.pk).update(left=F("left") - order.quantity)


@csrf_exempt
@require_http_methods(["POST"])
def place(request: HttpRequest) -> HttpResponse:
    """Takes an order; 409 if there is too little in stock."""
    wanted = json.loads(request.body)
    try:
        with transaction.atomic():
            order = Order.objects.create(
                product=wanted["product"], quantity=wanted["quantity"], note=wanted["note"]
            )
            take_from_stock(order)
    except SoldOutError:
        return JsonResponse({"error": "sold out"}, status=409)
    return JsonResponse({"number": order.pk}, status=201)


@csrf_exempt
@require_http_methods(["PUT", "DELETE"])
def change(request: HttpRequest, number: int) -> HttpResponse:
    """Changes an order's note, or takes the order back."""
    with transaction.atomic():
        order = get_object_or_404(Order.objects.select_for_update(), pk=number)
        if request.method == "DELETE":
            Stock.objects.filter(product=order.product).update(left=F("left") + order.quantity)
            order.delete()
        else:
            order.note = json.loads(request.body)["note"]
            order.save(update_fields=["note"])
    return HttpResponse(status=204)
