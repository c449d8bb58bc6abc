"""Simulate ``models/data/lambs.csv`` and ``lambs_pedigree.csv``: weaning weights of a small flock over four years.

The founders are 6 rams and 24 ewes without records. Every year each of 24 ewes has one or two lambs by one of 6 rams;
the next year's parents are drawn from all animals so far, so that some lambs are inbred. The weight is 24 + 1.8 (ram
lambs) − 1.2 (twins) + year + additive genetic effect + error, with variances 5 and 7: a heritability of 0.42.

Run it from anywhere: ``python models/scripts/lambs.py`` writes the files again, byte for byte.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

SEED = 2015
RAMS, EWES, YEARS = 6, 24, 4
VARIANCES = {"animal": 5.0, "residual": 7.0}
FOLDER = Path(__file__).parents[1] / "data"


def simulate(seed: int = SEED) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records and pedigree."""
    rng = np.random.default_rng(seed)
    founders = [(f"R{i:02d}", "", "", "ram") for i in range(RAMS)] + [(f"E{i:02d}", "", "", "ewe") for i in range(EWES)]
    family = founders.copy()
    value = {name: rng.normal(0.0, np.sqrt(VARIANCES["animal"])) for name, *_ in family}
    inbreeding: dict[frozenset[str], float] = {}
    records = []
    for year in range(YEARS):
        rams = rng.choice([n for n, _, _, sex in family if sex == "ram"], RAMS, replace=False)
        ewes = rng.choice([n for n, _, _, sex in family if sex == "ewe"], EWES, replace=False)
        lambs = []
        for ewe in ewes:
            ram, twins = str(rng.choice(rams)), bool(rng.random() < 0.5)
            for _ in range(1 + twins):
                name = f"{year + 1}{len(lambs):03d}"
                sex = "ram" if rng.random() < 0.5 else "ewe"
                lambs.append((name, ram, str(ewe), sex, twins))
        known = {n: (s, d) for n, s, d, _ in family}
        for name, ram, ewe, sex, twins in lambs:
            own = 0.5 - 0.25 * sum(kinship(p, p, known, inbreeding) * 2 - 1 for p in (ram, ewe))
            value[name] = 0.5 * (value[ram] + value[ewe]) + rng.normal(0.0, np.sqrt(own * VARIANCES["animal"]))
            mean = 24.0 + 1.8 * (sex == "ram") - 1.2 * twins + (0.0, 0.8, -0.6, 0.3)[year]
            weight = mean + value[name] + rng.normal(0.0, np.sqrt(VARIANCES["residual"]))
            records.append((name, 2001 + year, sex, "twin" if twins else "single", round(float(weight), 1)))
            family.append((name, ram, ewe, sex))
    columns = ["animal", "year", "sex", "birth", "weight"]
    pedigree = pd.DataFrame([row[:3] for row in family], columns=["animal", "sire", "dam"])
    return pd.DataFrame(records, columns=columns), pedigree


def kinship(a: str, b: str, known: dict[str, tuple[str, str]], done: dict[frozenset[str], float]) -> float:
    """Half the additive relationship of two animals, by recursion over the younger one's parents."""
    if not a or not b:
        return 0.0
    key = frozenset((a, b))
    if key not in done:
        order = list(known)
        young, old = (a, b) if order.index(a) >= order.index(b) else (b, a)
        sire, dam = known[young]
        if a == b:
            done[key] = 0.5 + 0.5 * kinship(sire, dam, known, done)
        else:
            done[key] = 0.5 * (kinship(sire, old, known, done) + kinship(dam, old, known, done))
    return done[key]


if __name__ == "__main__":
    for name, table in zip(("lambs", "lambs_pedigree"), simulate()):
        table.to_csv(FOLDER / f"{name}.csv", index=False, lineterminator="\n")
