from datetime import timedelta

from django.db import transaction
from django.http import HttpRequest, JsonResponse

from kokugen.integrations.django.commit import after_commit
from shop.jobs import scheduler, send_receipt
from shop.models import Order
from shop.tasks import count_letters


def pay(_request: HttpRequest, customer: str) -> JsonResponse:
    with transaction.atomic():
        order = Order.objects.create(customer=customer)
        after_commit(scheduler).after(timedelta(0), send_receipt, order.pk)
        counted = count_letters.enqueue(customer)
    return JsonResponse({"order": order.pk, "counted": counted.id}, status=202)


def look(_request: HttpRequest, order: int, counted: str) -> JsonResponse:
    result = count_letters.get_result(counted)
    letters = result.return_value if result.is_finished else None
    return JsonResponse({"receipt": Order.objects.get(pk=order).receipt, "letters": letters})
