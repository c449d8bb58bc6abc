"""Studies: simulate from a model at a known truth, fit by many methods, many times, and tabulate how far they are off.

``source`` makes the data of a replicate, ``replicate`` fits them, ``journal`` keeps every finished replicate on disk,
``conduct`` runs them on any executor, ``scores`` adds up; ``core`` is the study and ``result`` what a user gets of it.
"""

from bayesglmm.study.calibration import Calibration, sbc
from bayesglmm.study.core import Study
from bayesglmm.study.load import load_study
from bayesglmm.study.result import StudyResult

__all__ = ["Calibration", "Study", "StudyResult", "load_study", "sbc"]
