"""Numbers a model file gives (published, or from other software) against a fit's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesglmm.errors import SpecError
from bayesglmm.spec.schema import near

if TYPE_CHECKING:
    from bayesglmm.fit import Fit
    from bayesglmm.model import Model

#: Allowed differences where the file names none: relative, except for the log-likelihood, where it is absolute.
DEFAULT_RELATIVE = {"deviance": 1e-6, "aic": 1e-6, "se": 1e-4, "auxiliary_se": 1e-4}
OTHER_RELATIVE = 1e-5
LOGLIK_ABSOLUTE = 1e-4

_SCALARS = ("loglik", "deviance", "aic", "dispersion")


@dataclass(frozen=True)
class Check:
    """One number of a model file beside the fit's.

    Parameters
    ----------
    quantity : str
        ``"loglik"``, ``"coef"``, ``"sd"``, ...
    name : str
        Coefficient, group or parameter; empty for a number of the whole fit.
    expected, found : float
        The file's number and the fit's.
    tolerance : float
        Largest absolute difference that still counts as meeting it.
    """

    quantity: str
    name: str
    expected: float
    found: float
    tolerance: float

    @property
    def met(self) -> bool:
        """Whether the two agree within the tolerance."""
        return bool(abs(self.found - self.expected) <= self.tolerance)


def check_numbers(model: Model, method: str, entry: Mapping[str, Any], fit: Fit | None = None) -> tuple[Check, ...]:
    """Compare a fit with one ``[[numbers.METHOD]]`` entry of a model file.

    Parameters
    ----------
    model : Model
        The model, with the priors the entry asks for (``load_model(path, priors=entry["priors"])``).
    method : str
        The method the entry stands under.
    entry : mapping
        One of ``model.about["numbers"][method]``.
    fit : Fit, optional
        A fit by that method and the entry's options; made here when left out. An entry with ``at`` needs none: the
        log-likelihood is evaluated there.

    Returns
    -------
    tuple of Check

    Raises
    ------
    SpecError
        A coefficient or group the model does not have.

    Examples
    --------
    >>> import bayesglmm as bg
    >>> model = bg.load_model("models/cbpp.toml", priors="flat")
    >>> all(c.met for c in check_numbers(model, "laplace", model.about["numbers"]["laplace"][0]))
    True
    """
    options = entry.get("options", {})
    if "at" in entry:
        value = model.loglik(entry["at"], method=method, **options)
        return (_check(entry, "loglik", "", entry["loglik"], value),)
    fit = model.fit(method, **options) if fit is None else fit
    found = _found(fit, entry)
    return tuple(_check(entry, *key, expected, found[key]) for key, expected in _expected(entry))


def _check(entry: Mapping[str, Any], quantity: str, name: str, expected: float, found: float) -> Check:
    absolute, relative = entry.get("absolute", {}), entry.get("relative", {})
    if quantity in absolute:
        tolerance = absolute[quantity]
    elif quantity in relative:
        tolerance = relative[quantity] * abs(expected)
    elif quantity == "loglik":
        tolerance = LOGLIK_ABSOLUTE
    else:
        tolerance = DEFAULT_RELATIVE.get(quantity, OTHER_RELATIVE) * abs(expected)
    return Check(quantity, name, float(expected), float(found), tolerance)


def _expected(entry: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], float]]:
    for quantity in _SCALARS:
        if quantity in entry:
            yield (quantity, ""), entry[quantity]
    for quantity in ("coef", "se", "sd", "corr", "auxiliary", "auxiliary_se"):
        for name, value in entry.get(quantity, {}).items():
            values = np.atleast_1d(np.asarray(value, dtype=float)).ravel()
            for k, number in enumerate(values):
                yield (quantity, name if len(values) == 1 else f"{name}[{k}]"), float(number)


def _found(fit: Fit, entry: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """The fit's values of everything `entry` names, keyed as in :func:`_expected`."""
    out: dict[tuple[str, str], float] = {}
    for quantity in _SCALARS:
        if quantity in entry:
            value = getattr(fit, quantity)
            out[quantity, ""] = np.nan if value is None else float(value)
    columns: tuple[tuple[str, str, str], ...] = (("coef", "fixed", "estimate"), ("se", "fixed", "se"))
    columns += (("auxiliary", "auxiliary", "estimate"), ("auxiliary_se", "auxiliary", "se"))
    for quantity, table, column in columns:
        for name in entry.get(quantity, {}):
            rows = getattr(fit, table)
            _known(name, rows.index, quantity)
            out[quantity, name] = float(rows.loc[name, column])
    for quantity, values in (("sd", _sds(fit)), ("corr", _correlations(fit))):
        for name, value in entry.get(quantity, {}).items():
            _known(name, values, quantity)
            found = values[name]
            keys = [name] if found.size == 1 else [f"{name}[{k}]" for k in range(found.size)]
            if found.size != np.size(value):
                raise SpecError(f"{quantity}.{name} has {np.size(value)} number(s); the model has {found.size}.")
            out.update({(quantity, k): float(v) for k, v in zip(keys, found)})
    return out


def _known(name: str, known: Any, quantity: str) -> None:
    if name not in known:
        raise SpecError(f"numbers: no {name!r} under {quantity!r}.{near(name, known)} The fit has: {', '.join(known)}.")


def _sds(fit: Fit) -> dict[str, np.ndarray]:
    table = fit.varcomp.dropna(subset=["sd"])
    return {str(group): rows["sd"].to_numpy(dtype=float) for group, rows in table.groupby("group", sort=False)}


def _correlations(fit: Fit) -> dict[str, np.ndarray]:
    """Correlations below the diagonal, row by row, per group that has any."""
    out = {}
    for name, value in fit.params.items():
        if name.endswith(".corr"):
            matrix = np.asarray(value, dtype=float)
            out[name.removesuffix(".corr")] = matrix[np.tril_indices(len(matrix), -1)]
    return out
