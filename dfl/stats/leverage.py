"""`leverage`: how much each row draws a least-squares fit to itself."""

from collections.abc import Iterator

import numpy as np

from dfl.scale import PARTS
from dfl.stats.arrays import Matrix, Vector

__all__ = ["leverage"]


def leverage(design: Matrix | None, rows: int) -> Iterator[tuple[slice, Vector]]:
    """Yield the diagonal of the hat matrix ``D' (D D')^+ D``, part of the rows by part.

    Args:
        design: regressors, as rows; None: there are none, and all is 0. Shape ``(k, n)``.
        rows: n.
    """
    if design is None:
        yield from ((part, np.zeros(part.stop - part.start)) for part in PARTS.of(rows))
        return
    gram = design @ design.T
    size = np.sqrt(np.diagonal(gram))
    size = np.where(size > 0, size, 1)[:, None]
    inverse = np.linalg.pinv(gram / (size @ size.T), rcond=1e-10, hermitian=True)
    for part in PARTS.of(rows):
        block = design[:, part] / size
        yield part, np.einsum("in,in->n", block, inverse @ block)
