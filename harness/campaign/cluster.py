"""Dask's scheduler as the few things that a campaign needs of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, LocalCluster, wait
from distributed.scheduler import KilledWorker

from harness.errors import SvmconfError

_RETRIES = 3


class Cluster:
    """Work that is under way on some workers. What a lost worker had is done again by another."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._under_way: dict[Any, Callable[..., object]] = {}

    @property
    def workers(self) -> int:
        """How many workers there are; at least one is taken to come."""
        return max(1, len(self._client.scheduler_info()["workers"]))

    def submit(self, function: Callable[..., object], *arguments: object, priority: int = 0) -> None:
        """Hand out a call; more ``priority`` comes first."""
        future = self._client.submit(function, *arguments, pure=False, retries=_RETRIES, priority=priority)
        self._under_way[future] = function

    def pending(self, function: Callable[..., object]) -> int:
        """How many calls of a function are under way."""
        return sum(one is function for one in self._under_way.values())

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._under_way)

    def take(self, seconds: float) -> list[object]:
        """The results that came within so many seconds; at least one, or none at all.

        Raises what a call raised, :class:`SvmconfError` when workers die of it again and again.
        """
        try:
            done = wait(list(self._under_way), timeout=seconds, return_when="FIRST_COMPLETED").done  # type: ignore[no-untyped-call]
        except TimeoutError:
            return []
        for future in done:
            del self._under_way[future]
        try:
            return [future.result() for future in done]
        except KilledWorker as error:
            raise SvmconfError(
                "workers die again and again", "--workers 1 --engines ONE tells of which engine"
            ) from error


@contextmanager
def cluster(address: str = "", workers: int = 0) -> Iterator[Cluster]:
    """The scheduler at an address; without one, processes of this machine that end with us.

    Raises :class:`SvmconfError` when nobody answers there.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if address:
        try:
            client = Client(address, timeout=10)  # type: ignore[no-untyped-call]
        except OSError as error:
            raise SvmconfError(f"no Dask scheduler answers at {address}", "without --scheduler it runs here") from error
        with client:
            yield Cluster(client)
        return
    local = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers or os.cpu_count() or 1,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )
    with local, Client(local) as client:  # type: ignore[no-untyped-call]
        yield Cluster(client)
