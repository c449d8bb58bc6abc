"""Running replicates: here, in processes of our own, or on any executor; a worker that dies is not the study's end."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any

import cloudpickle

from bayesglmm.errors import MethodError
from bayesglmm.study.replicate import Replicate, Task, run_replicate

Place = tuple[int, int]

#: Replicates given to an executor before one is done.
WINDOW = 32
#: A replicate whose worker dies this often when it runs alone is a failure.
STRIKES = 2

_task: tuple[str, Task] | None = None


def work(content: bytes, digest: str, place: Place) -> Replicate:
    """Run one replicate in a worker, which unpacks the task once."""
    global _task
    if _task is None or _task[0] != digest:
        _task = digest, cloudpickle.loads(content)
    return run_replicate(_task[1], *place)


def conduct(task: Task, places: Sequence[Place], executor: Any, workers: int | None) -> Iterator[Replicate]:
    """Run replicates and give each when it is done, in any order.

    Parameters
    ----------
    task : Task
        What to do.
    places : sequence of (arm, number)
        Which.
    executor : Executor, dask Client or None
        Where; processes of our own when None.
    workers : int or None
        How many processes of our own; one for each core when None, and none (this process does it) when 1.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise MethodError(f"workers is {workers!r}; a whole number, 1 or more, or None (one per core) is expected.")
    if executor is None and (workers == 1 or len(places) == 1):
        for place in places:
            yield run_replicate(task, *place)
        return
    content = cloudpickle.dumps(task)
    job = (content, hashlib.sha256(content).hexdigest())
    if executor is None:
        yield from _own_processes(job, deque(places), workers or _cores())
        return
    executor = executor.get_executor(pure=False) if hasattr(executor, "get_executor") else executor
    if not hasattr(executor, "submit"):
        raise MethodError(f"executor is a {type(executor).__name__}; a concurrent.futures Executor is expected.")
    queue = deque(places)
    yield from _through(executor, job, queue, {}, WINDOW)


def _through(
    executor: Executor,
    job: tuple[bytes, str],
    queue: deque[Place],
    running: dict[Future[Replicate], Place],
    window: int,
) -> Iterator[Replicate]:
    """Keep a window of replicates running; `queue` and `running` say what is left when an error passes through."""
    try:
        while queue or running:
            while queue and len(running) < window:
                with deaf_children():
                    running[executor.submit(work, *job, queue[0])] = queue[0]
                queue.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                replicate = future.result()
                del running[future]
                yield replicate
    finally:
        for future in running:
            future.cancel()


def _own_processes(job: tuple[bytes, str], queue: deque[Place], workers: int) -> Iterator[Replicate]:
    """Processes of our own. When one dies, those that were running run again, one by one, to see whose fault it was."""
    strikes: Counter[Place] = Counter()
    suspects: deque[Place] = deque()
    while queue or suspects:
        alone = bool(suspects)
        mine = deque([suspects.popleft()]) if alone else queue
        running: dict[Future[Replicate], Place] = {}
        pool = _pool(1 if alone else min(workers, len(queue)))
        try:
            yield from _through(pool, job, mine, running, 1 if alone else 2 * workers)
        except BrokenProcessPool:
            lost = list(running.values())
            if alone:
                strikes[lost[0]] += 1
                if strikes[lost[0]] >= STRIKES:
                    arm, number = lost[0]
                    yield Replicate(arm, number, failure="its worker process died (was it killed for want of memory?)")
                    continue
            suspects.extend(lost)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _cores() -> int:
    """Cores this process may use, where the system tells (macOS and Windows do not); else all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pool(workers: int) -> ProcessPoolExecutor:
    # "spawn": threads and BLAS of this process do not survive a fork.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _in_worker)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Start processes with Ctrl-C blocked, which they inherit: it would reach them while they are still importing.

    The signal waits until the block is left, and then reaches this process alone.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_worker() -> None:
    """Leave Ctrl-C to the process that conducts, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
