"""One small study, as this process and others make it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayesglmm as bg

TRUTH = {"Intercept": 1.0, "x": 0.5, "g.sd": 0.4}


def table(rng: np.random.Generator, groups: int = 12, size: int = 5) -> pd.DataFrame:
    n = groups * size
    return pd.DataFrame({"y": np.arange(n) % 7, "x": rng.normal(size=n), "g": np.repeat(np.arange(groups), size)})


def model(rng: np.random.Generator | None = None) -> bg.Model:
    rng = np.random.default_rng(5) if rng is None else rng
    return bg.Model("y ~ x + (1 | g)", table(rng), family="poisson", priors="flat")


def study(replicates: int = 8, **changes: Any) -> bg.Study:
    arguments = {"methods": ["mql", "pql", "laplace", "agq"], "seed": 3} | changes
    if "agq" in arguments["methods"]:
        arguments.setdefault("options", {"agq": {"nodes": 5}})
    return bg.Study(model(), TRUTH, replicates=replicates, **arguments)


class Deadly:
    """A generator of models that kills its process once, at one replicate, or every time."""

    def __init__(self, marker: Path, always: bool = False) -> None:
        self.marker, self.always, self.count = str(marker), always, 0

    def __call__(self, rng: np.random.Generator) -> bg.Model:
        made = model(rng)
        if made.design.X[0, 1] > 0.5 and (self.always or not Path(self.marker).exists()):
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return made


if __name__ == "__main__":
    import sys

    study(int(sys.argv[2])).run(sys.argv[1], workers=int(sys.argv[3]))
