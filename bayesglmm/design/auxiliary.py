"""Linear predictors of auxiliaries: their columns from a formula, and what each coefficient is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bayesglmm.design.matrix import build_matrix
from bayesglmm.design.rank import independent_columns
from bayesglmm.design.types import AuxDesign
from bayesglmm.errors import FamilyError, FormulaError
from bayesglmm.families.base import Auxiliary, Family
from bayesglmm.families.zeros import with_zeros
from bayesglmm.formula import Formula, parse_formula
from bayesglmm.names import auxiliary_label

if TYPE_CHECKING:
    from bayesglmm.design.rows import Rows


def auxiliary_formulas(family: Family, dispersion: Any, zi: Any) -> tuple[Family, dict[str, Formula]]:
    """The family with its zero part, and the formula of every auxiliary that has one.

    Parameters
    ----------
    family : Family
        As the user named it.
    dispersion : str or None
        Formula of its first auxiliary that is not ``zi`` (σ, θ, φ, shape).
    zi : str or None
        Formula of the probability of an additional zero.

    Returns
    -------
    family : Family
        The zero-inflated one where `zi` is given.
    formulas : dict
        Auxiliary → formula; none for ``~ 1``, which is one number for all rows.

    Raises
    ------
    FormulaError
        A formula that cannot be read.
    FamilyError
        A family without such an auxiliary.
    """
    asked: dict[str, Formula] = {}
    if zi is not None:
        family = with_zeros(family)
        asked["zi"] = parse_auxiliary("zi", zi)
    if dispersion is not None:
        formula = parse_auxiliary("dispersion", dispersion)
        own = [a.name for a in family.auxiliaries if a.name != "zi"]
        if not own or family.categories == "ordered":
            raise FamilyError(
                f"dispersion={dispersion!r}: {family.name} has no dispersion or shape that is estimated. Families that "
                "have one: gaussian, student_t, gamma, inverse_gaussian, beta, beta_binomial, tweedie, "
                "negative_binomial, negative_binomial_1."
            )
        asked[own[0]] = formula
    return family, {name: formula for name, formula in asked.items() if not is_constant(formula)}


def parse_auxiliary(name: str, text: Any) -> Formula:
    """Read the one-sided formula of an auxiliary.

    Parameters
    ----------
    name : str
        How the user calls it, for errors: ``"zi"``, ``"dispersion"``.
    text : str
        ``"~ x + f"``.

    Raises
    ------
    FormulaError
        Not such a text, or one with a response, random terms or an offset.
    """
    if not isinstance(text, str):
        raise FormulaError(f"{name} is {text!r}; a one-sided formula such as '~ x' is expected.")
    formula = parse_formula(text, require_response=False)
    if formula.response is not None:
        raise FormulaError(f"{name} is {text!r}; nothing stands to the left of its '~'. Write '~ x'.")
    if formula.random or formula.offsets:
        raise FormulaError(f"{name} is {text!r}; it takes fixed effects only, no random terms and no offset.")
    if not formula.terms:
        raise FormulaError(f"{name} is {text!r}, without any term. '~ 1' is one number for all rows.")
    return formula


def is_constant(formula: Formula) -> bool:
    """Whether the formula is ``~ 1``: one number for all rows."""
    return all(not term.factors for term in formula.terms)


def build_auxiliaries(formulas: Mapping[str, Formula], rows: Rows) -> tuple[AuxDesign, ...]:
    """Columns of every auxiliary that has a formula; aliased ones are left out.

    Parameters
    ----------
    formulas : mapping
        Auxiliary → formula.
    rows : Rows
        The rows in use.
    """
    out = []
    for name, formula in formulas.items():
        X, spec = build_matrix(formula.terms, rows.columns, rows.index)
        keep = independent_columns(X)
        columns = tuple(c for c, kept in zip(spec.column_names, keep) if kept)
        out.append(AuxDesign(name, formula, X[:, keep], columns, (spec, keep)))
    return tuple(out)


def rebind_auxiliary(auxiliary: AuxDesign, rows: Rows) -> AuxDesign:
    """The same columns from new rows."""
    spec, keep = auxiliary.binding
    X, _ = build_matrix(auxiliary.formula.terms, rows.columns, rows.index, spec)
    return replace(auxiliary, X=X[:, keep])


def psi_entries(auxiliaries: Sequence[Auxiliary], designs: Sequence[AuxDesign]) -> tuple[Auxiliary, ...]:
    """One row per entry of ψ: an auxiliary itself, or the coefficients of its linear predictor.

    Parameters
    ----------
    auxiliaries : sequence of Auxiliary
        The family's.
    designs : sequence of AuxDesign
        Of those with a linear predictor.

    Returns
    -------
    tuple of Auxiliary
        Coefficients are free on the line: their link is the identity.
    """
    own = {d.name: d for d in designs}
    out: list[Auxiliary] = []
    for auxiliary in auxiliaries:
        if auxiliary.name not in own:
            out.append(auxiliary)
            continue
        columns = own[auxiliary.name].columns
        out += [Auxiliary(auxiliary_label(auxiliary.name, c), "identity", auxiliary.start) for c in columns]
    return tuple(out)
