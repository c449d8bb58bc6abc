"""The shared inner problem: structured linear algebra, conditional modes, Laplace and quadrature."""

from __future__ import annotations

from typing import Any

_HOMES = {"fit_marginal": "marginal", "marginal_loglik": "marginal", "fit_working": "working.fit"}

__all__ = ["fit_marginal", "fit_working", "marginal_loglik"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
