from django.db import models


class Order(models.Model):  # type: ignore[misc] # Django tells no types
    customer = models.CharField(max_length=100)
    receipt = models.CharField(max_length=200, blank=True)
