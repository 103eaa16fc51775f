"""Work that fails is tried again, with growing pauses; work can also say itself when, or that it gives up."""

from datetime import timedelta

from kokugen import Cancel, Retry, RetryAfter, Scheduler, current_run

scheduler = Scheduler("sqlite:///retries.db")


@scheduler.work(retry=Retry(5, initial=timedelta(milliseconds=50)))
def fetch(url: str) -> str:
    attempt = current_run().attempt
    print(f"attempt {attempt} of {url}")
    if attempt == 1:
        raise ConnectionError("the server hung up")
    if attempt == 2:
        raise RetryAfter(timedelta(milliseconds=200), "the server said when to come back")
    return "fetched"


@scheduler.work
def publish(text: str) -> None:
    raise Cancel(f"{text!r} is old news")


if __name__ == "__main__":
    with scheduler:
        page = scheduler.after(timedelta(0), fetch, "https://example.org/")
        news = scheduler.after(timedelta(0), publish, "We are hiring")
        print(page.result(timedelta(seconds=30)))
        ended = news.wait(timedelta(seconds=30))
        print(f"{ended.state.label}: {ended.reason}")
