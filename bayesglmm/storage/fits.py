"""What of a fit is kept: the model's definition, the columns it uses, and the result; never code."""

from __future__ import annotations

import warnings
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesglmm.arguments import place, takes
from bayesglmm.design.build import used_columns
from bayesglmm.design.tables import Table
from bayesglmm.errors import BayesGLMMError, BayesGLMMWarning, FamilyError, MethodError, SpecError
from bayesglmm.families import get_family
from bayesglmm.families.base import Family
from bayesglmm.fit import Fit
from bayesglmm.fit.found import Found
from bayesglmm.links import get_link
from bayesglmm.methods.registry import METHODS, ROW_OPTIONS
from bayesglmm.model import Model
from bayesglmm.result import Result, Status
from bayesglmm.storage.file import read_file, write_file
from bayesglmm.storage.tree import Array, decode, encode

if TYPE_CHECKING:
    from bayesglmm.links import Link


@takes(path=place)
def save_fit(fit: Found, path: str | PathLike[str]) -> Path:
    """Write a fit to one file; see :meth:`bayesglmm.Fit.save`."""
    arrays: list[Array] = []
    extras, left_out = _storable(fit.result.extras)
    result = replace(fit.result, extras=extras, options=_storable(fit.result.options)[0])
    manifest = {
        "model": {name: encode(value, arrays) for name, value in _definition(fit.model).items()},
        "data": None if fit.model.design.chunks is not None else encode(_used_table(fit), arrays),
        "result": encode(result, arrays),
        "left_out": left_out,
    }
    path = Path(path)
    write_file(path, manifest, arrays)
    return path


@takes(path=place)
def load_fit(
    path: str | PathLike[str], *, data: Any = None, family: Family | None = None, link: Link | None = None
) -> Fit:
    """Load a fit that :meth:`bayesglmm.Fit.save` wrote. Nothing is fitted again, and no code is run.

    Parameters
    ----------
    path : str or path
        The file.
    data : chunks, optional
        For a fit to data larger than memory, whose rows are not in the file: where they are now.
    family : Family, optional
        For a fit of a family that was brought as functions, which no file can hold: the same family again.
    link : Link, optional
        Likewise for a link.

    Returns
    -------
    Fit
        Which predicts, prints, compares and gives residuals as the one that was saved.

    Raises
    ------
    SpecError
        A file that is missing, cut off, altered, of a newer version, or not a saved fit; data, family or link that are
        needed and not given.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd, tempfile, pathlib
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
    >>> fit = bg.Model("y ~ x", data, family="poisson").fit("irls")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = fit.save(pathlib.Path(folder) / "fit.nc")
    ...     again = bg.load_fit(path)
    >>> str(again) == str(fit)
    True
    """
    manifest, arrays = read_file(Path(path))
    return rebuild(manifest, arrays, str(path), data=data, family=family, link=link)


def rebuild(
    manifest: Any, arrays: list[Array], name: str, *, data: Any = None, family: Any = None, link: Any = None
) -> Fit:
    """Make the fit that a manifest describes; `name` is what errors call it. See :func:`load_fit`."""
    brought = {"family": family, "link": link}
    try:
        arguments = {key: decode(value, arrays) for key, value in manifest["model"].items()}
        arguments |= {key: _named(arguments, key, brought[key]) for key in ("family", "link")}
        result = decode(manifest["result"], arrays)
        table = decode(manifest["data"], arrays) if manifest["data"] is not None else data
        if table is None:
            raise SpecError("its rows were read in chunks and are not in the file: give data=, where they are now.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BayesGLMMWarning)  # what was said of the data when the fit was made
            model = Model(data=table, **arguments)
        _check_together(model, result)
    except BayesGLMMError as error:
        raise SpecError(f"{name!r} cannot be loaded: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise SpecError(f"{name!r} is not laid out as a saved fit ({type(error).__name__}: {error}).") from None
    return Fit(_of_method(model, result), result)


def _check_together(model: Model, result: Any) -> None:
    """Refuse a result whose arrays are not those of the model.

    Raises
    ------
    SpecError
        What does not fit together.
    """
    if not isinstance(result, Result) or not isinstance(result.status, Status):
        raise SpecError("it holds no result.")
    p, blocks = len(model.design.columns), model.design.blocks
    wanted = {
        "beta": (p,),
        "cov_beta": (p, p),
        "eta": None if model.design.chunks is not None else (model.design.nobs,),
    }
    for name, shape in wanted.items():
        found = np.shape(getattr(result, name))
        if shape is not None and found != shape:
            raise SpecError(f"{name} has shape {found}, and the model asks for {shape}.")
    own = _of_method(model, result).design.blocks
    if result.effects and [e.shape for e in result.effects] != [(len(b.levels), b.z.shape[1]) for b in own]:
        raise SpecError(f"its random effects are not those of {', '.join(b.group for b in blocks) or 'no group'}.")


def _definition(model: Model) -> dict[str, Any]:
    """The model's arguments, with family and link by name and options."""
    arguments = model.definition.arguments()
    row, link = model.problem.family, model.problem.link
    given = get_family(arguments["family"])
    try:
        get_family(given.name, **given.options)
        encode(given.options, [])
        arguments["family"] = {"name": given.name, "options": dict(given.options)}
    except (FamilyError, MethodError):
        arguments["family"] = {"brought": row.name}
    if arguments["link"] is not None:
        try:
            arguments["link"] = {"name": get_link(link.name).name}
        except FamilyError:
            arguments["link"] = {"brought": link.name}
    return arguments


def _named(arguments: dict[str, Any], which: str, given: Any) -> Any:
    """The family or link a file names, or the one that was brought along."""
    said = arguments[which]
    if said is None or "brought" not in said:
        if said is None or which == "link":
            return said and said["name"]
        return get_family(said["name"], **said["options"])
    if given is None:
        raise SpecError(f"its {which} {said['brought']!r} was made of functions: give {which}=, the same again.")
    if given.name != said["brought"]:
        raise SpecError(f"its {which} is {said['brought']!r}, and {which}= is {given.name!r}.")
    return given


def _used_table(fit: Found) -> pd.DataFrame:
    """The columns of the data that the model and the options of the fit name."""
    model = fit.model
    table = Table(model.data)
    # The formula's own grouping factors: a marginal fit's design has lost its blocks, not its formula.
    grouping = [name for term in model.design.formula.random for name in term.factors]
    names = [*used_columns(model.design.formula, beside=tuple(a.formula for a in model.design.auxiliaries)), *grouping]
    names += [v for k in ("weights", "offset", "exposure") if isinstance(v := getattr(model.definition, k), str)]
    for option in ROW_OPTIONS:
        given = fit.result.options.get(option)
        names += [v for v in (given if isinstance(given, tuple | list) else [given]) if isinstance(v, str)]
    errors = fit.model.definition.errors
    names += [v for v in (vars(errors).values() if errors is not None else ()) if isinstance(v, str)]
    used = [name for name in dict.fromkeys(names) if name in table]
    columns = {name: table.column(name).reset_index(drop=True) for name in used}
    frame = pd.DataFrame(columns) if columns else pd.DataFrame(index=range(table.nrows))
    frame.index = table.index
    return frame


def _storable(values: Any) -> tuple[dict[str, Any], list[str]]:
    """The entries that a file can hold, and the names of the others."""
    kept, left = {}, []
    for name, value in values.items():
        try:
            encode(value, [])
        except BayesGLMMError:
            left.append(name)
        else:
            kept[name] = value
    return kept, left


def _of_method(model: Model, result: Result) -> Model:
    """The model as the method saw it: to a marginal one a random term only named the clusters."""
    method = METHODS.get(result.method)
    return model.marginal() if method is not None and method.random == "none or one" else model
