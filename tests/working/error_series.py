"""Short series for tests of errors that go together."""

from __future__ import annotations

import numpy as np
import pandas as pd


def series(seed: int = 0) -> pd.DataFrame:
    """Short series with gaps, in no order, weights and two regressors."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"id": np.repeat(np.arange(12), 5), "t": np.tile([0, 1, 2, 4, 7], 12)})
    data["x"] = rng.normal(size=60)
    data["y"] = 1.0 + data["x"] + np.repeat(rng.normal(size=12), 5) + rng.normal(size=60)
    data["w"] = rng.uniform(0.5, 2.0, 60)
    return data.sample(frac=0.85, random_state=seed).reset_index(drop=True)
