"""Nested Laplace: hyperparameters integrated out numerically, coefficients and random effects by Laplace.

Rue, Martino & Chopin (2009), JRSS B 71, 319-392. Unlike there, the latent field has no precision matrix of its own: it
is x = (u, β) with u standard normal (or of a known precision between levels) and β under its priors, and the linear
predictor η = offset + Xβ + ZΛ(θ)u carries the covariance parameters. What is approximated as Gaussian is one vector for
any model.
"""

from __future__ import annotations

from typing import Any

__all__ = ["fit_nested", "nested_draws"]

_HOMES = {"fit_nested": "fit", "nested_draws": "draw"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
