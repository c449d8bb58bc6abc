"""The things that are fuzzed: a formula on a small table, a model file in a folder, a saved fit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from harness import Watch

import bayesglmm as bg
from bayesglmm.design import build_design
from bayesglmm.formula import parse_formula
from bayesglmm.spec import read_spec
from bayesglmm.storage.file import read_file
from bayesglmm.storage.fits import rebuild

ROOT = Path(__file__).parents[2]

#: What a fuzzer starts from, beside the formulas of the models that ship.
FORMULAS = (
    "y ~ x*f + (1 + x | g)",
    "p(s, t) ~ poly(x, 2) + bs(w, df=4) + offset(log(w)) + (x || g)",
    "log(y + 1) ~ C(f, Treatment('b')) : scale(x) - 1 + (1 | g/h)",
    "y ~ I(x**2) + sqrt(abs(w)) + (0 + f | h)",
    "`y` ~ x^2 + (x + w)**2 + (1 | g:h)",
)


def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 24
    return pd.DataFrame(
        {
            "y": rng.poisson(3.0, n),
            "s": rng.integers(0, 5, n),
            "t": 5,
            "x": rng.normal(size=n),
            "w": rng.uniform(0.5, 2.0, n),
            "f": np.tile(list("abc"), n // 3),
            "g": np.repeat(list("uvwxyz"), 4),
            "h": np.tile(list("kl"), n // 2),
        }
    )


Handle = Callable[[bytes], str]


def formula_target() -> tuple[Handle, list[bytes]]:
    """Parse a text as a formula, and build its design when it is one."""
    data, watch = table(), Watch()

    def handle(content: bytes) -> str:
        text = content.decode("utf-8", "surrogateescape")
        return watch(lambda: build_design(parse_formula(text), data))

    specs = [read_spec(path)["model"]["formula"] for path in sorted((ROOT / "models").glob("*.toml"))]
    seeds = [*FORMULAS, *specs]
    for seed in FORMULAS[:1]:  # what is loaded at first use is loaded before anybody listens
        build_design(parse_formula(seed), data)
    return handle, [s.encode() for s in seeds]


def model_file_target() -> tuple[Handle, list[bytes]]:
    """Load a text as a model file, its data beside it."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / "data").mkdir()
    table().to_csv(folder / "data" / "d.csv", index=False)
    (folder / "data" / "secret.txt").write_text("not a table")
    path, watch = folder / "model.toml", Watch(folder)

    def handle(content: bytes) -> str:
        path.write_bytes(content)
        return watch(lambda: bg.load_model(path))

    seeds = [p.read_bytes().replace(b"data/", b"data/d.csv#") for p in sorted((ROOT / "models").glob("*.toml"))]
    small = b'[model]\nformula = "y ~ x + (1 | g)"\nfamily = "poisson"\n[data]\nfile = "data/d.csv"\n'
    more = small + b'[priors]\nx = { dist = "Normal", mu = 0, sigma = 2 }\n[covariance]\ng = "diagonal"\n'
    for seed in (small, more):
        path.write_bytes(seed)
        bg.load_model(path)
    return handle, [small, more, *seeds]


def saved_fit_target() -> tuple[Handle, list[bytes]]:
    """Load bytes as the manifest of a saved fit (a changed file is refused by its seal before it is read)."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    fit = bg.Model("y ~ x + (1 | g)", table(), family="poisson").fit("laplace")
    path, watch = fit.save(folder / "fit.nc"), Watch(folder)
    manifest, arrays = read_file(path)
    seed = json.dumps(manifest).encode()

    def handle(content: bytes) -> str:
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            return "no JSON"
        return watch(lambda: rebuild(value, arrays, "fuzz"))

    rebuild(manifest, arrays, "fuzz").summary()
    return handle, [seed]


TARGETS = {"formula": formula_target, "model_file": model_file_target, "saved_fit": saved_fit_target}
