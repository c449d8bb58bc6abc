"""Model files: ``load_model`` and ``list_models``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesglmm.arguments import takes
from bayesglmm.covariance import AR1Errors, pedigree
from bayesglmm.errors import BayesGLMMError, SpecError
from bayesglmm.families import get_family
from bayesglmm.methods.registry import get_method
from bayesglmm.priors import Prior
from bayesglmm.spec.data import read_table
from bayesglmm.spec.files import read_toml
from bayesglmm.spec.schema import SCHEMA, TOP, near
from bayesglmm.spec.shipped import model_path

if TYPE_CHECKING:
    from bayesglmm.families.base import Family
    from bayesglmm.model import Model

Section = Mapping[str, Any]


@dataclass(frozen=True)
class ModelInfo:
    """One model file, without its data.

    Parameters
    ----------
    name : str
        File name without ``.toml``.
    path : Path
        Where it is.
    title, formula, family, teaches : str
        From the file; empty where it says nothing.
    problem : str or None
        Why the file cannot be used; None when it reads well.
    """

    name: str
    path: Path
    title: str = ""
    formula: str = ""
    family: str = ""
    teaches: str = ""
    problem: str | None = None


def read_spec(path: str | PathLike[str]) -> dict[str, Any]:
    """Read and check a model file; open no data.

    Parameters
    ----------
    path : str or path
        A ``.toml`` file.

    Returns
    -------
    dict
        Its sections, every key known and of the right type.

    Raises
    ------
    SpecError
        What is wrong, where, and what is allowed there.

    Examples
    --------
    >>> read_spec("models/cbpp.toml")["model"]["formula"]
    'p(incidence, size) ~ period + (1 | herd)'
    """
    path = model_path(path)
    content = read_toml(path)
    try:
        spec: dict[str, Any] = SCHEMA(content, TOP)
        _check_together(spec)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    except RecursionError:
        raise SpecError(f"{path}: nested too deeply.") from None
    return spec


def _check_together(spec: Section) -> None:
    """Rules that concern more than one key."""
    if "priors" in spec and spec["model"].get("priors") == "flat":
        raise SpecError("model.priors is 'flat', and there is a [priors] table: leave one of them out.")
    both = set(spec["data"].get("categories", {})) & set(spec["data"].get("labels", []))
    if both:
        raise SpecError(f"{sorted(both)[0]!r} is under data.categories and data.labels: leave one of them out.")
    for name, options in spec.get("fit", {}).items():
        known = get_method(name).options
        for key in options:
            if key not in known:
                raise SpecError(f"fit.{name}: unknown option {key!r}.{near(key, known)} Allowed: {', '.join(known)}.")


@takes()
def load_model(path: str | PathLike[str], *, priors: Any = None) -> Model:
    """Load a model from a declarative file (TOML): data, never code.

    The file can run nothing, reach no network, and name no data outside its own folder. What it may say is in
    ``models/README.md``.

    Parameters
    ----------
    path : str or path
        The ``.toml`` file, or the bare name of a model that ships (``"cbpp"``).
    priors : {"default", "flat"} or dict, optional
        Instead of what the file says.

    Returns
    -------
    Model
        With the file's title, source and numbers under ``about``.

    Raises
    ------
    SpecError
        What is wrong with the file: not TOML, an unknown key, a wrong type, a path that is not allowed.
    FormulaError, DataError, FamilyError, MethodError
        As :class:`~bayesglmm.Model`.

    Examples
    --------
    >>> import bayesglmm as bg
    >>> bg.load_model("models/cbpp.toml")
    Model('p(incidence, size) ~ period + (1 | herd)', family='binomial', link='logit', 56 rows, 15 levels of herd)
    """
    path = model_path(path)
    spec = read_spec(path)
    try:
        table = read_table(path.parent, spec["data"])
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    return build_model(path, spec, table, priors=priors)


def build_model(path: Path, spec: Section, table: Any, *, priors: Any = None) -> Model:
    """Make the model that a checked model file describes, of a table.

    Parameters
    ----------
    path : Path
        Of the file.
    spec : dict
        From :func:`read_spec`.
    table : DataFrame
        Its data, perhaps changed.
    priors : {"default", "flat"} or dict, optional
        Instead of what the file says.
    """
    from bayesglmm.model import Model

    says = spec["model"]
    try:
        return Model(
            says["formula"],
            table,
            _family(says["family"], spec.get("family_options", {})),
            link=says.get("link"),
            priors=_priors(spec) if priors is None else priors,
            covariance=_covariance(path.parent, spec.get("covariance", {})) or None,
            weights=says.get("weights"),
            offset=says.get("offset"),
            exposure=says.get("exposure"),
            dispersion=says.get("dispersion"),
            zi=says.get("zi"),
            errors=AR1Errors(**spec["errors"]["ar1"]) if "errors" in spec else None,
            about=_about(path, spec),
            defaults=spec.get("fit"),
        )
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _family(name: str, options: Section) -> Family:
    return get_family(name, **options)


def _priors(spec: Section) -> Any:
    if "priors" not in spec:
        return spec["model"].get("priors", "default")
    out = {}
    for target, given in spec["priors"].items():
        try:
            out[target] = Prior(given["dist"], **{k: v for k, v in given.items() if k != "dist"})
        except SpecError as error:
            raise SpecError(f"priors.{target}: {error}") from None
    return out


def _covariance(folder: Path, given: Section) -> dict[str, Any]:
    """Forms by name; a pedigree's table is read as labels."""
    out: dict[str, Any] = {}
    for group, form in given.items():
        if isinstance(form, str):
            out[group] = form
            continue
        says = form["pedigree"]
        names = {role: says[role] for role in ("id", "sire", "dam")}
        try:
            table = read_table(folder, {"file": says["file"], "labels": list(names.values())})
        except SpecError as error:
            raise SpecError(f"covariance.{group}.pedigree: {error}") from None
        out[group] = pedigree(table, **names)
    return out


def _about(path: Path, spec: Section) -> dict[str, Any]:
    """What reports show: name, title, the ``[about]`` section, and the numbers to meet, per method."""
    return {
        "name": path.stem,
        "title": spec["model"].get("title", path.stem),
        **spec.get("about", {}),
        "numbers": spec.get("numbers", {}),
    }


def list_models(folder: str | PathLike[str] = "models") -> list[ModelInfo]:
    """List the model files of a folder, sorted by name; data are not opened.

    Parameters
    ----------
    folder : str or path
        Where the ``.toml`` files are.

    Returns
    -------
    list of ModelInfo
        A file that cannot be used is listed with its `problem`.

    Raises
    ------
    SpecError
        No such folder.

    Examples
    --------
    >>> [m.name for m in list_models("models")][:2]
    ['animal', 'bonds']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SpecError(f"no folder {str(folder)!r}; give one that holds model files (*.toml).")
    return [_info(path) for path in sorted(folder.glob("*.toml"))]


def _info(path: Path) -> ModelInfo:
    try:
        spec = read_spec(path)
    except BayesGLMMError as error:
        return ModelInfo(path.stem, path, problem=str(error))
    says, about = spec["model"], spec.get("about", {})
    return ModelInfo(
        path.stem, path, says.get("title", path.stem), says["formula"], says["family"], about.get("teaches", "")
    )
