"""The projection on the simplex, column by column."""

# mypy: disable-error-code="untyped-decorator,no-untyped-call"

import triton
from torch import Tensor
from triton import language as tl

from dfl.kernels.launch import launch

__all__ = ["project"]

_TILE = 2048  # numbers that one program holds


def project(scores: Tensor, out: Tensor) -> Tensor:
    """Write the nearest point of the simplex to each column, see `project_on_simplex`.

    ``x_j = max(scores_j - t, 0)``, where ``t`` climbs from the mean of all scores, less ``1 / M``,
    to that of those above it, and so on: as many steps at most as there are treatments.

    Args:
        scores: at most 3 axes, any strides. Shape ``(..., M, N)``.
        out: written to, and returned. Shape ``(..., M, N)``.

    Source:
        Michelot (1986), doi:10.1007/BF00938486.
    """
    if not scores.numel():
        return out
    given, taken = (each if each.ndim == 3 else each.unsqueeze(0) for each in (scores, out))
    problems, arms, rows = given.shape
    width = triton.next_power_of_2(arms)
    block = max(_TILE // width, 1)
    strides = (*given.stride(), *taken.stride())
    programs = triton.cdiv(rows, block) * problems
    launch(_project, programs, given, taken, *strides, rows, arms, width, block)
    return out


@triton.jit
def _project(  # type: ignore[no-untyped-def]
    scores, out, by_problem, by_arm, by_row, out_by_problem, out_by_arm, out_by_row, rows,
    arms: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    programs = tl.cdiv(rows, block)
    problem = (tl.program_id(0) // programs).to(tl.int64)
    row = (tl.program_id(0) % programs).to(tl.int64) * block + tl.arange(0, block)
    arm = tl.arange(0, width).to(tl.int64)
    real = (arm < arms)[:, None]
    inside = real & (row < rows)[None, :]
    at = problem * by_problem + arm[:, None] * by_arm + row[None, :] * by_row
    score = tl.load(scores + at, mask=inside, other=0.0)
    below = score - tl.max(tl.where(real, score, float("-inf")), axis=0)[None, :]
    threshold = (tl.sum(tl.where(real, below, 0.0), axis=0) - 1.0) / arms
    for _ in range(arms):
        above = real & (below > threshold[None, :])
        count = tl.sum(tl.where(above, 1.0, 0.0).to(below.dtype), axis=0)
        threshold = (tl.sum(tl.where(above, below, 0.0), axis=0) - 1.0) / count
    share = tl.maximum(below - threshold[None, :], 0.0)
    place = problem * out_by_problem + arm[:, None] * out_by_arm + row[None, :] * out_by_row
    tl.store(out + place, share, mask=inside)
