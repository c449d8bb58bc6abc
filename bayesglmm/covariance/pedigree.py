"""Additive genetic effects of a pedigree: the inverse relationship matrix by Henderson's rules, inbreeding included.

With T = I − ½(sire) − ½(dam) and D the variances of Mendelian sampling, A = T⁻¹DT⁻ᵀ and so A⁻¹ = T'D⁻¹T (Henderson
1976, Biometrics 32; Quaas 1976, Biometrics 32). D follows from the parents' inbreeding coefficients, which are found
one animal at a time from its ancestors alone (Meuwissen & Luo 1992, Genet. Sel. Evol. 24).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.arguments import plain, takes
from bayesglmm.covariance.known import Known
from bayesglmm.design.columns import labels
from bayesglmm.design.tables import Table
from bayesglmm.errors import DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: What stands for a parent that is not known, unless an animal has that name.
UNKNOWN = ("", "0")


@takes(id=plain, sire=plain, dam=plain)
def pedigree(table: Any, *, id: str, sire: str, dam: str) -> Known:
    """The precision between the animals (or plants, or people) of a pedigree, for ``covariance={"animal": ...}``.

    Parameters
    ----------
    table : DataFrame or table
        pandas, polars or pyarrow table, or a mapping of columns; one row per individual, ancestors without records
        included, in any order.
    id, sire, dam : str
        Columns of the individual and its parents. A parent that is missing, empty or 0 is not known: it counts as
        unrelated to everybody and not inbred.

    Returns
    -------
    Known
        A⁻¹, sparse, over all individuals in the order of the table.

    Raises
    ------
    DataError
        An individual that is missing or listed twice, a parent that is not listed, an individual among its own
        ancestors, or one that is inbred completely (A has no inverse then).

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> family = pd.DataFrame({"id": list("sdab"), "sire": ["", "", "s", "s"], "dam": ["", "", "d", "d"]})
    >>> known = bg.pedigree(family, id="id", sire="sire", dam="dam")
    >>> known.precision.toarray()
    array([[ 2.,  1., -1., -1.],
           [ 1.,  2., -1., -1.],
           [-1., -1.,  2.,  0.],
           [-1., -1.,  0.,  2.]])
    """
    read = Table(table)
    names = _names(read.column(id), id)
    positions = pd.Index(names, dtype=object)
    father, mother = (_parents(read.column(column), column, id, positions) for column in (sire, dam))
    order = _parents_first(father, mother, names)
    variances = _mendelian(order, father, mother)
    if variances.min(initial=1.0) < 1e-10:
        worst = names[int(np.argmin(variances))]
        raise DataError(
            f"the parents of {worst!r} are inbred completely: it is their copy, and the relationship matrix has no "
            "inverse. Leave it out, and give its records to its parent."
        )
    return Known(levels=names, precision=_precision(father, mother, variances), log_det=-float(np.log(variances).sum()))


def _names(column: pd.Series, name: str) -> tuple[str, ...]:
    if column.isna().any():
        raise DataError(f"the column {name!r} of the pedigree has {int(column.isna().sum())} missing values.")
    names = labels(column)
    twice = pd.Series(names)[pd.Index(names).duplicated()].unique()
    if len(twice):
        raise DataError(
            f"the pedigree lists some individuals more than once: {', '.join(twice[:5])}. One row each is expected."
        )
    return names


def _parents(column: pd.Series, name: str, id_name: str, positions: pd.Index) -> Ints:
    """Position of every individual's parent; -1 where it is not known."""
    out = np.full(len(column), -1, dtype=np.int64)
    given = np.flatnonzero(column.notna().to_numpy())
    texts = np.array(labels(column.iloc[given]), dtype=object)
    found = positions.get_indexer(pd.Index(texts, dtype=object))
    lost = sorted(set(texts[found < 0]) - set(UNKNOWN))
    if lost:
        raise DataError(
            f"{name!r} names {len(lost)} parents that {id_name!r} does not list: {', '.join(lost[:5])}. Give them rows "
            "of their own (their parents may be missing), or leave them out where nothing is known of them."
        )
    out[given] = found
    return out


def _parents_first(sire: Ints, dam: Ints, names: tuple[str, ...]) -> Ints:
    """An order in which parents come before their offspring, a generation at a time."""
    placed = np.zeros(len(sire) + 1, dtype=bool)
    placed[-1] = True  # where a parent that is not known points
    left, order = np.arange(len(sire)), []
    while len(left):
        ready = placed[sire[left]] & placed[dam[left]]
        if not ready.any():
            raise DataError(
                f"the pedigree has a loop: {' is a parent of '.join(_loop(sire, dam, placed, left, names))}."
            )
        order.append(left[ready])
        placed[order[-1]] = True
        left = left[~ready]
    return np.concatenate([*order, np.empty(0, dtype=np.int64)])


def _loop(sire: Ints, dam: Ints, placed: NDArray[np.bool_], left: Ints, names: tuple[str, ...]) -> list[str]:
    """Names along a loop, an offspring after its parent."""
    path = [int(left[0])]
    while path.count(path[-1]) == 1:
        here = path[-1]
        path.append(int(dam[here] if placed[sire[here]] else sire[here]))
    return [names[i] for i in path[path.index(path[-1]) :][::-1]]


def _mendelian(order: Ints, sire: Ints, dam: Ints) -> Floats:
    """Variances of Mendelian sampling, shape (m,): ½ − ¼(F_s + F_d), with one parent ¾ − ¼F, with none 1."""
    from bayesglmm.covariance.inbreeding import inbreeding

    place = np.empty(len(order) + 1, dtype=np.int64)
    place[order] = np.arange(len(order))
    place[-1] = -1
    F = np.append(inbreeding(place[sire[order]], place[dam[order]]), -1.0)  # -1: a parent that is not known
    return 0.5 - 0.25 * (F[place[sire]] + F[place[dam]])


def _precision(sire: Ints, dam: Ints, variances: Floats) -> Any:
    """A⁻¹ = T'D⁻¹T."""
    from scipy import sparse

    m = len(sire)
    has_sire, has_dam = np.flatnonzero(sire >= 0), np.flatnonzero(dam >= 0)
    rows = np.concatenate([np.arange(m), has_sire, has_dam])
    columns = np.concatenate([np.arange(m), sire[has_sire], dam[has_dam]])
    values = np.concatenate([np.ones(m), np.full(len(has_sire) + len(has_dam), -0.5)])
    T = sparse.csr_array((values, (rows, columns)), shape=(m, m))
    return sparse.csc_array(T.T @ sparse.diags_array(1.0 / variances) @ T)
