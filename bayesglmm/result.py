"""What a method found: plain arrays and a status. Labels and tables are made from it further right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Status:
    """Whether a fit converged, and everything known about how far to trust it.

    Parameters
    ----------
    converged : bool
        False means the numbers are not to be used as they are.
    message : str
        One sentence: why it stopped.
    iterations, evaluations : int
        Outer iterations, and evaluations of the objective.
    gradient_norm : float or None
        Newton decrement at the end, sqrt(g'H⁻¹g): distance to the optimum in standard errors.
    boundary : tuple of str
        Terms whose variance is at zero or whose correlation is at ±1.
    notes : tuple of str
        Anything else a careful reader should know.
    seconds : float
        Wall time of the fit.
    pareto_k, r_hat, ess, divergences : optional
        Where draws were weighted or sampled: Pareto k-hat, worst R-hat, smallest bulk effective size, number of
        divergent transitions.
    condition : float or None
        Condition number of the information of all free parameters, scaled to a unit diagonal.
    scaled_gradient : float or None
        Largest entry of the gradient at the end, times its parameter's standard error.

    Examples
    --------
    >>> print(Status(True, "converged: Newton decrement 2e-09", 7, 12, 2e-9, ("the sd of x in g is zero",)))
    converged: Newton decrement 2e-09
    7 iterations, 12 evaluations
    on the boundary: the sd of x in g is zero
    """

    converged: bool
    message: str
    iterations: int = 0
    evaluations: int = 0
    gradient_norm: float | None = None
    boundary: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    pareto_k: float | None = None
    r_hat: float | None = None
    ess: float | None = None
    divergences: int | None = None
    condition: float | None = None
    scaled_gradient: float | None = None

    @property
    def reason(self) -> str:
        """The message without the word that `converged` says already.

        Examples
        --------
        >>> Status(False, "not converged: stopped at the cap").reason
        'stopped at the cap'
        """
        return self.message.removeprefix(f"{self._ending}: ")

    @property
    def _ending(self) -> str:
        return "converged" if self.converged else "not converged"

    def __str__(self) -> str:
        lines = [self.message if self.message.startswith(self._ending) else f"{self._ending}: {self.message}"]
        if self.iterations or self.evaluations:
            counts = f"{_counted(self.iterations, 'iteration')}, {_counted(self.evaluations, 'evaluation')}"
            lines.append(counts + (f", {self.seconds:.3g} s" if self.seconds else ""))
        if self.scaled_gradient is not None:
            lines.append(f"largest gradient × standard error: {self.scaled_gradient:.1e}")
        if self.condition is not None:
            lines.append(f"information positive definite, condition number {self.condition:.3g} (scaled)")
        if self.r_hat is not None and self.ess is not None:
            lines.append(f"R-hat {self.r_hat:.3f}, smallest effective size {self.ess:.0f}")
        if self.divergences is not None:
            lines.append(f"divergent transitions: {self.divergences}")
        if self.pareto_k is not None and "k-hat" not in self.message:
            lines.append(f"Pareto k-hat {self.pareto_k:.2f}")
        lines += [f"on the boundary: {term}" for term in self.boundary]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Draws:
    """Draws from a posterior or from its approximation, as plain arrays.

    Parameters
    ----------
    beta : ndarray, shape (chains, draws, p)
        Coefficients.
    theta : ndarray, shape (chains, draws, k)
        Covariance parameters, natural coordinates (see ``bayesglmm.covariance``).
    psi : ndarray, shape (chains, draws, n_aux)
        Auxiliaries, unconstrained.
    effects : tuple of ndarray, shape (chains, draws, levels, q)
        Random effects b, one array per block.
    independent : bool
        True for direct draws from an approximation that the result's estimates and covariances describe: tables are
        made from those. False where the draws are the posterior (MCMC, or weighted ones): tables are made from them.
    stats : mapping of str to ndarray
        Sampler or weighting statistics, shape (chains, draws).
    others : mapping of str to ndarray
        Variables that a user added to the model's graph, by name, shape (chains, draws, ...).
    """

    beta: Floats
    theta: Floats
    psi: Floats
    effects: tuple[Floats, ...]
    independent: bool = True
    stats: Mapping[str, Floats] = field(default_factory=dict)
    others: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a method found, as plain arrays.

    Parameters
    ----------
    method : str
        The method's name.
    objective : str
        What was optimised or sampled, in words.
    estimand : {"conditional", "marginal", "joint-mode"}
        What the coefficients mean.
    beta : ndarray, shape (p,)
        Coefficients of the columns of the design's X.
    cov_beta : ndarray, shape (p, p)
        Their covariance.
    theta : ndarray, shape (k,)
        Covariance parameters, natural coordinates, all blocks one after the other.
    psi : ndarray, shape (n_aux,)
        Auxiliaries, unconstrained.
    cov_joint : ndarray, shape (p + k + n_aux, ...), or None
        Joint covariance of (beta, theta, psi), with theta in *natural* and psi in unconstrained coordinates.
        Rows of parameters at a boundary are NaN.
    effects, effects_sd : tuple of ndarray, shape (levels, q)
        Conditional modes (or posterior means) of the random effects b, and their sds, one per block.
    eta : ndarray, shape (n,)
        Linear predictor at the estimate, offset and random effects included.
    scale : float
        φ in Var(y) = φ V(μ) / w.
    loglik : float or None
        Maximised (marginal) log-likelihood with all constants; None for quasi-likelihood.
    df_model : int
        Number of estimated parameters counted by AIC.
    df_resid : float
        Residual degrees of freedom, n − rank(X).
    use_t : bool
        Whether Wald tables use the t rather than the normal reference.
    status : Status
        How it ended.
    draws : Draws or None
        For methods that give a distribution.
    options : mapping
        The options the method ran with (nodes, scale, cov, seed, ...).
    extras : mapping
        Method-specific values (quasi_loglik, qic, working correlation, per-cluster diagnostics ...); ``facts``
        (name → text) are printed at the head of the summary.
    """

    method: str
    objective: str
    estimand: str
    beta: Floats
    cov_beta: Floats
    eta: Floats
    status: Status
    theta: Floats = field(default_factory=lambda: np.empty(0))
    psi: Floats = field(default_factory=lambda: np.empty(0))
    cov_joint: Floats | None = None
    effects: tuple[Floats, ...] = ()
    effects_sd: tuple[Floats, ...] = ()
    scale: float = 1.0
    loglik: float | None = None
    df_model: int = 0
    df_resid: float = float("nan")
    use_t: bool = False
    draws: Draws | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hyper_sample(self) -> Draws | None:
        """Draws that θ and ψ are summarised by: a sampler's, or those of their integrated posterior (``inla``)."""
        sampled = self.draws is not None and not self.draws.independent
        return self.draws if sampled else self.extras.get("hyper")
