"""Where the models that ship are: beside a checkout, or under ``share/`` of an installation."""

from __future__ import annotations

import sysconfig
from os import PathLike, fspath
from pathlib import Path

from bayesglmm.errors import SpecError
from bayesglmm.spec.schema import near

HOME = Path(__file__).parents[2]


def models_folder() -> Path:
    """``models/`` of the current folder, else of the checkout the package runs from, else of the installation."""
    places = [Path("models")]
    if (HOME / "pyproject.toml").is_file():
        places.append(HOME / "models")
    places += [Path(root) / "share" / "bayesglmm" / "models" for root in (sysconfig.get_path("data"), HOME)]
    return next((place for place in places if place.is_dir()), places[0])


def model_path(path: str | PathLike[str]) -> Path:
    """A model file's path; a bare name is that of a model that ships.

    Raises
    ------
    SpecError
        Neither a name ending in ``.toml`` nor a model that ships.
    """
    try:
        given = Path(path)
    except TypeError:
        raise SpecError(f"{path!r} is not a model file: a path ending in .toml is expected.") from None
    if given.suffix.lower() == ".toml":
        return given
    known = {p.stem: p for p in sorted(models_folder().glob("*.toml"))}
    if fspath(path) in known:
        return known[fspath(path)]
    raise SpecError(
        f"{str(path)!r} is not a model file: a name ending in .toml is expected, or one of the models that ship."
        f"{near(str(path), known)}"
    )
