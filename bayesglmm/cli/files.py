"""Where the command line puts what it was asked to keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bayesglmm.errors import BayesGLMMError

if TYPE_CHECKING:
    from bayesglmm.fit import Fit


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
