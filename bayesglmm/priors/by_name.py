"""Log prior densities of draws, parameter by parameter: what power-scaling of the prior needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm import names
from bayesglmm.priors.heights import density_of
from bayesglmm.priors.prior_set import PriorSet, TermPriors, lkj_constant
from bayesglmm.priors.wishart import natural_density

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.design.types import RandomBlock

Floats = NDArray[np.float64]


def log_prior_by_name(
    priors: PriorSet,
    blocks: Sequence[RandomBlock],
    covariance: Sequence[BlockCovariance],
    values: Mapping[str, Any],
) -> dict[str, Floats]:
    """Log prior density of every parameter on its natural scale, at any number of draws.

    Parameters
    ----------
    priors : PriorSet
        One prior per parameter.
    blocks, covariance : sequences
        The model's grouping factors.
    values : mapping
        Draws of the variables of a posterior (see :mod:`bayesglmm.names`), each shape (..., its own).

    Returns
    -------
    dict
        ``beta``, shape (..., p), an Intercept's the density given the slopes where its prior is stated at the
        columns' means; ``<group>.sd``, shape (..., q), with the density of an sd that several columns share
        at the first of them and zeros at the others; ``<group>.corr``, shape (...), the density of the whole matrix
        (under a Wishart prior that of sds and correlations together, and zeros at the sds); every auxiliary, shape
        (...). Their sum is the log prior density of the parameters, random effects aside.
    """
    out: dict[str, Floats] = {}
    if priors.coefficients:
        out[names.COEFFICIENTS] = priors.coefficient_density(np.asarray(values[names.COEFFICIENTS], dtype=float))[0]
    for block, cov, terms in zip(blocks, covariance, priors.blocks):
        sd = np.asarray(values[names.sd_variable(block.group)], dtype=float)
        density = np.zeros(sd.shape)
        for term, prior in zip(block.terms, terms):
            if prior.scales:
                first = slice(term.start, term.start + len(prior.scales))
                density[..., first] = density_of(prior.scales)(sd[..., first])[0]
        out[names.sd_variable(block.group)] = density
        if not names.has_correlation(cov):
            continue
        corr = np.asarray(values[names.corr_variable(block.group)], dtype=float)
        out[names.corr_variable(block.group)] = _correlations(block, terms, sd, corr)
    if priors.auxiliaries:
        psi = np.stack([np.asarray(values[name], dtype=float) for name in priors.auxiliary_names], axis=-1)
        density = priors.auxiliary_density(psi)[0]
        out |= {name: density[..., k] for k, name in enumerate(priors.auxiliary_names)}
    return out


def _correlations(block: RandomBlock, terms: Sequence[TermPriors], sd: Floats, corr: Floats) -> Floats:
    total = np.zeros(corr.shape[:-2])
    for term, prior in zip(block.terms, terms):
        own = corr[..., term.start : term.stop, term.start : term.stop]
        if prior.covariance is not None:
            total += natural_density(prior.covariance, sd[..., term.start : term.stop], own)
        elif prior.correlation is None:
            continue
        elif prior.is_cholesky:
            eta = prior.correlation.params[0][1]
            total += lkj_constant(eta, own.shape[-1]) + (eta - 1.0) * np.linalg.slogdet(own)[1]
        else:
            total += prior.correlation.log_density(own[..., 1, 0])[0]
    return total
