"""Configuration of the documentation: ``make docs`` builds it, every example run, warnings as errors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

import bayesglmm

HERE = Path(__file__).parent

# The notebooks live beside the package; the site shows them as they were executed.
shutil.copytree(HERE.parent / "notebooks", HERE / "notebooks", dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))

project = "bayesglmm"
author = "the bayesglmm authors"
version = release = bayesglmm.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
templates_path = ["_templates"]

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_excludepatterns = ["notebooks/*"]
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
# Outputs of the kept notebooks hold terminal colours and widgets that the site need not know.
suppress_warnings = ["mystnb.unknown_mime_type"]

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "bayesglmm"
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {page: [] for page in ("start", "formulas", "families", "trust", "studies", "cookbook", "walks", "api")}
project_copyright = "the bayesglmm authors, BSD-3-Clause"


def setup(app: Any) -> None:
    """Formulas as MathML, made here: a page then needs nothing from elsewhere to show them."""

    def renderer(display: str) -> tuple[Any, None]:
        def visit(translator: Any, node: Any) -> None:
            translator.body.append(convert(node.astext(), display=display))
            raise nodes.SkipNode

        return visit, None

    app.add_html_math_renderer("mathml", renderer("inline"), renderer("block"))
