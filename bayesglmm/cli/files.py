"""Where the command line puts what it was asked to keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bayesglmm.errors import BayesGLMMError

#: Where a comparison that was stopped leaves its finished fits, in the folder of its report.
FINISHED = "finished"

if TYPE_CHECKING:
    from bayesglmm.fit import Fit


def keep_fits(fits: Sequence[Fit], folder: Path | None) -> str:
    """Keep what is finished of a comparison that was stopped, and say how to go on."""
    if not fits or folder is None:
        return "Stopped. Nothing is kept" + (": give --out to keep finished fits." if fits else "; run it again.")
    for fit in fits:
        place = folder / FINISHED / f"{fit.method}.nc"
        place.parent.mkdir(parents=True, exist_ok=True)
        fit.save(place)
    names = ", ".join(f.method for f in fits)
    return f"Stopped. Finished and kept in {folder / FINISHED}: {names}. Run the same with --resume to go on."


def kept_fits(folder: Path | None, methods: Sequence[str]) -> list[Fit]:
    """Fits by these methods that a stopped comparison left in a folder.

    Raises
    ------
    BayesGLMMError
        No folder was named, or a file in it cannot be loaded.
    """
    from bayesglmm.storage import load_fit

    if folder is None:
        raise BayesGLMMError("--resume goes on in the folder of --out: name it.")
    places = [folder / FINISHED / f"{m}.nc" for m in methods]
    return [load_fit(p) for p in places if p.exists()]


def write_fit(fit: Fit, folder: Path) -> None:
    """Write a fit's summary, its tables and its DataTree.

    Raises
    ------
    BayesGLMMError
        When the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.txt").write_text(fit.summary() + "\n", encoding="utf-8")
        fit.fixed.to_csv(folder / "fixed.csv")
        if len(fit.varcomp):
            fit.varcomp.to_csv(folder / "varcomp.csv", index=False)
        fit.idata.to_netcdf(folder / "idata.nc", engine="h5netcdf")
    except OSError as error:
        raise BayesGLMMError(f"cannot write to {str(folder)!r}: {error}.") from error
