"""A fit in one file: ``save_fit`` and ``load_fit``.

``tree`` turns nested values into JSON and arrays and back, ``table`` does the same for the columns of a data table,
``file`` writes both into one netCDF file and reads it with suspicion, ``fits`` says what of a fit is kept.
"""

from bayesglmm.storage.fits import load_fit, save_fit

__all__ = ["load_fit", "save_fit"]
