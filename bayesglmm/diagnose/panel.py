"""The checks of one fit under one roof: ``fit.checks``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from bayesglmm.diagnose.checks import (
    VarianceDiagnostic,
    overdispersion,
    shapiro_wilk,
    variance_diagnostic,
    zero_inflation,
)
from bayesglmm.errors import MethodError
from bayesglmm.inference.outcome import Outcome
from bayesglmm.problem import Problem
from bayesglmm.result import Result


@dataclass(frozen=True, repr=False)
class Checks:
    """Checks of the assumptions of a fit; printing it runs all that apply.

    Parameters
    ----------
    problem, result
        The fit.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 0, 1, 15, 0, 16, 0, 1, 9], "x": [0.0, 1, 2, 0, 1, 2, 0, 1, 2]})
    >>> fit = bg.Model("y ~ x", data, family="poisson").fit("irls")
    >>> fit.checks.overdispersion()["pearson"].p < 0.001
    True
    >>> list(fit.checks.table().index)
    ['Pearson χ²', "Dean's score test", 'zero inflation', 'variance diagnostic', 'Shapiro-Wilk']
    """

    problem: Problem
    result: Result

    def __repr__(self) -> str:
        table = self.table()
        statistic = [f"{round(v, 10) + 0.0:.4g}" for v in table["statistic"]]
        cells = {"hypothesis": table["hypothesis"], "statistic": statistic}
        cells["p"] = table["p"].map(lambda p: "<0.0001" if p < 1e-4 else f"{p:.4f}")
        return pd.DataFrame(cells).rename_axis(None).to_string()

    def overdispersion(self) -> dict[str, Outcome]:
        """Pearson's χ² and Dean's score test; see :func:`~bayesglmm.diagnose.checks.overdispersion`."""
        return overdispersion(self.problem, self.result)

    def zero_inflation(self) -> Outcome:
        """Score test of excess zeros; see :func:`~bayesglmm.diagnose.checks.zero_inflation`."""
        return zero_inflation(self.problem, self.result)

    def variance(self) -> VarianceDiagnostic:
        """Spread of the residuals against the mean; see :func:`~bayesglmm.diagnose.checks.variance_diagnostic`."""
        return variance_diagnostic(self.problem, self.result)

    def shapiro_wilk(self, kind: str = "deviance") -> Outcome:
        """Test that residuals of a kind are normal; see :func:`~bayesglmm.diagnose.checks.shapiro_wilk`."""
        return shapiro_wilk(self.problem, self.result, kind)

    def table(self) -> pd.DataFrame:
        """Run every check that applies to the family.

        Returns
        -------
        DataFrame
            One row per test: ``hypothesis``, ``statistic``, ``df`` and ``p``. A small p speaks against the hypothesis.
        """
        rows = [(o.test, o.hypothesis, o.statistic, o.df, o.p) for o in self._outcomes()]
        return pd.DataFrame(rows, columns=["check", "hypothesis", "statistic", "df", "p"]).set_index("check")

    def _outcomes(self) -> Iterator[Outcome]:
        """A check that has no meaning for the family refuses by a MethodError, and is left out."""
        every: tuple[Callable[[], list[Outcome]], ...] = (
            lambda: list(self.overdispersion().values()),
            lambda: [self.zero_inflation()],
            lambda: [self.variance().test],
            lambda: [self.shapiro_wilk()],
        )
        for check in every:
            try:
                yield from check()
            except MethodError:
                continue
