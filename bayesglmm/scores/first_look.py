"""The first scoring sums of data in chunks, taken while the rows are checked: a reading of the data is saved.

A model of data in chunks reads every row before it can be fitted. Where the numbers are settled beforehand, some of the
rows, evenly spread, say nearly where the coefficients will be, and the sums of a scoring step there cost little more
than the reading. A fit begins from them if they turn out to be near enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.types import Design
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.fused import fused_kind
from bayesglmm.scores.likelihood import follows_deviance, saturated_loglik
from bayesglmm.scores.opening import GRAM_CONDITION, Opening
from bayesglmm.scores.rows import design_rows
from bayesglmm.scores.scoring import NEAR, change_of, sample_start
from bayesglmm.scores.solve import factorise
from bayesglmm.scores.sums import Sums, sweep

Floats = NDArray[np.float64]

_ITERATIONS = 30


@dataclass(frozen=True)
class Look:
    """Sums of all rows at some coefficients.

    Parameters
    ----------
    family, link : Family, Link
        What they are sums of.
    beta : ndarray, shape (p,)
        Coefficients.
    sums : Sums
        Sums there.
    """

    family: Family
    link: Link
    beta: Floats
    sums: Sums

    def opening(self, family: Family, link: Link, p: int) -> Opening | None:
        """Where scoring may begin without another look; None where a start from a sample is as good or better."""
        if family is not self.family or link is not self.link or len(self.beta) != p or not self.sums.inside:
            return None
        factor = factorise(self.sums)
        if factor is None or factor.condition > GRAM_CONDITION:
            return None
        near = change_of(factor.step(self.sums.score), self.sums) < NEAR
        return Opening(self.beta, self.sums, 1, False, 0) if near else None


class FirstLook:
    """Adds up the sums, design by design.

    Parameters
    ----------
    family, link : Family, Link
        The model's.
    """

    def __init__(self, family: Family, link: Link) -> None:
        self._family, self._link = family, link
        self._beta: Floats | None = None
        self._sums: Sums | None = None
        saturated = partial(saturated_loglik, family=family, link=link)
        self._saturated = saturated if follows_deviance(family) else None

    def begin(self, sample: Design) -> None:
        """Choose the coefficients: those of rows spread over the data."""
        rows = design_rows(sample)
        source = replace(rows, sample=lambda: rows)
        self._beta = sample_start(source, self._family, self._link, (), _ITERATIONS)

    def look(self, design: Design) -> None:
        """Add the sums of some rows."""
        if self._beta is None:
            return
        rows = design_rows(design)
        sums = sweep(rows, self._family, self._link, (), self._beta, saturated=self._saturated)
        self._sums = sums if self._sums is None else self._sums + sums

    @property
    def found(self) -> Look | None:
        """The sums; None where no start was found."""
        if self._beta is None or self._sums is None:
            return None
        return Look(self._family, self._link, self._beta, self._sums)


def first_look(family: Family, link: Link) -> FirstLook | None:
    """A first look for families whose sums are cheap beside the reading; None for others."""
    if (family.auxiliaries and family.scale is not None) or fused_kind(family, link, ()) is None:
        return None
    return FirstLook(family, link)
