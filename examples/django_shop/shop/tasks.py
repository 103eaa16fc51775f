"""The same by `django.tasks`: nothing here knows of kokugen, which is the backend in the settings."""

import django

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task


@task  # type: ignore[untyped-decorator] # Django tells no types
def count_letters(text: str) -> int:
    return len(text)
