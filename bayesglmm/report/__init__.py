"""The report of a comparison: one HTML file that needs nothing else, and the numbers beside it."""

from bayesglmm.report.write import render_report, write_report

__all__ = ["render_report", "write_report"]
