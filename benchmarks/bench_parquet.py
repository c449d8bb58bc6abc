"""Ten million rows of ten columns from a parquet file: this package chunk by chunk, beside statsmodels and glum.

    python benchmarks/bench_parquet.py
    python benchmarks/bench_parquet.py --rows 1000000 --skip statsmodels

Each contestant runs in a process of its own that reads the file; the figures are CPU seconds (user + system) of reading
and fitting with standard errors, once its package is imported and a small fit has been made, and the resident memory
that this added, over the size of the columns. ``reading`` reads the file once, chunk by chunk; ``bare`` is X'WX by BLAS
on blocks of rows as often as this package summed over the data to fit, with X in memory and nothing else. The first of
those sums is taken while the rows are checked, so that the file is read as often, and the first rows of some row
groups once more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_glm import ENVIRONMENT, PeakMemory, bare, glum, report, statsmodels

GROUP = 250_000


def write(path: Path, rows: int, columns: int, family: str) -> None:
    """Simulate and write, a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(20240607)
    beta = 0.1 * rng.standard_normal(columns)
    writer = None
    for start in range(0, rows, GROUP):
        X = rng.standard_normal((min(GROUP, rows - start), columns))
        X[:, 0] = 1.0
        eta = X @ beta
        if family == "poisson":
            y = rng.poisson(np.exp(eta)).astype(float)
        else:
            y = (rng.uniform(size=len(eta)) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
        part = pa.table({f"x{j}": X[:, j] for j in range(1, columns)} | {"y": y})
        writer = writer or pq.ParquetWriter(path, part.schema)
        writer.write_table(part)
    assert writer is not None
    writer.close()


def ours(path: Path, columns: int, family: str) -> dict[str, Any]:
    """The public surface, on the path."""
    import bayesglmm as bg

    formula = "y ~ " + " + ".join(f"x{j}" for j in range(1, columns))
    fit = bg.Model(formula, path, family=family).fit("irls")
    found = fit.result
    return {"beta": found.beta, "se": np.sqrt(np.diag(found.cov_beta)), "passes": fit.status.evaluations}


def in_memory(path: Path, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The file as arrays."""
    import pandas as pd

    frame = pd.read_parquet(path)
    X = np.empty((len(frame), columns))
    X[:, 0] = 1.0
    for j in range(1, columns):
        X[:, j] = frame[f"x{j}"]
    return X, frame["y"].to_numpy()


def reading(path: Path, columns: int, family: str) -> dict[str, Any]:
    """Nothing but one pass over the chunks."""
    from bayesglmm.design import Chunks

    for table in Chunks(path).tables([*(f"x{j}" for j in range(1, columns)), "y"]):
        len(table)
    return {"beta": [np.nan], "se": [np.nan]}


CONTESTANTS: dict[str, Callable[[Path, int, str], dict[str, Any]]] = {
    "ours": ours,
    "statsmodels": lambda path, columns, family: statsmodels(*in_memory(path, columns), family),
    "glum": lambda path, columns, family: glum(*in_memory(path, columns), family),
    "reading": reading,
}


def child(name: str, path: Path, rows: int, columns: int, family: str) -> None:
    """Time one contestant in this process and print the figures as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.parquet"
        write(small, 2_000, columns, family)
        CONTESTANTS[name](small, columns, family)  # imports and compilation
    with PeakMemory() as memory:
        cpu, wall = time.process_time(), time.perf_counter()
        found = CONTESTANTS[name](path, columns, family)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    figures = {"cpu": cpu, "wall": wall, "peak": (memory.peak - memory.before) / (rows * columns * 8)}
    if "passes" in found:
        figures |= {"passes": found["passes"], "bare": bare(in_memory(path, columns)[0], found["passes"])}
    figures |= {"beta": list(map(float, found["beta"])), "se": list(map(float, found["se"]))}
    print(json.dumps(figures))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--family", choices=["poisson", "binomial"], default="poisson")
    parser.add_argument("--skip", nargs="*", default=[], choices=list(CONTESTANTS))
    parser.add_argument("--timeout", type=float, default=900.0)
    parser.add_argument("--child", choices=list(CONTESTANTS), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        child(a.child, a.path, a.rows, a.columns, a.family)
        return
    print(f"{a.family}, {a.rows} rows x {a.columns} columns from parquet")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        write(path, a.rows, a.columns, a.family)
        for name in (name for name in CONTESTANTS if name not in a.skip):
            command = [sys.executable, __file__, "--child", name, "--path", str(path), "--family", a.family]
            command += ["--rows", str(a.rows), "--columns", str(a.columns)]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=a.timeout, env=ENVIRONMENT, check=False
                )
            except subprocess.TimeoutExpired:
                print(f"  {name}: not finished in {a.timeout:g} s")
                continue
            if done.returncode:
                print(f"  {name}: left out ({(done.stderr.strip().splitlines() or ['no message'])[-1]})")
            else:
                found[name] = json.loads(done.stdout)
    report(a.family, found)


if __name__ == "__main__":
    main()
