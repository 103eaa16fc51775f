"""Sync work in a Dask cluster, for what is too much for one machine: `pip install kokugen[dask]`.

Each worker thread of the dispatcher hands one run to the cluster and waits for it; the workers call
`kokugen.dispatcher.dask_worker`. While a run is under way it is published in the cluster, so that a node that takes a
lost task over finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import timedelta
from functools import partial
from threading import Lock, Thread
from typing import Any

import msgspec
from distributed import Client, Event, Future, KilledWorker
from msgspec import Struct

from kokugen.clock import Clock
from kokugen.dispatcher import dask_worker
from kokugen.dispatcher.crossing import Account, concluded, order_of
from kokugen.dispatcher.engines import UNREACHED_S, earlier_keys, key_of, stopped
from kokugen.dispatcher.paced import checked_workers, logger
from kokugen.dispatcher.reference import reference_of
from kokugen.dispatcher.threads import ThreadDispatcher
from kokugen.errors import OptionError, WorkerDiedError
from kokugen.middleware.base import Middleware, work_chain
from kokugen.options import check_name, check_place
from kokugen.run import Interrupt, NotCalled, Run

KEPT_US = 120_000_000
"""How long the cluster keeps what was taken: until the outcome is surely written, or another node took it over."""
LOOK = timedelta(seconds=1)


class DaskWorkers(Struct, frozen=True, kw_only=True):
    """A place in a Dask cluster, in which this node has up to `workers` runs at once.

    `cluster` is the address of its scheduler, or a function that returns a new `distributed.Client`. Stores that share
    a cluster, and choose the ids of their tasks themselves, have a `scope` each.
    """

    cluster: str | Callable[[], Client]
    workers: int = 32
    scope: str = "kokugen"
    name: str = "dask"

    def __post_init__(self) -> None:
        check_place(self.name)
        check_name("scope", self.scope)
        checked_workers(self.workers)
        if not isinstance(self.cluster, str) and not callable(self.cluster):
            raise OptionError(f"cluster={self.cluster!r}: use the address of a scheduler, or a function")

    def dispatcher(self, *, clock: Clock, middleware: Sequence[Middleware] = ()) -> DaskDispatcher:
        return DaskDispatcher(self, clock=clock, middleware=middleware)


class DaskDispatcher(ThreadDispatcher):
    """Runs sync work in the workers of a Dask cluster."""

    def __init__(self, place: DaskWorkers, *, clock: Clock, middleware: Sequence[Middleware] = ()) -> None:
        super().__init__(place.workers, clock=clock, chain=work_chain(middleware, self._call, is_async=False))
        self.name = place.name
        self._place = place
        self._client: Client | None = None
        self._connecting = Lock()
        self._taken: set[str] = set()

    def stop(self) -> None:
        super().stop()
        if self._client is not None:
            Thread(target=self._leave, args=(self._client,), name="kokugen-dask-leaving", daemon=True).start()

    def _call(self, run: Run) -> Any:
        reference = reference_of(run.work)
        client = self._connected()
        account = self._of_earlier(client, run)
        if account is None:
            key = f"{run.work_id}-{key_of(run, self._place.scope).uuid.hex}"
            order = msgspec.json.encode(order_of(run, reference)).decode()
            future = client.submit(dask_worker.run_order, key, order, key=key, pure=False, retries=0)
            client.publish_dataset(future, name=key)
            account = self._account(client, run, future, future.result)
        return concluded(run, account)

    def _connected(self) -> Client:
        """Return a client. A run that finds no cluster is snoozed: nothing has happened yet."""
        with self._connecting:
            if self._client is not None and self._client.status in ("running", "connecting"):
                return self._client
            try:
                self._client = self._new_client()
            except (OSError, ValueError, RuntimeError) as error:
                logger.warning("the Dask cluster of %r cannot be reached: %s", self.name, error)
                raise NotCalled(timedelta(seconds=UNREACHED_S), f"Dask cannot be reached: {error}") from error
            return self._client

    def _new_client(self) -> Client:
        cluster = self._place.cluster
        return Client(cluster, name="kokugen", set_as_default=False) if isinstance(cluster, str) else cluster()

    # -- One run

    def _account(self, client: Client, run: Run, future: Future, result: Callable[[], str]) -> Account:
        """Wait for the account of a run in the cluster, and have the run stopped there where it is asked to."""
        run.when_interrupted(lambda run: self._stop(client, run, future))
        try:
            text = result()
        except (CancelledError, KilledWorker) as error:
            raise stopped(run, "Dask") from error
        finally:
            run.on_interrupt = None
            self._took(client, future.key, at_once=run.interrupt is not None)
        return msgspec.json.decode(text, type=Account)

    def _stop(self, client: Client, run: Run, future: Future) -> None:
        """Tell the workers, in a thread of its own: whoever asks must not wait."""
        told = (run.interrupt or Interrupt.STOP).value, run.cancelled.reason or ""
        Thread(target=self._tell, args=(client, future, *told), name="kokugen-dask-stop", daemon=True).start()

    def _tell(self, client: Client, future: Future, interrupt: str, reason: str) -> None:
        """Ask it to stop where it runs; where it runs nowhere yet, it never will."""
        with suppress(OSError):
            if not any(client.run(dask_worker.ask_to_stop, future.key, interrupt, reason).values()):
                future.cancel()

    # -- What the cluster has of earlier runs

    def _of_earlier(self, client: Client, run: Run) -> Account | None:
        """Return how a lost run of this attempt ended, once it has; None where none is to be found."""
        for key in earlier_keys(run, self._place.scope):
            name = f"{run.work_id}-{key.uuid.hex}"
            try:
                future = client.get_dataset(name)
            except KeyError:
                self._await_end(client, run, name)
                continue
            with suppress(WorkerDiedError):
                account = self._account(client, run, future, partial(self._result_of_other, client, future))
                if account.counts:
                    return account
        return None

    def _result_of_other(self, client: Client, future: Future) -> str:
        """Wait for the result of another node's run; what that node let go meanwhile would never have one."""
        while True:
            try:
                text: str = future.result(timeout=LOOK.total_seconds())
            except TimeoutError:
                if client.get_dataset(future.key, default=None) is None:
                    raise CancelledError from None
            else:
                return text

    def _await_end(self, client: Client, run: Run, name: str) -> None:
        """Wait until a run that the cluster forgot, but a worker may still be at, has surely ended."""
        lost = Interrupt.LEASE_LOST.value
        while any(client.run(dask_worker.ask_to_stop, name, lost, lost).values()):
            if run.cancelled.wait(LOOK):
                raise stopped(run, "Dask")

    # -- What the cluster keeps

    def _took(self, client: Client, key: str, *, at_once: bool) -> None:
        if at_once:
            self._release(client, key)
            return
        self._taken.add(key)
        self._pacer.after(KEPT_US, lambda: self._release(client, key))

    def _release(self, client: Client, key: str) -> None:
        """Let the cluster forget a run."""
        self._taken.discard(key)
        with suppress(OSError, RuntimeError):
            client.unpublish_dataset(key)
            Event(dask_worker.begun_event(key), client=client).clear()

    def _leave(self, client: Client) -> None:
        for key in list(self._taken):
            self._release(client, key)
