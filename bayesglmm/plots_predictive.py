"""Pictures of a fit against responses replicated from it, through ArviZ."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesglmm.arguments import flag, optional, plain, takes
from bayesglmm.diagnose.predictive import Chosen, check_statistics, loo_tree
from bayesglmm.errors import MethodError
from bayesglmm.idata import predictive_datatree
from bayesglmm.look import INK, look, taken
from bayesglmm.responses import posterior_predictive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesglmm.fit.found import Found

#: Largest count that a rootogram shows well.
ROOTOGRAM_LIMIT = 50
#: Kind of check → function of ArviZ.
KINDS = {"calibration": "plot_ppc_pava", "rootogram": "plot_ppc_rootogram", "distribution": "plot_ppc_dist"}
#: The kind that shows test statistics.
TSTAT = "tstat"


def ppc_kind(fit: Found) -> str:
    """Which check suits the response: ``"calibration"`` (binary), ``"rootogram"`` (counts) or ``"distribution"``."""
    y = fit.model.problem.response.y
    if not fit.model.family.support.integer or y.max() > ROOTOGRAM_LIMIT:
        return "distribution"
    return "calibration" if np.isin(y, (0.0, 1.0)).all() else "rootogram"


@takes(kind=optional(plain))
def plot_ppc(
    fit: Found,
    draws: int = 200,
    seed: int | None = None,
    *,
    kind: str | None = None,
    level: str = "conditional",
    statistics: Chosen = None,
) -> Figure:
    """Posterior predictive check: the observed response against responses replicated from the fit.

    Parameters
    ----------
    fit : Fit
        Of any family but a quasi-family.
    draws : int
        Number of replicated responses.
    seed : int, optional
        Seed of the replications.
    kind : {"calibration", "rootogram", "distribution", "tstat"}, optional
        ArviZ's ``plot_ppc_pava``, ``plot_ppc_rootogram``, ``plot_ppc_dist``, or ``plot_ppc_tstat`` of `statistics`;
        what suits the response (binary, counts, everything else) when left out.
    level : {"conditional", "marginal", "population"}
        Replications of the same groups, of new ones, or with random effects at zero.
    statistics : sequence of str, or mapping of str to callable, optional
        For ``"tstat"``, as for :meth:`~bayesglmm.Fit.ppc_statistics`.

    Returns
    -------
    Figure

    Raises
    ------
    MethodError
        For a quasi-family, which has no distribution to draw from; an unknown kind.

    Notes
    -----
    Säilynoja, Johnson, Martin & Vehtari (2025), Recommendations for visual predictive checks.
    """
    import arviz as az

    chosen = kind or ppc_kind(fit)
    if chosen not in (*KINDS, TSTAT):
        raise MethodError(f"kind is {kind!r}; one of {', '.join([*KINDS, TSTAT])} is expected.")
    if chosen == TSTAT:
        return _statistics(fit, draws, seed, level, statistics)
    if statistics is not None:
        raise MethodError(f"statistics are for kind='tstat', not {chosen!r}.")
    tree = predictive_tree(fit, draws, seed, level)
    with look(), warnings.catch_warnings():
        # ArviZ would rather see a rootogram; counts in the hundreds make an unreadable one.
        warnings.filterwarnings("ignore", message="Variables .* look discrete")
        return taken(getattr(az, KINDS[chosen])(tree, figure_kwargs={"figsize": (6.0, 3.4)}))


def _statistics(fit: Found, draws: int, seed: int | None, level: str, statistics: Chosen) -> Figure:
    """One panel per statistic: its distribution over replications, and the observed one as a line."""
    import arviz as az
    import xarray as xr

    found = check_statistics(fit.model.problem, fit.result, statistics, level=level, draws=draws, seed=seed)
    # Each statistic is a variable of one number a draw, whose mean is itself.
    replicated = {k: (["chain", "draw", "one"], v[None, :, None]) for k, v in found.replicated.items()}
    observed = {k: (["one"], [v.mean()]) for k, v in found.observed.items()}
    tree = xr.DataTree.from_dict(
        {"posterior_predictive": xr.Dataset(replicated), "observed_data": xr.Dataset(observed)}
    )
    columns = min(len(replicated), 3)
    rows = -(-len(replicated) // 3)
    options: dict[str, Any] = {"t_stat": "mean", "kind": "hist", "visuals": {"title": {}, "observed_tstat": False}}
    options["figure_kwargs"] = {"figsize": (2.6 * columns, 2.0 * rows)}
    with look():
        collection = az.plot_ppc_tstat(tree, col_wrap=columns, **options)
        for name, seen in found.observed.items():
            axes = collection.get_target(name, {})
            axes.axvline(float(seen.mean()), color=INK, lw=1.6)
        return taken(collection)


@takes(coverage=flag)
def plot_loo_pit(fit: Found, draws: int = 1000, seed: int | None = None, *, coverage: bool = False) -> Figure:
    """Draw the distribution of the rows' leave-one-out places minus the uniform one (ArviZ ``plot_loo_pit``).

    Parameters
    ----------
    fit : Fit
        With a posterior.
    draws : int
        Of the posterior.
    seed : int, optional
        Of the draws.
    coverage : bool
        Coverage of central intervals instead.

    Returns
    -------
    Figure
    """
    import arviz as az

    tree = loo_tree(fit.model.problem, fit.result, draws, seed)
    with look():
        return taken(az.plot_loo_pit(tree, coverage=coverage, figure_kwargs={"figsize": (6.0, 3.4)}))


def predictive_tree(fit: Found, draws: int = 200, seed: int | None = None, level: str = "conditional") -> Any:
    """DataTree with ``observed_data`` and ``posterior_predictive`` for ArviZ's checks."""
    replicated = posterior_predictive(fit.model.problem, fit.result, draws, seed, level)
    return predictive_datatree(fit.model.problem, replicated[None])
