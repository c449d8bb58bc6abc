"""What is loaded when: a light import, and no PyMC on the deterministic path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def loaded_after(code: str, depth: int = 1) -> set[str]:
    """Names (to a depth) of the modules a fresh process has loaded after `code`."""
    script = f"{code}\nimport sys\nprint('loaded:', *sorted({{'.'.join(m.split('.')[:{depth}]) for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("loaded:")[1].split())


def test_the_import_is_light() -> None:
    loaded = loaded_after("import bayesglmm")
    assert "bayesglmm" in loaded
    assert not loaded & {"pymc", "pytensor", "arviz", "arviz_base", "matplotlib", "numba", "pandas", "scipy"}


def test_public_names_are_found_without_the_heavy_packages() -> None:
    loaded = loaded_after("import bayesglmm as bg\nbg.Model, bg.load_model, bg.Prior, bg.families, bg.SpecError")
    assert not loaded & {"pymc", "pytensor", "arviz", "arviz_base", "matplotlib"}


def test_a_laplace_fit_needs_no_pymc() -> None:
    loaded = loaded_after(
        "import bayesglmm as bg\n"
        "model = bg.load_model('models/cbpp.toml')\n"
        "fit = model.fit('laplace')\n"
        "assert fit.status.converged\n"
        "str(fit), fit.fixed, fit.varcomp, fit.random, fit.predict()"
    )
    assert not loaded & {"pymc", "pytensor", "arviz", "arviz_base", "arviz_stats", "matplotlib", "nutpie"}


def test_a_small_laplace_fit_and_its_summary_load_little() -> None:
    """What takes as long to load as pandas itself is not on the commonest path."""
    loaded = loaded_after(
        "import bayesglmm as bg\n"
        "import pandas as pd\n"
        "data = pd.read_csv('models/data/cbpp.csv', dtype={'herd': str, 'period': str})\n"
        "for priors in ('flat', 'default'):\n"
        "    model = bg.Model('p(incidence, size) ~ period + (1 | herd)', data, family='binomial', priors=priors)\n"
        "    assert 'herd' in str(model.fit('laplace'))",
        depth=2,
    )
    assert "scipy.special" in loaded
    assert not loaded & {"scipy.stats", "scipy.optimize", "scipy.interpolate", "numba.core", "llvmlite.binding"}


def test_deterministic_methods_need_no_pymc() -> None:
    loaded = loaded_after(
        "import bayesglmm as bg\n"
        "model = bg.load_model('models/seeds.toml', priors='flat')\n"
        "for method in ('agq', 'pql', 'mql'):\n"
        "    assert model.fit(method).status.converged\n"
        "assert bg.load_model('models/ceb.toml').fit('irls').status.converged\n"
        "assert bg.load_model('models/sleepstudy.toml').fit('reml').status.converged"
    )
    assert not loaded & {"pymc", "pytensor", "arviz", "arviz_base", "matplotlib", "nutpie"}
