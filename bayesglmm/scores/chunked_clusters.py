"""Score totals of clusters whose rows come in chunks; memory grows with the number of clusters, not of rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.design.chunked import BoundPart
from bayesglmm.design.tables import Table
from bayesglmm.errors import DataError
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.rows import design_rows
from bayesglmm.scores.sandwich import cluster_scores
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]
#: For one grouping: labels, and score totals of shape (labels, p).
Labelled = tuple[list[Any], Floats]


@dataclass(frozen=True)
class ClusterTotals:
    """Part of the data → score totals by cluster, for each column of labels and for the combination of two.

    Parameters
    ----------
    family, link, aux, beta
        The model at its solution.
    names : tuple of str
        One or two columns.
    """

    family: Family
    link: Link
    aux: Aux
    beta: Floats
    names: tuple[str, ...]

    def __call__(self, part: BoundPart) -> list[list[Labelled]]:
        """One list per table."""
        return [self._of_table(design, table) for design, table in part.designs()]

    def _of_table(self, design: Any, table: Any) -> list[Labelled]:
        view = Table(table)
        labels = []
        for name in self.names:
            column = view.column(name).to_numpy(dtype=object, na_value=None)
            column = column if design.kept is None else column[design.kept]
            gaps = int(pd.isna(column).sum())
            if gaps:
                raise DataError(f"groups has {gaps} missing labels in {name!r}; leave those rows out.")
            labels.append(column)
        if len(labels) == 2:
            pairs = np.empty(len(labels[0]), dtype=object)
            pairs[:] = list(zip(*labels))
            labels.append(pairs)
        source = design_rows(design)
        out = []
        for column in labels:
            codes, seen = pd.factorize(column)
            total = cluster_scores(source, self.family, self.link, self.aux, self.beta, codes, len(seen))
            out.append((list(seen), total))
        return out


def merged(parts: Iterable[list[list[Labelled]]], p: int) -> list[Floats]:
    """Totals of all clusters, one array of shape (clusters, p) per grouping, added up in the order of the parts."""
    totals: list[dict[Any, Floats]] = []
    for tables in parts:
        for groupings in tables:
            totals = totals or [{} for _ in groupings]
            for total, (labels, values) in zip(totals, groupings):
                for label, value in zip(labels, values):
                    total[label] = total[label] + value if label in total else value
    return [np.array(list(total.values())).reshape(-1, p) for total in totals]
