import os

SECRET_KEY = "an example has no secrets"
ALLOWED_HOSTS = ["testserver", "localhost"]
USE_TZ = True
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["shop", "kokugen.integrations.django"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SHOP_DATABASE", "shop.sqlite3")}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

KOKUGEN_SCHEDULER = "shop.jobs.scheduler"
TASKS = {
    "default": {
        "BACKEND": "kokugen.integrations.django.backend.KokugenBackend",
        "OPTIONS": {"transaction": "on_commit"},
    }
}
