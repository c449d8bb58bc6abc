"""From what the user asked for to one prior per parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesglmm.design.auxiliary import psi_entries
from bayesglmm.errors import SpecError
from bayesglmm.families import auxiliary_range
from bayesglmm.names import auxiliary_label, scale_columns
from bayesglmm.priors import defaults, wishart
from bayesglmm.priors.heights import Height, heights_of
from bayesglmm.priors.prior import Prior
from bayesglmm.priors.prior_set import PriorSet, TermPriors
from bayesglmm.priors.targets import by_target

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance, Coordinate
    from bayesglmm.design.types import Design, RandomBlock
    from bayesglmm.families.base import Family
    from bayesglmm.links import Link

LINE = (-np.inf, np.inf)
POSITIVE = (0.0, np.inf)
UNIT = (0.0, 1.0)

#: Targets that mean every coefficient but the Intercept.
ALL_SLOPES = ("fixed", "b")


def resolve_priors(
    request: str | Mapping[str, Any],
    design: Design,
    family: Family,
    link: Link,
    covariance: Sequence[BlockCovariance],
) -> PriorSet | None:
    """Choose each parameter's prior: what the user asked for, else the data-scaled default.

    Parameters
    ----------
    request : {"default", "flat"} or mapping
        A mapping names :class:`Prior` objects by target: ``"Intercept"``, a coefficient's name, ``"fixed"`` (or
        ``"b"``) for all slopes, ``"<group>.sd"`` for all sds of a grouping factor, ``"<group>.<column>.sd"`` for
        one, ``"<group>.corr"``, ``"<group>.cov"`` (a Wishart prior in place of those), or an auxiliary (``"sigma"``,
        ``"theta"``, ...). A more specific target wins. Where an auxiliary has its own formula its coefficients are
        ``"zi[Intercept]"``, ``"zi[x]"``, and ``"zi"`` all slopes. The names that tables give parameters will do too:
        ``"<group>.sd[<column>]"``, ``"Residual.sd"``.
    design : Design
        The data, for the default scales.
    family, link : Family, Link
        The likelihood.
    covariance : sequence of BlockCovariance
        One per ``design.blocks``.

    Returns
    -------
    PriorSet or None
        None for ``"flat"``.

    Raises
    ------
    SpecError
        An unknown request or target, or a prior that does not fit its parameter.
    """
    if isinstance(request, str):
        if request not in ("default", "flat"):
            raise SpecError(f"priors={request!r}; expected 'default', 'flat', or a dict of target → bg.Prior.")
        if request == "flat":
            return None
        request = {}
    if not isinstance(request, Mapping):
        raise SpecError(
            f"priors is a {type(request).__name__}; expected 'default', 'flat', or a dict of target → Prior."
        )
    for target, prior in request.items():
        if not isinstance(prior, Prior):
            raise SpecError(f'the prior of {target!r} is {prior!r}; expected e.g. bg.Prior("Normal", mu=0, sigma=2.5).')
    scale = defaults.scaling(design, link)
    chooser = _Chooser(by_target(request, design.blocks, covariance, family))
    coefficients = tuple(
        chooser(prior, LINE, name, *(() if name == "Intercept" else ALL_SLOPES), line=name == "Intercept")
        for name, prior in zip(design.columns, defaults.coefficient_priors(design, scale))
    )
    blocks = _block_priors(design, covariance, chooser, lambda z: defaults.scale_prior(z, scale))
    auxiliaries, lines = _auxiliary_priors(design, family, scale, chooser)
    priors = PriorSet(
        columns=design.columns,
        coefficients=coefficients,
        heights=heights_of(design.columns, coefficients, design.X),
        blocks=blocks,
        auxiliary_names=tuple(a.name for a in psi_entries(family.auxiliaries, design.auxiliaries)),
        auxiliaries=auxiliaries,
        auxiliary_heights=lines,
    )
    chooser.check_all_used(design.aliased)
    return priors


def flat_priors(design: Design, family: Family, covariance: Sequence[BlockCovariance]) -> PriorSet:
    """What ``priors="flat"`` means as densities: flat on β, on every sd, correlation matrix and auxiliary.

    Parameters
    ----------
    design : Design
        For the names.
    family : Family
        For the auxiliaries.
    covariance : sequence of BlockCovariance
        One per ``design.blocks``.
    """
    chooser = _Chooser({})
    return PriorSet(
        columns=design.columns,
        coefficients=(Prior("Flat"),) * len(design.columns),
        blocks=_block_priors(design, covariance, chooser, lambda z: Prior("HalfFlat"), eta=1.0),
        auxiliary_names=tuple(a.name for a in psi_entries(family.auxiliaries, design.auxiliaries)),
        auxiliaries=tuple(_flat_on(auxiliary_range(a)) for a in psi_entries(family.auxiliaries, design.auxiliaries)),
    )


def _auxiliary_priors(
    design: Design, family: Family, scale: defaults.Scaling, chooser: _Chooser
) -> tuple[tuple[Prior, ...], tuple[Height, ...]]:
    """One prior per auxiliary, or per coefficient of its linear predictor; and which are of a line's height."""
    own = {d.name: d for d in design.auxiliaries}
    out: list[Prior] = []
    lines: list[tuple[int, Height]] = []
    for auxiliary in family.auxiliaries:
        if auxiliary.name not in own:
            default = defaults.auxiliary_prior(auxiliary, family, scale)
            out.append(chooser(default, auxiliary_range(auxiliary), auxiliary.name))
            continue
        modelled, start = own[auxiliary.name], len(out)
        for column, default in zip(modelled.columns, defaults.auxiliary_coefficient_priors(auxiliary, modelled, scale)):
            line = column == "Intercept"
            others = () if line else (auxiliary.name,)
            out.append(chooser(default, LINE, auxiliary_label(auxiliary.name, column), *others, line=line))
        lines += [(start, h) for h in heights_of(modelled.columns, out[start:], modelled.X)]
    return tuple(out), tuple(h.among(start, len(out)) for start, h in lines)


def _flat_on(interval: tuple[float, float]) -> Prior:
    if np.isfinite(interval).all():
        return Prior("Uniform", lower=interval[0], upper=interval[1])
    return Prior("HalfFlat" if interval == POSITIVE else "Flat")


def _block_priors(
    design: Design,
    covariance: Sequence[BlockCovariance],
    chooser: _Chooser,
    scale_default: Callable[[Any], Prior],
    eta: float = 2.0,
) -> tuple[tuple[TermPriors, ...], ...]:
    return tuple(
        tuple(
            _term_priors(block, cov, k, columns, chooser, scale_default, eta)
            for k, columns in enumerate(scale_columns(block, cov))
        )
        for block, cov in zip(design.blocks, covariance)
    )


def _term_priors(
    block: RandomBlock,
    cov: BlockCovariance,
    k: int,
    columns: tuple[tuple[str, ...], ...],
    chooser: _Chooser,
    scale_default: Callable[[Any], Prior],
    eta: float,
) -> TermPriors:
    term = block.terms[k]
    coordinates = cov.forms[k].coordinates(term.size)
    if any(c.kind == "free" for c in coordinates):
        together = chooser.covariance(f"{block.group}.cov", term.size)
        if together is not None:
            return TermPriors((), None, (), covariance=together, covariance_name=f"{block.group}.cov")
    whole = f"{block.group}.sd"
    scales, names = [], []
    for j, shared in enumerate(columns):
        stop = term.stop if len(shared) > 1 else term.start + j + 1
        own = f"{block.group}.{shared[0]}.sd"
        only = shared == block.columns
        names.append(whole if only else own)
        scales.append(chooser(scale_default(block.z[:, term.start + j : stop]), POSITIVE, own, whole))
    correlation = defaults.correlation_prior(coordinates, eta)
    target = f"{block.group}.corr"
    if correlation is not None:
        correlation = chooser.correlation(correlation, coordinates, target)
    return TermPriors(tuple(scales), correlation, tuple(names), target)


class _Chooser:
    """Looks priors up by target, checks that they fit, and remembers which targets exist."""

    def __init__(self, request: Mapping[str, Prior]) -> None:
        self.request = request
        self.targets: dict[str, None] = {}

    def _asked(self, targets: Sequence[str]) -> tuple[str, Prior] | None:
        self.targets.update(dict.fromkeys(targets))
        return next(((t, self.request[t]) for t in targets if t in self.request), None)

    def __call__(self, default: Prior, allowed: tuple[float, float], *targets: str, line: bool = False) -> Prior:
        """The prior of a parameter that lies in `allowed`, by its most specific target; `line` for Intercepts."""
        asked = self._asked(targets)
        if asked is None:
            return default
        target, prior = asked
        low, high = prior.support
        # A coefficient is free on the line: a bounded prior would put the mode of the posterior at the bound.
        fits = (low, high) == LINE if allowed == LINE else low >= allowed[0] and high <= allowed[1]
        if prior.of_matrix or not fits:
            words, example = _EXPECTED.get(allowed) or _on_interval(*allowed)
            raise SpecError(f"{prior} cannot be the prior of {target!r}: {words}, such as {example}.")
        if prior.at == "means" and not line:
            raise SpecError(f"{prior} cannot be the prior of {target!r}: only that of an Intercept is at='means'.")
        return prior

    def correlation(self, default: Prior, coordinates: Sequence[Coordinate], target: str) -> Prior:
        """The prior of a correlation matrix or of a single correlation."""
        asked = self._asked((target,))
        if asked is None:
            return default
        prior = asked[1]
        if default.name == "LKJ":
            if prior.name != "LKJ":
                whole = f"; {target[:-5]}.cov is the covariance matrix" if prior.of_matrix else ""
                raise SpecError(
                    f"{prior} cannot be the prior of {target!r}, a correlation matrix: use LKJ(eta=2){whole}."
                )
            return prior
        low, high = next((c.low, c.high) for c in coordinates if c.kind == "interval")
        if prior.of_matrix or prior.on != "value" or prior.support[0] < low or prior.support[1] > high:
            raise SpecError(
                f"{prior} cannot be the prior of {target!r}, a correlation between {low:.4g} and {high:.4g}: use a "
                f"distribution inside that interval, such as Uniform(lower={low:.4g}, upper={high:.4g})."
            )
        return prior

    def covariance(self, target: str, q: int) -> Prior | None:
        """The prior of a whole covariance matrix, where one was asked for."""
        asked = self._asked((target,))
        if asked is None:
            return None
        prior = asked[1]
        if prior.name not in wishart.NAMES:
            raise SpecError(
                f"{prior} cannot be the prior of {target!r}, a covariance matrix: use Wishart(df={q + 1}, scale=1, "
                f"on='precision') or InverseWishart, or give sds and correlations their own priors "
                f"({target[:-4]}.sd, {target[:-4]}.corr)."
            )
        return wishart.of_size(prior, q, target)

    def check_all_used(self, aliased: Sequence[str]) -> None:
        """Every target the user named must exist."""
        for target in self.request:
            if target in self.targets:
                continue
            if target in aliased:
                raise SpecError(f"{target!r} has no prior: it is a combination of other columns and not estimated.")
            self._refuse_matrix(target)
            near = get_close_matches(target, self.targets, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SpecError(f"unknown prior target {target!r}.{hint} Targets: {', '.join(self.targets)}.")

    def _refuse_matrix(self, target: str) -> None:
        """A prior of a covariance matrix beside those of its parts, or of a term that has none."""
        for whole in self.request:
            if whole in self.targets and whole.endswith(".cov") and target.startswith(whole[:-3]):
                raise SpecError(
                    f"{target!r} has a prior, and so has {whole!r}, of sds and correlations together: leave one of "
                    "them out."
                )
        group = target.removesuffix(".cov")
        if group != target and f"{group}.sd" in self.targets:
            raise SpecError(
                f"{target!r} is for the covariance matrix of two or more correlated columns, and {group} has none: "
                f"give {group + '.sd'!r} a prior; for one column Wishart(df, scale) on the precision is "
                "Gamma(alpha=df/2, beta=1/(2 scale), on='precision')."
            )


_EXPECTED = {
    LINE: ("a coefficient may be any number, so its prior must be a distribution on the whole line", "Normal"),
    POSITIVE: ("it is positive, so its prior must be a distribution on the positive half-line", "HalfNormal"),
    UNIT: ("it lies between 0 and 1, and so must its prior", "Beta"),
}


def _on_interval(low: float, high: float) -> tuple[str, str]:
    return f"it lies between {low:g} and {high:g}, and so must its prior", f"Uniform(lower={low:g}, upper={high:g})"
