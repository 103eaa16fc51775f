"""Schedule a reminder and run it: the store is a file, so what was scheduled outlives this process."""

from datetime import timedelta

from kokugen import Scheduler

scheduler = Scheduler("sqlite:///reminders.db")


@scheduler.work
def remind(who: str, text: str) -> None:
    print(f"{who}: {text}")


if __name__ == "__main__":
    with scheduler:
        task = scheduler.after(timedelta(seconds=1), remind, "Ann", text="Tea!")
        task.wait(timedelta(seconds=30))
