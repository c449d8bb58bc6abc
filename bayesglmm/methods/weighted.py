"""A Laplace or quadrature fit, its draws weighted towards the exact posterior: what they are worth, and as a fit.

``model.fit("laplace+psis")`` and ``fit.refine()`` come here. The verdict goes by the Pareto k-hat of the weights
(Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25(72)) and their effective number:

============================  =======================  =====================================================
words                         when                     why
============================  =======================  =====================================================
good as MCMC                  k < 0.5, 400 effective   the weights have a finite variance: means, sds and
                                                       quantiles are within Monte-Carlo error
fine for means, not tails     k < 0.7, 100 effective   smoothed weights still give means; tails rest on few draws
use AGQ                       otherwise                after Laplace, where quadrature applies: its mode is better
use MCMC                      otherwise                nothing cheaper is left, or a variance is at zero
============================  =======================  =====================================================

Where the weights rest on quadrature, draws of the random effects are chosen among Gaussian ones: if these do not cover
more than a tenth of the clusters (their own k-hat is above 0.7), the verdict is no better than the second.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bayesglmm.arguments import optional, seed_or_none, takes, whole
from bayesglmm.errors import MethodError
from bayesglmm.methods.mcmc import summarise
from bayesglmm.methods.registry import METHODS, objection
from bayesglmm.result import Result, Status

if TYPE_CHECKING:
    from bayesglmm.latent.weights.importance import Weighted
    from bayesglmm.problem import Problem

#: Pareto k-hat below which the weights have a finite variance, and below which smoothed ones can be used.
GOOD_K, USABLE_K = 0.5, 0.7
#: Effective draws that go with them.
GOOD_ESS, USABLE_ESS = 400.0, 100.0
#: Share of clusters whose own k-hat may be above the usable one, and how many clusters are looked at.
POOR_UNITS, MOST_UNITS = 0.1, 200


@dataclass(frozen=True)
class Verdict:
    """What weighted draws are good for.

    Parameters
    ----------
    words : {"good as MCMC", "fine for means, not tails", "use AGQ", "use MCMC"}
        The verdict.
    sentence : str
        The same with its reasons.
    """

    words: str
    sentence: str

    @property
    def usable(self) -> bool:
        """Whether the weighted draws may be used at all."""
        return not self.words.startswith("use")


def verdict(problem: Problem, method: str, weighted: Weighted) -> Verdict:
    """Judge weighted draws.

    Parameters
    ----------
    problem : Problem
        The model.
    method : {"laplace", "agq"}
        Where they were drawn.
    weighted : Weighted
        The draws.
    """
    k, ess, poor = weighted.weights.pareto_k, weighted.weights.ess, _poor_units(weighted)
    numbers = f"Pareto k-hat {k:.2f}, {ess:.0f} effective draws of {len(weighted.x)}"
    if poor > POOR_UNITS:
        numbers += f"; no Gaussian fits the random effects of {poor:.0%} of the clusters".replace("%", " %")
    if not weighted.optimum.curvature.free.all():
        return Verdict(
            "use MCMC",
            "A parameter is at the edge of its range (see fit.status) and stays there in every draw; the posterior "
            "spreads from it. Use method='mcmc', or priors that keep it from the edge.",
        )
    if k < GOOD_K and ess >= GOOD_ESS and poor <= POOR_UNITS:
        return Verdict("good as MCMC", f"Weighted draws are as good as MCMC: {numbers}.")
    if k < USABLE_K and ess >= USABLE_ESS:
        return Verdict("fine for means, not tails", f"Weighted draws are fine for means, not for tails: {numbers}.")
    # A fit whose own mode is off can be far from where the weights want it; quadrature moves the mode.
    words = "use AGQ" if method == "laplace" and objection(METHODS["agq"], problem) is None else "use MCMC"
    name = {"use AGQ": "'agq'", "use MCMC": "'mcmc'"}[words]
    return Verdict(words, f"Weights cannot make up for the approximation: {numbers}. Use method={name}.")


def _poor_units(weighted: Weighted) -> float:
    """Share of units whose Gaussian is no proposal for their random effects.

    Only quadrature hides them: candidates that miss a unit show in the weights themselves.
    """
    k = weighted.unit_k(MOST_UNITS) if weighted.work.nodes else None
    return 0.0 if k is None else float(np.mean(k > USABLE_K))


def weigh_fit(
    problem: Problem,
    result: Result,
    *,
    draws: int = 1000,
    seed: int | None = None,
    proposals: int | None = None,
    keep: bool = True,
) -> Weighted:
    """Draw around a fit's mode, and weight the draws; see :func:`bayesglmm.latent.weights.importance.weigh`.

    Raises
    ------
    MethodError
        A fit by another method, or one that did not converge.
    """
    from bayesglmm.latent.weights.importance import weigh

    if result.method not in ("laplace", "agq"):
        raise MethodError(
            f"draws are weighted around the mode of a fit by 'laplace' or 'agq'; this one is by {result.method!r}."
        )
    if not result.status.converged:
        raise MethodError(f"this {result.method} fit did not converge ({result.status.reason}): it has no mode.")
    return weigh(problem, result, draws=int(draws), seed=seed, proposals=proposals, keep=keep)


def checked(problem: Problem, result: Result, *, draws: int = 1000, seed: int | None = None) -> Result:
    """Return the fit with the Pareto k-hat and the verdict on its weighted draws in its status.

    Parameters
    ----------
    problem, result
        The model, and its fit by ``"laplace"`` or ``"agq"``; one that did not converge is returned as it is.
    draws, seed
        As of the fit.
    """
    if not result.status.converged:
        return result
    weighted = weigh_fit(problem, result, draws=max(draws, 1000), seed=seed, keep=False)
    said = verdict(problem, result.method, weighted)
    notes = (*result.status.notes, said.sentence)
    return replace(result, status=replace(result.status, pareto_k=weighted.weights.pareto_k, notes=notes))


@takes(draws=whole(10), seed=seed_or_none, proposals=optional(whole(10)))
def refined(
    problem: Problem, base: Result, *, draws: int = 1000, seed: int | None = None, proposals: int | None = None
) -> Result:
    """The posterior by weighted draws around a fit's mode.

    Parameters
    ----------
    problem, base
        The model, and its fit by ``"laplace"`` or ``"agq"``.
    draws : int
        Draws of the result, taken from the weighted ones by systematic resampling: none twice while its weight is at
        most 1 / draws.
    seed : int, optional
        Of the generator; one is drawn and kept in ``options`` when left out.
    proposals : int, optional
        Draws that are weighted; see :func:`bayesglmm.latent.weights.importance.weigh`.

    Returns
    -------
    Result
        Of method ``"laplace+psis"`` or ``"agq+psis"``; ``draws.stats`` has ``log_p`` and ``log_q`` of the parameters
        and the normalised ``log_weight`` each draw had before resampling.
    """
    from bayesglmm.latent.draws import as_chains, pack_draws
    from bayesglmm.latent.weights.importance import resample

    begin = time.perf_counter()
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    weighted = weigh_fit(problem, base, draws=draws, seed=seed, proposals=proposals)
    said = verdict(problem, base.method, weighted)
    taken = resample(weighted.weights, draws, np.random.default_rng((seed, 1)))
    logs = {"log_p": weighted.log_p, "log_q": weighted.log_q, "log_weight": weighted.weights.log_weights}
    packed = pack_draws(weighted.target, weighted.x, weighted.solved.u, logs, taken)
    status = Status(
        converged=said.usable,
        message=said.sentence,
        iterations=base.status.iterations,
        evaluations=base.status.evaluations + len(weighted.x),
        boundary=base.status.boundary,
        notes=(*base.status.notes, *_flat_note(problem)),
        seconds=base.status.seconds + time.perf_counter() - begin,
        pareto_k=weighted.weights.pareto_k,
        ess=weighted.weights.ess,
    )
    options = {**base.options, "draws": draws, "seed": seed, "proposals": len(weighted.x)}
    found = summarise(problem, replace(as_chains(packed), independent=False), status, options)
    name = f"{base.method}+psis"
    how = f"{weighted.work.nodes} quadrature nodes" if weighted.work.nodes else "random effects sampled"
    words = f"posterior, draws around the {base.method} mode weighted by importance ({how})"
    return replace(found, method=name, objective=words)


def _flat_note(problem: Problem) -> tuple[str, ...]:
    if problem.priors is not None:
        return ()
    return ("flat priors: the posterior need not be a probability distribution, and then its draws mean nothing.",)
