"""Priors as PyMC variables, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions import transforms

from bayesglmm.names import COEFFICIENT_DIM, COEFFICIENTS
from bayesglmm.priors import Prior, PriorSet
from bayesglmm.priors.heights import Density
from bayesglmm.priors.wishart import bartlett, exponents, law, log_normaliser

#: Distributions that PyMC has by another name: ours → (its name, its parameters from ours).
_TRANSLATED: dict[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "PC": ("Exponential", lambda upper, probability: {"lam": -np.log(probability) / upper}),
}


def _class(prior: Prior) -> Any:
    """PyMC's distribution of a prior."""
    return getattr(pm, _TRANSLATED[prior.name][0] if prior.name in _TRANSLATED else prior.name)


def vector(name: str, priors: Sequence[Prior], labels: Sequence[str], dims: str | None = None) -> Any:
    """One vector variable whose entries have the given priors.

    Entries that share a distribution are one free variable `name`; otherwise each entry is a free variable
    ``name[label]`` and `name` is deterministic.
    """
    if _alike(priors):
        return _register(name, priors, {"shape": len(priors)} if dims is None else {"dims": dims})
    parts = [scalar(f"{name}[{label}]", prior) for prior, label in zip(priors, labels)]
    return pm.Deterministic(name, pt.stack(parts), dims=dims)


def coefficients(priors: PriorSet, transform: Any) -> Any:
    """The coefficients as one vector variable, sampled in the coordinates of `transform`."""
    name, dims, own = COEFFICIENTS, COEFFICIENT_DIM, priors.coefficients
    if _alike(own) and not priors.heights:
        return _class(own[0])(name, **_parameters(own, vector=True), transform=transform, dims=dims)
    start = lambda rv, size: pt.zeros_like(rv)  # noqa: E731
    described = _mixed(own)
    if priors.heights:
        middle = priors.coefficient_density.contract(np.array([_location(p) for p in own]))
        start = lambda rv, size: pt.as_tensor(middle)  # noqa: E731
        described = _at_heights(own, priors.coefficient_density)
    return pm.CustomDist(name, **described, support_point=start, transform=transform, dims=dims)


def auxiliaries(priors: PriorSet) -> dict[str, Any]:
    """One scalar variable per auxiliary, or per coefficient of its linear predictor."""
    out: dict[str, Any] = {}
    below = {h.index: h.means for h in priors.auxiliary_heights}
    listed = list(zip(priors.auxiliary_names, priors.auxiliaries))
    for k in sorted(range(len(listed)), key=below.__contains__):  # Intercepts that follow their slopes come last
        name, prior = listed[k]
        if k in below:
            rise = sum(mean * out[listed[j][0]] for j, mean in enumerate(below[k]) if mean)
            out[name] = _class(prior)(name, **_moved(prior, -rise))
        else:
            out[name] = scalar(name, prior)
    return {name: out[name] for name in priors.auxiliary_names}


def scalar(name: str, prior: Prior) -> Any:
    """One scalar variable."""
    return _register(name, (prior,), {})


#: What PyMC calls the location of a distribution on the whole line.
_LOCATIONS = ("mu", "alpha")


def _location(prior: Prior) -> float:
    """Where a prior on the whole line has its middle."""
    return next((value for key, value in prior.params if key in _LOCATIONS), 0.0)


def _moved(prior: Prior, by: Any) -> dict[str, Any]:
    """Parameters of a prior on the whole line, its location moved."""
    return {key: value + by if key in _LOCATIONS else value for key, value in prior.params}


def _at_heights(priors: Sequence[Prior], density: Density) -> dict[str, Any]:
    """A vector whose entries, heights in place of Intercepts, have the given priors."""
    identity = np.eye(len(priors))
    expand, contract = density.expand(identity).T, density.contract(identity).T

    def draw(size: Any) -> Any:
        return pt.dot(pt.as_tensor(contract), _independent(priors))

    def logp(value: Any) -> Any:
        return pt.sum(pm.logp(_independent(priors), pt.dot(pt.as_tensor(expand), value)))

    return {"dist": draw, "logp": logp, "signature": "->(n)", "class_name": "AtHeights"}


def _independent(priors: Sequence[Prior]) -> Any:
    return _distribution(priors, vector=True) if _alike(priors) else pm.CustomDist.dist(**_mixed(priors))


def scales_distribution(priors: Sequence[Prior]) -> Any:
    """Unnamed distribution of a vector of positive parameters, for ``pm.LKJCholeskyCov``."""
    return _independent(priors)


def wishart_factor(name: str, prior: Prior, start: Any) -> Any:
    """Packed Cholesky factor of a covariance matrix with a Wishart prior, in the coordinates of ``LKJCholeskyCov``."""
    own = law(prior)
    q = len(own.scale)
    rows = np.tril_indices(q)
    root, degrees = bartlett(own)
    inner: Any = np.linalg.cholesky(np.linalg.inv(own.scale))
    power = exponents(own)
    constant = log_normaliser(own) + q * np.log(2.0)

    def draw(size: Any) -> Any:
        normal = pm.Normal.dist(0.0, 1.0, shape=(q, q))
        A = (pt.triu(normal, 1) if own.of_precision else pt.tril(normal, -1)) + pt.diag(
            pt.sqrt(pm.ChiSquared.dist(degrees, shape=q))
        )
        RA: Any = pt.dot(root, A)
        inverse: Any = pt.linalg.inv(RA)
        return (inverse.T if own.of_precision else RA)[rows]

    def logp(value: Any) -> Any:
        L = pt.zeros((q, q))[rows].set(value)
        part = pt.linalg.solve_triangular(L, inner, lower=True) if own.of_precision else pt.dot(L.T, inner)
        log_diagonal = pt.log(pt.diag(L))
        return constant + pt.sum(power * log_diagonal) - 0.5 * pt.sum(pt.sqr(part))

    return pm.CustomDist(
        name,
        dist=draw,
        logp=logp,
        signature="->(n)",
        class_name=prior.name,
        support_point=lambda rv, size: pt.as_tensor(start),
        transform=transforms.CholeskyCovPacked(q),
        initval=start,
    )


def _mixed(priors: Sequence[Prior]) -> dict[str, Any]:
    """A vector whose entries have different distributions."""

    def draw(size: Any) -> Any:
        return pt.stack([_distribution((p,), vector=False) for p in priors])

    def logp(value: Any) -> Any:
        return pt.sum(pt.stack([pm.logp(_distribution((p,), vector=False), value[i]) for i, p in enumerate(priors)]))

    return {"dist": draw, "logp": logp, "signature": "->(n)", "class_name": "Mixed"}


def _alike(priors: Sequence[Prior]) -> bool:
    return len({(p.name, p.power) for p in priors}) == 1


def _parameters(priors: Sequence[Prior], vector: bool) -> dict[str, Any]:
    names = [k for k, _ in priors[0].params]
    values = np.array([[v for _, v in p.params] for p in priors]).reshape(len(priors), len(names))
    given = {k: values[:, j] if vector else values[0, j] for j, k in enumerate(names)}
    return _TRANSLATED[priors[0].name][1](**given) if priors[0].name in _TRANSLATED else given


def _distribution(priors: Sequence[Prior], vector: bool) -> Any:
    """Distribution of parameters whose priors are alike: a PyMC one, or that of a power of one."""
    first = priors[0]
    given = _parameters(priors, vector)
    if first.power == 1:
        shape = {"shape": len(priors)} if vector else {}
        return _class(first).dist(**given, **shape)
    return pm.CustomDist.dist(*given.values(), **_powered(first, tuple(given)))


def _powered(prior: Prior, names: Sequence[str]) -> dict[str, Any]:
    """How a parameter x is distributed when xᵏ has the named distribution."""
    k = prior.power
    named = _class(prior)

    def draw(*args: Any) -> Any:
        *params, size = args
        return named.dist(**dict(zip(names, params)), size=size) ** (1.0 / k)

    def logp(value: Any, *params: Any) -> Any:
        inner = pm.logp(named.dist(**dict(zip(names, params))), value**k)
        return inner + np.log(abs(k)) + (k - 1) * pt.log(value)

    return {"dist": draw, "logp": logp, "class_name": f"{prior.name}On{prior.on.capitalize()}"}


def _register(name: str, priors: Sequence[Prior], shape: dict[str, Any]) -> Any:
    """A free variable; an empty `shape` makes it a scalar."""
    first = priors[0]
    given = _parameters(priors, bool(shape))
    if first.power == 1:
        return _class(first)(name, **given, **shape)
    low, high = first.support
    transform = transforms.log if high == np.inf else transforms.Interval(low, high)
    start = lambda rv, size, *params: pt.ones_like(rv) * (1.0 if high == np.inf else 0.5 * (low + high))  # noqa: E731
    return pm.CustomDist(
        name,
        *given.values(),
        **_powered(first, tuple(given)),
        support_point=start,
        transform=transform,
        **shape,
    )
