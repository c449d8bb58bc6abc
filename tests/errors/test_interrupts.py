"""Ctrl-C, sent as a real signal: what was finished is kept, the message says how to go on, going on gives the whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayesglmm.graph.runner import Plan, whole_or_stopped

ROOT = Path(__file__).parents[2]

BEGIN = """
import os, signal, sys, warnings
import numpy as np, pandas as pd
import bayesglmm as bg

counts = [2, 3, 1, 5, 8, 6, 1, 0, 4, 3, 2, 2, 6, 9, 3, 1]
data = pd.DataFrame({"y": counts, "x": np.linspace(-1, 1, 16), "g": list("aabbccddeeffgghh")})
press = lambda: os.kill(os.getpid(), signal.SIGINT)
warnings.simplefilter("always")
"""

BOOTSTRAP = """
fit = bg.Model("y ~ x", data, family="poisson").fit("irls")
small = bg.Model("y ~ 1", data, family="poisson").fit("irls")
with warnings.catch_warnings(record=True) as said:
    part = bg.bootstrap(small, 12, alternative=fit, seed=7, progress=lambda done, total: done == 5 and press())
(warning,) = said
assert "the 5 of 12 replicates that are finished are returned" in str(warning.message), warning.message
assert "resume=" in str(warning.message) and "5 of 12 replicates" in str(part)
calls = []
whole = bg.bootstrap(small, 12, alternative=fit, resume=part, progress=lambda done, total: calls.append(done))
once = bg.bootstrap(small, 12, alternative=fit, seed=7)
pd.testing.assert_frame_equal(whole.estimates, once.estimates)
pd.testing.assert_series_equal(whole.ratios, once.ratios)
assert calls == list(range(5, 13)), calls
more = bg.bootstrap(small, 15, alternative=fit, resume=once)
pd.testing.assert_frame_equal(more.estimates.iloc[:12], once.estimates)
for wrong in ({"seed": 8}, {"alternative": None}):
    try:
        bg.bootstrap(small, 12, **{"alternative": fit, "resume": part, **wrong})
        sys.exit(f"{wrong} was accepted")
    except bg.MethodError:
        pass
try:
    sys.modules["bayesglmm.inference.bootstrap"].run_here = lambda task, seeds: press()
    bg.bootstrap(small, 12)
    sys.exit("nothing was finished, and something returned")
except KeyboardInterrupt as stopped:
    assert "nothing is kept" in str(stopped)
"""

LOO = """
from bayesglmm.diagnose import loo
fit = bg.Model("y ~ x + (1 | g)", data, family="poisson").fit("laplace", seed=1)
real, made = loo.exact, []

def counted(*args, **options):
    made.append(args[3])
    if len(made) == 3:
        press()
    return real(*args, **options)

loo.exact = counted
with warnings.catch_warnings(record=True) as said:
    part = fit.loo("group", refit=-10.0, seed=1)
(warning,) = said
assert "2 of 8 fits without a unit are finished" in str(warning.message), warning.message
assert int((part.pareto_k == 0).sum()) == 2
whole = fit.loo("group", refit=-10.0, seed=1, resume=part)
assert sorted(made[3:]) == [2, 3, 4, 5, 6, 7], made
once = fit.loo("group", refit=-10.0, seed=1)
assert np.allclose(whole.elpd_i, once.elpd_i, rtol=1e-12) and np.isclose(whole.elpd, once.elpd, rtol=1e-12)
try:
    fit.loo("row", refit=True, seed=1, resume=part)
    sys.exit("an answer about groups was taken for rows")
except bg.MethodError:
    pass
"""

COMPARE = """
model = bg.Model("y ~ x + (1 | g)", data, family="poisson")
try:
    bg.compare(model, ["pql", "laplace", "agq"], reference="agq", progress=lambda e: e.method == "agq" and press())
    sys.exit("it was not stopped")
except KeyboardInterrupt as error:
    stopped = error
assert [f.method for f in stopped.fits] == ["pql", "laplace"], stopped.fits
assert "2 of 3 fits are finished (pql, laplace)" in str(stopped), stopped
found = bg.compare(model, ["pql", "laplace", "agq"], reference="agq", fits=stopped.fits)
assert found.fits["pql"] is stopped.fits[0] and list(found.fits) == ["pql", "laplace", "agq"]
"""

NUTS = """
model = bg.Model("y ~ x + (1 | g)", data, family="poisson")
told = []

def tell(fraction, text):
    told.append(fraction)
    if fraction > 0 and len(told) > 2:
        press()

try:
    model.fit("mcmc", marginalize="laplace", draws=500_000, tune=100, chains=2, seed=1, progress=tell)
    sys.exit("it was not stopped")
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize("script", [BOOTSTRAP, LOO, COMPARE, NUTS], ids=["bootstrap", "loo", "compare", "nuts"])
def test_what_was_finished_is_kept_and_taken_up(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=110, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_comparison_on_the_command_line_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bayesglmm", "compare", "models/cbpp.toml", "--out", str(tmp_path)]
    long = ["--methods", "pql,mcmc", "-o", "mcmc.marginalize=laplace", "-o", "mcmc.draws=1000000"]
    running = subprocess.Popen(
        [*command, *long], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )
    assert running.stderr is not None
    assert running.stderr.readline().startswith("pql      done")
    time.sleep(0.5)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    text = " ".join(said.split())
    assert "Finished and kept in" in text
    assert "pql. Run the same with --resume to go on" in text
    assert [p.name for p in (tmp_path / "finished").iterdir()] == ["pql.nc"]
    again = subprocess.run(
        [*command, "--methods", "pql,laplace", "--reference", "laplace", "--resume"],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert "pql" not in again.stderr, "it was fitted again"
    assert (tmp_path / "report.html").exists()


def plan(draws: int, chains: int) -> Plan:
    return Plan(draws, 10, chains, 1, 0.8, None)


def tree(values: np.ndarray) -> Any:
    return {"posterior": xr.Dataset({"a": (("chain", "draw"), values)})}


def test_chains_that_were_cut_short_are_no_posterior() -> None:
    whole = tree(np.zeros((2, 5)))
    assert whole_or_stopped(whole, plan(5, 2)) is whole
    padded = np.zeros((2, 5))
    padded[:, -1] = np.nan
    for short in (np.zeros((2, 4)), np.zeros((1, 5)), np.zeros((2, 0)), padded):
        with pytest.raises(KeyboardInterrupt, match="chains cut short are not kept"):
            whole_or_stopped(tree(short), plan(5, 2))
