"""What a model was made of: the arguments of :class:`~bayesglmm.Model`, kept so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Definition:
    """The arguments a model was made of, as the user gave them.

    Parameters
    ----------
    formula, family, link, priors, covariance, weights, offset, exposure, dispersion, zi, errors
        See :class:`~bayesglmm.Model`.
    about, defaults : mapping
        Likewise.
    """

    formula: str
    family: Any = "gaussian"
    link: Any = None
    priors: Any = "default"
    covariance: Mapping[str, Any] | None = None
    weights: Any = None
    offset: Any = None
    exposure: Any = None
    dispersion: str | None = None
    zi: str | None = None
    errors: Any = None
    about: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of :class:`~bayesglmm.Model`, all but the data."""
        return dict(self.__dict__)
