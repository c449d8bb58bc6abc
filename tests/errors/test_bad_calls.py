"""Bad arguments of fits, studies, intervals, predictions: one clear error each, from the package."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg

TRUTH = {"Intercept": 1.0, "x": 0.1, "g.sd": 0.5}


def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.poisson(3.0, 24),
            "x": rng.normal(size=24),
            "g": np.repeat(list("abcdef"), 4),
            "h": np.tile(list("wxyz"), 6),
            "r": rng.normal(size=24),
        }
    )


MODEL = bg.Model("y ~ x + (1 | g)", table(), "poisson")


@functools.cache
def lap() -> Any:
    return MODEL.fit("laplace")


@functools.cache
def irls() -> Any:
    return bg.Model("y ~ x + h", table(), "poisson").fit("irls")


@functools.cache
def lm() -> Any:
    return bg.Model("r ~ x + h + (1 | g)", table(), "gaussian", priors="flat").fit("reml")


# what is called, which error, how its message begins
CALLS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: MODEL.fit("inla", **{"strategy": "fast"}),
        bg.MethodError,
        "strategy is 'fast'; expected one of 'auto', 'laplace', 'simplified',",
    ),
    (
        lambda: MODEL.fit("inla", **{"grid": "dense"}),
        bg.MethodError,
        "'inla' has no option 'grid'. Its options: strategy, integration,",
    ),
    (
        lambda: MODEL.fit("inla", **{"points": -1}),
        bg.MethodError,
        "'inla' has no option 'points'. Its options: strategy, integration,",
    ),
    (
        lambda: MODEL.fit("inla", **{"nosuch": 1}),
        bg.MethodError,
        "'inla' has no option 'nosuch'. Its options: strategy, integration,",
    ),
    (
        lambda: MODEL.fit("agq", **{"nodes": (0, 3)}),
        bg.MethodError,
        "nodes=(0, 3): the number of quadrature nodes is a whole number, 1 or",
    ),
    (
        lambda: MODEL.fit("agq", **{"nodes": (3, 4, 5)}),
        bg.MethodError,
        "nodes=(3, 4, 5): the number of quadrature nodes is a whole number, 1",
    ),
    (
        lambda: MODEL.fit("agq", **{"nodes": (3,)}),
        bg.MethodError,
        "nodes=(3,): the number of quadrature nodes is a whole number, 1 or",
    ),
    (
        lambda: MODEL.fit("agq", **{"nodes": -1}),
        bg.MethodError,
        "nodes=-1: the number of quadrature nodes is a whole number, 1 or",
    ),
    (
        lambda: MODEL.fit("agq", **{"nodes": True}),
        bg.MethodError,
        "nodes=True: the number of quadrature nodes is a whole number, 1 or",
    ),
    (
        lambda: MODEL.fit("agq", **{"prune": -1}),
        bg.MethodError,
        "prune=-1: the share of the weight that dropped nodes may have is a",
    ),
    (
        lambda: MODEL.fit("agq", **{"prune": "x"}),
        bg.MethodError,
        "prune='x': the share of the weight that dropped nodes may have is a",
    ),
    (
        lambda: MODEL.fit("agq", **{"prune": float("nan")}),
        bg.MethodError,
        "prune=nan: the share of the weight that dropped nodes may have is a",
    ),
    (lambda: MODEL.fit("pql", **{"order": 3}), bg.MethodError, "order is 3; 1 or 2 is expected."),
    (lambda: MODEL.fit("pql", **{"order": 0}), bg.MethodError, "order is 0; 1 or 2 is expected."),
    (lambda: MODEL.fit("pql", **{"order": "two"}), bg.MethodError, "order is 'two'; 1 or 2 is expected."),
    (lambda: MODEL.fit("mql", **{"order": 1.5}), bg.MethodError, "order is 1.5; 1 or 2 is expected."),
    (
        lambda: MODEL.fit("pql", **{"variances": "x"}),
        bg.MethodError,
        "'pql' has no option 'variances'. Its options: reml, scale, order,",
    ),
    (
        lambda: MODEL.fit("mcmc", **{"marginalize": "pql"}),
        bg.MethodError,
        "marginalize='pql'; True, 'laplace' or 'agq' is expected.",
    ),
    (
        lambda: MODEL.fit("mcmc", **{"sampler": "stan"}),
        bg.MethodError,
        "unknown sampler 'stan'. Known samplers: nutpie, pymc, numpyro,",
    ),
    (lambda: MODEL.fit("mcmc", **{"draws": 0}), bg.MethodError, "draws=0; a whole number of at least 1 is expected."),
    (lambda: MODEL.fit("mcmc", **{"draws": -5}), bg.MethodError, "draws=-5; a whole number of at least 1 is expected."),
    (lambda: MODEL.fit("mcmc", **{"chains": 0}), bg.MethodError, "chains=0; a whole number of at least 1 is expected."),
    (lambda: MODEL.fit("mcmc", **{"tune": -1}), bg.MethodError, "tune=-1; a whole number of at least 1 is expected."),
    (
        lambda: MODEL.fit("mcmc", **{"draws": 2.5}),
        bg.MethodError,
        "draws=2.5; a whole number of at least 1 is expected.",
    ),
    (
        lambda: MODEL.fit("mcmc", **{"target_accept": 2}),
        bg.MethodError,
        "target_accept=2; a number between 0 and 1 is expected.",
    ),
    (
        lambda: MODEL.fit("mcmc", **{"marginalize": "laplace", "draws": 0}),
        bg.MethodError,
        "draws=0; a whole number of at least 1 is expected.",
    ),
    (
        lambda: MODEL.fit("mcmc", **{"marginalize": "laplace", "chains": 0}),
        bg.MethodError,
        "chains=0; a whole number of at least 1 is expected.",
    ),
    (
        lambda: MODEL.fit("gee", **{"corr": "x"}),
        bg.MethodError,
        "unknown working correlation 'x'. Known: independence, exchangeable,",
    ),
    (
        lambda: MODEL.fit("gee", **{"cov": "x"}),
        bg.MethodError,
        "cov is 'x'; one of robust, model, bias-reduced, kauermann-carroll,",
    ),
    (
        lambda: MODEL.fit("laplace", **{"maxiter": -1}),
        bg.MethodError,
        "'laplace' has no option 'maxiter'. Its options: kernel, draws, seed,",
    ),
    (
        lambda: MODEL.fit("laplace", **{"tol": 0}),
        bg.MethodError,
        "'laplace' has no option 'tol'. Its options: kernel, draws, seed,",
    ),
    (
        lambda: MODEL.fit("laplace+psis", **{"draws": 0}),
        bg.MethodError,
        "draws is 0; a whole number, 10 or more, is expected.",
    ),
    (
        lambda: MODEL.fit("laplace", **{"start": "x"}),
        bg.MethodError,
        "'laplace' has no option 'start'. Its options: kernel, draws, seed,",
    ),
    (
        lambda: MODEL.fit("laplace", **{"start": {"zz": 1}}),
        bg.MethodError,
        "'laplace' has no option 'start'. Its options: kernel, draws, seed,",
    ),
    (lambda: lap().loo("zz"), bg.MethodError, "unit is 'zz'; 'row', 'group' or 'g' is expected."),
    (lambda: lap().loo(3), bg.MethodError, "unit is 3; 'row', 'group' or 'g' is expected."),
    (
        lambda: irls().loo("row"),
        bg.MethodError,
        "a fit by 'irls' is no posterior: fit by laplace, agq, inla or mcmc, with",
    ),
    (lambda: lap().loo("h"), bg.MethodError, "unit is 'h'; 'row', 'group' or 'g' is expected."),
    (lambda: lap().evidence(draws=0), bg.MethodError, "draws is 0; a whole number, 10 or more, is expected."),
    (lambda: lap().evidence(draws=-3), bg.MethodError, "draws is -3; a whole number, 10 or more, is expected."),
    (lambda: irls().evidence(), bg.MethodError, "a fit by 'irls' is no posterior: fit by laplace, agq, inla or mcmc"),
    (lambda: lm().evidence(), bg.MethodError, "a marginal likelihood needs proper priors for every parameter; see"),
    (lambda: lap().average_effects("zz"), bg.MethodError, "the fixed part has no column 'zz'; it uses x."),
    (lambda: lap().average_effects("x", by="zz"), bg.MethodError, "by='zz' is no column of the table."),
    (
        lambda: lap().average_effects("x", level="zz"),
        bg.MethodError,
        "level is 'zz'; expected one of conditional, population, marginal.",
    ),
    (lambda: lap().average_effects("x", ci=2), bg.MethodError, "ci is 2; a number between 0 and 1 is expected."),
    (lambda: lap().average_effects("x", ci=0), bg.MethodError, "ci is 0; a number between 0 and 1 is expected."),
    (lambda: lap().average_effects("g"), bg.MethodError, "the fixed part has no column 'g'; it uses x."),
    (lambda: lap().average_effects("x", compare="zz"), bg.MethodError, "compare is 'zz'; a dict is expected."),
    (
        lambda: irls().average_effects("h", compare={"zz": 1}),
        bg.MethodError,
        "the fixed part has no column 'zz'; it uses x, h.",
    ),
    (lambda: irls().emmeans("zz"), bg.MethodError, "the fixed part has no column 'zz' to average by; it uses x, h."),
    (
        lambda: irls().emmeans(3),
        bg.MethodError,
        "factors is 3; a column's name, 'a:b', or a list of names is expected.",
    ),
    (
        lambda: irls().emmeans("h", by="zz"),
        bg.MethodError,
        "the fixed part has no column 'zz' to average by; it uses x, h.",
    ),
    (
        lambda: irls().emmeans("h", at={"zz": [1]}),
        bg.MethodError,
        "at names 'zz', which the fixed part does not use; it uses x, h.",
    ),
    (lambda: irls().emmeans("h", at={"x": ["a"]}), bg.MethodError, "at: x is a column of numbers; ['a'] is not."),
    (lambda: irls().emmeans("h", type="zz"), bg.MethodError, "type is 'zz'; expected one of linear, mean."),
    (
        lambda: irls().contrasts("h", method="zz"),
        bg.MethodError,
        "method is 'zz'; expected pairwise, control, consecutive, mean,",
    ),
    (
        lambda: irls().contrasts("h", method="control", control="zz"),
        bg.MethodError,
        "control is 'zz'; the means are w, x, y, z.",
    ),
    (
        lambda: irls().contrasts("h", adjust="zz"),
        bg.MethodError,
        "adjust is 'zz': known are none, tukey, bonferroni, holm, sidak,",
    ),
    (lambda: irls().contrasts("zz"), bg.MethodError, "the fixed part has no column 'zz' to average by; it uses x, h."),
    (lambda: lap().confint("zz"), bg.MethodError, "unknown interval method 'zz'; 'wald' or 'profile' is expected."),
    (lambda: lap().confint("wald", level=2), bg.MethodError, "level is 2; a number between 0 and 1 is expected."),
    (lambda: lap().confint("wald", level=0), bg.MethodError, "level is 0; a number between 0 and 1 is expected."),
    (lambda: lap().confint("profile"), bg.MethodError, "a profile needs a likelihood, and this fit has priors: use"),
    (
        lambda: lap().quadrature_path([0]),
        bg.MethodError,
        "nodes=0: the number of quadrature nodes is a whole number, 1 or more;",
    ),
    (
        lambda: lap().quadrature_path("a"),
        bg.MethodError,
        "nodes='a': the number of quadrature nodes is a whole number, 1 or",
    ),
    (
        lambda: irls().quadrature_path(),
        bg.MethodError,
        "a quadrature path needs a fit by 'laplace' or 'agq'; this one is by",
    ),
    (
        lambda: lap().predict(kind="zz"),
        bg.MethodError,
        "kind is 'zz'; expected one of mean, linear, response, category.",
    ),
    (
        lambda: lap().predict(level="zz"),
        bg.MethodError,
        "level is 'zz'; expected one of conditional, population, marginal, forecast.",
    ),
    (lambda: lap().predict(ci=2), bg.MethodError, "ci is 2; a number between 0 and 1 is expected."),
    (lambda: lap().predict(table()[["y"]]), bg.DataError, "The table has no column 'x'. It has y."),
    (lambda: lap().predict(3), bg.DataError, "Expected a pandas, polars or pyarrow table, or a dict of arrays; got"),
    (
        lambda: lap().predict(table().assign(x="a")),
        bg.DataError,
        "x held numbers when the model was built, and now holds labels.",
    ),
    (
        lambda: lap().predict(table().assign(x=np.inf)),
        bg.DataError,
        "'x' is infinite in 24 rows (first: 0, 1, 2, 3, 4). Correct or drop",
    ),
    (lambda: lap().marginal("zz"), bg.MethodError, "unknown parameter 'zz'. This model has: Intercept, x, g.sd."),
    (
        lambda: lap().ppc_statistics("zz"),
        bg.MethodError,
        "no statistic 'zz' for this model; it has mean, zeros, maximum, sd,",
    ),
    (lambda: lap().ppc_statistics(draws=0), bg.MethodError, "draws is 0; a whole number, 2 or more, is expected."),
    (
        lambda: lap().ppc_statistics(level="zz"),
        bg.MethodError,
        "level is 'zz'; expected one of conditional, population, marginal.",
    ),
    (
        lambda: lap().ppc_statistics([3]),
        bg.MethodError,
        "no statistic '3' for this model; it has mean, zeros, maximum, sd,",
    ),
    (lambda: lap().refine(to="zz"), bg.MethodError, "to='zz'; one of psis, marginal, full is expected."),
    (lambda: irls().refine(), bg.MethodError, "a fit by 'irls' is refined by one that has a likelihood to integrate:"),
    (lambda: lap().check(draws=0), bg.MethodError, "draws is 0; a whole number, 10 or more, is expected."),
    (lambda: irls().check(), bg.MethodError, "draws are weighted around the mode of a fit by 'laplace' or 'agq';"),
    (
        lambda: irls().sensitivity(),
        bg.MethodError,
        "this irls fit has no posterior draws; 'laplace', 'agq', 'inla' and",
    ),
    (
        lambda: lap().residuals("zz"),
        bg.MethodError,
        "unknown residuals 'zz'; known kinds: pearson, deviance, response,",
    ),
    (
        lambda: irls().wald_ellipsoid(["zz"]),
        bg.MethodError,
        "no coefficient is named 'zz' in the hypothesis. There are Intercept,",
    ),
    (
        lambda: irls().test("zz = 1"),
        bg.MethodError,
        "no coefficient is named 'zz' in the hypothesis. There are Intercept,",
    ),
    (lambda: irls().test("x = "), bg.MethodError, "a hypothesis has nothing on one side of its '='; write 0."),
    (lambda: irls().test(3), bg.MethodError, "the hypothesis has shape (); a matrix with 5 columns is expected, one"),
    (
        lambda: irls().estimable("zz"),
        bg.MethodError,
        "no coefficient is named 'zz' in the hypothesis. There are Intercept,",
    ),
    (lambda: irls().icc(), bg.MethodError, "an intraclass correlation needs a grouping factor; this fit has none."),
    (lambda: irls().ems(), bg.MethodError, "mean squares are for gaussian models, and this one is poisson."),
    (lambda: irls().mme(), bg.MethodError, "mixed-model equations need random effects, and this model has none."),
    (lambda: bg.load_fit("nowhere.nc"), bg.SpecError, "there is no file 'nowhere.nc'."),
    (
        lambda: bg.Study(MODEL, TRUTH, [], 5),
        bg.MethodError,
        "methods is []; a list of method names is expected, e.g. ['pql',",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["lapace"], 5),
        bg.MethodError,
        "unknown method 'lapace'. Did you mean 'laplace'? Known methods: irls,",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 0),
        bg.MethodError,
        "replicates is 0; a whole number, 1 or more, is expected.",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], -1),
        bg.MethodError,
        "replicates is -1; a whole number, 1 or more, is expected.",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 2.5),
        bg.MethodError,
        "replicates is 2.5; a whole number, 1 or more, is expected.",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 5, seed="a"),
        bg.MethodError,
        "seed is 'a'; a whole number, 0 or more, is expected.",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 5, seed=-1),
        bg.MethodError,
        "seed is -1; a whole number, 0 or more, is expected.",
    ),
    (
        lambda: bg.Study(MODEL, {"x": 1}, ["laplace"], 5),
        bg.MethodError,
        "no value given for Intercept, g.sd. This model has: Intercept, x,",
    ),
    (
        lambda: bg.Study(MODEL, {**TRUTH, "z": 1}, ["laplace"], 5),
        bg.MethodError,
        "unknown parameter 'z'. This model has: Intercept, x, g.sd.",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 5, reference="pql"),
        bg.MethodError,
        "'pql' is not among the methods of the study: laplace.",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, "laplace", 5),
        bg.MethodError,
        "methods is 'laplace'; a list of method names is expected, e.g.",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 5, options={"pql": {}}),
        bg.MethodError,
        "'pql' is not among the methods of the study: laplace.",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 5, options={"laplace": {"nosuch": 1}}),
        bg.MethodError,
        "'laplace' has no option 'nosuch'. Its options: kernel, draws, seed,",
    ),
    (
        lambda: bg.Study(3, TRUTH, ["laplace"], 5),
        bg.MethodError,
        "a study takes a Model, or a function that makes one; got int.",
    ),
    (
        lambda: bg.Study(MODEL, "posterior", ["laplace"], 5),
        bg.MethodError,
        "truth is 'posterior'; parameters by name, a fit, or 'prior' is expected.",
    ),
    (
        lambda: bg.Study(MODEL, {**TRUTH, "p": 1.0}, ["laplace"], 5),
        bg.MethodError,
        "unknown parameter 'p'. This model has: Intercept, x, g.sd.",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 2).run(progress=3, workers=1),
        bg.MethodError,
        "progress is 3; True, False, 'auto' or a function (done, total) is",
    ),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 2).run(executor=3),
        bg.MethodError,
        "executor is a int; a concurrent.futures Executor is expected.",
    ),
    (
        lambda: bg.sbc(MODEL, ["pql"], 5),
        bg.MethodError,
        "'pql' has no posterior to calibrate; take laplace, agq, inla or mcmc.",
    ),
    (lambda: bg.sbc(MODEL, [], 5), bg.MethodError, "methods is []; a list of method names is expected, e.g. ['pql',"),
    (lambda: bg.sbc(MODEL, ["laplace"], 0), bg.MethodError, "replicates is 0; a whole number, 1 or more, is expected."),
    (
        lambda: bg.sbc(MODEL, ["laplace"], 5, draws=0),
        bg.MethodError,
        "draws is 0; a whole number, 1 or more, is expected.",
    ),
    (
        lambda: bg.sbc(MODEL, ["zz"], 5),
        bg.MethodError,
        "unknown method 'zz'. Known methods: irls, gee, ml, reml, mql, pql,",
    ),
    (
        lambda: bg.sbc(bg.Model("y ~ x + (1 | g)", table(), "poisson", priors="flat"), ["laplace"], 5),
        bg.MethodError,
        "priors='flat': there is nothing to draw a truth from. Give the model",
    ),
    (
        lambda: bg.sbc(3, ["laplace"], 5),
        bg.MethodError,
        "a study takes a Model, or a function that makes one; got int.",
    ),
    (lambda: bg.bootstrap(lap(), 0), bg.MethodError, "replicates is 0; a whole number, 1 or more, is expected."),
    (lambda: bg.bootstrap(lap(), -1), bg.MethodError, "replicates is -1; a whole number, 1 or more, is expected."),
    (lambda: bg.bootstrap(3), bg.MethodError, "bootstrap takes a fit; got int."),
    (
        lambda: bg.bootstrap(lap(), 5, progress="zz"),
        bg.MethodError,
        "progress is 'zz'; True, False, 'auto' or a function (done, total) is",
    ),
    (lambda: bg.bootstrap(lap(), 5, alternative=3), bg.MethodError, "bootstrap takes a fit; got int."),
    (
        lambda: bg.compare(MODEL, methods=["zz"]),
        bg.MethodError,
        "unknown method 'zz'. Known methods: irls, gee, ml, reml, mql, pql,",
    ),
    (lambda: bg.compare(MODEL, methods=[]), bg.MethodError, "no methods given to compare; name at least one, e.g."),
    (
        lambda: bg.compare(MODEL, methods=["laplace"], reference="zz"),
        bg.MethodError,
        "unknown method 'zz'. Known methods: irls, gee, ml, reml, mql, pql,",
    ),
    (lambda: bg.compare(3), bg.MethodError, "model is 3; a Model is expected."),
    (lambda: bg.anova(3), bg.MethodError, "anova compares fits; got int."),
    (
        lambda: bg.anova(irls(), kind="zz"),
        bg.MethodError,
        "kind is 'zz'; 'sequential', 'marginal', 'I', 'II' or 'III' is",
    ),
    (lambda: bg.anova(irls(), test="zz"), bg.MethodError, "unknown test 'zz'; known tests: F, chi2, LR, score."),
    (
        lambda: bg.anova(irls(), lap()),
        bg.MethodError,
        "a likelihood ratio needs maximum likelihood, and these fits have",
    ),
    (
        lambda: bg.Model("r ~ x", table(), "gaussian", errors=bg.AR1Errors("zz")).fit("reml"),
        bg.DataError,
        "The table has no column 'zz'. It has y, x, g, h, r.",
    ),
    (
        lambda: bg.Model("r ~ x", table(), "gaussian", errors="ar1"),
        bg.MethodError,
        "errors is 'ar1'; bg.AR1Errors(group, time=...) or bg.KnownErrors(...)",
    ),
    (
        lambda: bg.Model("r ~ x", table(), "gaussian", errors=bg.AR1Errors("g", time="h")).fit("reml"),
        bg.DataError,
        "time of the errors is str; numbers are expected.",
    ),
    (
        lambda: bg.Model("y ~ x", table(), "poisson", errors=bg.AR1Errors("g")),
        bg.MethodError,
        "errors= is for the gaussian family with identity link, one dispersion",
    ),
    (
        lambda: bg.Model("y ~ x", table(), "poisson", zi="~ zz"),
        bg.DataError,
        "The table has no column 'zz'. It has y, x, g, h, r.",
    ),
    (
        lambda: bg.Model("r ~ x", table(), "gaussian", zi="~ x"),
        bg.FamilyError,
        "zi= adds zeros to a count: family='poisson', 'negative_binomial' or",
    ),
    (
        lambda: bg.Model("y ~ x", table(), "poisson", dispersion="~ x"),
        bg.FamilyError,
        "dispersion='~ x': poisson has no dispersion or shape that is",
    ),
    (
        lambda: bg.Model("y ~ x", table(), "poisson", zi=3),
        bg.FormulaError,
        "zi is 3; a one-sided formula such as '~ x' is expected.",
    ),
    (
        lambda: bg.Model("y ~ x", table(), "poisson", zi="y ~ x"),
        bg.FormulaError,
        "zi is 'y ~ x'; nothing stands to the left of its '~'. Write '~ x'.",
    ),
    (
        lambda: bg.Model("r ~ x", table(), "gaussian", dispersion="~ ("),
        bg.FormulaError,
        "ends where a term was expected",
    ),
    (lambda: bg.Known(), bg.DataError, "bg.Known takes a covariance K or its inverse, precision=: one of the"),
    (
        lambda: bg.Model(
            "y ~ x + (1 | g)", table(), "poisson", covariance={"g": bg.Known(np.eye(2), levels=["a", "b"])}
        ).fit("laplace"),
        bg.DataError,
        "the known covariance of 'g' lacks the levels c, d, e, f (4 in all) of",
    ),
    (
        lambda: bg.pedigree(3, id="a", sire="b", dam="c"),
        bg.DataError,
        "Expected a pandas, polars or pyarrow table, or a dict of arrays; got",
    ),
    (
        lambda: bg.pedigree(pd.DataFrame({"a": [1, 2], "s": [2, 1], "d": [None, None]}), id="a", sire="s", dam="d"),
        bg.DataError,
        "the pedigree has a loop: 1 is a parent of 2 is a parent of 1.",
    ),
    (
        lambda: bg.pedigree(pd.DataFrame({"a": [1, 1], "s": [0, 0], "d": [0, 0]}), id="a", sire="s", dam="d"),
        bg.DataError,
        "the pedigree lists some individuals more than once: 1. One row each",
    ),
    (
        lambda: bg.pedigree(pd.DataFrame({"a": [1], "s": [1], "d": [None]}), id="a", sire="s", dam="d"),
        bg.DataError,
        "the pedigree has a loop: 1 is a parent of 1.",
    ),
    (
        lambda: bg.pedigree(pd.DataFrame({"a": [1]}), id="a", sire="s", dam="d"),
        bg.DataError,
        "The table has no column 's'. It has a.",
    ),
    (lambda: MODEL.to_pymc(marginalize="x"), bg.MethodError, "marginalize='x'; True, 'laplace' or 'agq' is expected."),
    (
        lambda: bg.Prior("Nosuch", mu=0),
        bg.SpecError,
        "unknown prior distribution: 'Nosuch'. Did you mean 'Cauchy'? Known:",
    ),
    (lambda: bg.Prior("Normal", nosuch=1), bg.SpecError, "unknown parameter of Normal: 'nosuch'. Known: mu, sigma."),
    (lambda: bg.Chunks(3), bg.DataError, "Chunks of a int cannot be read. Expected a function that returns an"),
    (
        lambda: bg.variance_posterior(MODEL),
        bg.MethodError,
        "the marginal posterior of standard deviations is for linear mixed",
    ),
    (lambda: bg.variance_posterior(3), bg.MethodError, "variance_posterior takes a Model or a Fit; got int."),
    (
        lambda: irls().score_test("zz"),
        bg.DataError,
        "The table has no column 'zz'. It has y, x, g, h, r.",
    ),
    (
        lambda: lap().score_test("(1 | zz)"),
        bg.DataError,
        "The table has no column 'zz'. It has y, x, g, h, r.",
    ),
    (
        lambda: bg.Family.from_pymc("a", 3, link="log"),
        bg.FamilyError,
        "the parameters of 3 cannot be read; give a function of (mu, ...).",
    ),
    (lambda: lap().loo("row", draws=0), bg.MethodError, "draws is 0; a whole number, 10 or more"),
    (lambda: lap().loo("g", refit="yes"), bg.MethodError, "refit is 'yes'; True, False or a limit"),
    (lambda: lap().quadrature_path([]), bg.MethodError, "nodes is empty"),
    (lambda: MODEL.prior_predictive(draws=0), bg.MethodError, "draws is 0; a whole number, 1 or more"),
    (
        lambda: bg.Study(MODEL, TRUTH, ["laplace"], 10**9).run(workers=1),
        bg.MethodError,
        "1000000000 replicates of 1 arm(s) by 1 method(s) would take about 2980 GB of memory",
    ),
    (lambda: bg.bootstrap(lap(), 10**9), bg.MethodError, "take fewer replicates."),
    (lambda: lap().sensitivity(threshold=-1), bg.MethodError, "threshold is -1; a number, 0 or more, is expected."),
    (lambda: lap().evidence(seed="a"), bg.MethodError, "seed is 'a'; a whole number, 0 or more, or None is expected."),
    (lambda: bg.bootstrap(lap(), 5, seed="a"), bg.MethodError, "seed is 'a'; a whole number, 0 or more, or None"),
    (lambda: bg.bootstrap(lap(), 5, resume=3), bg.MethodError, "resume is 3; what bg.bootstrap returned is expected."),
    (lambda: irls().emmeans("h", at=3), bg.MethodError, "at is 3; a dict is expected."),
    (lambda: lap().average_effects(3), bg.MethodError, "variables is 3; a name, or a list of names, is expected."),
    (lambda: lap().save(3), bg.SpecError, "path is 3; a path is expected."),
    (lambda: bg.load_fit(3), bg.SpecError, "path is 3; a path is expected."),
    (lambda: bg.Prior(3), bg.SpecError, "name is 3; the name of a distribution, such as 'Normal', is expected."),
    (lambda: lap().predict(ci="a"), bg.MethodError, "ci is 'a'; a number between 0 and 1 is expected."),
    (lambda: lap().predict(offset=1.0), bg.MethodError, "offset= and exposure= are of new rows, and no newdata"),
    (lambda: irls().confint(level="a"), bg.MethodError, "level is 'a'; a number between 0 and 1 is expected."),
    (lambda: irls().qaic(parent=3), bg.MethodError, "parent is 3; a fit is expected."),
    (lambda: bg.Study(MODEL, TRUTH, ["laplace"], 2).run(workers=0), bg.MethodError, "workers is 0"),
    (lambda: bg.Study(MODEL, TRUTH, ["laplace"], 2).run(workers="a"), bg.MethodError, "workers is 'a'"),
]


@pytest.mark.filterwarnings("ignore::bayesglmm.errors.BayesGLMMWarning")
@pytest.mark.parametrize("k", range(len(CALLS)), ids=[message for _, _, message in CALLS])
def test_a_bad_call_gives_one_clear_error(k: int) -> None:
    call, error, message = CALLS[k]
    with pytest.raises(error) as caught:
        call()
    text = re.sub(r"\s+", " ", str(caught.value))
    assert type(caught.value) is error
    assert message in text, text
    assert 15 < len(text) < 500
