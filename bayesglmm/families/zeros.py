"""Zero-inflated and hurdle counts: the link models the mean μ of the count part, `zi` is the extra probability.

Zero inflation: P(0) = π + (1 − π) f(0), E(y) = (1 − π) μ. Hurdle: P(0) = π, and above zero the count distribution cut
at zero, E(y) = (1 − π) μ/(1 − f(0)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import FamilyError
from bayesglmm.families.base import Auxiliary, Family, KernelFactory
from bayesglmm.families.negative_binomial import NEGATIVE_BINOMIAL_1, NegativeBinomial
from bayesglmm.families.poisson import POISSON

if TYPE_CHECKING:
    from bayesglmm.families.kernels.bound import Formulas

Floats = NDArray[np.float64]
Aux = tuple[float, ...]
Zero = Callable[[Floats, Aux], Floats]


def _poisson_zero(mu: Floats, aux: Aux) -> Floats:
    """Log f(0)."""
    return -mu


def _nb2_zero(mu: Floats, aux: Aux) -> Floats:
    return -aux[0] * np.log1p(mu / aux[0])


def _nb1_zero(mu: Floats, aux: Aux) -> Floats:
    return -mu / aux[0] * np.log1p(aux[0])


def _initial_mean(y: Floats, weights: Floats) -> Floats:
    # A zero may be structural: it says little about the count's mean.
    above = y > 0.0
    middle = float(np.average(y[above], weights=weights[above])) if above.any() else 0.5
    return np.where(above, y, 0.5 * middle)


def _start_inflation(y: Floats, mu: Floats, weights: Floats) -> float:
    zeros = float(np.average(y == 0.0, weights=weights))
    expected = float(np.average(np.exp(-mu), weights=weights))
    return float(np.clip((zeros - expected) / (1.0 - expected), 0.05, 0.95))


def _start_hurdle(y: Floats, mu: Floats, weights: Floats) -> float:
    return float(np.clip(np.average(y == 0.0, weights=weights), 0.02, 0.98))


def _inflated_variance(count: Family) -> Callable[[Floats, Aux], Floats]:
    def variance(mu: Floats, aux: Aux) -> Floats:
        pi = aux[-1]
        return np.asarray((1.0 - pi) * (count.variance(mu, aux[:-1]) + pi * mu**2))

    return variance


def _inflated_deviance(count: Family, log_zero: Zero) -> Callable[[Floats, Floats, Aux], Floats]:
    """2(ℓ at the best μ − ℓ): for a zero the best μ is 0, where P(0) = 1."""

    def deviance(y: Floats, mu: Floats, aux: Aux) -> Floats:
        pi = aux[-1]
        at_zero = -2.0 * np.log(pi + (1.0 - pi) * np.exp(log_zero(mu, aux)))
        return np.where(y == 0.0, at_zero, count.unit_deviance(y, mu, aux[:-1]))

    return deviance


def _hurdle_mean(log_zero: Zero) -> Callable[[Floats, Aux], Floats]:
    return lambda mu, aux: (1.0 - aux[-1]) * mu / -np.expm1(log_zero(mu, aux))


def _hurdle_variance(count: Family, log_zero: Zero) -> Callable[[Floats, Aux], Floats]:
    def variance(mu: Floats, aux: Aux) -> Floats:
        share = (1.0 - aux[-1]) / -np.expm1(log_zero(mu, aux))
        return np.asarray(share * (count.variance(mu, aux[:-1]) + mu**2) - (share * mu) ** 2)

    return variance


def _hurdle_deviance(count: Family, log_zero: Zero) -> Callable[[Floats, Floats, Aux], Floats]:
    """2(ℓ at the best μ − ℓ) of the cut count; a zero says nothing of μ."""

    def best_mean(y: Floats, aux: Aux) -> Floats:
        """Solve μ/(1 − f(0)) = y for each different y > 1 by iterating μ = y(1 − f(0)); y = 1 is met as μ → 0."""
        values, back = np.unique(y, return_inverse=True)
        mu = np.where(values > 1.0, values, 1e-12)
        for _ in range(1000):
            new = np.where(values > 1.0, values * -np.expm1(log_zero(mu, aux)), mu)
            if np.all(np.abs(new - mu) <= 1e-13 * mu):
                break
            mu = new
        return mu[back.reshape(np.shape(y))]

    def part(y: Floats, mu: Floats, aux: Aux) -> Floats:
        return count.unit_deviance(y, mu, aux[:-1]) + 2.0 * np.log(-np.expm1(log_zero(mu, aux)))

    def deviance(y: Floats, mu: Floats, aux: Aux) -> Floats:
        above = np.where(y > 0.0, y, 1.0)
        d = part(above, mu, aux) - part(above, best_mean(above, aux), aux)
        return np.where(y > 0.0, np.maximum(d, 0.0), 0.0)

    return deviance


def _no_deviance(y: Floats, mu: Floats, aux: Aux) -> Floats:
    """The best μ of an NB1 row has no closed form, and the deviance of NB1 itself is that of its variance alone."""
    raise FamilyError("NB1 with zeros has no deviance here: use residuals 'quantile', 'pearson' or 'response'.")


def _kernel(count: str, wrap: str) -> Callable[[str], KernelFactory | None]:
    def kernel(link: str) -> KernelFactory | None:
        from bayesglmm.families.kernels import counts, inflated

        makers: dict[str, Callable[[], Formulas]] = {
            "poisson": counts.poisson_formulas,
            "nb1": counts.nb1_formulas,
            "nb2": counts.nb2_formulas,
        }
        wrapper = {"inflated": inflated.zero_inflated, "hurdle": inflated.hurdle}[wrap]
        return inflated.factory(link, makers[count](), wrapper)

    return kernel


def _distribution(name: str) -> Callable[..., Any]:
    def distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
        # NB1 is a negative binomial whose size grows with its mean.
        shape = {"alpha": aux["theta"]} if "theta" in aux else {"alpha": mu / aux["phi"]} if "phi" in aux else {}
        return getattr(pm, name).dist(psi=1.0 - aux["zi"], mu=mu, **shape)

    return distribution


def _inflated(name: str, count: Family, log_zero: Zero, kind: str, pymc_name: str) -> Family:
    return replace(
        count,
        name=name,
        variance=_inflated_variance(count),
        unit_deviance=_no_deviance if kind == "nb1" else _inflated_deviance(count, log_zero),
        initial_mean=_initial_mean,
        auxiliaries=(*count.auxiliaries, Auxiliary("zi", "logit", _start_inflation)),
        kernel=_kernel(kind, "inflated"),
        distribution=_distribution(pymc_name),
        exponential=False,
        expectation=lambda mu, aux: (1.0 - aux[-1]) * mu,
    )


def _hurdle(name: str, count: Family, log_zero: Zero, kind: str, pymc_name: str) -> Family:
    return replace(
        count,
        name=name,
        variance=_hurdle_variance(count, log_zero),
        unit_deviance=_hurdle_deviance(count, log_zero),
        initial_mean=_initial_mean,
        auxiliaries=(*count.auxiliaries, Auxiliary("zi", "logit", _start_hurdle)),
        kernel=_kernel(kind, "hurdle"),
        distribution=_distribution(pymc_name),
        exponential=False,
        expectation=_hurdle_mean(log_zero),
    )


ZERO_INFLATED_POISSON = _inflated("zero_inflated_poisson", POISSON, _poisson_zero, "poisson", "ZeroInflatedPoisson")
HURDLE_POISSON = _hurdle("hurdle_poisson", POISSON, _poisson_zero, "poisson", "HurdlePoisson")
ZERO_INFLATED_NEGATIVE_BINOMIAL = _inflated(
    "zero_inflated_negative_binomial", NegativeBinomial(), _nb2_zero, "nb2", "ZeroInflatedNegativeBinomial"
)
ZERO_INFLATED_NEGATIVE_BINOMIAL_1 = _inflated(
    "zero_inflated_negative_binomial_1", NEGATIVE_BINOMIAL_1, _nb1_zero, "nb1", "ZeroInflatedNegativeBinomial"
)
HURDLE_NEGATIVE_BINOMIAL = _hurdle(
    "hurdle_negative_binomial", NegativeBinomial(), _nb2_zero, "nb2", "HurdleNegativeBinomial"
)


#: Family → the same with a zero part.
_INFLATED = {
    "poisson": ZERO_INFLATED_POISSON,
    "negative_binomial": ZERO_INFLATED_NEGATIVE_BINOMIAL,
    "negative_binomial_1": ZERO_INFLATED_NEGATIVE_BINOMIAL_1,
}


def with_zeros(family: Family) -> Family:
    """The zero-inflated version of a count family; a family that has a zero part already is returned as it is.

    Parameters
    ----------
    family : Family
        Poisson, negative binomial, or one with an auxiliary ``zi``.

    Raises
    ------
    FamilyError
        Any other family, or a negative binomial with a fixed theta.

    Examples
    --------
    >>> with_zeros(POISSON).name
    'zero_inflated_poisson'
    """
    if any(a.name == "zi" for a in family.auxiliaries):
        return family
    if family.options or family.name not in _INFLATED:
        fixed = "".join(f" with {k} fixed at {v:g}" for k, v in family.options.items() if isinstance(v, float))
        raise FamilyError(
            f"zi= adds zeros to a count: family='poisson', 'negative_binomial' or 'negative_binomial_1' (and those "
            f"called zero_inflated_... or hurdle_...), not {family.name}{fixed}."
        )
    return _INFLATED[family.name]
