"""Studies: simulate from a model at a known truth, fit by many methods, many times, and tabulate how far they are off.

``source`` makes the data of a replicate, ``replicate`` fits them, ``journal`` keeps every finished replicate on disk,
``conduct`` runs them on any executor, ``scores`` adds up, ``core`` is what a user sees.
"""

from bayesglmm.study.calibration import Calibration, sbc
from bayesglmm.study.core import Study, StudyResult
from bayesglmm.study.load import load_study

__all__ = ["Calibration", "Study", "StudyResult", "load_study", "sbc"]
