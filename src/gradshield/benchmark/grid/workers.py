"""Processes that measure at once, each with a model of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from transformers.utils import logging as transformers_logging

from gradshield.benchmark.grid.bench import Bench
from gradshield.benchmark.grid.config import GridConfig
from gradshield.errors import UserError
from gradshield.progress import Silent

Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """Does a job on items by a bench, and gives results as they are finished, in any order.

    The job is a function of a module, so that another process can find it.
    """

    def __call__(
        self, job: Callable[[Bench, Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """The results of the job."""
        ...


@dataclass(frozen=True)
class Order:
    """What every worker makes its bench of; see `Bench`."""

    config: GridConfig
    public_data: Path
    out: Path
    workers: int


def measuring(bench: Bench, order: Order) -> AbstractContextManager[Each]:
    """How jobs are done: by the bench itself, or by workers, which end with the block.

    Args:
        bench: The bench of this process; with several workers its model is given up.
        order: What workers make benches of, and how many there are.
    """
    if order.workers == 1:
        return nullcontext(_Here(bench))
    bench.release()
    return _workers(order)


@dataclass(frozen=True)
class _Here:
    """Does one job after the other in this process."""

    bench: Bench

    def __call__(
        self, job: Callable[[Bench, Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        return (job(self.bench, item) for item in items)


@dataclass(frozen=True)
class _Pool:
    """Hands jobs to the workers of a pool."""

    pool: ProcessPoolExecutor

    def __call__(
        self, job: Callable[[Bench, Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        for future in as_completed([self.pool.submit(_do, job, item) for item in items]):
            yield future.result()


@contextmanager
def _workers(order: Order) -> Iterator[Each]:
    # Forked, a process could not use an accelerator that its parent has used.
    context = multiprocessing.get_context("spawn")
    stopped = context.Event()
    pool = ProcessPoolExecutor(
        order.workers, context, _begin, (order, context.Value("i", 0), stopped)
    )
    try:
        yield _Pool(pool)
        # A worker that is still starting would miss what it shares with this process.
        pool.shutdown(wait=True)
    except BrokenProcessPool as fault:
        raise UserError(
            "A worker process ended before its time, most likely for lack of memory. Run the same "
            "command with fewer --workers; what was measured is kept."
        ) from fault
    finally:
        # After an error, workers finish what they are at, which is kept, and begin nothing else.
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)


class _Worker:
    """What a worker process has from its first job to its last."""

    def __init__(self, order: Order, number: int, stopped: Event) -> None:
        self.order, self.number, self.stopped = order, number, stopped

    @cached_property
    def bench(self) -> Bench:
        """Made for the first job: an error on the way is that of the job, not of the pool."""
        order = self.order
        device = own_device(order.config.model.device, self.number)
        bench = Bench(order.config, order.public_data, order.out, Silent(), device)
        share_cores(order.workers)
        return bench


_worker: _Worker


def _begin(order: Order, counter: Synchronized[int], stopped: Event) -> None:
    global _worker
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    _worker = _Worker(order, number, stopped)


def _do(job: Callable[[Bench, Item], Result], item: Item) -> Result:
    if _worker.stopped.is_set():
        raise RuntimeError("The run has ended.")
    return job(_worker.bench, item)


def own_device(device: str, number: int) -> str | None:
    """Worker k's accelerator, k modulo their count; None leaves the configured device alone."""
    count = torch.accelerator.device_count()
    accelerator = torch.accelerator.current_accelerator()
    if device != "auto" or accelerator is None or count < 2:
        return None
    return f"{accelerator.type}:{number % count}"


def share_cores(workers: int) -> None:
    """Let torch use this worker's share of the cores, unless OMP_NUM_THREADS says how many."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
