"""A dask cluster as the place where replicates run; the extra ``bayesglmm[dask]``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bayesglmm.errors import MethodError
from bayesglmm.study.conduct import deaf_children


@contextmanager
def cluster(address: str | None, workers: int | None) -> Iterator[Any]:
    """Connect to a dask cluster, or start one on this machine.

    Parameters
    ----------
    address : str or None
        Of a scheduler, ``"tcp://10.0.0.1:8786"``; ``"local"`` starts worker processes here; None: no dask.
    workers : int or None
        Worker processes of a local cluster.

    Yields
    ------
    dask.distributed.Client or None
        To be given to ``Study.run(executor=...)``.

    Raises
    ------
    MethodError
        Without the extra, or when nothing answers at the address.
    """
    if address is None:
        yield None
        return
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise MethodError("dask.distributed is not installed: pip install 'bayesglmm[dask]'.") from None
    if address == "local":
        with deaf_children():  # Ctrl-C is for this process, not for workers that are still starting
            here = LocalCluster(workers, threads_per_worker=1, dashboard_address=None)
        with here, Client(here) as client:
            yield client
        return
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise MethodError(f"no dask scheduler answers at {address!r}: {error}.") from None
    with client:
        yield client
