"""What is believed before the data: one prior per parameter, as densities on plain arrays."""

from bayesglmm.priors.by_name import log_prior_by_name
from bayesglmm.priors.distributions import DISTRIBUTIONS
from bayesglmm.priors.prior import Prior
from bayesglmm.priors.prior_set import PriorSet, TermPriors, log_prior
from bayesglmm.priors.resolve import flat_priors, resolve_priors

__all__ = [
    "DISTRIBUTIONS",
    "Prior",
    "PriorSet",
    "TermPriors",
    "flat_priors",
    "log_prior",
    "log_prior_by_name",
    "resolve_priors",
]
