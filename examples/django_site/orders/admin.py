"""Orders in the admin: what is changed there is pushed as well."""

from django.contrib import admin

from orders.models import Order, Stock

admin.site.register([Order, Stock])
