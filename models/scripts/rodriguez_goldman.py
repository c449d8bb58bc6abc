"""Simulate ``models/data/rodriguez_goldman.csv``: binary responses of births in families in communities.

The sizes are those of the Guatemalan survey whose structure Rodríguez & Goldman (1995) simulated from: 161 communities,
1558 mothers, about one and a half births each. logit P(care) = 0.65 + birth + family + place + u + v with u ~ N(0, 1)
of a community, v ~ N(0, 1) of a mother, and a standard normal predictor at each level (rounded to three decimals).

Run it from anywhere: ``python models/scripts/rodriguez_goldman.py`` writes the file again, byte for byte.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, ndtri

Floats = NDArray[np.float64]

SEED = 1995
COMMUNITIES, MOTHERS = 161, 1558
#: Probabilities of a second birth, and of one more besides.
SECOND, MORE = 0.45, 0.13
TRUTH = {"Intercept": 0.65, "birth": 1.0, "family": 1.0, "place": 1.0, "community.sd": 1.0, "community:mother.sd": 1.0}
FILE = Path(__file__).parents[1] / "data" / "rodriguez_goldman.csv"


def simulate(seed: int = SEED) -> pd.DataFrame:
    """One data set, about 2400 rows."""
    rng = np.random.default_rng(seed)

    def normal(size: int) -> Floats:
        # Uniforms and their quantiles are the same with every version of NumPy; its normals need not be.
        return ndtri(rng.random(size))

    others = (COMMUNITIES * rng.random(MOTHERS - COMMUNITIES)).astype(int)
    home = np.sort(np.concatenate([np.arange(COMMUNITIES), others]))
    births = 1 + (rng.random(MOTHERS) < SECOND).astype(int) + (rng.random(MOTHERS) < MORE)
    mother = np.repeat(np.arange(MOTHERS), births)
    community = home[mother]
    birth = normal(len(mother)).round(3)
    family = normal(MOTHERS).round(3)[mother]
    place = normal(COMMUNITIES).round(3)[community]
    u, v = TRUTH["community.sd"] * normal(COMMUNITIES), TRUTH["community:mother.sd"] * normal(MOTHERS)
    fixed = TRUTH["Intercept"] + TRUTH["birth"] * birth + TRUTH["family"] * family + TRUTH["place"] * place
    care = rng.random(len(mother)) < expit(fixed + u[community] + v[mother])
    columns = {"care": care.astype(int), "birth": birth, "family": family, "place": place}
    return pd.DataFrame(columns | {"community": community + 1, "mother": mother + 1})


if __name__ == "__main__":
    simulate().to_csv(FILE, index=False, lineterminator="\n")
