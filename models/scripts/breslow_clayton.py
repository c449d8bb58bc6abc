"""Write ``models/data/breslow_clayton.csv``: the design of Breslow & Clayton's simulation (1993, section 5).

100 clusters, half of them with x = 1, each at t = -3, ..., 3. The column m (binomial sizes) is set by each arm of a
study, and y, one draw with a random intercept of variance one, is replaced in every replicate.

Run it from anywhere: ``python models/scripts/breslow_clayton.py`` writes the file again, byte for byte.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri

SEED = 1993
CLUSTERS = 100
FILE = Path(__file__).parents[1] / "data" / "breslow_clayton.csv"


def design(seed: int = SEED) -> pd.DataFrame:
    """The rows, with one response."""
    rng = np.random.default_rng(seed)
    occasions = np.arange(-3, 4)
    cluster = np.repeat(np.arange(CLUSTERS), len(occasions))
    t, x = np.tile(occasions, CLUSTERS), (cluster >= CLUSTERS // 2).astype(int)
    eta = -2.5 + t - x - 0.5 * x * t + ndtri(rng.random(CLUSTERS))[cluster]
    y = (rng.random(len(eta)) < expit(eta)).astype(int)
    return pd.DataFrame({"cluster": cluster + 1, "t": t, "x": x, "m": 1, "y": y})


if __name__ == "__main__":
    design().to_csv(FILE, index=False, lineterminator="\n")
