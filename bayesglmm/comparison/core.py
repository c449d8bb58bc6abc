"""``compare``: one model, many methods, one table and a verdict on each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesglmm.arguments import executor, listed, mapping, optional, place, plain, seed_or_none, takes, texts
from bayesglmm.comparison import verdict as words
from bayesglmm.comparison.notes import notes
from bayesglmm.comparison.population import is_population_method, population_table
from bayesglmm.comparison.run import Outcome, Progress, check_request, made_before, run_methods, seeded
from bayesglmm.comparison.scores import score_table
from bayesglmm.errors import MethodError
from bayesglmm.marginals import Marginal, marginals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesglmm.fit import Fit
    from bayesglmm.model import Model


@dataclass(frozen=True, repr=False)
class Comparison:
    """One model fitted by many methods, scored against one of them.

    Parameters
    ----------
    model : Model
        What was fitted.
    reference : str
        The method the others are measured against.
    outcomes : dict
        Method → :class:`~bayesglmm.comparison.run.Outcome`, failures included.
    found : dict
        Method → parameter → :class:`~bayesglmm.marginals.Marginal`.
    table : DataFrame
        A row per parameter × method: ``parameter, method, kind, estimand, estimate, sd``, then the scores
        ``bias`` (in reference sds), ``sd_ratio``, ``w1`` (Wasserstein-1 distance in reference sds), ``mcse`` and
        ``mcse_sd`` (Monte-Carlo standard errors of the reference's mean, in its sds, and of its sd, relative),
        ``within_mc_error`` (the bias is no larger than twice `mcse`), ``sd_within_mc_error``, ``seconds``.
        Scores are NaN where the reference does not have the parameter or may not judge. `estimate` and `sd` are the
        fit's own, except for an approximate posterior (Laplace, quadrature, with priors): there they are the mean
        and sd it implies, so that a mean is compared with a mean.
    verdict : DataFrame
        A row per method: ``method, estimand, grade, worst_bias, worst_bias_parameter, worst_sd_ratio,
        worst_sd_ratio_parameter, seconds, speedup, sentence``. The grades are explained in
        :mod:`bayesglmm.comparison.verdict`.
    seed : int or None
        As given.
    """

    model: Model
    reference: str
    outcomes: dict[str, Outcome]
    found: dict[str, dict[str, Marginal]]
    table: pd.DataFrame
    verdict: pd.DataFrame
    seed: int | None = None

    @property
    def methods(self) -> list[str]:
        """Every method asked for, and the reference."""
        return list(self.outcomes)

    @property
    def fits(self) -> dict[str, Fit]:
        """Method → fit, for those that did not fail."""
        return {m: o.fit for m, o in self.outcomes.items() if o.fit is not None}

    @property
    def failures(self) -> dict[str, str]:
        """Method → reason, for those that failed."""
        return {m: o.error for m, o in self.outcomes.items() if o.fit is None}

    @property
    def objections(self) -> list[str]:
        """Why the reference may not judge; empty when it may."""
        return _objections(self.outcomes[self.reference])

    @property
    def notes(self) -> list[str]:
        """What to know before reading the scores."""
        return notes(self)

    @cached_property
    def population(self) -> pd.DataFrame:
        """Population-averaged coefficients side by side: those of ``gee``, and the mixed models' by quadrature.

        See :func:`bayesglmm.comparison.population.population_table`. Nothing here is scored: fits of marginal models
        and of mixed models make different assumptions about the same population means.
        """
        return population_table(self.fits)

    @property
    def idata(self) -> Any:
        """ArviZ DataTree with one child per method."""
        import xarray as xr

        return xr.DataTree(children={m: fit.idata for m, fit in self.fits.items()})

    @takes(kind=plain, parameters=optional(texts))
    def plot(self, kind: str = "forest", parameters: Sequence[str] | None = None) -> Figure:
        """Draw the methods side by side.

        Parameters
        ----------
        kind : {"forest", "density", "overview"}
            Estimates with 50 % and 95 % intervals, marginal densities over one another, or all parameters on one
            scale, in sds of the reference.
        parameters : sequence of str, optional
            All of them when left out.

        Returns
        -------
        Figure
        """
        from bayesglmm.comparison.figures import KINDS

        if kind not in KINDS:
            raise MethodError(f"unknown plot {kind!r}; cmp.plot draws {', '.join(KINDS)}.")
        known = list(dict.fromkeys(self.table["parameter"]))
        for name in parameters or ():
            if name not in known:
                raise MethodError(f"unknown parameter {name!r}; this comparison has {', '.join(known)}.")
        return KINDS[kind](self.found, list(parameters or known), self.reference)

    @takes(path=place)
    def report(self, path: str | Path) -> Path:
        """Write ``report.html`` (one self-contained file), ``table.csv``, ``verdict.csv`` and ``idata.nc``.

        Parameters
        ----------
        path : str or Path
            A folder, made when it is not there.

        Returns
        -------
        Path
            Of the report.
        """
        from bayesglmm.report import write_report

        return write_report(self, Path(path))

    def __repr__(self) -> str:
        return f"<Comparison of {self.model.formula!r}: {', '.join(self.methods)} against {self.reference}>"

    def __str__(self) -> str:
        cells = self.verdict[["method", "worst_bias", "worst_sd_ratio", "seconds"]]
        numbers = cells.to_string(index=False, na_rep="", float_format=lambda v: f"{v:.3g}")
        said = [
            textwrap.fill(f"{row.method}: {row.sentence}", 100, subsequent_indent="  ", break_on_hyphens=False)
            for row in self.verdict.itertuples()
        ]
        return "\n".join([numbers, "", *said])

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.verdict.to_html(index=False, na_rep="", float_format=lambda v: f"{v:.3g}", border=0)


@takes(methods=listed, fits=listed, seed=seed_or_none, options=optional(mapping), executor=optional(executor))
def compare(
    model: Model,
    methods: Sequence[str] = (),
    reference: str = "mcmc",
    *,
    fits: Sequence[Fit] = (),
    seed: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Comparison:
    """Fit one model by many methods and measure each against a reference.

    Parameters
    ----------
    model : Model
        What is believed.
    methods : sequence of str
        Names of methods.
    fits : sequence of Fit
        Fits of this model that were made before (and perhaps saved and loaded): they stand for their methods.
    reference : str
        The method to measure against; added when it is not among `methods`.
    seed : int, optional
        For the methods that draw.
    options : mapping, optional
        Method → its options, e.g. ``{"agq": {"nodes": 25}, "mcmc": {"draws": 2000}}``.
    progress : callable, optional
        Called with an :class:`~bayesglmm.comparison.run.Event` when a method starts and when it ends.
    executor : concurrent.futures.Executor, optional
        Threads to run the methods in at the same time; one after the other when left out (then their times can be
        compared). A model cannot be sent to another process.

    Returns
    -------
    Comparison
        A method that fails is a row with its reason; the others go on.

    Raises
    ------
    MethodError
        An unknown method, options for a method that is not run, or a fit of another model.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6, 4, 7], "x": [0.0, 1, 2, 3] * 2, "g": list("aaaabbbb")})
    >>> model = bg.Model("y ~ x + (1 | g)", data, family="poisson", priors="flat")
    >>> cmp = bg.compare(model, ["pql", "laplace"], reference="agq")
    >>> cmp.verdict["method"].tolist()
    ['pql', 'laplace', 'agq']
    """
    made = made_before(model, fits)
    order = check_request(
        methods if isinstance(methods, str) else list(methods) or list(made), reference, options or {}, made
    )
    own = seeded([m for m in order if m not in made], options or {}, seed)
    ran = run_methods(model, list(own), own, progress=progress, executor=executor)
    outcomes = {m: made[m] if m in made else ran[m] for m in order}
    found = {m: marginals(o.fit.model.problem, o.fit.result) for m, o in outcomes.items() if o.fit is not None}
    judge = not _objections(outcomes[reference])
    estimands = {m: o.fit.estimand for m, o in outcomes.items() if o.fit is not None}
    facts = {m: {"estimand": e, "seconds": outcomes[m].seconds} for m, e in estimands.items()}
    table = score_table(found, reference, facts, judge=judge, apart=_apart(model, outcomes, reference))
    return Comparison(model, reference, outcomes, found, table, _verdict(model, outcomes, reference, table), seed)


def _apart(model: Model, outcomes: Mapping[str, Outcome], reference: str) -> frozenset[str]:
    """Methods whose coefficients are population-averaged where the reference's are conditional, or the reverse."""
    if not model.design.blocks:
        return frozenset()
    kind = is_population_method(reference)
    return frozenset(m for m in outcomes if is_population_method(m) != kind)


def _objections(outcome: Outcome) -> list[str]:
    return words.objections(outcome.fit.status) if outcome.fit is not None else [f"it failed: {outcome.error}"]


def _verdict(model: Model, outcomes: dict[str, Outcome], reference: str, table: pd.DataFrame) -> pd.DataFrame:
    base, apart = outcomes[reference], _apart(model, outcomes, reference)
    reasons = _objections(base)
    rows = []
    for method, outcome in outcomes.items():
        own = table[table["method"] == method]
        facts: dict[str, Any] = {"seconds": outcome.seconds}
        if outcome.fit is None:
            said = ("failed", f"Failed: {outcome.error}")
            own = own.iloc[:0]
        else:
            facts |= {"estimand": outcome.fit.estimand, "speedup": base.seconds / max(outcome.seconds, 1e-9)}
            said = words.not_comparable(reference) if method in apart else _say(outcome, base, own, reasons)
        rows.append(words.verdict_row(method, facts, own, said))
    return pd.DataFrame(rows, columns=list(words.COLUMNS))


def _say(outcome: Outcome, base: Outcome, rows: pd.DataFrame, reasons: list[str]) -> tuple[str, str]:
    """Grade and sentence of one method that did fit."""
    assert outcome.fit is not None
    if outcome.method == base.method:
        return "unfit" if reasons else "reference", words.reference_sentence(outcome.fit.status, reasons)
    if reasons or base.fit is None:
        why = "failed" if base.fit is None else "has not converged"
        return "unscored", f"Not scored: the reference ({base.method}) {why}."
    return words.sentence(outcome.method, rows, outcome.fit.status, outcome.fit.estimand, base.fit.estimand)
