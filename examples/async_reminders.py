"""The same with asyncio: coroutines are work, and run on the loop that entered `async with`."""

import asyncio
from datetime import timedelta

from kokugen import AsyncScheduler

scheduler = AsyncScheduler("sqlite:///reminders.db")


@scheduler.work
async def remind(who: str, text: str) -> int:
    await asyncio.sleep(0.01)  # here a message would be sent
    print(f"{who}: {text}")
    return len(text)


async def main() -> None:
    async with scheduler:
        tasks = [
            await scheduler.after(timedelta(milliseconds=100 * number), remind, who, text="Tea!")
            for number, who in enumerate(["Ann", "Bob", "Cleo"])
        ]
        lengths = [await task.result(timedelta(seconds=30)) for task in tasks]
        print(f"{sum(lengths)} characters were sent")


if __name__ == "__main__":
    asyncio.run(main())
