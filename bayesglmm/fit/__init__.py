"""What a fit is to its user: labels on a result, and one call for each thing one does with it.

The calls stand in files by what they are for: ``found`` (what was found), ``questions`` (inference on the parameters),
``variances`` (on the variance components), ``predicting`` (what it says of rows), ``checking`` (residuals, checks,
pictures) and ``posterior`` (how good an approximate posterior is).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesglmm.arguments import taught
from bayesglmm.fit.checking import Checking
from bayesglmm.fit.posterior import Posterior
from bayesglmm.fit.predicting import Predicting
from bayesglmm.fit.questions import Questions
from bayesglmm.fit.variances import Variances
from bayesglmm.summary import summary_html, summary_text

if TYPE_CHECKING:
    from bayesglmm.model import Model
    from bayesglmm.result import Result


@taught
class Fit(Questions, Variances, Predicting, Checking, Posterior):
    """A fitted model, the same kind of object whatever the method.

    Parameters
    ----------
    model : Model
        What was fitted.
    result : Result
        What was found, as plain arrays.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
    >>> fit = bg.Model("y ~ x", data, family="poisson").fit("irls")
    >>> fit.fixed["estimate"].round(4).to_dict()
    {'Intercept': 1.4271, 'x': 0.0}
    """

    def __init__(self, model: Model, result: Result) -> None:
        self.model = model
        self.result = result

    def __repr__(self) -> str:
        return f"<Fit of {self.model.formula!r} by {self.method}>"

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return summary_html(self)

    def summary(self) -> str:
        """Return the printed table: what was fitted, variance components, coefficients, status."""
        return summary_text(self)
