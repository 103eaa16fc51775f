"""kokugen in a Django project: `INSTALLED_APPS = [..., "kokugen.integrations.django"]`.

`apps` finds the project's scheduler, `backend` is one for `django.tasks`, `commit` schedules with a transaction, and
`management` has the command `kokugen_worker`.
"""
