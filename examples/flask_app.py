"""A Flask application that schedules in its requests; workers of their own run the work.

    flask --app flask_app run
    flask --app flask_app kokugen-worker

Work runs in the application's context, so that `current_app` and the extensions are there.
"""

import os
from datetime import timedelta

from flask import Flask, current_app

from kokugen import Scheduler
from kokugen.integrations.flask import FlaskContext

context = FlaskContext()
scheduler = Scheduler(os.environ.get("KOKUGEN_URL", "sqlite:///flask.db"), middleware=[context])

app = Flask(__name__)
app.config["SENDER"] = "shop@example.org"
context.init_app(app, scheduler)


@scheduler.work
def send_receipt(order: int) -> str:
    return f"receipt of order {order}, from {current_app.config['SENDER']}"


@app.post("/orders/<int:order>/pay")
def pay(order: int) -> tuple[dict[str, str], int]:
    task = scheduler.after(timedelta(0), send_receipt, order)
    return {"receipt": task.id}, 202
