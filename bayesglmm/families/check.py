"""Whether a response is one the family can have produced."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import DataError, DataWarning, warn
from bayesglmm.families.base import Family, Support

Floats = NDArray[np.float64]


class ResponseLike(Protocol):
    """What is asked of the left side of a formula (``bayesglmm.design.types.Response``)."""

    @property
    def name(self) -> str:
        """As written."""
        ...

    @property
    def y(self) -> Floats:
        """Values, counts of successes, or codes, shape (n,)."""
        ...

    @property
    def trials(self) -> Floats | None:
        """Binomial denominators, shape (n,)."""
        ...

    @property
    def levels(self) -> tuple[str, ...] | None:
        """Level names of a categorical response."""
        ...


# What a likelihood family's counts may be replaced by when they are not whole numbers.
_QUASI = {
    "poisson": "quasipoisson",
    "binomial": "quasibinomial",
    "negative_binomial": "quasi_negative_binomial",
}


def check_response[R: ResponseLike](family: Family, response: R | None, *, integer: bool = False) -> R:
    """Check a response against the family's support.

    Parameters
    ----------
    family : Family
        The family.
    response : Response
        The left side of the formula.
    integer : bool
        What non-integer counts of a likelihood family are. True: an error. False (the default, as in R): a warning;
        the log-density then continues the factorials by the gamma function, and the estimates of the mean are
        those of the quasi-likelihood.

    Returns
    -------
    Response
        The same response.

    Raises
    ------
    DataError
        A categorical response or trials the family does not take, trials that are not positive, more successes
        than trials, or values outside the support; the message names the rows, counted from 0.

    Warns
    -----
    DataWarning
        Non-integer counts, see `integer`.
    """
    if response is None:
        raise DataError("there is no response: write it to the left of '~'.")
    if response.levels is not None:
        _check_categories(family, response)
        return response
    if family.categories == "ordered":
        raise DataError(f"family {family.name!r} takes an ordered categorical response; {response.name!r} is numeric.")
    values = response.y
    if response.trials is not None:
        _check_trials(family, response, response.trials)
        values = response.y / response.trials
    wrong = _outside(values, family.support)
    if wrong.any():
        raise DataError(
            f"response {response.name!r} has values outside the support of family {family.name!r}, which takes "
            f"{family.support.words}: {_rows(wrong, response.y)}."
        )
    if family.support.integer and not family.quasi:
        _check_integer(family, response, integer)
    return response


def _check_categories(family: Family, response: ResponseLike) -> None:
    levels = response.levels or ()
    shown = ", ".join(map(repr, levels[:5])) + (", ..." if len(levels) > 5 else "")
    if family.categories == "none":
        raise DataError(
            f"response {response.name!r} is categorical ({shown}), and family {family.name!r} takes "
            f"{family.support.words}. Give numbers, or use family 'binomial' for two levels."
        )
    if family.categories == "two" and len(levels) != 2:
        raise DataError(
            f"response {response.name!r} has {len(levels)} levels ({shown}); family {family.name!r} takes two, the "
            "second of which counts as a success."
        )
    if family.categories == "two" and response.trials is not None:
        raise DataError(f"response {response.name!r} is categorical and cannot have trials; give counts of successes.")


def _check_trials(family: Family, response: ResponseLike, trials: Floats) -> None:
    if not family.trials:
        raise DataError(
            f"family {family.name!r} takes no trials, and the response is {response.name!r}. "
            "Use family 'binomial', 'quasibinomial' or 'beta_binomial', or leave the trials out."
        )
    wrong = ~(trials > 0)
    if wrong.any():
        raise DataError(f"the trials of {response.name!r} must be positive: {_rows(wrong, trials)}.")
    wrong = response.y > trials
    if wrong.any():
        raise DataError(
            f"response {response.name!r} has more successes than trials: {_rows(wrong, response.y)}. "
            "Write p(successes, trials), the trials being successes plus failures."
        )


def _check_integer(family: Family, response: ResponseLike, integer: bool) -> None:
    wrong = response.y != np.round(response.y)
    if response.trials is not None:
        wrong |= response.trials != np.round(response.trials)
    if not wrong.any():
        return
    other = _QUASI.get(family.name)
    advice = f" Family {other!r} assumes only the mean and the variance." if other else ""
    if family.trials and response.trials is None:
        advice += " Proportions out of known trials are written p(successes, trials)."
    message = (
        f"response {response.name!r} has values that are not whole numbers, and family {family.name!r} takes "
        f"{family.support.words}: {_rows(wrong, response.y)}.{advice}"
    )
    if integer:
        raise DataError(message)
    warn(message, DataWarning)


def _outside(y: Floats, support: Support) -> NDArray[np.bool_]:
    low = y > support.low if support.low_open else y >= support.low
    high = y < support.high if support.high_open else y <= support.high
    return ~(low & high)


def _rows(wrong: NDArray[np.bool_], y: Floats) -> str:
    """``row 3 (-1), row 8 (-2), ... (14 rows in all)``."""
    where = np.flatnonzero(wrong)
    shown = ", ".join(f"row {i} ({y[i]:g})" for i in where[:5])
    return f"{shown}, ... ({where.size} rows in all)" if where.size > 5 else shown
