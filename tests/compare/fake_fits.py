"""A model whose fits are made to order, so that a comparison's arithmetic can be checked by hand.

The model is ``y ~ x + (1 | g)``, Poisson; its fits are Fit objects on results written here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bayesglmm.covariance import bind_covariance
from bayesglmm.design.types import Design, RandomBlock, Response, Term
from bayesglmm.errors import MethodError
from bayesglmm.families import get_family
from bayesglmm.fit import Fit
from bayesglmm.links import get_link
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result, Status

ROWS, LEVELS = 40, 8


def make_problem() -> Problem:
    rng = np.random.default_rng(1)
    x = rng.normal(size=ROWS)
    codes = np.arange(ROWS) % LEVELS
    y = rng.poisson(np.exp(0.5 + 0.3 * x + 0.4 * rng.normal(size=LEVELS)[codes])).astype(float)
    block = RandomBlock("g", tuple("abcdefgh"), codes, np.ones((ROWS, 1)), ("Intercept",), (Term("1 | g", 0, 1, True),))
    design = Design(
        formula=None,
        response=Response("y", y),
        X=np.column_stack([np.ones(ROWS), x]),
        columns=("Intercept", "x"),
        aliased=(),
        offset=np.zeros(ROWS),
        weights=None,
        blocks=(block,),
        index=pd.RangeIndex(ROWS),
    )
    family = get_family("poisson")
    return Problem(design, family, get_link("log", family), bind_covariance((block,), None), None)


def normal_result(method: str, beta: Any, se: Any, sd: float, sd_se: float, **kwargs: Any) -> Result:
    """A result that is an estimate and standard errors."""
    beta = np.asarray(beta, dtype=float)
    joint = np.diag(np.square([*se, sd_se]))
    status = kwargs.pop("status", Status(True, "gradient is zero", seconds=0.01))
    return Result(
        method,
        "made to order",
        kwargs.pop("estimand", "conditional"),
        beta,
        joint[:2, :2],
        np.zeros(ROWS),
        status,
        theta=np.array([sd]),
        cov_joint=joint,
        effects=(np.zeros((LEVELS, 1)),),
        effects_sd=(np.full((LEVELS, 1), 0.2),),
        loglik=-50.0,
        df_model=3,
        options=kwargs.pop("options", {"scale": 1.0, "reml": False}),
        **kwargs,
    )


def sampled_result(draws: int = 1000, seed: int = 0, **status: Any) -> Result:
    """Independent normal draws in four chains: Intercept N(0.5, 0.2²), x N(0.3, 0.1²), sd of g about 0.5 ± 0.1."""
    rng = np.random.default_rng(seed)
    beta = np.stack([rng.normal(0.5, 0.2, (4, draws)), rng.normal(0.3, 0.1, (4, draws))], axis=-1)
    theta = np.abs(rng.normal(0.5, 0.1, (4, draws, 1)))
    effects = 0.3 * rng.normal(size=(4, draws, LEVELS, 1))
    said = {"converged": True, "message": "R-hat and ESS in order", "r_hat": 1.001, "ess": 3000.0, "divergences": 0}
    return Result(
        "mcmc",
        "made to order",
        "conditional",
        beta.mean(axis=(0, 1)),
        np.cov(beta.reshape(-1, 2).T),
        np.zeros(ROWS),
        Status(**(said | status)),
        theta=theta.mean(axis=(0, 1)),
        effects=(effects.mean(axis=(0, 1)),),
        effects_sd=(effects.std(axis=(0, 1)),),
        draws=Draws(beta, theta, np.empty((4, draws, 0)), (effects,), False, {"diverging": np.zeros((4, draws))}),
    )


@dataclass
class FakeModel:
    """Stands where a Model does; each method gives the result written for it, or raises it."""

    results: dict[str, Any]
    problem: Problem = field(default_factory=make_problem)
    formula: str = "y ~ x + (1 | g)"
    about: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def fit(self, method: str, **options: Any) -> Fit:
        self.calls.append((method, options))
        result = self.results.get(method, MethodError(f"{method!r} does not apply here."))
        if isinstance(result, BaseException):
            raise result
        return Fit(self, result)  # type: ignore[arg-type]

    @property
    def family(self) -> Any:
        return self.problem.family

    @property
    def link(self) -> Any:
        return self.problem.link

    @property
    def design(self) -> Any:
        return self.problem.design

    @property
    def priors(self) -> pd.DataFrame:
        return pd.DataFrame({"prior": ["flat"] * 3}, index=pd.Index(["Intercept", "x", "g.sd"], name="parameter"))


def usual_model(**changes: Any) -> FakeModel:
    """Laplace near the reference, PQL with a shrunken sd, MQL with another estimand, MCMC as the reference."""
    results: dict[str, Any] = {
        "mql": normal_result("mql", [0.42, 0.25], [0.19, 0.09], 0.31, 0.08, estimand="marginal"),
        "pql": normal_result("pql", [0.49, 0.30], [0.20, 0.10], 0.42, 0.09),
        "laplace": normal_result("laplace", [0.5, 0.3], [0.2, 0.1], 0.5, 0.1),
        "mcmc": sampled_result(),
    }
    return FakeModel(results | changes)


__all__ = ["FakeModel", "make_problem", "normal_result", "sampled_result", "usual_model"]
