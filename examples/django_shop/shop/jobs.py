"""The scheduler of the project, and work declared with it."""

import os

from kokugen import Scheduler
from kokugen.middleware.connections import DjangoConnections
from shop.models import Order

scheduler = Scheduler(os.environ.get("KOKUGEN_URL", "sqlite:///jobs.db"), middleware=[DjangoConnections()])


@scheduler.work
def send_receipt(order_id: int) -> None:
    order = Order.objects.get(pk=order_id)
    order.receipt = f"Dear {order.customer}, thank you!"
    order.save(update_fields=["receipt"])
