"""An order and its mail, in one transaction: both are there, or neither. The mail is then put into the outbox once.

The store and the tables of the shop are in one SQLite file. The first attempt at each mail fails right before its
commit, so that what it wrote is rolled back together with its end.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import apsw

from kokugen import Retry, Scheduler, current_run

FILE = "shop.db"
scheduler = Scheduler(f"sqlite:///{FILE}")


@contextmanager
def transaction() -> Iterator[apsw.Connection]:
    """Yield a connection of our own; what is done with it is committed at the end, unless the block raises."""
    with closing(apsw.Connection(FILE)) as db:
        db.set_busy_timeout(10_000)
        with db:
            yield db


def place(order: int, who: str, cents: int) -> None:
    """Write an order and schedule its mail."""
    with transaction() as db:
        db.execute("INSERT INTO orders VALUES (?, ?, ?)", (order, who, cents))
        scheduler.within(db).after(timedelta(0), mail, order)
        if cents <= 0:
            raise ValueError(f"order {order} costs nothing")


@scheduler.work(retry=Retry(5, initial=timedelta(milliseconds=20)))
def mail(order: int) -> None:
    """Put the mail for an order into the outbox, exactly once."""
    run = current_run()
    with transaction() as db:
        db.execute("INSERT INTO outbox SELECT 'Dear ' || who || ', thank you!' FROM orders WHERE id = ?", (order,))
        run.complete(db)
        if run.attempt == 1:
            raise ConnectionError("the network is gone, right before the commit")


if __name__ == "__main__":
    scheduler.open()  # it makes the file; the shop's tables come into it afterwards
    with transaction() as db:
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, who TEXT NOT NULL, cents INTEGER NOT NULL)")
        db.execute("CREATE TABLE outbox (text TEXT NOT NULL)")
    place(1, "Ann", 500)
    place(2, "Bob", 700)
    try:
        place(3, "Cleo", 0)
    except ValueError as error:
        print(f"refused, and not scheduled: {error}")
    with scheduler:
        for task in list(scheduler.tasks()):
            ended = scheduler.wait(task.id, timedelta(seconds=30))
            print(f"{ended.state.label} after {ended.attempt} attempts")
    with transaction() as db:
        for (text,) in db.execute("SELECT text FROM outbox ORDER BY text"):
            print(text)
