"""``StudyResult``: what came out of a study, as tables, pictures and a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bayesglmm.arguments import place, plain, takes
from bayesglmm.errors import MethodError
from bayesglmm.study.replicate import VALUES, Replicate
from bayesglmm.study.scores import beside_published, score_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesglmm.study.core import Study


@dataclass(frozen=True, repr=False)
class StudyResult:
    """What the replicates of a study found.

    Parameters
    ----------
    study : Study
        What was run.
    replicates : list of Replicate
        In order.
    """

    study: Study
    replicates: list[Replicate]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """A row per estimate: ``arm, replicate, method, parameter, truth, estimate, sd, ci_low, ci_high``."""
        names = list(self.study.arms)
        rows = [
            (names[r.arm], r.number, o.method, parameter, *values)
            for r in self.replicates
            for o in r.outcomes
            for parameter, values in o.found.items()
        ]
        return pd.DataFrame(rows, columns=["arm", "replicate", "method", "parameter", *VALUES])

    @cached_property
    def failures(self) -> pd.DataFrame:
        """A row per fit that gave no numbers: ``arm, replicate, method, reason``."""
        return pd.DataFrame(list(self._failures()), columns=["arm", "replicate", "method", "reason"])

    def _failures(self) -> Iterable[tuple[str, int, str, str]]:
        names = list(self.study.arms)
        for r in self.replicates:
            outcomes = [(m, r.failure) for m in self.study.task.methods] if r.failure else []
            for method, reason in outcomes or [(o.method, o.failure) for o in r.outcomes]:
                if reason:
                    yield names[r.arm], r.number, method, reason

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per arm × parameter × method: see :func:`bayesglmm.study.scores.score_rows`; and ``failures``."""
        table = score_rows(self.rows, self.study.reference)
        failed = self.failures.groupby(["arm", "method"]).size()
        table["failures"] = [int(failed.get((a, m), 0)) for a, m in zip(table["arm"], table["method"])]
        return table if len(self.study.arms) > 1 else table.drop(columns="arm")

    @cached_property
    def seconds(self) -> pd.DataFrame:
        """A row per arm × method: median and total wall seconds of a fit, share at the boundary, failures."""
        names = list(self.study.arms)
        rows = [
            (names[r.arm], o.method, o.seconds, bool(o.boundary), bool(o.failure))
            for r in self.replicates
            for o in r.outcomes
        ]
        frame = pd.DataFrame(rows, columns=["arm", "method", "seconds", "boundary", "failed"])
        groups = frame.groupby(["arm", "method"], sort=False)
        columns = {
            "median_seconds": groups["seconds"].median(),
            "total_seconds": groups["seconds"].sum(),
            "boundary": groups["boundary"].mean(),
            "failed": groups["failed"].sum(),
        }
        return pd.DataFrame(columns).reset_index()

    @cached_property
    def published(self) -> pd.DataFrame:
        """Printed means beside ours; empty when the study names none."""
        return beside_published(self.rows, self.study.published)

    @takes(kind=plain)
    def plot(self, kind: str = "bias") -> Figure:
        """Draw bias, coverage or calibration by parameter, arm and method, each with its Monte-Carlo error.

        Parameters
        ----------
        kind : {"bias", "coverage", "calibration"}
            Bias in units of the truth's parameter; coverage of 95 % intervals; standard errors over the empirical sd.
        """
        from bayesglmm.study.figures import KINDS, draw

        if kind not in KINDS:
            raise MethodError(f"unknown plot {kind!r}; result.plot draws {', '.join(KINDS)}.")
        return draw(self, kind)

    @takes(folder=place)
    def report(self, folder: str | Path) -> Path:
        """Write ``report.html`` (one self-contained file), ``table.csv``, ``rows.csv`` and ``failures.csv``.

        Returns
        -------
        Path
            Of the report.
        """
        from bayesglmm.study.report import write_study

        return write_study(self, Path(folder))

    def __repr__(self) -> str:
        return f"<StudyResult: {self.study.replicates} replicates, {', '.join(self.study.task.methods)}>"

    def __str__(self) -> str:
        shown = [
            "parameter",
            "method",
            "truth",
            "mean",
            "bias",
            "bias_mcse",
            "sd",
            "se_ratio",
            "coverage",
            "n",
            "failures",
        ]
        table = self.table
        lines = [table[[c for c in ("arm", *shown) if c in table]].to_string(index=False, float_format="{:.3f}".format)]
        lines += [
            f"{n} × {m}: {why}" for (m, why), n in self.failures.value_counts(["method", "reason"]).head(10).items()
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.table.to_html(index=False, float_format="{:.3f}".format, border=0)
