"""A Django project that schedules in its requests; `python manage.py kokugen_worker` runs the work.

python manage.py migrate --run-syncdb
python manage.py runserver
python manage.py kokugen_worker
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    execute_from_command_line(sys.argv)
