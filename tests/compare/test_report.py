"""The report: one file that needs nothing else, holding the numbers of the comparison."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from fake_fits import FakeModel, sampled_result, usual_model

import bayesglmm as bg
from bayesglmm.comparison import Comparison
from bayesglmm.report import render_report
from bayesglmm.report.words import fixed, headline, number, seconds, signed, times

METHODS = ["mql", "pql", "laplace", "agq", "mcmc"]
BROWSER = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)


@pytest.fixture(scope="module")
def usual() -> Comparison:
    model = usual_model()
    model.about |= {"title": "Counts in eight groups", "source": "made to order", "teaches": "how a report is read"}
    return bg.compare(model, METHODS)


@pytest.fixture(scope="module")
def page(usual, tmp_path_factory) -> Path:
    return usual.report(tmp_path_factory.mktemp("report") / "new" / "folder")


class Reader(HTMLParser):
    """Everything in a page that could fetch something or run something, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.alts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "poster", "data", "action"):
                self.fetched.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
        if tag == "img":
            self.alts.append(dict(attrs).get("alt") or "")

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def reader(page) -> Reader:
    return Reader(page.read_text(encoding="utf-8"))


def test_the_numbers_lie_beside_the_page(usual, page):
    folder = page.parent
    assert sorted(p.name for p in folder.iterdir()) == ["idata.nc", "report.html", "table.csv", "verdict.csv"]
    table = pd.read_csv(folder / "table.csv")
    assert table["estimate"].tolist() == pytest.approx(usual.table["estimate"].tolist(), rel=1e-12)
    assert list(table.columns) == list(usual.table.columns)
    assert pd.read_csv(folder / "verdict.csv")["sentence"].tolist() == usual.verdict["sentence"].tolist()


def test_the_draws_can_be_read_back(usual, page):
    import arviz as az

    tree = az.from_netcdf(page.parent / "idata.nc")
    assert set(tree.children) == {"mql", "pql", "laplace", "mcmc"}
    ours = usual.fits["mcmc"].idata["posterior"]["beta"]
    assert (tree["mcmc"]["posterior"]["beta"] == ours).all()
    tree.close()


def test_the_page_needs_nothing_else(page, reader):
    assert all(url.startswith("data:") for url in reader.fetched)
    assert "script" not in reader.tags
    assert reader.handlers == []
    style = re.findall(r"<style>(.*?)</style>", page.read_text(encoding="utf-8"), flags=re.S)[0]
    assert "url(" not in style
    assert "@import" not in style


def test_every_picture_says_what_it_shows(reader):
    assert len(reader.alts) == 7  # overview, three parameters, predictive check, ranks, traces
    assert all(len(alt) > 10 for alt in reader.alts)


def test_the_page_holds_what_a_reader_needs(usual, reader):
    for text in ("Counts in eight groups", "y ~ x + (1 | g)", "poisson, log link", "g (8 levels)", "made to order"):
        assert text in reader.text
    for sentence in usual.verdict["sentence"]:
        assert sentence in reader.text
    assert f"bayesglmm {bg.__version__}" in reader.text
    assert "R-hat" in reader.text


def test_the_page_holds_every_estimate(usual, reader):
    for value in usual.table["estimate"]:
        assert number(value, 4) in reader.text


def test_a_difference_within_monte_carlo_error_is_marked(usual, reader):
    noisy = usual.table[(usual.table["within_mc_error"]) & (usual.table["method"] != usual.reference)]
    assert len(noisy)
    for bias in noisy["bias"]:
        assert f"≈ {signed(bias)}" in reader.text


def test_a_reference_that_may_not_judge_is_announced():
    cmp = bg.compare(usual_model(mcmc=sampled_result(r_hat=1.2)), ["pql"])
    text = Reader(render_report(cmp)).text
    assert "mcmc may not judge. R-hat 1.200 is above 1.01." in text
    assert "All parameters at a glance" not in text
    assert headline(cmp) == "No verdict: mcmc may not judge."


def test_a_comparison_without_a_single_fit_still_reports(tmp_path):
    cmp = bg.compare(FakeModel({}), ["pql", "mcmc"])
    text = Reader(cmp.report(tmp_path).read_text(encoding="utf-8")).text
    assert "Failed: 'pql' does not apply here." in text
    assert not (tmp_path / "idata.nc").exists()


def test_text_from_a_model_file_cannot_become_markup():
    model = usual_model()
    model.about |= {"title": "<script>alert(1)</script>", "source": "<img src=x onerror=alert(1)>", "teaches": "a & b"}
    page = render_report(bg.compare(model, ["pql"], reference="pql"))
    found = Reader(page)
    assert "script" not in found.tags
    assert found.handlers == []
    assert html.escape("<script>alert(1)</script>") in page


def test_a_folder_that_cannot_be_written(usual, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(bg.BayesGLMMError, match="cannot be written"):
        usual.report(tmp_path / "taken")


def test_no_figure_is_left_open(page):
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (METHODS, "laplace does as well as mcmc on this model; pql and mql do not. agq failed."),
        (["pql"], "No method does as well as mcmc on this model. pql comes closest: good for a first look only."),
        (["mql"], "No method does as well as mcmc on this model."),
    ],
)
def test_the_headline(methods, said):
    assert headline(bg.compare(usual_model(), methods)) == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(-1.23456, 4), "−1.235"),
        (number(0.00321, 2), "0.0032"),
        (number(1234567.0), "1.23e+06"),
        (number(float("nan")), "–"),
        (number(0.0), "0.00"),
        (signed(0.001), "0.00"),
        (signed(-0.126), "−0.13"),
        (fixed(1.005, 1), "1.0"),
        (seconds(0.0231), "23 ms"),
        (seconds(0.0994), "99 ms"),
        (seconds(0.0996), "100 ms"),
        (seconds(0.1), "0.10 s"),
        (seconds(179.6), "3 min 0 s"),
        (seconds(3.21), "3.2 s"),
        (seconds(42.4), "42 s"),
        (seconds(185.0), "3 min 5 s"),
        (times(3.14159), "3.1×"),
        (times(12345.0), "12,345×"),
    ],
)
def test_how_numbers_are_written(text, expected):
    assert text == expected


def opened(page: Path, profile: Path) -> tuple[str, str]:
    """The page's document after a browser has built it, and what the browser logged."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--log-level=0",
        f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout, done.stderr


@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the report in")
def test_a_browser_shows_the_tables_and_complains_of_nothing(usual, page, tmp_path):
    document, log = opened(page, tmp_path)
    text = Reader(document).text
    assert "CONSOLE" not in log
    assert all(sentence in text for sentence in usual.verdict["sentence"])
    assert all(number(value, 4) in text for value in usual.table["estimate"])


@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the report in")
@pytest.mark.parametrize("width", [1200, 768, 360])
def test_it_fits_a_desk_and_a_phone(page, tmp_path, width):
    """Nothing sticks out sideways, every picture loads, nothing is fetched: measured from a frame around the report."""
    # The report itself allows no scripts; the frame around it does the measuring.
    frame = f"""<!DOCTYPE html><body><iframe width="{width}" height="900" style="border:0"></iframe><script>
      const frame = document.querySelector("iframe");
      frame.onload = () => {{
        const inside = frame.contentDocument, root = inside.documentElement, pictures = [...inside.images];
        document.body.dataset.seen = JSON.stringify({{
          "pictures": pictures.length,
          "overflow": root.scrollWidth - root.clientWidth,
          "broken": pictures.filter(i => !(i.complete && i.naturalWidth)).length,
          "fetched": frame.contentWindow.performance.getEntriesByType("resource")
            .filter(e => !e.name.startsWith("data:")).length,
        }});
      }};
      frame.srcdoc = {json.dumps(page.read_text(encoding="utf-8")).replace("</", "<\\/")};
    </script>"""
    (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
    document, _ = opened(tmp_path / "frame.html", tmp_path / "profile")
    seen = json.loads(html.unescape(re.search(r'data-seen="([^"]*)"', document).group(1)))
    assert seen == {"pictures": 7, "overflow": 0, "broken": 0, "fetched": 0}
