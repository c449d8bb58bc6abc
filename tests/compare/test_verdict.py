"""What is said of a method, from the same scores a reader sees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from bayesglmm.comparison.verdict import GRADES, grade, objections, sentence, worst_bias, worst_sd_ratio
from bayesglmm.result import Status

GOOD = Status(True, "gradient is zero")


def rows(*scores: tuple[str, str, float, float], noise: bool = False) -> pd.DataFrame:
    table = pd.DataFrame(scores, columns=["parameter", "kind", "bias", "sd_ratio"])
    table["w1"] = table["bias"].abs()
    table["mcse"] = 0.02
    table["sd"] = np.where(table["sd_ratio"].isna(), np.nan, 1.0)
    table["within_mc_error"] = pd.array([noise] * len(table), dtype="boolean")
    table["sd_within_mc_error"] = pd.array([noise] * len(table), dtype="boolean")
    return table


@pytest.mark.parametrize(
    ("bias", "ratio", "name"),
    [
        (0.0, 1.0, "same"),
        (0.099, 0.9, "same"),
        (-0.099, 1.1, "same"),
        (0.1, 1.0, "close"),
        (0.0, 0.89, "close"),
        (-0.3, 1.0, "rough"),
        (0.0, 1.26, "rough"),
        (1.0, 1.0, "off"),
        (0.0, 0.49, "off"),
        (0.0, 2.01, "off"),
    ],
)
def test_limits_of_the_grades(bias, ratio, name):
    assert grade(bias, ratio).name == name


def test_worst_values_and_where_they_stand():
    table = rows(("a", "fixed", 0.2, 1.3), ("b", "fixed", -0.4, 0.75), ("c", "sd", np.nan, np.nan))
    assert (worst_bias(table).value, worst_bias(table).parameter) == (-0.4, "b")
    # 0.75 is further from 1 than 1.3 on the log scale
    assert (worst_sd_ratio(table).value, worst_sd_ratio(table).parameter) == (0.75, "b")


def test_nothing_known_is_no_worst_value():
    assert np.isnan(worst_bias(rows(("a", "fixed", np.nan, np.nan))).value)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"r_hat": 1.02}, "R-hat 1.020"),
        ({"r_hat": float("nan")}, "R-hat nan"),
        ({"ess": 399.0}, "effective sample size 399"),
        ({"divergences": 70, "converged": False}, "70 divergent transitions"),
    ],
)
def test_a_sampled_reference_must_earn_its_place(changes, word):
    healthy = {"converged": True, "message": "", "r_hat": 1.01, "ess": 400.0, "divergences": 1}
    assert objections(Status(**healthy)) == []
    found = objections(Status(**(healthy | changes)))
    assert len(found) == 1
    assert word in found[0]


def test_a_deterministic_reference_must_have_converged():
    assert objections(GOOD) == []
    assert objections(Status(False, "stopped at 100 iterations")) == ["stopped at 100 iterations"]


def test_coefficients_and_variances_are_told_apart():
    table = rows(("x", "fixed", 0.02, 1.0), ("g.sd", "sd", -0.8, 0.7))
    name, text = sentence("laplace", table, GOOD, "conditional", "conditional")
    assert name == "rough"
    assert text == (
        "Coefficients as good as the reference here; variance parameters good for a first look only: g.sd is 0.80 sd "
        "too low and its interval is 30 % too narrow."
    )


def test_an_interval_many_times_too_wide_is_not_said_in_percent():
    _, text = sentence("map", rows(("g.sd", "sd", 0.0, 16.2)), GOOD, "conditional", "conditional")
    assert text.endswith("the interval of g.sd is 16 times too wide.")


def test_one_grade_for_all_is_said_once():
    name, text = sentence("agq", rows(("x", "fixed", 0.02, 1.05), ("g.sd", "sd", -0.05, 1.0)), GOOD, "a", "a")
    assert name == "same"
    assert text == "As good as the reference here: no estimate is off by more than 0.05 sd."


def test_monte_carlo_error_is_not_held_against_a_method():
    name, text = sentence("agq", rows(("x", "fixed", 0.4, 1.3), noise=True), GOOD, "conditional", "conditional")
    assert name == "same"
    assert text.endswith("every difference is within the reference's Monte-Carlo error.")


def test_another_estimand_is_named():
    _, text = sentence("mql", rows(("x", "fixed", 0.4, 1.0)), GOOD, "marginal", "conditional")
    assert text.startswith("As a stand-in for the reference, good for a first look only: x is 0.40 sd too high.")
    assert "It answers another question (population-averaged, not conditional)" in text


@pytest.mark.parametrize(("method", "said"), [("pql", True), ("mql", True), ("laplace", False)])
def test_shrunken_variances_are_laid_at_the_door_of_pseudo_likelihood(method, said):
    _, text = sentence(method, rows(("g.sd", "sd", -0.4, 1.0)), GOOD, "conditional", "conditional")
    assert ("known bias" in text) is said


@pytest.mark.parametrize(
    ("method", "w1", "mcse", "said"),
    [
        ("laplace", 0.15, 0.02, True),
        ("laplace", 0.29, 0.02, False),  # the distributions are as far apart as the estimates
        ("pql", 0.15, 0.02, False),  # not a posterior mode
        ("laplace", 0.15, 0.0, False),  # the reference reports a mode, too
    ],
)
def test_a_mode_is_not_blamed_for_not_being_a_mean(method, w1, mcse, said):
    table = rows(("x", "fixed", 0.01, 1.0), ("g.sd", "sd", -0.3, 0.9)).assign(mcse=mcse)
    table.loc[1, "w1"] = w1
    _, text = sentence(method, table, GOOD, "conditional", "conditional")
    assert ("a mode where the reference reports a mean: the distributions of g.sd are 0.15 sd apart" in text) is said


def test_a_fit_that_did_not_converge_says_so_first():
    _, text = sentence("pql", rows(("x", "fixed", 0.0, 1.0)), Status(False, "it oscillates."), "c", "c")
    assert text.startswith("Did not converge (it oscillates). ")


def test_missing_standard_errors_are_named():
    _, text = sentence("mql", rows(("x", "fixed", 0.0, 1.0), ("g.sd", "sd", -3.0, np.nan)), GOOD, "c", "c")
    assert "It gives no standard error for g.sd." in text


def test_grades_widen():
    assert all(a.bias < b.bias and a.low > b.low and a.high < b.high for a, b in pairwise(GRADES))
