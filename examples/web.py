"""A web application that schedules in its requests and runs the work in the same processes.

    gunicorn --config python:web web:app

The scheduler is made when the module is loaded, before gunicorn forks: it opens its store in each process at first
use. Every process also runs work, and no task runs twice.
"""

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from kokugen import Scheduler

scheduler = Scheduler(os.environ.get("KOKUGEN_URL", "sqlite:///web.db"))


@scheduler.work
def greet(who: str) -> str:
    print(f"Hello {who}, from process {os.getpid()}", flush=True)
    return str(os.getpid())


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """`GET /?who=Ann` schedules a greeting a second from now, and answers with the task's id."""
    who = parse_qs(environ.get("QUERY_STRING", "")).get("who", ["stranger"])[0]
    task = scheduler.after(timedelta(seconds=1), greet, who)
    start_response("202 Accepted", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{task.id}\n".encode()]


# -- gunicorn's configuration; `-c python:web` reads it from here

preload_app = True
workers = 4


def post_worker_init(_worker: object) -> None:
    scheduler.start()


def worker_exit(_server: object, _worker: object) -> None:
    scheduler.close()
