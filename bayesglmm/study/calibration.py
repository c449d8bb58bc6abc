"""Simulation-based calibration: whether the truths are spread over the posteriors as if drawn from them.

Parameters are drawn from the prior, responses given them, and the truth is ranked among draws of the posterior. If the
posterior is right the ranks are uniform (Cook, Gelman & Rubin 2006; Talts, Betancourt, Simpson, Vehtari & Gelman 2018).
Their empirical distribution is held against uniformity all along its length at once (Säilynoja, Bürkner & Vehtari 2022,
Statistics and Computing 32, 32): the smallest pointwise tail probability is the statistic, and its distribution is
simulated for the very number of replicates and draws, so that the test is exact but for simulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.arguments import mapping, optional, takes, texts, whole
from bayesglmm.errors import MethodError
from bayesglmm.inference.adjust import holm
from bayesglmm.inference.ticker import Progress
from bayesglmm.study.core import Study
from bayesglmm.study.result import StudyResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Samples of uniform ranks that the test's distribution is simulated with.
SIMULATED = 4000
#: What is printed under the table.
LEGEND = (
    "p: uniformity of the truth's ranks (adjusted: for the parameters of a method); place: mean place of the truth in "
    "its posterior, 0.5 is right;\nspread: sd of that place over what it should be, above 1 posteriors are too narrow; "
    "n: data sets with a converged fit."
)


@takes(methods=texts, draws=whole(), options=optional(mapping))
def sbc(
    model: Any,
    methods: str | Sequence[str],
    replicates: int = 200,
    *,
    draws: int = 99,
    seed: int = 1,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    path: str | Path | None = None,
    executor: Any = None,
    workers: int | None = None,
    progress: Progress = "auto",
) -> Calibration:
    """Calibrate the posteriors of one or more methods by simulation.

    Parameters
    ----------
    model : Model
        With proper priors; its response is simulated anew.
    methods : str or sequence of str
        Methods that give a posterior.
    replicates : int
        Data sets.
    draws : int
        Of each posterior, among which the truth is ranked: it has ``draws + 1`` places.
    seed, options, path, executor, workers, progress
        As for :class:`bayesglmm.Study`; with `path` it can be stopped and resumed.

    Returns
    -------
    Calibration

    Raises
    ------
    MethodError
        Flat priors, or a method without a posterior.

    Examples
    --------
    >>> import bayesglmm as bg, numpy as np, pandas as pd
    >>> data = pd.DataFrame({"y": range(12), "g": np.repeat(list("abcd"), 3)})
    >>> found = bg.sbc(bg.Model("y ~ 1 + (1 | g)", data, family="poisson"), "laplace", replicates=10, workers=1)
    >>> found.ranks.shape, list(found.table.columns)[:3]
    ((20, 4), ['parameter', 'method', 'p'])
    """
    from bayesglmm.methods.registry import get_method

    names = list(methods)
    for name in names:
        if not get_method(name).uses_priors or name == "map":
            raise MethodError(f"{name!r} has no posterior to calibrate; take laplace, agq, inla or mcmc.")
    study = Study(model, "prior", names, replicates, seed, options or {}, ranks=int(draws))
    return Calibration(study.run(path, executor=executor, workers=workers, progress=progress))


@dataclass(frozen=True, repr=False)
class Calibration:
    """Ranks of the truths, and whether they are uniform.

    Parameters
    ----------
    study : StudyResult
        The replicates they come from; its ``failures`` say which fits gave none.
    """

    study: StudyResult

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """A row per replicate × method × parameter: ``replicate, method, parameter, rank``."""
        rows = [
            (r.number, o.method, parameter, rank)
            for r in self.study.replicates
            for o in r.outcomes
            for parameter, rank in o.ranks.items()
        ]
        return pd.DataFrame(rows, columns=["replicate", "method", "parameter", "rank"])

    @property
    def draws(self) -> int:
        """Draws the truths are ranked among."""
        return self.study.study.ranks

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per parameter × method: ``p`` of uniformity, ``adjusted`` over a method's parameters, and what is off.

        ``place`` is the mean place of the truth in its posterior, one half when there is no bias (above: estimates are
        too low); ``spread`` the sd of that place over what it should be (above one: posteriors are too narrow).
        """
        rows = []
        for (parameter, method), own in self.ranks.groupby(["parameter", "method"], sort=False):
            ranks = own["rank"].to_numpy()
            place = (ranks + 0.5) / (self.draws + 1)
            # Variance of a discrete uniform place.
            right = np.sqrt((1.0 - 1.0 / (self.draws + 1) ** 2) / 12.0)
            spread = float(np.sqrt(np.mean((place - 0.5) ** 2)) / right)
            p = uniformity(ranks, self.draws)
            rows.append((parameter, method, p, place.mean(), spread, len(ranks)))
        table = pd.DataFrame(rows, columns=["parameter", "method", "p", "place", "spread", "n"])
        table.insert(3, "adjusted", table.groupby("method")["p"].transform(lambda p: holm(p.to_numpy())))
        table["verdict"] = [_words(r) for r in table.itertuples()]
        return table

    def plot(self) -> Figure:
        """Draw the empirical distribution of the ranks minus the uniform one, with its simultaneous 95 % band."""
        from bayesglmm.study.figures import draw_calibration

        return draw_calibration(self)

    @property
    def idata(self) -> Any:
        """ArviZ DataTree with the places of the truths, in (0, 1), in the group ``prior_sbc``; a child per method."""
        import xarray as xr

        children = {}
        for method, own in self.ranks.groupby("method", sort=False):
            wide = own.pivot_table(index="replicate", columns="parameter", values="rank", sort=False)
            place = (wide.dropna() + 0.5) / (self.draws + 1)
            group = xr.Dataset({str(c): ("sample", place[c].to_numpy()) for c in place}, {"sample": place.index})
            children[str(method)] = xr.DataTree(children={"prior_sbc": xr.DataTree(group)})
        return xr.DataTree(children=children)

    def __repr__(self) -> str:
        return f"<Calibration: {self.study.study.replicates} replicates, {', '.join(self.study.study.task.methods)}>"

    def __str__(self) -> str:
        text = self.table.to_string(index=False, float_format="{:.3f}".format)
        failed = self.study.failures.value_counts(["method", "reason"]).head(5)
        lost = (f"{count} × {method}: {reason}" for (method, reason), count in failed.items())
        return "\n".join([text, LEGEND, *lost])

    def _repr_html_(self) -> str:
        return self.table.to_html(index=False, float_format="{:.3f}".format, border=0) + f"<p>{LEGEND}</p>"


def _words(row: Any) -> str:
    if row.adjusted >= 0.05:
        return "calibrated, as far as these replicates tell"
    error = 1.0 / np.sqrt(12.0 * row.n)
    said = []
    if abs(row.place - 0.5) > 2.0 * error:
        said.append("too low" if row.place > 0.5 else "too high")
    if abs(row.spread - 1.0) > 2.0 / np.sqrt(5.0 * row.n):
        said.append("too narrow" if row.spread > 1.0 else "too wide")
    return " and ".join(said) or "not uniform"


def uniformity(ranks: Ints, draws: int) -> float:
    """p-value of the uniformity of ranks 0, 1, ..., `draws`.

    Parameters
    ----------
    ranks : ndarray of int, shape (n,)
        One per replicate.
    draws : int
        Draws each was ranked among.
    """
    n = len(ranks)
    counts = np.cumsum(np.bincount(ranks, minlength=draws + 1))[None, :draws]
    simulated, lower, upper = _reference(n, draws)
    observed = _smallest_tail(counts, lower, upper)[0]
    return float((1 + np.sum(simulated <= observed * (1 + 1e-12))) / (1 + len(simulated)))


def band(n: int, draws: int, level: float = 0.95) -> tuple[Floats, Floats]:
    """Simultaneous band of the empirical distribution of uniform ranks at 0, 1, ..., `draws` − 1."""
    simulated, lower, upper = _reference(n, draws)
    limit = np.quantile(simulated, 1.0 - level)
    inside = np.minimum(2.0 * lower, 2.0 * upper) >= limit
    counts = np.arange(n + 1)
    low = np.array([counts[row].min() for row in inside])
    high = np.array([counts[row].max() for row in inside])
    return low / n, high / n


@cache
def _reference(n: int, draws: int) -> tuple[Floats, Floats, Floats]:
    """Simulated statistics of uniform ranks, and the tails P(C ≤ c) and P(C ≥ c) of their counts, (draws, n + 1)."""
    from scipy.special import bdtr, bdtrc

    places = np.arange(1, draws + 1)[:, None] / (draws + 1)
    counts = np.arange(n + 1)[None]
    lower = bdtr(counts, n, places)
    upper = np.where(counts > 0, bdtrc(np.maximum(counts - 1, 0), n, places), 1.0)
    rng = np.random.default_rng(12345)  # the same ranks give the same p-value
    statistics = np.empty(SIMULATED)
    for start in range(0, SIMULATED, 500):
        drawn = rng.multinomial(n, np.full(draws + 1, 1.0 / (draws + 1)), size=500)
        statistics[start : start + 500] = _smallest_tail(np.cumsum(drawn, axis=1)[:, :draws], lower, upper)
    return statistics, lower, upper


def _smallest_tail(counts: Ints, lower: Floats, upper: Floats) -> Floats:
    where = np.arange(counts.shape[1])
    return 2.0 * np.minimum(lower[where, counts], upper[where, counts]).min(axis=1)
