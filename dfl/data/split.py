"""`split`: random parts of logged rows, groups kept whole."""

from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from dfl.checks import check_several
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError
from dfl.seeds import stream

__all__ = ["split", "split_rows"]

_SUM_SLACK = 1e-9


def split(data: UpliftData, fractions: Sequence[float], *, seed: int) -> tuple[UpliftData, ...]:
    """Return random parts that share no row and, where groups exist, no group.

    Args:
        data: the rows.
        fractions: size of each part as a share of all rows, each > 0, together <= 1; rows
            left over belong to no part. Without groups a part has its size to one row; with
            groups, to one group.
        seed: seed of the split; the same seed gives the same parts.

    Raises:
        InvalidValueError: if the fractions are not as above, or a part misses a treatment.
    """
    parts = split_rows(len(data), fractions, seed=seed, groups=data.groups)
    return tuple(data.subset(rows) for rows in parts)


def split_rows(
    rows: int, fractions: Sequence[float], *, seed: int, groups: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return the row numbers of each part, int64, ascending, on the CPU.

    Args:
        rows: number of rows N.
        fractions: as in `split`.
        seed: as in `split`.
        groups: group of each row, int64, or None. Shape ``(N,)``.

    Raises:
        InvalidValueError: if the fractions are not > 0 and together <= 1, or a part is empty.
    """
    _check_fractions(fractions)
    generator = stream(seed, "split")
    ends = torch.tensor(fractions, dtype=torch.float64).cumsum(0) * rows
    if groups is None:
        order = torch.randperm(rows, generator=generator)
        place = torch.empty(rows, dtype=torch.float64)
        place[order] = torch.arange(1, rows + 1, dtype=torch.float64)
    else:
        _, group, sizes = torch.unique(groups.cpu(), return_inverse=True, return_counts=True)
        order = torch.randperm(len(sizes), generator=generator)
        filled = torch.empty(len(sizes), dtype=torch.float64)
        filled[order] = sizes[order].cumsum(0).double()
        place = filled[group]
    part = torch.searchsorted(ends + 1e-6, place)  # rounding in 0.3 * 10 must not move a row
    parts = tuple((part == number).nonzero().squeeze(1) for number in range(len(fractions)))
    for fraction, found in zip(fractions, parts, strict=True):
        if len(found) == 0:
            raise InvalidValueError(
                f"a fraction of {fraction:g} of {rows} rows leaves a part empty; take a larger "
                "fraction or more rows."
            )
    return parts


def _check_fractions(fractions: Sequence[float]) -> None:
    check_several("fractions", fractions)
    if not len(fractions) or not all(
        isinstance(share, Real) and 0 < share <= 1 for share in fractions
    ):
        raise InvalidValueError(f"fractions must each lie in (0, 1], got {tuple(fractions)}.")
    if sum(fractions) > 1 + _SUM_SLACK:
        raise InvalidValueError(
            f"fractions must sum to at most 1, got {tuple(fractions)} with sum {sum(fractions):g}."
        )
