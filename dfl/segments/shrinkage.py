"""Empirical-Bayes shrinkage of a table of means."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from dfl.checks import check_choice
from dfl.errors import InvalidValueError

__all__ = ["TOWARD", "Shrunk", "Toward", "shrink"]

Toward: TypeAlias = Literal["arm", "additive", "nothing"]
"""Towards each treatment's mean, towards a sum of segment and treatment, or not at all."""

TOWARD: tuple[Toward, ...] = ("arm", "additive", "nothing")


@final
@dataclass(frozen=True, eq=False)
class Shrunk:
    """A table after shrinkage.

    Args:
        mean: shape ``(K, M)``.
        error: posterior standard deviation, same unit. Shape ``(K, M)``.
    """

    mean: Tensor
    error: Tensor


def shrink(mean: Tensor, error: Tensor, toward: Toward) -> Shrunk:
    """Move each cell towards what the others say, the more the less it is known itself.

    ``mean_kj <- prior_kj + (1 - b_kj) (mean_kj - prior_kj)``, ``b_kj = error_kj^2 / (error_kj^2 +
    between)``: for cells of equal variance ``s^2`` within, that is ``(n_kj mean_kj + m prior) /
    (n_kj + m)`` with ``m = s^2 / between``. ``between``, the variance of the true cells around
    their prior, is estimated by moments from the weighted sum of squares. The prior is each
    treatment's mean over segments (``"arm"``), or a sum of a segment's and a treatment's effect
    (``"additive"``: what differs between segments in the effect of a treatment is shrunk, what
    differs in their level is not).

    Args:
        mean: float64. Shape ``(K, M)``.
        error: standard errors, >= 0; infinity where nothing is known of a cell. ``(K, M)``.
        toward: what the cells are shrunk to.

    Raises:
        InvalidValueError: if ``toward`` is unknown, or a treatment is known in no segment.

    Source:
        Morris (1983), doi:10.1080/01621459.1983.10477920; ``between`` by DerSimonian and Laird
        (1986), doi:10.1016/0197-2456(86)90046-2, for a linear prior.
    """
    check_choice("toward", toward, TOWARD)
    if bool(error.isinf().all(dim=0).any()):
        raise InvalidValueError(
            "every treatment must be known in a segment, got one without any row."
        )
    segments, treatments = mean.shape
    if toward == "arm":
        columns = [
            _shrunk(mean[:, j], error[:, j].square(), torch.ones(segments, 1).to(mean))
            for j in range(treatments)
        ]
        means, variances = (torch.stack(one, dim=1) for one in zip(*columns, strict=True))
        return Shrunk(means, variances.sqrt())
    of_segment = torch.eye(segments).to(mean).repeat_interleave(treatments, dim=0)
    of_treatment = torch.eye(treatments).to(mean).repeat(segments, 1)[:, 1:]
    design = torch.cat([of_segment, of_treatment], dim=1)
    flat, variance = mean.flatten(), error.square().flatten()
    found = _shrunk(flat, variance, design, keep=toward == "nothing")
    return Shrunk(found[0].reshape(mean.shape), found[1].sqrt().reshape(mean.shape))


def _shrunk(
    mean: Tensor, variance: Tensor, design: Tensor, *, keep: bool = False
) -> tuple[Tensor, Tensor]:
    """Return posterior means and variances of cells around a linear prior.

    Args:
        mean: ``(n,)``.
        variance: ``(n,)``; infinity for cells that take the prior, 0 for those that keep theirs.
        design: of the prior, ``(n, p)``.
        keep: whether all known cells keep their mean.
    """
    known = variance.isfinite()
    largest = torch.where(known, variance, 0).max()
    floor = variance.clamp(min=max(1e-6 * float(largest), torch.finfo(torch.float32).tiny))
    between = _between(mean, floor, design)
    prior, spread = _fitted(mean, floor + between, design)
    trust = torch.where(known, between / (floor + between), 0)
    trust = torch.where(known & (keep | (variance == 0)), 1, trust)
    posterior = prior + trust * torch.where(known, mean - prior, 0)
    own = torch.where(known, trust * variance, between)
    return posterior, own + (1 - trust).square() * spread


def _between(mean: Tensor, variance: Tensor, design: Tensor) -> float:
    """Return the moment estimate of the variance of true cells around the prior, >= 0."""
    weight = 1 / variance
    cells = int((weight > 0).sum())
    rank = int(torch.linalg.matrix_rank(design[weight > 0]))
    if cells <= rank:
        return 0.0
    prior, _ = _fitted(mean, variance, design)
    squares = (weight * torch.where(weight > 0, mean - prior, 0).square()).sum()
    information = torch.linalg.pinv(design.mT @ (weight[:, None] * design), hermitian=True)
    lost = (information @ (design.mT @ (weight.square()[:, None] * design))).trace()
    return max(float((squares - (cells - rank)) / (weight.sum() - lost)), 0.0)


def _fitted(mean: Tensor, variance: Tensor, design: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted least-squares fit of the prior, and its variance, each ``(n,)``."""
    weight = 1 / variance
    information = torch.linalg.pinv(design.mT @ (weight[:, None] * design), hermitian=True)
    prior = design @ (information @ (design.mT @ torch.where(weight > 0, weight * mean, 0)))
    return prior, (design @ information * design).sum(dim=1)
