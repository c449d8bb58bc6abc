"""How far a Laplace or quadrature fit can be trusted: ``fit.check()``.

Draws around the mode are weighted towards the exact posterior (:mod:`bayesglmm.latent.weights.importance`). The Pareto
k-hat of the weights says whether they are good enough to stand for MCMC; if they are, they are also what the fit's own
tables, the mode and its Wald intervals, can be held against. At the estimate Laplace's integral of every cluster is
held against the integral itself, and against its own next term.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesglmm.arguments import seed_or_none, takes, whole
from bayesglmm.latent.draws import pack_draws
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.unit_errors import UnitErrors, unit_errors, unit_labels
from bayesglmm.latent.weights.importance import Weighted
from bayesglmm.marginals import marginals
from bayesglmm.methods.weighted import Verdict, verdict, weigh_fit

if TYPE_CHECKING:
    from bayesglmm.problem import Problem
    from bayesglmm.result import Result

#: Clusters that a printed report names.
SHOWN = 5
#: Distance of an estimate from the weighted mean, in sds, that is worth a word.
WORTH_A_WORD = 0.1
#: Most clusters that get a Pareto k-hat of their own.
MOST_UNITS = 1000
#: Rows × draws beyond which six in ten draws are weighted, and how few are enough for a verdict.
MANY_ROWS, ENOUGH = 100_000_000, 600
#: Sd of Laplace's error that is as good as none.
SMALL_SPREAD = 0.01


@dataclass(frozen=True, repr=False)
class Trust:
    """What a check found; printing it gives the report.

    Parameters
    ----------
    method : str
        Of the fit.
    verdict : {"good as MCMC", "fine for means, not tails", "use AGQ", "use MCMC"}
        What the weighted draws, ``fit.refine()``, are good for. Thresholds: :mod:`bayesglmm.methods.weighted`.
    sentence : str
        The same with its reasons.
    pareto_k, ess : float
        Shape of the tail of the weights, and their effective number.
    proposals : int
        How many draws were weighted.
    joint_pareto_k, joint_ess : float
        The same of draws whose random effects are taken from the Gaussian at their modes as they come.
    laplace_spread : float
        Standard deviation over the posterior of Laplace's error in the log-likelihood. To first order no posterior
        mean is moved by more than this many standard deviations by it.
    spread_noise : float
        Standard deviations smaller than this cannot be told from the noise of estimated integrals; 0 for quadrature.
    parameters : DataFrame
        Per parameter ``estimate, sd`` as the fit has them (for a posterior mode: mean and sd of its normal
        approximation), ``mean, weighted_sd`` of the weighted draws, ``bias`` in sds, ``sd_ratio``.
    loglik : Series
        At the estimate: ``laplace``, ``second_order`` (corrected), ``exact``, ``mc_error``.
    clusters : DataFrame
        Per unit of independent random effects: ``rows, laplace, error, second_order, mc_error, pareto_k``. `error` is
        Laplace's log integral minus the exact one; `second_order` what is left of it after the correction.
    exact : str
        How the exact integrals were found.
    """

    method: str
    verdict: str
    sentence: str
    pareto_k: float
    ess: float
    proposals: int
    joint_pareto_k: float
    joint_ess: float
    laplace_spread: float
    spread_noise: float
    parameters: pd.DataFrame
    loglik: pd.Series
    clusters: pd.DataFrame
    exact: str

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        worst = self._worst_clusters()
        return "\n".join(
            [
                self._title(),
                "",
                *self._lines(),
                "",
                "The fit's own tables against the weighted draws",
                self.parameters.round(3).to_string(),
                self._own_tables(),
            ]
            + ["", "Laplace's worst log integrals", worst.to_string()] * (len(worst) > 1)
        )

    def _repr_html_(self) -> str:
        lines = "<br>".join(html.escape(line) for line in self._lines())
        worst = self._worst_clusters()
        parts = [
            f"<p><strong>{html.escape(self._title())}</strong></p>",
            f"<p>{lines}</p>",
            "<p>The fit's own tables against the weighted draws</p>",
            self.parameters.round(3).to_html(border=0),
            f"<p>{html.escape(self._own_tables())}</p>",
        ]
        if len(worst) > 1:
            parts += ["<p>Laplace's worst log integrals</p>", worst.to_html(border=0)]
        return "\n".join(parts)

    def _title(self) -> str:
        """What is judged: the draws that refine() makes a fit of, not the tables of a mode."""
        return f"Weighted draws of the {self.method.upper()} fit: {self.verdict}"

    def _lines(self) -> list[str]:
        """The report's sentences."""
        values = self.loglik
        second = float(values["second_order"])
        corrected = f", with its second-order correction {second:.4f}"
        error = f" ± {values['mc_error']:.4f}" if values["mc_error"] > 0 else ""
        return [
            self.sentence,
            f"Random effects as their Gaussian has them: Pareto k-hat {self.joint_pareto_k:.2f}, "
            f"{self.joint_ess:.0f} effective draws.",
            self._spread(),
            f"Log-likelihood at the estimate: Laplace {values['laplace']:.4f}"
            f"{corrected if np.isfinite(second) else ''}; {values['exact']:.4f}{error} by {self.exact}.",
        ]

    def _spread(self) -> str:
        """How much Laplace's error varies, in words."""
        size, less = self.laplace_spread, self.laplace_spread < max(self.spread_noise, SMALL_SPREAD)
        if less:
            size = max(self.spread_noise, SMALL_SPREAD)
        return (
            f"Laplace's error in the log-likelihood varies by {'less than ' if less else ''}{size:.2g} over the "
            f"posterior: it moves no posterior mean by more than {'that' if less else 'about that'} many sds."
        )

    def _own_tables(self) -> str:
        """The verdict is on the weighted draws: what of the table that was printed."""
        bias = self.parameters["bias"].dropna()
        if bias.empty or abs(bias).max() < WORTH_A_WORD:
            return f"No estimate of the fit's own is {WORTH_A_WORD} sd off the weighted draws."
        name = abs(bias).idxmax()
        side = "high" if bias[name] > 0 else "low"
        return (
            f"In the fit's own tables {name} is {abs(bias[name]):.2g} sd too {side}; fit.refine() makes a fit of the "
            "weighted draws, which the verdict is on."
        )

    def _worst_clusters(self) -> pd.DataFrame:
        order = self.clusters["error"].abs().sort_values(ascending=False).index
        return self.clusters.loc[order[:SHOWN]].round(4)


@takes(draws=whole(10), seed=seed_or_none)
def check_fit(problem: Problem, result: Result, *, draws: int = 1000, seed: int | None = None) -> Trust:
    """Check a fit by its own weighted draws.

    Parameters
    ----------
    problem, result
        The model, and its fit by ``"laplace"`` or ``"agq"``.
    draws : int
        Draws that the weighted ones are to be good for; four times as many are weighted, fewer in models of many rows.
    seed : int, optional
        Of the draws.

    Raises
    ------
    MethodError
        A fit by another method, or one that did not converge.
    """
    proposals = None if draws * problem.design.nobs <= MANY_ROWS else max(6 * draws // 10, min(draws, ENOUGH))
    weighted = weigh_fit(problem, result, draws=draws, seed=seed, proposals=proposals, keep=False)
    said: Verdict = verdict(problem, result.method, weighted)
    joint = weighted.joint_weights()
    with one_thread():
        errors = unit_errors(weighted.target, weighted.optimum, seed)
    second = np.nan if errors.second_order is None else float(np.sum(errors.laplace + errors.second_order))
    values = {
        "laplace": float(errors.laplace.sum()),
        "second_order": second,
        "exact": float(errors.exact.sum()),
        "mc_error": float(np.sqrt(np.sum(errors.mc_error**2))),
    }
    return Trust(
        result.method,
        said.words,
        said.sentence,
        weighted.weights.pareto_k,
        weighted.weights.ess,
        len(weighted.x),
        joint.pareto_k,
        joint.ess,
        *_laplace_spread(weighted),
        _parameters(problem, result, weighted),
        pd.Series(values, name="loglik"),
        _clusters(problem, weighted, errors),
        errors.how,
    )


def _laplace_spread(weighted: Weighted) -> tuple[float, float]:
    """Sd over the posterior of the log of exact over Laplace, and the sd that noise of estimated integrals makes."""
    solved, weights = weighted.solved, weighted.weights.values
    kept = np.isfinite(solved.laplace) & (weights > 0)
    weights = weights[kept] / weights[kept].sum()
    if solved.quadrature is not None:
        first = second = (solved.quadrature - solved.laplace)[kept]
    else:  # two independent estimates: their noise does not covary
        first, second = (solved.halves - solved.laplace)[:, kept]
    first, second = first - weights @ first, second - weights @ second
    covariance = float(weights @ (first * second))
    # Two standard errors of that covariance under noise alone, whose variance is half that of the difference.
    noise = 0.5 * float(weights @ np.square(first - second))
    return float(np.sqrt(max(covariance, 0.0))), float(np.sqrt(2.0 * noise * np.sqrt(np.sum(np.square(weights)))))


def _parameters(problem: Problem, result: Result, weighted: Weighted) -> pd.DataFrame:
    """Every parameter as the fit states it and as the weighted draws have it."""
    packed = replace(pack_draws(weighted.target, weighted.x, weighted.solved.u, {}), independent=False)
    every = marginals(problem, replace(result, method="mcmc", draws=packed))
    stated = marginals(problem, result)
    weights, rows = weighted.weights.values, {}
    for name, m in every.items():
        assert m.draws is not None
        x = m.draws.ravel()
        mean = float(weights @ x)
        sd = float(np.sqrt(weights @ np.square(x - mean)))
        own = stated[name]
        unit = sd if sd > 0.0 else np.nan  # a variance held at zero
        rows[name] = (own.estimate, own.sd, mean, sd, (own.estimate - mean) / unit, own.sd / unit)
    columns = ["estimate", "sd", "mean", "weighted_sd", "bias", "sd_ratio"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("parameter")


def _clusters(problem: Problem, weighted: Weighted, errors: UnitErrors) -> pd.DataFrame:
    """Laplace's error by unit of independent random effects."""
    blocks = problem.design.blocks
    name, labels = unit_labels(weighted.target, tuple(b.levels for b in blocks), tuple(b.group for b in blocks))
    gap = errors.laplace - errors.exact
    k = weighted.unit_k() if len(labels) <= MOST_UNITS else None
    return pd.DataFrame(
        {
            "rows": errors.rows,
            "laplace": errors.laplace,
            "error": gap,
            "second_order": np.nan if errors.second_order is None else gap + errors.second_order,
            "mc_error": errors.mc_error,
            "pareto_k": np.nan if k is None else k,
        },
        index=pd.Index(labels, name=name),
    )
