"""A FastAPI application that schedules in its requests and runs the work on the server's own loop.

    uvicorn fastapi_app:app --workers 2

Every process has a scheduler; they share the store, and nothing runs twice.
"""

import os
from datetime import timedelta

from fastapi import FastAPI, HTTPException

from kokugen import AsyncScheduler
from kokugen.errors import NoEntryError
from kokugen.integrations.asgi import lifespan

scheduler = AsyncScheduler(os.environ.get("KOKUGEN_URL", "sqlite:///fastapi.db"))
app = FastAPI(lifespan=lifespan(scheduler))


@scheduler.work
async def greet(who: str) -> str:
    return f"Hello {who}"


@app.post("/greetings/{who}", status_code=202)
async def plan(who: str, delay: float = 0) -> dict[str, str]:
    task = await scheduler.after(timedelta(seconds=delay), greet, who)
    return {"id": task.id}


@app.get("/greetings/{task_id}")
async def look(task_id: str) -> dict[str, str | None]:
    try:
        task = await scheduler.get(task_id)
    except NoEntryError as error:
        raise HTTPException(404, str(error)) from error
    return {"state": task.state.label, "greeting": task.result}
