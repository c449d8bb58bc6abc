"""Coding of factors: levels → columns, by contrasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from formulaic.materializers.types import FactorValues
from formulaic.transforms import contrasts as codings

from bayesglmm.design.columns import Factor, labels, recode
from bayesglmm.errors import DataError

MAX_COLUMNS = 5_000


def too_many(name: str, count: int) -> str:
    """What is wrong with more columns than are built."""
    return (
        f"{name!r} and its like would be {count} columns of the design matrix; at most {MAX_COLUMNS} are built. "
        "A factor of so many levels is usually a grouping factor: (1 | g)."
    )


def encode_factor(factor: Factor, name: str, reduced: bool, state: dict[str, Any]) -> FactorValues:
    """Code a factor's levels as columns, by the levels it had when the model was built."""
    if "levels" not in state:
        if len(factor.levels) < 2:
            raise DataError(f"{name} has one level only ({factor.levels[0]!r}). Leave it out of the formula.")
        if len(factor.levels) > MAX_COLUMNS:
            raise DataError(too_many(name, len(factor.levels)))
        state["levels"] = factor.levels
    levels: tuple[str, ...] = state["levels"]
    codes = recode(factor, levels)
    if (codes < 0).any():
        unseen = [level for level in factor.levels if level not in levels]
        shown = ", ".join(unseen[:10]) + (", …" if len(unseen) > 10 else "")
        raise DataError(f"{name} has levels the model was not built with: {shown}. It knows {', '.join(levels[:50])}.")
    kind, reference = factor.contrast or ("treatment", None)
    coding = _coding(kind, reference, levels, name)
    fields = coding.get_coding_column_names(levels, reduced_rank=reduced)
    if not reduced or kind in ("treatment", "sas"):
        position = {level: code for code, level in enumerate(levels)}
        columns = {field: codes == position[field] for field in fields}
    else:
        matrix = np.asarray(coding.get_coding_matrix(levels, reduced_rank=True), dtype=float)
        columns = {field: matrix[codes, j] for j, field in enumerate(fields)}
    form = coding.get_factor_format(levels, reduced_rank=reduced)
    if reduced and kind not in ("treatment", "sas"):  # what a column has for every level, by its name
        state["contrasts"] = {form.format(name=name, field=field): matrix[:, j] for j, field in enumerate(fields)}
    return FactorValues(columns, kind="categorical", spans_intercept=not reduced, format=form, encoded=True)


def _coding(kind: str, reference: Any, levels: tuple[str, ...], name: str) -> Any:
    if kind == "treatment" and reference is not None:
        (base,) = labels([reference])
        if base not in levels:
            raise DataError(f"{name}: the reference level {base!r} does not occur. There are {', '.join(levels[:50])}.")
        return codings.TreatmentContrasts(base=base)
    return {
        "treatment": codings.TreatmentContrasts,
        "sas": codings.SASContrasts,
        "sum": codings.SumContrasts,
        "helmert": codings.HelmertContrasts,
        "poly": codings.PolyContrasts,
        "diff": codings.DiffContrasts,
    }[kind]()
