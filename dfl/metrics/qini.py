"""Qini: does a score find the people whose outcome changes most, cost aside?"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.metrics.rows.ranked_rows import RankedRows
from dfl.metrics.rows.redrawn import rows_key
from dfl.stats.arrays import Vector
from dfl.stats.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap, Estimate

__all__ = ["Qini", "qini"]


@final
@dataclass(frozen=True, eq=False)
class Qini:
    """Incremental revenue against the share of people treated, best score first.

    Args:
        share: share of people treated, from 0 to 1. float64, shape ``(N + 1,)``.
        uplift: incremental revenue per head of everyone, in currency, from 0. float64, shape
            ``(N + 1,)``.
        auuc: area under that curve, in currency per head.
        coefficient: ``auuc - uplift[-1] / 2``, the area above a random order, in currency
            per head; 0 for a random score.
    """

    share: Tensor
    uplift: Tensor
    auuc: Estimate
    coefficient: Estimate


def qini(
    data: UpliftData,
    score: Tensor,  # (N,)
    *,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Qini:
    """Estimate the uplift curve, the area under it and the Qini coefficient, with errors.

    ``uplift(k) = sum_{treated, rank <= k} y / n_treated - sum_{untreated, rank <= k} y /
    n_untreated``, joint ranking, sizes of the whole arms; trapezoid area over the share
    ``k / N``. Unnormalised, so that it is a mean of money and its error stays finite.

    Args:
        data: randomised rows with two treatments.
        score: higher is treated earlier. Rows of equal score keep the order of the data.
            Shape ``(N,)``.
        bootstrap: draws, level and seed.

    Raises:
        UnsupportedProblemError: if there are not two treatments, or the propensity differs
            between rows.
        ShapeError: if ``score`` is not ``(N,)``.
        InvalidValueError: if ``score`` is not finite, the rows are observational, or a
            treatment is too rare to bootstrap.

    Source:
        Radcliffe (2007), Using control groups to target on predicted lift; variants:
        Devriendt et al. (2020), doi:10.1109/TKDE.2020.3048510.
    """
    curve = _uplift(RankedRows.of(data, score))
    auuc, coefficient = _areas(curve)
    areas = [_areas(_uplift(ranked)) for ranked in RankedRows.redrawn(data, score, bootstrap)]
    key = rows_key(data, bootstrap)
    return Qini(
        share=torch.linspace(0, 1, len(curve), dtype=torch.float64),
        uplift=torch.from_numpy(curve),
        auuc=bootstrap.estimate(auuc, [area[0] for area in areas], key),
        coefficient=bootstrap.estimate(coefficient, [area[1] for area in areas], key),
    )


def _uplift(ranked: RankedRows) -> Vector:
    return np.append(0.0, ranked.increments(ranked.revenue))


def _areas(curve: Vector) -> tuple[float, float]:
    """Return area and area above the straight line to the end."""
    auuc = float((curve.sum() - curve[-1] / 2) / (len(curve) - 1))
    return auuc, auuc - float(curve[-1]) / 2
