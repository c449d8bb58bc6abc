"""The command line as a user meets it: what is printed, what is written, how it ends."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bayesglmm as bg
from bayesglmm.cli import app
from bayesglmm.cli.options import parse_options, parse_value, split_names
from bayesglmm.cli.progress import show_progress
from bayesglmm.cli.screen import make_console
from bayesglmm.comparison import Event, Outcome
from bayesglmm.spec import list_models

ROOT = Path(__file__).parents[2]
CBPP = str(ROOT / "models" / "cbpp.toml")
METHODS = "mql,pql,laplace"


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[str, str, Path]:
    """cbpp by four methods, in a process of its own."""
    folder = tmp_path_factory.mktemp("out") / "cbpp"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "bayesglmm", "compare", CBPP, "--methods", METHODS,
         "--reference", "agq", "-o", "agq.nodes=9", "--priors", "flat", "--seed", "3", "--out", str(folder)],
        capture_output=True, text=True, timeout=120, check=True, cwd=ROOT,
    )  # fmt: skip
    return done.stdout, done.stderr, folder


def test_compare_prints_table_verdict_and_the_report_s_place(compared):
    out, _, folder = compared
    assert "Contagious bovine pleuropneumonia" in out
    for text in ("herd.sd", "sd ratio", "speed-up", "The reference."):
        assert text in out
    assert "As good as the reference here" in " ".join(out.split())
    assert f"Report: {folder / 'report.html'}" in out
    assert sorted(p.name for p in folder.iterdir()) == ["idata.nc", "report.html", "table.csv", "verdict.csv"]


def test_compare_hands_options_priors_and_seed_on(compared):
    import pandas as pd

    _, _, folder = compared
    table = pd.read_csv(folder / "table.csv").set_index(["parameter", "method"])
    assert table.loc[("Intercept", "laplace"), "estimate"] == pytest.approx(-1.398532, abs=1e-4)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "nodes=9" in page
    assert "seed 3" in page
    assert "Flat: Laplace and quadrature are maximum likelihood here." in page


def test_progress_without_a_terminal_is_one_plain_line_per_method(compared):
    _, err, _ = compared
    lines = [line for line in err.splitlines() if line.strip()]
    assert [line.split()[:2] for line in lines] == [[m, "done"] for m in ("mql", "pql", "laplace", "agq")]
    assert "\x1b" not in err


def test_fit_prints_the_summary_and_keeps_what_it_is_asked_to(tmp_path):
    code, out, _ = run("fit", CBPP, "--method", "laplace", "--priors", "flat", "--out", str(tmp_path / "kept"))
    assert code == 0
    assert "-92.0263" in out  # the published log-likelihood
    assert "period[T.2]" in out
    names = sorted(p.name for p in (tmp_path / "kept").iterdir())
    assert names == ["fixed.csv", "idata.nc", "summary.txt", "varcomp.csv"]
    assert (tmp_path / "kept" / "summary.txt").read_text(encoding="utf-8").strip() in out


def test_fit_takes_the_model_s_natural_method():
    code, out, _ = run("fit", str(ROOT / "models" / "ceb_quasi.toml"))
    assert code == 0
    assert out.startswith("IRLS fit")


def test_models_lists_what_ships():
    code, out, _ = run("models", str(ROOT / "models"))
    assert code == 0
    for info in list_models(ROOT / "models"):
        assert info.name in out
        assert info.formula.split("+")[0].strip() in out


def test_models_finds_the_ones_that_ship_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("models")
    assert code == 0
    assert "cbpp" in out


def test_models_says_so_when_there_are_none(tmp_path):
    code, out, _ = run("models", str(tmp_path))
    assert code == 0
    assert "No model files" in out


def test_models_shows_a_file_it_cannot_use(tmp_path):
    (tmp_path / "bad.toml").write_text("[model]\nformula = 'y ~ x'\nfamly = 'poisson'\n[data]\nfile = 'x.csv'\n")
    code, out, _ = run("models", str(tmp_path))
    assert code == 0
    assert "famly" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "nowhere.toml"], "nowhere.toml"),
        (["fit", CBPP, "--method", "lapalce"], "Did you mean 'laplace'"),
        (["fit", CBPP, "--method", "irls"], "'irls' takes no random effects"),
        (["fit", CBPP, "--option", "nodes"], "METHOD.NAME=VALUE"),
        (["fit", CBPP, "--method", "laplace", "--option", "nodes=3"], "has no option 'nodes'"),
        (["compare", CBPP, "--methods", "pql,mqql"], "Did you mean 'mql'"),
        (["compare", CBPP, "--methods", " , "], "no method"),
        (["compare", CBPP, "--methods", "pql", "--reference", "pql", "-o", "agq.nodes=5"], "not run here"),
        (["models", "no-such-folder"], "no-such-folder"),
    ],
)
def test_an_error_is_one_message_and_no_traceback(arguments, message):
    code, out, err = run(*arguments)
    assert code == 1
    assert err.startswith("Error: ")
    assert message in err
    assert "Traceback" not in out + err


def test_a_traceback_is_there_for_the_asking():
    with pytest.raises(bg.SpecError):
        run("fit", "nowhere.toml", "--traceback")


def test_wrong_usage_ends_with_two():
    assert run("compare")[0] == 2
    assert run("compare", CBPP, "--draws", "zero")[0] == 2
    assert run("shuffle")[0] == 2


def test_markup_in_a_message_is_shown_as_it_is():
    _, _, err = run("fit", "[bold]x[/bold].toml")
    assert "[bold]x[/bold].toml" in err


def test_nothing_fitted_ends_with_one(tmp_path):
    code, out, _ = run("compare", CBPP, "--methods", "irls", "--reference", "irls")
    assert code == 1
    assert "takes no random effects" in " ".join(out.split())


def test_version():
    assert run("--version")[1].strip() == f"bayesglmm {bg.__version__}"


def test_help_needs_none_of_the_heavy_libraries():
    code = (
        "import sys, typer.testing, bayesglmm.cli as c; r = typer.testing.CliRunner().invoke(c.app, ['--help']); "
        "assert r.exit_code == 0, r.output; heavy = {'pymc', 'pytensor', 'arviz', 'matplotlib', 'numba', 'pandas'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_on_a_terminal_every_method_has_its_line():
    screen = io.StringIO()
    from rich.console import Console

    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with show_progress(["pql", "agq", "mcmc"], console) as progress:
        progress(Event("pql"))
        progress(Event("pql", Outcome("pql", None, 0.25, "it broke\nbadly")))
        progress(Event("agq"))
        progress(Event("agq", fraction=0.25, text="2 of 4 chains"))
    last = screen.getvalue().split("✗")[-1]
    assert "pql" in last
    assert "it broke" in last
    assert "badly" not in last
    assert "25%  2 of 4 chains" in last
    assert "waiting" in last


@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("77", 77)])
def test_output_to_a_file_is_wide_unless_told_otherwise(monkeypatch, columns, width):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert os.environ.get("COLUMNS") == columns
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert make_console().width == width


def test_options_by_method():
    found = parse_options(["agq.nodes=25", "mcmc.sampler=nutpie", "agq.kernel=graph"], ["agq", "mcmc", "pql"])
    assert found == {"agq": {"nodes": 25, "kernel": "graph"}, "mcmc": {"sampler": "nutpie"}, "pql": {}}
    assert parse_options(["nodes=3"], ["agq"]) == {"agq": {"nodes": 3}}
    assert parse_options(["nodes=15,9"], ["agq"]) == {"agq": {"nodes": (15, 9)}}


@pytest.mark.parametrize("text", ["nodes", "nodes=3", ".nodes=3", "agq.=3", "=3"])
def test_options_that_cannot_be_read(text):
    with pytest.raises(bg.MethodError, match=r"METHOD\.NAME=VALUE"):
        parse_options([text], ["agq", "mcmc"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("1e-3", 1e-3), ("true", True), ("False", False), ("none", None), ("fixed", "fixed")],
)
def test_values_on_the_command_line(text, value):
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_names_on_the_command_line():
    assert split_names("pql, laplace,,mcmc ") == ["pql", "laplace", "mcmc"]
