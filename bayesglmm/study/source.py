"""Where the data of a replicate come from: one design with new responses, or a function that makes whole models."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.inference.replicates import with_response
from bayesglmm.model import Model
from bayesglmm.parameters import Parameters, pack
from bayesglmm.priors.random import draw_parameters
from bayesglmm.problem import Problem
from bayesglmm.simulate import check_simulable, simulate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FixedDesign:
    """New responses of one design, at one truth.

    Parameters
    ----------
    problem : Problem
        The model; its own response only says what kind it is.
    truth : Parameters
        To simulate from.
    """

    problem: Problem
    truth: Parameters

    def draw(self, rng: np.random.Generator) -> tuple[Problem, Parameters]:
        """The data of one replicate, and their truth."""
        y = simulate(self.problem, self.truth.beta, self.truth.theta, self.truth.psi, rng)[0]
        return with_response(self.problem, y), self.truth

    @property
    def identity(self) -> str:
        """A text that changes when the data of any replicate could."""
        return _identity(self.problem, [self.truth.beta, self.truth.theta, self.truth.psi])


@dataclass(frozen=True)
class FromPrior:
    """New parameters from the priors of one model, and new responses of its design.

    Parameters
    ----------
    problem : Problem
        The model, with proper priors.
    """

    problem: Problem

    def draw(self, rng: np.random.Generator) -> tuple[Problem, Parameters]:
        """The data of one replicate, and their truth."""
        priors = self.problem.priors
        assert priors is not None
        beta, theta, psi = draw_parameters(priors, [a.link for a in self.problem.auxiliaries], rng, 1)
        return FixedDesign(self.problem, Parameters(beta[0], theta[0], psi[0])).draw(rng)

    @property
    def identity(self) -> str:
        """A text that changes when the data of any replicate could."""
        return _identity(self.problem, [])


@dataclass(frozen=True)
class Generated:
    """Models made by a function.

    Parameters
    ----------
    generator : callable
        ``generator(rng)`` gives a :class:`~bayesglmm.Model`, or a pair of a model and its truth.
    truth : mapping or None
        Parameters by name, where the function does not say them.
    """

    generator: Callable[[np.random.Generator], Any]
    truth: Mapping[str, Any] | None

    def draw(self, rng: np.random.Generator) -> tuple[Problem, Parameters]:
        """The data of one replicate, and their truth."""
        made = self.generator(rng)
        model, truth = made if isinstance(made, tuple) and len(made) == 2 else (made, self.truth)
        if not isinstance(model, Model) or truth is None:
            raise MethodError(
                f"the generator gave {type(made).__name__}; a Model is expected (then the study needs truth=), or a "
                "pair of a Model and the truth it was made with."
            )
        return model.problem, pack(model.problem, truth)

    @property
    def identity(self) -> str:
        """The function's source text, where there is one, and the truth."""
        try:
            text = inspect.getsource(self.generator)
        except (OSError, TypeError):
            text = repr(getattr(self.generator, "__qualname__", type(self.generator).__name__))
        return _digest(text, json.dumps(_plain(self.truth or {}), sort_keys=True))


Source = FixedDesign | FromPrior | Generated


def fixed_design(model: Model, truth: Any) -> FixedDesign | FromPrior:
    """Check that a model can be simulated at a truth, or from its priors where the truth is ``"prior"``.

    Raises
    ------
    MethodError, SpecError
        A quasi-family, rows in chunks, a truth that is incomplete, or a prior that is no distribution.
    """
    if model.design.chunks is not None:
        raise MethodError(
            "a study simulates new responses for rows in memory, and the data of this model come in chunks."
        )
    check_simulable(model.problem)
    # What binds the design to its table is not needed, and is the largest part of what would be sent about.
    problem = replace(model.problem, design=replace(model.design, binding=None))
    if truth == "prior":
        if problem.priors is None:
            raise MethodError("priors='flat': there is nothing to draw a truth from. Give the model proper priors.")
        source = FromPrior(problem)
        draw_parameters(problem.priors, [a.link for a in problem.auxiliaries], np.random.default_rng(0), 1)
        return source
    return FixedDesign(problem, pack(model.problem, truth))


def _identity(problem: Problem, numbers: list[Floats]) -> str:
    design = problem.design
    arrays: list[Any] = [design.X, design.offset, design.weights, problem.response.trials, *numbers]
    arrays += [a.X for a in design.auxiliaries]
    for block in design.blocks:
        arrays += [block.codes, block.z]
    covariance = [[f.name for f in c.forms] for c in problem.covariance]
    priors = None if problem.priors is None else problem.priors.table().to_csv()
    words = [problem.family.name, repr(dict(problem.family.options)), problem.link.name, list(design.columns), priors]
    content = [np.ascontiguousarray(a).tobytes() for a in arrays if a is not None]
    return _digest(json.dumps([words, covariance], sort_keys=True), *content)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: np.asarray(v, dtype=float).tolist() for k, v in values.items()}


def _digest(*parts: str | bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str) else part)
        total.update(b"\0")
    return total.hexdigest()
