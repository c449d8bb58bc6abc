"""Chunk sums by executors: threads, processes, and dask workers of which one is killed in the middle."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg

ROWS, CHUNK = 4_000, 250


def table(seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"x": rng.normal(size=ROWS), "g": rng.choice(["a", "b", "c"], ROWS)})
    data["y"] = rng.poisson(np.exp(0.3 + 0.4 * data.x - 0.5 * (data.g == "b")))
    return data


def pieces(data: pd.DataFrame) -> list[pd.DataFrame]:
    return [data.iloc[start : start + CHUNK] for start in range(0, len(data), CHUNK)]


@pytest.fixture(scope="module")
def model() -> bg.Model:
    return bg.Model("y ~ x + g", pieces(table()), family="poisson")


def assert_same_bits(one: bg.Fit, other: bg.Fit) -> None:
    assert np.array_equal(one.result.beta, other.result.beta)
    assert np.array_equal(one.result.cov_beta, other.result.cov_beta)
    assert one.loglik == other.loglik
    assert one.deviance == other.deviance


class Backwards(Executor):
    """Runs what it was given in the reverse order, when the first result is asked for."""

    def __init__(self) -> None:
        self.pending: list[tuple[Future[Any], Any]] = []
        self.order: list[int] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        outer, number = self, len(self.pending)

        class Lazy(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                for k, (future, call) in reversed(list(enumerate(outer.pending))):
                    if not future.done():
                        outer.order.append(k)
                        future.set_result(call())
                return super().result(timeout)

        future: Future[Any] = Lazy()
        self.pending.append((future, lambda: fn(*args, **kwargs)))
        assert number == len(self.pending) - 1
        return future


def test_threads_give_the_same_bits(model: bg.Model) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert_same_bits(model.fit("irls"), model.fit("irls", executor=pool))


def test_processes_give_the_same_bits(model: bg.Model) -> None:
    # families and links hold lambdas, which processes started afresh must be able to take
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        together = model.fit("irls", executor=pool, cov="HC0")
        workers = set(pool.map(_process, range(8)))
    assert os.getpid() not in workers
    assert_same_bits(model.fit("irls", cov="HC0"), together)


def _process(_: int) -> int:
    return os.getpid()


def test_the_order_of_the_work_does_not_matter(model: bg.Model) -> None:
    executor = Backwards()
    assert_same_bits(model.fit("irls"), model.fit("irls", executor=executor))
    assert executor.order[0] == ROWS // CHUNK - 1


def test_rows_in_memory_take_an_executor_too() -> None:
    model = bg.Model("y ~ x + g", table(), family="poisson")
    alone = model.fit("irls", cov="HC0")
    with ThreadPoolExecutor(2) as pool:
        together = model.fit("irls", cov="HC0", executor=pool)
    np.testing.assert_allclose(together.result.beta, alone.result.beta, rtol=1e-12)
    np.testing.assert_allclose(together.result.cov_beta, alone.result.cov_beta, rtol=1e-11)


def test_an_error_in_a_worker_reaches_the_caller(model: bg.Model) -> None:
    class Broken(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(lambda: 1 / 0)

    with Broken(1) as pool, pytest.raises(ZeroDivisionError):
        model.fit("irls", executor=pool)


class Killing(Executor):
    """Passes tasks on, and kills a process when so many have been submitted."""

    def __init__(self, inner: Executor, victim: int, after: int) -> None:
        self.inner, self.victim, self.after, self.count = inner, victim, after, 0
        self.killed = threading.Event()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        if self.count == self.after:
            os.kill(self.victim, signal.SIGKILL)
            self.killed.set()
        return self.inner.submit(fn, *args, **kwargs)


def test_a_dask_worker_may_die_in_the_middle(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    import dask

    for k, piece in enumerate(pieces(table())):
        piece.to_parquet(tmp_path / f"part-{k:02d}.parquet")
    model = bg.Model("y ~ x + g", tmp_path, family="poisson")
    alone = model.fit("irls")
    quiet = {
        "distributed.admin.log-format": "",
        "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 1,
        "distributed.logging": {"distributed": "critical"},
    }
    with (
        dask.config.set(quiet),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
            local_directory=str(tmp_path / "scratch"),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        before = sorted(client.run(os.getpid).values())
        executor = Killing(client.get_executor(), before[0], after=3 * ROWS // CHUNK // 2)
        together = model.fit("irls", executor=executor)
        assert executor.killed.is_set()
        client.wait_for_workers(2, timeout=60)
        after = sorted(client.run(os.getpid).values())
    assert before[0] not in after
    assert_same_bits(alone, together)
