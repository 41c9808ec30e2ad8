"""How much each row, or unit of rows, draws a least-squares fit to itself."""

from collections.abc import Iterator

import numpy as np

from dfl.scale import PARTS
from dfl.stats.arrays import Integers, Matrix, Vector

__all__ = ["leverage", "unit_leverage"]


def leverage(design: Matrix | None, rows: int) -> Iterator[tuple[slice, Vector]]:
    """Yield the diagonal of the hat matrix ``D' (D D')^+ D``, part of the rows by part.

    Args:
        design: regressors, as rows; None: there are none, and all is 0. Shape ``(k, n)``.
        rows: n.
    """
    if design is None:
        yield from ((part, np.zeros(part.stop - part.start)) for part in PARTS.of(rows))
        return
    inverse, size = _inverse(design)
    for part in PARTS.of(rows):
        block = design[:, part] / size
        yield part, np.einsum("in,in->n", block, inverse @ block)


def unit_leverage(design: Matrix, unit: Integers, count: int) -> Vector:
    """Return how much the mean of each unit's rows draws the fit of these rows to itself.

    ``s_c' (D D')^+ s_c / n_c``, ``s_c`` the sum of the regressors over the ``n_c`` rows of unit
    ``c``: where they are the same in all rows of a unit, the one eigenvalue of its block of the
    hat matrix that is not 0. Rows that are units of their own have their `leverage`.

    Args:
        design: regressors, as rows. Shape ``(k, n)``.
        unit: number of each row's unit. Shape ``(n,)``.
        count: number of units.
    """
    inverse, size = _inverse(design)
    sums, rows = np.zeros((len(design), count)), np.zeros(count)
    for part in PARTS.of(len(unit)):
        rows += np.bincount(unit[part], minlength=count)
        for own, regressor, scale in zip(sums, design[:, part], size[:, 0], strict=True):
            own += np.bincount(unit[part], weights=regressor / scale, minlength=count)
    found: Vector = np.einsum("ic,ic->c", sums, inverse @ sums) / np.maximum(rows, 1)
    return found


def _inverse(design: Matrix) -> tuple[Matrix, Matrix]:
    """Return ``(D D')^+`` of regressors in units of their size, and these units ``(k, 1)``."""
    gram = design @ design.T
    size = np.sqrt(np.diagonal(gram))
    size = np.where(size > 0, size, 1)[:, None]
    return np.linalg.pinv(gram / (size @ size.T), rcond=1e-10, hermitian=True), size
