"""What to know before reading a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesglmm.comparison.scores import SCORES
from bayesglmm.comparison.verdict import listed
from bayesglmm.methods.registry import get_method
from bayesglmm.posterior import DRAWN_LATER

if TYPE_CHECKING:
    from bayesglmm.comparison.core import Comparison


def notes(cmp: Comparison) -> list[str]:
    """Priors left aside, modes that stand for means, Monte-Carlo error, and the warnings of every method."""
    aside = [m for m in cmp.fits if not get_method(m).uses_priors]
    targets = [m for m in cmp.fits if get_method(m).uses_priors]
    found = []
    if cmp.model.problem.priors is not None and aside and targets:
        found.append(
            f"{listed(aside)} leave{'s' if len(aside) == 1 else ''} the priors aside, so that a part of their "
            "difference is the prior's."
        )
    implied = [m for m in cmp.fits if m in DRAWN_LATER]
    if cmp.model.problem.priors is not None and implied:
        found.append(
            f"{listed(implied)}: sds and the like are compared by the means of their approximate posteriors; the "
            "fits themselves report modes."
        )
    if cmp.table[list(SCORES)].notna().any(axis=None) and cmp.fits[cmp.reference].status.ess is not None:
        found.append(
            "A difference of at most two Monte-Carlo standard errors of the reference is marked ≈ and not held "
            "against a method."
        )
    found += [w if w.startswith(f"{m} ") else f"{m}: {w}" for m, o in cmp.outcomes.items() for w in o.warnings]
    return found
