"""The model: what is believed about the data. ``Model(...).fit(method)`` is how every fit begins."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bayesglmm.arguments import mapping, optional, plain, taught
from bayesglmm.definition import Definition, bind, inputs_in_words
from bayesglmm.design import row_values
from bayesglmm.errors import BayesGLMMWarning, ConvergenceWarning, MethodError, SingularFitWarning, warn
from bayesglmm.fit import Fit
from bayesglmm.methods.registry import ROW_OPTIONS, applicable, choose, get_method, natural_method, objection
from bayesglmm.parameters import error_names, pack
from bayesglmm.priors import flat_priors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bayesglmm.design.types import Design
    from bayesglmm.families.base import Family
    from bayesglmm.links import Link


@taught
class Model:
    """A generalized linear (mixed) model bound to its data.

    Parameters
    ----------
    formula : str
        Wilkinson notation with random terms, e.g. ``"p(incidence, size) ~ period + (1 | herd)"``.
    data : DataFrame or table, or chunks of one
        pandas, polars or pyarrow table, or a mapping of columns. For ``irls`` also data larger than memory:
        :class:`~bayesglmm.Chunks`, a parquet path, a pyarrow dataset, a dask DataFrame, a list of tables, or a function
        that returns an iterator over tables.
    family : str or Family
        Response distribution, or a quasi-family.
    link : str or Link, optional
        The family's usual link when left out.
    priors : {"default", "flat"} or dict
        ``"flat"`` makes Laplace and quadrature maximum likelihood; a dict names :class:`~bayesglmm.Prior` objects
        per parameter (``"x"``, ``"fixed"``, ``"g.sd"``, ``"g.corr"``, or ``"g.cov"`` for a Wishart prior of the whole
        covariance matrix, ``"sigma"``, ...), the rest keep their defaults.
    covariance : dict, optional
        Group → ``"unstructured"``, ``"diagonal"``, ``"cs"``, ``"ar1"`` or :class:`~bayesglmm.Known`.
    weights, offset, exposure : str or array_like, optional
        Prior weights (Var(y) = φV(μ)/w), known part of the linear predictor, and exposure (its log is added to
        the offset): a column name or values.
    dispersion : str, optional
        One-sided formula of the family's dispersion or shape (σ, θ, φ, ...) on its link's scale, ``"~ x"``: log σ or
        log θ of a row is a linear predictor of its own.
    zi : str, optional
        One-sided formula of the log odds that a count is an additional zero: ``"~ 1"``, ``"~ x"``. Poisson and negative
        binomial families become their zero-inflated versions; hurdle families have such a probability already.
    errors : AR1Errors or KnownErrors, optional
        How the errors of a Gaussian model with identity link go together within groups; independent when left out.
        Such a model is fitted by ``ml`` or ``reml``, also without random terms (generalised least squares).
    about : mapping, optional
        Title, source and the like, shown in reports.
    defaults : mapping, optional
        Method → options it is fitted with unless :meth:`fit` says otherwise.

    Raises
    ------
    FormulaError, DataError, FamilyError, MethodError, SpecError
        What is wrong with the formula, the table, the family, the covariance or the priors.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2], "g": list("aaabbb")})
    >>> model = bg.Model("y ~ x + (1 | g)", data, family="poisson", priors="flat")
    >>> model
    Model('y ~ x + (1 | g)', family='poisson', link='log', 6 rows, 2 levels of g)
    """

    def __init__(
        self,
        formula: str,
        data: Any,
        family: str | Family = "gaussian",
        *,
        link: str | Link | None = None,
        priors: str | Mapping[str, Any] = "default",
        covariance: Mapping[str, Any] | None = None,
        weights: Any = None,
        offset: Any = None,
        exposure: Any = None,
        dispersion: str | None = None,
        zi: str | None = None,
        errors: Any = None,
        about: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        for name, given in (("about", about), ("defaults", defaults)):
            optional(mapping)(name, given)
        for method, own in (defaults or {}).items():
            mapping(f"defaults[{method!r}]", own)
        #: The arguments, from which the model can be made again.
        self.definition = Definition(
            formula,
            family,
            link,
            priors,
            covariance,
            weights,
            offset,
            exposure,
            dispersion,
            zi,
            errors,
            about=dict(about or {}),
            defaults={m: dict(own) for m, own in (defaults or {}).items()},
        )
        self.problem = bind(self.definition, data)
        self.formula = formula
        self.data = data
        #: Weights, offset and exposure in words, for summaries and reports.
        self.inputs = inputs_in_words(self.definition, self.problem)

    def __repr__(self) -> str:
        design = self.problem.design
        levels = [f"{len(b.levels)} levels of {b.group}" for b in design.blocks]
        facts = ", ".join([f"{design.nobs} rows", *levels])
        return f"Model({self.formula!r}, family={self.family.name!r}, link={self.link.name!r}, {facts})"

    @property
    def about(self) -> Mapping[str, Any]:
        """Title, source and the like, shown in reports."""
        return self.definition.about

    @property
    def defaults(self) -> Mapping[str, Mapping[str, Any]]:
        """Method → options it is fitted with unless :meth:`fit` says otherwise."""
        return self.definition.defaults

    @property
    def family(self) -> Family:
        """The family row."""
        return self.problem.family

    @property
    def link(self) -> Link:
        """The link in use."""
        return self.problem.link

    @property
    def design(self) -> Design:
        """Arrays made from formula and table."""
        return self.problem.design

    @property
    def priors(self) -> pd.DataFrame:
        """One row per parameter: its prior. All flat under ``priors="flat"``."""
        import pandas as pd

        if self.problem.priors is None:
            flat = flat_priors(self.design, self.family, self.problem.covariance)
            names = [*(name for name, _ in flat.items()), *error_names(self.problem)]
            return pd.DataFrame({"prior": ["flat"] * len(names)}, index=pd.Index(names, name="parameter"))
        return self.problem.priors.table()

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that apply to this model."""
        return applicable(self.problem)

    @property
    def natural_method(self) -> str:
        """The method :meth:`fit` takes when none is named."""
        return natural_method(self.problem)

    def fit(self, method: str | None = None, **options: Any) -> Fit:
        """Fit the model.

        Parameters
        ----------
        method : str, optional
            ``"irls"``, ``"reml"``, ``"pql"``, ``"laplace"``, ``"agq"``, ``"mcmc"``, ...; see :attr:`methods`.
        **options
            The method's own options, e.g. ``nodes=25`` for ``"agq"``. Those with a value per row (``groups=``,
            ``time=``, ``subgroups=``) may be columns' names.

        Returns
        -------
        Fit
            The same kind of object whatever the method.

        Raises
        ------
        MethodError
            An unknown method or option, or one that does not apply; the message names those that do.

        Warns
        -----
        ConvergenceWarning, SingularFitWarning, SeparationWarning
            When the numbers must not, or not without thought, be used.
        """
        name = self.natural_method if method is None else method
        options = {**self.defaults.get(str(name), {}), **options}
        chosen = choose(name, self.problem, options)
        if self.problem.priors_given and not chosen.uses_priors:
            warn(f"{chosen.name!r} has no posterior: the priors given are left aside.", BayesGLMMWarning)
        start = time.perf_counter()
        by_row = {k: row_values(self.design, self.data, options[k], k) for k in ROW_OPTIONS if k in options}
        result = chosen.run(self.problem, **(options | by_row))
        status = replace(result.status, seconds=time.perf_counter() - start)
        named = {k: options[k] for k in by_row if isinstance(options[k], str)}
        result = replace(result, status=status, options={**result.options, **named})
        if not status.converged:
            warn(f"{chosen.name} did not converge: {status.reason}", ConvergenceWarning)
        if status.boundary:
            warn(f"singular fit: {', '.join(status.boundary)}.", SingularFitWarning)
        return Fit(self.marginal() if chosen.random == "none or one" else self, result)

    def marginal(self) -> Model:
        """The same model without random effects: to a marginal method their term only named the clusters."""
        if not self.design.blocks:
            return self
        model = copy.copy(self)
        model.problem = replace(self.problem, design=replace(self.design, blocks=()), covariance=())
        return model

    def loglik(self, params: Mapping[str, Any], method: str = "laplace", **options: Any) -> float:
        """(Marginal) log-likelihood at given parameters, with all constants.

        Parameters
        ----------
        params : mapping
            Coefficients by name, ``"<group>.sd"``, ``"<group>.corr"``, auxiliaries by name; ``fit.params`` is one.
        method : {"laplace", "agq"}
            How the random effects are integrated out.
        **options
            ``nodes=`` and ``prune=`` for ``"agq"``, ``order=2`` for Laplace's second-order correction,
            ``kernel="auto" | "graph"``.

        Returns
        -------
        float

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "g": list("aaabbb")})
        >>> model = bg.Model("y ~ 1 + (1 | g)", data, family="poisson", priors="flat")
        >>> round(model.loglik({"Intercept": 1.3, "g.sd": 0.5}, method="agq", nodes=15), 3)
        -12.533
        """
        from bayesglmm.latent import marginal_loglik
        from bayesglmm.latent.quadrature.nodes import default_nodes

        chosen = get_method(method)
        if chosen.name not in ("laplace", "agq"):
            raise MethodError(f"loglik evaluates method='laplace' or 'agq', not {method!r}.")
        reason = objection(chosen, self.problem)
        if reason is not None:
            raise MethodError(f"{method!r} {reason}.")
        point = pack(self.problem, params)
        if method == "agq":
            options.setdefault("nodes", default_nodes(self.problem.design.blocks))
        return float(marginal_loglik(self.problem, point.beta, point.theta, point.psi, **options))

    def to_pymc(self, marginalize: bool | str = False, *, method: str | None = None, nodes: Any = None) -> Any:
        """Build the model as a PyMC graph, with named dims and coords.

        Parameters
        ----------
        marginalize : bool or {"laplace", "agq"}
            Integrate the random effects out: the graph then has the parameters alone, with the same names, dims and
            transforms, and the marginal log-likelihood as a potential with its exact gradient.
        method : {"laplace", "agq"}, optional
            How, with ``marginalize=True``: Laplace's approximation unless `nodes` are given.
        nodes : int or (int, int), optional
            Quadrature nodes per dimension, for ``"agq"``.

        Returns
        -------
        pymc.Model
            Non-centred; yours to extend. ``model.fit("mcmc", pymc_model=extended)`` samples it and returns a fit, with
            random effects that were integrated out drawn given the parameters; variables you added are in its
            ``idata``.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2], "g": list("aabbcc")})
        >>> model = bg.Model("y ~ x + (1 | g)", data, family="poisson")
        >>> [v.name for v in model.to_pymc().free_RVs]
        ['beta', 'g.sd', 'g.u']
        >>> [v.name for v in model.to_pymc(marginalize=True).free_RVs]
        ['beta', 'g.sd']
        """
        if self.family.quasi:
            raise MethodError(f"{self.family.name} is a quasi-family: it has no likelihood, hence no PyMC graph.")
        self.problem.need_independent_errors("the PyMC graph")
        plain("method", method)
        if marginalize:
            from bayesglmm.methods.marginalized import marginal_graph

            return marginal_graph(self.problem, method or marginalize, nodes)
        from bayesglmm.graph import build_model

        return build_model(self.problem)

    def prior_predictive(self, draws: int = 500, seed: int | None = None) -> Any:
        """Draw parameters from their priors, and responses given them, as an ArviZ DataTree.

        Where an Intercept and slopes have independent priors of your own, and columns are far from zero, as years or
        log(age) are, responses can be of any size: give the Intercept's prior ``at="means"``, as the default is.

        Parameters
        ----------
        draws : int
            How many.
        seed : int, optional
            Of the generator.

        Returns
        -------
        xarray.DataTree
            ``prior``, ``prior_predictive``, ``observed_data``.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
        >>> tree = bg.Model("y ~ x", data, family="poisson").prior_predictive(draws=100, seed=1)
        >>> tree["prior"]["beta"].shape, tree["prior_predictive"]["y"].shape
        ((1, 100, 2), (1, 100, 6))
        """
        from bayesglmm.prior_predictive import prior_predictive

        return prior_predictive(self.problem, draws, seed)

    def plot_prior_predictive(self, draws: int = 50, seed: int | None = None) -> Figure:
        """Draw the distribution functions of responses expected by the priors beside the observed one's."""
        from bayesglmm.plots import plot_prior_predictive

        return plot_prior_predictive(self.problem, draws, seed)
