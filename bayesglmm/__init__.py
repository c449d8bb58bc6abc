"""One generalized linear mixed model, every method worth comparing, and a verdict on each approximation.

>>> import bayesglmm as bg
>>> bg.Model  # doctest: +ELLIPSIS
<class 'bayesglmm.model.Model'>
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name → module; imported at first use, so that `import bayesglmm` costs nothing.
_HOME = {
    "Model": "bayesglmm.model",
    "Fit": "bayesglmm.fit",
    "Chunks": "bayesglmm.design.chunks",
    "Family": "bayesglmm.families.base",
    "Prior": "bayesglmm.priors",
    "Known": "bayesglmm.covariance",
    "AR1Errors": "bayesglmm.covariance",
    "KnownErrors": "bayesglmm.covariance",
    "pedigree": "bayesglmm.covariance.pedigree",
    "load_fit": "bayesglmm.storage",
    "load_model": "bayesglmm.spec",
    "compare": "bayesglmm.comparison",
    "Study": "bayesglmm.study",
    "StudyResult": "bayesglmm.study",
    "sbc": "bayesglmm.study",
    "load_study": "bayesglmm.study",
    "WorkingCorrelation": "bayesglmm.scores.correlation",
    "anova": "bayesglmm.inference.anova",
    "bootstrap": "bayesglmm.inference.bootstrap",
    "ems": "bayesglmm.inference.ems",
    "variance_posterior": "bayesglmm.inference.variance_posterior",
    "ArgumentError": "bayesglmm.errors",
    "BayesGLMMError": "bayesglmm.errors",
    "FormulaError": "bayesglmm.errors",
    "DataError": "bayesglmm.errors",
    "FamilyError": "bayesglmm.errors",
    "MethodError": "bayesglmm.errors",
    "ConvergenceError": "bayesglmm.errors",
    "SpecError": "bayesglmm.errors",
    "BayesGLMMWarning": "bayesglmm.errors",
    "ConvergenceWarning": "bayesglmm.errors",
    "SingularFitWarning": "bayesglmm.errors",
    "SeparationWarning": "bayesglmm.errors",
    "DataWarning": "bayesglmm.errors",
}

__all__ = [
    "AR1Errors",
    "ArgumentError",
    "BayesGLMMError",
    "BayesGLMMWarning",
    "Chunks",
    "ConvergenceError",
    "ConvergenceWarning",
    "DataError",
    "DataWarning",
    "Family",
    "FamilyError",
    "Fit",
    "FormulaError",
    "Known",
    "KnownErrors",
    "MethodError",
    "Model",
    "Prior",
    "SeparationWarning",
    "SingularFitWarning",
    "SpecError",
    "Study",
    "StudyResult",
    "WorkingCorrelation",
    "anova",
    "bootstrap",
    "compare",
    "ems",
    "families",
    "load_fit",
    "load_model",
    "load_study",
    "pedigree",
    "sbc",
    "variance_posterior",
]

if TYPE_CHECKING:
    from bayesglmm import families
    from bayesglmm.comparison import compare
    from bayesglmm.covariance import AR1Errors, Known, KnownErrors, pedigree
    from bayesglmm.design.chunks import Chunks
    from bayesglmm.errors import (
        ArgumentError,
        BayesGLMMError,
        BayesGLMMWarning,
        ConvergenceError,
        ConvergenceWarning,
        DataError,
        DataWarning,
        FamilyError,
        FormulaError,
        MethodError,
        SeparationWarning,
        SingularFitWarning,
        SpecError,
    )
    from bayesglmm.families.base import Family
    from bayesglmm.fit import Fit
    from bayesglmm.inference.anova import anova
    from bayesglmm.inference.bootstrap import bootstrap
    from bayesglmm.inference.ems import ems
    from bayesglmm.inference.variance_posterior import variance_posterior
    from bayesglmm.model import Model
    from bayesglmm.priors import Prior
    from bayesglmm.scores.correlation import WorkingCorrelation
    from bayesglmm.spec import load_model
    from bayesglmm.storage import load_fit
    from bayesglmm.study import Study, StudyResult, load_study, sbc


def __getattr__(name: str) -> Any:
    if name == "families":
        return import_module("bayesglmm.families")
    if name not in _HOME:
        raise AttributeError(f"module 'bayesglmm' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
