"""What the response is distributed as: families, one file each, and how to find them."""

from bayesglmm.families.base import (
    AuxDerivatives,
    Auxiliary,
    BoundKernel,
    Derivatives,
    Family,
    KernelFactory,
    Support,
)
from bayesglmm.families.check import check_response
from bayesglmm.families.negative_binomial import NegativeBinomial
from bayesglmm.families.quasi import Quasi, QuasiNegativeBinomial
from bayesglmm.families.registry import FAMILIES, eta_domain, get_family

__all__ = [
    "FAMILIES",
    "AuxDerivatives",
    "Auxiliary",
    "BoundKernel",
    "Derivatives",
    "Family",
    "KernelFactory",
    "NegativeBinomial",
    "Quasi",
    "QuasiNegativeBinomial",
    "Support",
    "check_response",
    "eta_domain",
    "get_family",
]
